"""The decisive test: its plan, and the family's verdicts on made-up runs and by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.claims import decisive
from benchmarks.claims.declared import CLAIMS
from benchmarks.claims.verdicts import Outcome
from benchmarks.report.gather import Results, Run
from marl_gre.config import load_params

ROOT = Path(__file__).parents[1]
STEPS = np.arange(0, 200_001, 5000.0)
ENTROPY_STEPS = np.arange(4000, 200_001, 1000.0)


@pytest.fixture(scope="module")
def params():
    return load_params(ROOT / "studies" / "decisive" / "params.yaml")


@pytest.fixture(scope="module")
def main_params():
    return load_params(ROOT / "params.yaml")


def make(params, truths: dict, without=()) -> Results:
    """Runs that differ by seed alone, so that differences between algorithms are exact, and `jitter` of the seeds."""
    runs = {}
    for env in decisive.ENVS:
        for name in params.run.algorithms:
            for seed in params.run.seeds:
                truth = truths.get(name, {})
                jitter = truth.get("jitter", 0.0) * (1 if seed % 2 else -1)
                curve = np.where(truth.get("slow", 20_000) > STEPS, -1000.0, 1000.0)
                runs[env, name, seed] = Run(
                    key=(env, name, seed),
                    record={"final_return": seed + truth.get("final", 0.0) + jitter},
                    tests={"due_steps": STEPS, "episode_return_mean": curve},
                    entropy={
                        "due_steps": ENTROPY_STEPS,
                        "mean": np.full(ENTROPY_STEPS.shape, truth.get("entropy", 0.98)),
                    },
                    evaluation={},
                    training={},
                )
    for key in without:
        del runs[key]
    return Results(params, runs, dict.fromkeys(without, "not trained"))


def found(results: Results) -> dict[tuple[str, str], str]:
    return {(one.claim.name, one.env): one.verdict for one in decisive.judge(results)}


def test_the_plan(params, main_params):
    """Eight verdicts: four claims with one test and at most one candidate each, on two environments, new seeds only."""
    assert [claim.name for claim in decisive.FAMILY] == ["RQ1b", "RQ2a", "RQ2b", "RQ3"]
    assert all(len(claim.tests) == 1 and len(claim.candidates) <= 1 for claim in decisive.FAMILY)
    assert decisive.is_planned(params)
    assert not decisive.is_planned(main_params)
    assert tuple(main_params.run.seeds) == decisive.PILOT
    assert not {*decisive.PILOT} & {*decisive.SEEDS}
    assert len(decisive.SEEDS) == 20
    judged = decisive.judge(make(params, {}))
    assert len(judged) == 8
    assert {one.outcomes[0].confidence for one in judged} == {0.95}
    assert pytest.approx(0.025) == decisive.LEVEL
    for claim in decisive.FAMILY:  # margins and kinds are the declared ones
        (original,) = [one for one in CLAIMS if one.name == claim.name]
        assert (claim.tests[0].kind, claim.tests[0].margin) == (original.tests[0].kind, original.tests[0].margin)
    for env in decisive.ENVS:
        assert params.envs[env] == main_params.envs[env]
    for name in ("vdn", "qmix", "qmix_simple", "qmix_gre_1e-3"):
        assert params.algorithms[name] == main_params.algorithms[name]


@pytest.mark.parametrize("change", [{"envs": [*decisive.ENVS[:1]]}, {"seeds": [*decisive.SEEDS[:-1]]}])
def test_other_runs_are_not_the_plans(params, change):
    run = params.run.model_copy(update=change)
    assert not decisive.is_planned(params.model_copy(update={"run": run}))


def test_holm_over_eight_by_hand():
    """p-values sorted, times 8, 7, 6, ...: .003 and .0035 stay below .025, .0042 * 6 = .0252 does not, so that nothing
    after it is decided, though .0049 * 5 = .0245 would be."""
    test = decisive.FAMILY[0].tests[0]

    def outcome(p: float, p_outside: float) -> Outcome:
        return Outcome("", test, "", None, "undecided", "", 20, 0.95, 0, (0, np.inf), p=p, p_outside=p_outside)

    outcomes = [
        outcome(0.0049, 0.9951),
        outcome(0.9965, 0.0035),
        outcome(0.003, 0.997),
        outcome(0.0042, 0.9958),
        outcome(0.5, 0.5),
        outcome(0.5, 0.5),
        outcome(0.2, 0.8),
        outcome(0.9, 0.1),
    ]
    adjusted = decisive.adjust(outcomes)
    assert adjusted[:4] == pytest.approx([0.0252, 0.0245, 0.024, 0.0252])
    assert adjusted[4:] == pytest.approx([1.0, 1.0, 0.6, 0.4])  # .1 * 4; .2 * 3; .5 * 2 = 1
    assert [decisive.verdict(one, p) for one, p in zip(outcomes, adjusted, strict=True)] == [
        *("undecided", "contradicted", "supported", "undecided"),
        *["undecided"] * 4,
    ]
    assert decisive.verdict(outcomes[0], decisive.LEVEL) == "supported"  # at most the level
    # what is not judged counts as 1 and still as one of the family
    assert decisive.adjust([outcome(0.01, 0.9), replace(outcomes[4], p=None, p_outside=None)])[0] == 0.02
    assert decisive.adjust([outcome(0.01, 0.9), replace(outcomes[2], verdict="not judged")]) == [0.02, 1.0]


def test_exact_differences_decide(params):
    truths = {"qmix_gre_1e-3": {"slow": 10_000, "entropy": 0.9}, "qmix_simple": {"final": -100}}
    verdicts = {name: verdict for (name, _), verdict in found(make(params, truths)).items()}
    assert verdicts == {"RQ1b": "contradicted", "RQ2a": "supported", "RQ2b": "supported", "RQ3": "supported"}


def test_runs_that_never_get_half_way_are_counted(params):
    """QMIX gets there at 20,000, GRE never: 205,000 - 20,000 = 185,000 steps slower."""
    judged = {one.claim.name: one for one in decisive.judge(make(params, {"qmix_gre_1e-3": {"slow": 300_000}}))}
    assert judged["RQ2b"].outcomes[0].mean == 185_000
    assert judged["RQ2b"].verdict == "contradicted"
    judged = {one.claim.name: one for one in decisive.judge(make(params, {"qmix": {"slow": 300_000}}))}
    assert (judged["RQ2b"].outcomes[0].mean, judged["RQ2b"].verdict) == (-185_000, "supported")
    lost = {name: {"slow": 300_000} for name in ("qmix", "qmix_gre_1e-3")}
    assert {found(make(params, lost))["RQ2b", env] for env in decisive.ENVS} == {"not judged"}


def test_nothing_is_said_before_all_runs_are_there(params):
    results = make(params, {}, without=[("lumberjacks_v1", "qmix", 7)])
    assert set(found(results).values()) == {"missing"}
    assert "seeds missing: 7" in decisive.judge(results)[-1].outcomes[0].why
    for judgement in decisive.judge(results):  # nobody looks before all runs are there
        assert (judgement.p, judgement.outcomes[0].mean, judgement.outcomes[0].p) == (None, None, None)
    # the descriptive algorithms are not waited for
    assert set(found(make(params, {}, without=[("lumberjacks_v1", "vdn", 7)])).values()) != {"missing"}


def test_pilot_and_pooled_stand_apart(params, main_params):
    """New seeds say -100, the pilot says 0: together (5 * 0 - 20 * 100) / 25 = -80."""
    new, main = make(params, {"qmix_simple": {"final": -100}}), make(main_params, {})
    (first, *_) = decisive.judge(new)
    (before, *_) = decisive.pilot(main)
    (together, *_) = decisive.pooled(main, new)
    assert (first.outcomes[0].mean, before.outcomes[0].mean, together.outcomes[0].mean) == (-100, 0, -80)
    assert [one.outcomes[0].seeds for one in (first, before, together)] == [20, 5, 25]
