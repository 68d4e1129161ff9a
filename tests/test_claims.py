"""The claims' verdicts on made-up runs whose truth is known."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

import marl_gre_envs
from benchmarks.claims import answers, declared, presented, verdicts
from benchmarks.claims.declared import (
    CLAIMS,
    GRID,
    MORE,
    QMIX,
    SIMPLE,
    SIZED,
    VDN,
    Margin,
    Measure,
    Term,
    per_run,
)
from benchmarks.report.gather import Results, Run, gather, reference
from marl_gre import stats
from marl_gre.config import load_params
from marl_gre.mixers import QMIX as QMIXMixer
from marl_gre.mixers import EnvSizes, QMIXSimple
from marl_gre.mixers.qmix_simple import count_parameters
from marl_gre.stats import SeedsNeeded

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2, 3, 4)
STEPS = np.arange(0, 200_001, 5000.0)
ENTROPY_STEPS = np.arange(4000, 200_001, 1000.0)
ENV = {"total_steps": 200_000, "test_interval_steps": 5000}
GRES = {"gre_3": 1e-3, "gre_5": 5e-4, "gre_4": 1e-4}
PARAMS = {
    "run": {"envs": ["lumber"], "algorithms": ["vdn", "qmix", "simple", "sized", *GRES], "seeds": [*SEEDS]},
    "envs": {
        "lumber": {"env": "lumberjacks_v0", **ENV},
        "other": {"env": "lumberjacks_v0", "kwargs": {"n_trees": 3}, **ENV},
    },
    "algorithms": {
        "vdn": {"mixer": "vdn"},
        "qmix": {"mixer": "qmix"},
        "simple": {"mixer": "qmix_simple"},
        "sized": {"mixer": "qmix_simple", "hypernet_dim": "as_qmix"},
        **{name: {"mixer": "qmix_gre", "gre_lambda": value} for name, value in GRES.items()},
    },
}  # fmt: skip


@pytest.fixture
def params(tmp_path):
    """A function that loads the params after a change."""

    def load(**run):
        path = tmp_path / "params.yaml"
        YAML(typ="safe").dump({**PARAMS, "run": {**PARAMS["run"], **run}}, path)
        return load_params(path)

    return load


def make_run(algorithm: str, seed: int, **truth) -> Run:
    """A run of known steps to half-way, change in mid-training, spread between seeds, final return and credits."""
    noise = np.random.default_rng([seed, len(algorithm), ord(algorithm[-1])]).normal()
    slow, rise, spread, final = (truth.get(name, 0.0) for name in ("slow", "rise", "spread", "final"))
    # level until the middle, another after it; seeds lie above and below by the spread in turn
    curve = -60 + np.where(STEPS > 100_000, rise, 0) + spread * (-1) ** seed
    curve = np.where(slow > STEPS, -150, curve)  # half-way to good play is -200 + 153.6 / 2 = -123.2
    entropy = truth.get("entropy", 0.98)
    dip = np.where(ENTROPY_STEPS < 50_000, truth.get("dip", 0.0), 0.0)
    return Run(
        key=("lumber", algorithm, seed),
        record={"final_return": -50 + final + truth.get("noise", 0.5) * noise},
        tests={"due_steps": STEPS, "episode_return_mean": curve + 0.01 * noise},
        entropy={"due_steps": ENTROPY_STEPS, "mean": np.full(ENTROPY_STEPS.shape, entropy) - dip},
        evaluation={
            "entropy_mean": entropy + 1e-4 * noise,
            "entropy_untrained_mean": truth.get("untrained", entropy),
            "share_unevenness_mean": 0.05,
            "share_shift_shuffled_mean": truth.get("shift", 0.06),
            "share_unevenness_by_agent": truth.get("by_agent", 0.2),
        },
        training={},
    )


def make_results(params, truths: dict, without=()) -> Results:
    keys = [("lumber", name, seed) for name in params.run.algorithms for seed in params.run.seeds]
    runs = {key: make_run(*key[1:], **truths.get(key[1], {})) for key in keys if key not in without}
    return Results(params, runs, dict.fromkeys(without, "not trained"))


def judged(results: Results) -> dict[str, verdicts.Judgement]:
    return {one.claim.name: one for one in verdicts.judge(results)}


def found(results: Results) -> dict[str, str]:
    return {name: one.verdict for name, one in judged(results).items()}


# the margin of returns on lumberjacks_v0 is 2.5% of 153.6 = 3.84
AS_THE_PAPER_SAYS = {
    "vdn": {"entropy": 1.0},
    "simple": {"entropy": 1.0},
    "qmix": {"rise": -10, "spread": 2, "dip": 0.05, "slow": 20_000},
    "gre_3": {"rise": 10, "spread": 1, "entropy": 0.9, "final": 10},
    "gre_5": {"final": -20, "slow": 15_000},
    "gre_4": {"slow": 20_000},
}


def test_a_world_as_the_paper_says(params):
    results = make_results(params(), AS_THE_PAPER_SAYS)
    assert found(results) == {claim.name: "supported" for claim in CLAIMS}
    judgement = judged(results)["RQ2b"]
    assert judgement.supported_by == ("QMIX-GRE 1e-3",)
    (first, *others) = judgement.outcomes
    assert (first.mean, first.margin) == (-20_000, 5000)  # on the bound, 5,000 sooner is not more than 5,000
    assert judged(results)["RQ1b"].outcomes[0].margin == pytest.approx(0.025 * 153.6)
    assert first.confidence == pytest.approx(1 - 0.05 / 3)
    assert first.level == pytest.approx(0.025 / 3)  # of each of its one-sided tests
    assert [one.verdict for one in others] == ["contradicted", "contradicted"]


def test_the_opposite_world(params):
    truths = {
        "vdn": {"entropy": 0.9},
        "qmix": {"entropy": 0.9, "untrained": 0.7, "shift": 0.01, "by_agent": 0.9, "slow": 20_000},
        "simple": {"final": -20, "entropy": 1.0},
        "sized": {"final": 20},
        **{name: {"final": -20, "entropy": 0.95, "spread": 0.5, "slow": 20_000} for name in GRES},
    }
    assert found(make_results(params(), truths)) == {claim.name: "contradicted" for claim in CLAIMS}


def test_noise_leaves_open_and_says_how_many_seeds(params):
    results = make_results(params(), {"simple": {"noise": 12, "entropy": 1.0}, "vdn": {"entropy": 1.0}})
    judgement = judged(results)["RQ1b"]
    assert judgement.verdict == "undecided"
    (outcome,) = judgement.outcomes
    assert outcome.low < -outcome.margin < outcome.high or outcome.low < outcome.margin < outcome.high
    assert outcome.standardised == pytest.approx(outcome.mean / np.std(outcome.differences, ddof=1))
    assert judgement.seeds_needed == outcome.seeds_needed
    number = judgement.seeds_needed
    assert (number.about or np.inf) > 5
    assert number.least <= (number.about or np.inf) <= (number.most or np.inf)
    assert "undecided" in presented.verdict_text(judgement)


def test_pairing_by_seed_removes_what_seeds_share(params):
    """A seed's luck of +-40 that both algorithms have leaves their difference decided."""
    results = make_results(params(), {})
    for key, run in results.runs.items():
        luck = 40.0 * (-1) ** key[2]
        results.runs[key] = dataclasses.replace(run, record={"final_return": run.record["final_return"] + luck})
    assert judged(results)["RQ1b"].verdict == "supported"


def test_missing_seeds_and_algorithms_are_shown_and_not_judged(params):
    without = (("lumber", "qmix", 3), ("lumber", "vdn", 0))
    results = make_results(params(), AS_THE_PAPER_SAYS, without)
    assert set(found(results).values()) == {"missing"}
    outcome = judged(results)["RQ1b"].outcomes[0]
    assert (outcome.why, outcome.seeds) == ("seeds missing: 3", 4)
    assert outcome.mean is not None
    assert "missing (seeds missing: 3)" in presented.to_markdown(results, verdicts.judge(results))
    few = make_results(params(algorithms=["qmix", "gre_3"]), AS_THE_PAPER_SAYS)
    assert "RQ1b" not in judged(few)
    assert "lack the algorithms: RQ1a, control 3; RQ1b; RQ1b, size." in presented.to_markdown(few, verdicts.judge(few))
    assert found(few)["RQ2b"] == "supported"  # one lambda is enough
    assert "not run: QMIX-GRE 5e-4" in {outcome.why for outcome in judged(few)["RQ2b"].outcomes}
    assert judged(few)["RQ2b"].outcomes[0].confidence == pytest.approx(1 - 0.05 / 3)  # the choice was among three


def test_less_than_the_papers_budget_is_not_judged(params, monkeypatch):
    monkeypatch.setitem(PARAMS["envs"], "lumber", {**PARAMS["envs"]["lumber"], "total_steps": 10_000})
    results = make_results(params(), AS_THE_PAPER_SAYS)
    assert found(results)["RQ1b"] == "not judged"
    assert judged(results)["RQ1b"].outcomes[0].why == "10,000 of 200,000 environment steps"
    assert judged(results)["RQ1b"].outcomes[0].mean is not None


def test_one_seed_decides_nothing(params):
    results = make_results(params(seeds=[0]), AS_THE_PAPER_SAYS)
    assert found(results)["RQ2a"] == "undecided"
    assert judged(results)["RQ2a"].seeds_needed is None
    assert presented.verdict_text(judged(results)["RQ2a"]) == "undecided (one seed shows no spread)"


def test_the_spread_of_two_seeds_is_not_measured(params):
    """Two seeds are equally far from their mean, which would look like a difference without any doubt."""
    results = make_results(params(seeds=[0, 1]), AS_THE_PAPER_SAYS)
    outcomes = {one.test.says: one for one in judged(results)["RQ2c"].outcomes}
    assert outcomes["QMIX-GRE varies less between seeds"].verdict == "not judged"
    assert outcomes["QMIX drops"].verdict != "not judged"


def test_environments_that_the_claims_are_not_about(params):
    results = make_results(params(envs=["other"]), {})
    assert verdicts.judge(results) == []
    assert "None of the claims can be tested" in presented.to_markdown(results, [])


def test_the_margin_is_where_it_is_said_to_be(params):
    for shift, verdict in ((3.85, "contradicted"), (3.83, "supported"), (-3.83, "supported"), (-3.85, "contradicted")):
        results = make_results(params(), {"simple": {"final": shift, "noise": 0}, "qmix": {"noise": 0}})
        assert judged(results)["RQ1b"].verdict == verdict


@pytest.mark.parametrize(("claim", "algorithm", "number", "bound", "inwards"), [
    ("RQ1a", "qmix", "entropy", 0.95, 1e-3),
    ("RQ1a, phase", "qmix", "dip", 0.001, 1e-4),
    ("RQ1a, control 1", "qmix", "untrained", 0.97, 1e-3),  # its final policy has .98
    ("RQ1a, control 1", "qmix", "untrained", 0.99, -1e-3),
    ("RQ1a, control 2", "qmix", "shift", 0.025, 1e-3),  # half of the unevenness, .05
    ("RQ1a, control 2", "qmix", "by_agent", 0.5, -0.01),
    ("RQ1a, control 3", "vdn", "entropy", 1 - 1e-6, 1e-7),
    ("RQ1a, control 3", "simple", "entropy", 1 - 1e-6, 1e-7),
    ("RQ1b, size", "sized", "final", -3.84, 0.1),
    ("RQ1b, size", "sized", "final", 3.84, -0.1),
])  # fmt: skip
def test_other_margins_are_where_they_are_said_to_be(params, claim, algorithm, number, bound, inwards):
    for value, verdict in ((bound + inwards, "supported"), (bound - inwards, "contradicted")):
        truths = {name: {"noise": 0} for name in PARAMS["run"]["algorithms"]}
        for name in ("vdn", "simple"):
            truths[name]["entropy"] = 1.0
        truths[algorithm][number] = value
        assert judged(make_results(params(), truths))[claim].verdict == verdict


def test_what_lies_on_a_bound_is_not_within_it(params):
    (equal,) = [claim for claim in CLAIMS if claim.name == "RQ1b"]
    test = dataclasses.replace(equal.tests[0], margin=Margin(4.0, "absolute", ""))
    for final in (-4, 4):
        results = make_results(params(), {"simple": {"final": final, "noise": 0}, "qmix": {"noise": 0}})
        (found,) = verdicts.judge(results, [dataclasses.replace(equal, tests=(test,))])
        assert (found.outcomes[0].mean, found.verdict) == (final, "contradicted")


def with_returns(returns) -> Run:
    return dataclasses.replace(make_run("qmix", 0), tests={"due_steps": STEPS, "episode_return_mean": returns})


def test_measures_of_the_middle_half_by_hand(params):
    """Of 200,000 steps it is 50,000 to 150,000; nothing before or after it counts."""
    # 10 to 100,000 and 20 from 105,000 on: the third quarter's mean is (15 * 5,000 + 20 * 45,000) / 50,000 = 19.5
    curve = np.select([STEPS < 50_000, STEPS <= 100_000, STEPS <= 150_000], [900.0, 10, 20], -900)
    assert declared.MIDDLE_RISE.read([with_returns(curve)], params()) == pytest.approx([9.5])
    inside = (STEPS >= 50_000) & (STEPS <= 150_000)
    levels = ((0.0, 900.0), (3.0, 0.0), (9.0, -900.0))  # in the middle half, whose mean is 4, and elsewhere
    runs = [with_returns(np.where(inside, *level)) for level in levels]
    assert declared.MIDDLE_SPREAD.read(runs, params()) == pytest.approx([4, 1, 5])


def test_half_way_by_hand(params):
    """From -200 to -46.4 it is -123.2."""
    curve = np.select([STEPS < 10_000, STEPS < 30_000], [-124.0, -123.3], -123.1)
    assert declared.STEPS_TO_HALF_WAY.read([with_returns(curve)], params()) == [30_000]


def test_exploration_ends_where_epsilon_has_fallen(params):
    """After 50,000 steps: the entropy that is due then is the first one after exploration."""
    mean = np.where(ENTROPY_STEPS < 50_000, 0.5, 1.0)
    run = dataclasses.replace(make_run("qmix", 0), entropy={"due_steps": ENTROPY_STEPS, "mean": mean})
    assert declared.ENTROPY_EXPLORING.read([run], params()) == [0.5]
    assert declared.ENTROPY_AFTER.read([run], params()) == [1.0]


def test_shares_that_are_even_but_for_rounding_have_no_shift(params):
    run = make_run("qmix", 0, shift=1e-6)
    run.evaluation["share_unevenness_mean"] = 1e-6
    assert np.isnan(declared.SHIFT_RATIO.read([run], params()))
    run.evaluation["share_unevenness_mean"] = 2e-6
    assert declared.SHIFT_RATIO.read([run], params()) == pytest.approx([0.5])


def test_tables_and_json_hold_every_claim(params):
    results = make_results(params(), AS_THE_PAPER_SAYS)
    judgements = verdicts.judge(results)
    content = presented.verdict_rows(results, judgements)
    assert [row[0] for row in content.rows] == [claim.name for claim in CLAIMS]
    page = presented.to_markdown(results, judgements)
    assert "gridworlds only" in page
    assert "carries over (lambda 1e-3)" in page
    data = presented.as_json(results, judgements)
    assert len(data["verdicts"]) == len(CLAIMS)
    assert len(data["verdicts"][0]["tests"][0]["differences"]) == 5


def test_a_test_without_candidates_is_shown_once(params):
    """QMIX's drop in RQ2c is one test, the two about each of three lambdas are six."""
    outcomes = judged(make_results(params(), AS_THE_PAPER_SAYS))["RQ2c"].outcomes
    assert [(one.test.says, one.candidate) for one in outcomes] == [
        ("QMIX drops", None),
        *((says, one.name) for one in GRID for says in ("QMIX-GRE rises", "QMIX-GRE varies less between seeds")),
    ]


def test_an_environment_where_nothing_is_learned_says_so(params):
    """Doing nothing on Lumberjacks is worth -200; one algorithm that is better is enough."""
    lost = {name: {"final": -170, "noise": 0} for name in PARAMS["run"]["algorithms"]}
    results = make_results(params(), lost)
    (sentence,) = presented.caveats(results)
    assert "lumber: no algorithm ends better than doing nothing (-200 per episode, the best mean is -220)" in sentence
    assert sentence in presented.to_markdown(results, verdicts.judge(results))
    assert presented.caveats(make_results(params(), {**lost, "vdn": {"final": -140}})) == []
    assert presented.caveats(Results(params(), {}, {})) == []
    run = results.runs["lumber", "vdn", 0]  # one seed does not make an algorithm: (-190 - 4 * 220) / 5 = -214
    results.runs[run.key] = dataclasses.replace(run, record={"final_return": -190.0})
    assert "the best mean is -214)" in presented.caveats(results)[0]


def test_who_ends_exactly_as_doing_nothing_has_learned_nothing(params):
    idle = {name: {"final": -150, "noise": 0} for name in PARAMS["run"]["algorithms"]}  # -50 - 150 = -200
    results = make_results(params(), idle)
    assert "the best mean is -200)" in presented.caveats(results)[0]
    assert judged(results)["RQ1b"].compares_failures
    one_better = {**idle, "vdn": {"final": -149.9, "noise": 0}}
    assert presented.caveats(make_results(params(), one_better)) == []


def test_returns_are_greyed_where_nothing_is_learned(params):
    lost = {name: {"final": -170, "noise": 0} for name in PARAMS["run"]["algorithms"]}
    about_returns = {"RQ1b", "RQ1b, size", "RQ2a", "RQ2a, better", "RQ2b", "RQ2c"}
    judgements = judged(make_results(params(), lost))
    assert {name for name, one in judgements.items() if one.compares_failures} == about_returns
    assert presented.verdict_text(judgements["RQ1b"]) == "supported; compares failures"
    assert not any(one.compares_failures for one in judged(make_results(params(), {})).values())
    del lost["vdn"]  # learns: claims that compare the others still compare failures
    judgements = judged(make_results(params(), lost))
    assert {name for name, one in judgements.items() if one.compares_failures} == about_returns


def test_evaluations_without_the_shares_say_so(params):
    results = make_results(params(), {})
    for run in results.runs.values():
        del run.evaluation["share_unevenness_mean"], run.evaluation["share_unevenness_by_agent"]
    assert presented.verdict_text(judged(results)["RQ1a, control 2"]) == "not judged (not measured in these runs)"


def test_a_run_that_never_gets_half_way_has_no_time(params):
    judgement = judged(make_results(params(), {"qmix": {"slow": 300_000}}))["RQ2b"]
    assert presented.verdict_text(judgement) == "not judged (some runs never get half-way to good play)"


@pytest.mark.parametrize(("first", "verdict"), [(10_000, "not judged"), (15_000, "contradicted")])
def test_a_baseline_that_is_there_at_once_leaves_no_room_for_a_gain(params, first, verdict):
    """More than 5,000 steps sooner than 10,000 would be before the first test of a trained network."""
    judgement = judged(make_results(params(), {name: {"slow": first} for name in ("qmix", *GRES)}))["RQ2b"]
    assert judgement.verdict == verdict
    if verdict == "not judged":
        assert (
            "no room for the gain that is claimed: the baseline gets there after 10,000 steps"
            in presented.verdict_text(judgement)
        )
        assert (judgement.p, judgement.outcomes[0].mean, judgement.outcomes[0].low) == (None, 0.0, None)


@pytest.mark.parametrize(("left", "right", "says"), [
    ([205_000, 205_000, 9e4, 9e4], [205_000, 205_000, 5e4, 5e4], "neither gets there in 2 of 4 pairs of runs"),
    ([205_000, 9e4, 9e4, 9e4], [205_000, 5e4, 5e4, 5e4], ""),
    ([205_000, 205_000, 9e4, 9e4], [5e4, 5e4, 205_000, 205_000], ""),  # one of each pair does
    ([200_000] * 4, [200_000] * 4, ""),  # with the last test
])  # fmt: skip
def test_times_of_runs_that_never_get_there(params, left, right, says):
    env = params().envs["lumber"]  # 200,000 steps, a test each 5,000: "never" is 205,000
    found = verdicts._says_nothing(np.array(left), np.array(right), (-np.inf, -5000), env, 0.95)
    assert found == says


def test_one_early_run_of_the_baseline_leaves_room_for_a_gain(params):
    """If every left run were there at its first test, at 5,000, it would gain 5,000 in one pair and 55,000 in five."""
    right = np.array([10_000, *[60_000] * 5])
    assert verdicts._says_nothing(np.full(6, 9e4), right, (-np.inf, -5000), params().envs["lumber"], 0.95) == ""


def test_verdicts_on_all_and_on_one_of_several():
    assert verdicts._all(["supported", "undecided"]) == "undecided"
    assert verdicts._all(["undecided", "missing"]) == "missing"
    assert verdicts._all(["contradicted", "missing"]) == "missing"  # nothing is judged before all runs are there
    assert verdicts._one(["contradicted", "undecided"]) == "undecided"
    assert verdicts._one(["contradicted", "missing"]) == "missing"
    assert verdicts._one(["missing", "supported"]) == "supported"


def test_p_of_a_claim_by_hand():
    """The claim: its worst test of its best candidate. Its contradiction: the best test of the worst candidate."""

    def candidate(*tests):
        return [dataclasses.replace(group((0, None))[0], p=p, p_outside=outside) for p, outside in tests]

    assert verdicts._p([candidate((0.01, 0.99))]) == 0.01
    # the choice among three: 3 * .01; each of three must fail: 3 * .03
    assert verdicts._p([candidate((p, 1 - p)) for p in (0.5, 0.01, 0.9)]) == pytest.approx(0.03)
    assert verdicts._p([candidate((1 - p, p)) for p in (0.01, 0.03, 0.02)]) == pytest.approx(0.09)
    # both tests must hold: .02; one that fails is enough, of two: 2 * .003
    assert verdicts._p([candidate((0.01, 0.99), (0.02, 0.98))]) == 0.02
    assert verdicts._p([candidate((0.01, 0.99), (0.997, 0.003))]) == pytest.approx(0.006)
    assert verdicts._p([candidate((0.6, 0.4), (0.55, 0.45))]) == 0.6
    assert verdicts._p([candidate((0.4, 0.6))] * 3) == 1


def test_one_of_several_tests_contradicts_at_a_stricter_level(params):
    """The same test twice: each may contradict the claim at half of the level that it has alone."""
    (once,) = [claim for claim in CLAIMS if claim.name == "RQ1b"]
    twice = dataclasses.replace(once, tests=once.tests * 2)
    between = 0
    for final in np.arange(-4.0, -8.0, -0.25):
        results = make_results(params(), {"simple": {"final": final, "noise": 1}})
        (alone,), (both,) = verdicts.judge(results, [once]), verdicts.judge(results, [twice])
        p = alone.outcomes[0].p_outside
        assert (alone.verdict == "contradicted") == (p <= 0.025)
        assert (both.verdict == "contradicted") == (p <= 0.0125)
        assert both.p == pytest.approx(min(alone.outcomes[0].p, 2 * p))
        between += alone.verdict != both.verdict
        if both.verdict == "undecided":  # seeds are counted at the level of the verdict that the mean heads for
            outcome = both.outcomes[0]
            confidence = 0.95 if outcome.heads_for_support else 0.975
            assert outcome.seeds_needed == stats.seeds_to_decide(outcome.differences, *outcome.region, confidence)
    assert between


def test_rounding_is_no_spread(params):
    """Means of the same float32 entropies in another order differ in the last bits of float64."""
    results = make_results(params(), {})
    for (_, name, seed), run in results.runs.items():
        if name == "vdn":
            run.entropy["mean"][:] = 1 - 2.0**-23 + seed % 2 * np.spacing(1.0)
    outcome = judged(results)["RQ1a, control 3"].outcomes[0]
    assert outcome.standardised is None
    assert outcome.low == outcome.high == pytest.approx(-(2.0**-23))
    eps = np.spacing(1.0)
    assert np.ptp(verdicts._paired(np.array([1, 1 + 16 * eps]), 0.0)) == 0
    assert np.ptp(verdicts._paired(np.array([1, 1 + 17 * eps]), 0.0)) == 17 * eps  # a spread, however small


def test_an_extension_is_not_the_papers_claim(params):
    judgement = judged(make_results(params(), {}))["RQ3"]  # entropies are equal: nothing is lowered
    assert (judgement.verdict, presented.verdict_text(judgement)) == ("contradicted", "does not carry over")
    kinds = {claim.name: claim.of for claim in CLAIMS}
    assert {name for name, of in kinds.items() if of == "extension"} == {"RQ2b", "RQ2c", "RQ3"}
    assert {name for name, of in kinds.items() if of == "control"} == {
        *("RQ1a, control 1", "RQ1a, control 2", "RQ1a, control 3", "RQ1b, size", "RQ2a, better")
    }


def group(*tests: tuple[float, int | None]) -> list[verdicts.Outcome]:
    """A candidate's undecided tests, each by its mean (claimed above 0) and the seeds that would decide it."""
    test = CLAIMS[0].tests[0]
    return [
        verdicts.Outcome("", test, "", None, "undecided", "", 5, 0.95, 0, (0, np.inf), mean=mean,
                         seeds_needed=SeedsNeeded(number, number, number))
        for mean, number in tests
    ]  # fmt: skip


def test_seeds_of_a_claim():
    def needed(*groups):
        return verdicts._needed([*groups]).about

    # one candidate heads for support: the others do not matter, and all of its tests must be decided
    assert needed(group((1, 30), (1, 50)), group((-1, 8))) == 50
    assert needed(group((1, 30), (1, 50)), group((1, 40))) == 40
    # none does: every candidate must be contradicted, each by the quickest of its tests that heads there
    assert needed(group((-1, 9)), group((-1, 187)), group((-1, 9))) == 187
    assert needed(group((1, 5), (-1, 30), (-1, 20)), group((-1, 10))) == 20
    assert needed(group((-1, 9)), group((-1, None))) is None


def test_of_equal_numbers_of_seeds_the_upper_ends_count():
    """Unknown counts as the greatest; the best candidate has the fewest seeds, its tests need the most of theirs."""
    known, unknown = (
        dataclasses.replace(group((1, 30))[0], seeds_needed=SeedsNeeded(30, 10, most)) for most in (80, None)
    )
    assert verdicts._needed([[unknown], [known]]).most == 80
    assert verdicts._needed([[known, unknown]]).most is None


COMMITTED = [  # claim, environment, with the normal-theory quantile of 90% power, with 80%
    ("early", "traffic_junction10_v1", 187, 146),
    ("RQ3", "lumberjacks_v0", 821, 637),
    ("RQ3", "traffic_junction10_v0", 49, 39),
    ("early", "lumberjacks_v1", 45, 36),
    ("RQ3", "lumberjacks_v1", 33, 27),
]


@pytest.fixture(scope="module")
def committed():
    """The committed results, with RQ2b as it was measured at first: the mean height of the first quarter's curve."""
    with contextlib.chdir(ROOT):
        results = gather(load_params(Path("params.yaml")))
    early = Measure("", "per episode", per_run(lambda run, params: stats.mean_height(
        run.tests["due_steps"], run.tests["episode_return_mean"], 0, 50_000)))  # fmt: skip
    (rq2b,) = [claim for claim in CLAIMS if claim.name == "RQ2b"]
    test = dataclasses.replace(
        rq2b.tests[0], left=Term(early), right=Term(early, QMIX), kind=MORE, margin=Margin(0.025, "span", "")
    )
    claims = (dataclasses.replace(rq2b, name="early", tests=(test,)), *(one for one in CLAIMS if one.name == "RQ3"))
    return {(one.claim.name, one.env): one for one in verdicts.judge(results, claims)}


@pytest.mark.parametrize(("claim", "env", "before", "now"), COMMITTED)
def test_seeds_of_the_committed_results(committed, claim, env, before, now):
    judgement = committed[claim, env]
    assert judgement.verdict == "undecided"
    assert judgement.seeds_needed.about == now
    at_90 = [stats.seeds_to_decide(one.differences, *one.region, one.confidence, power=0.9).about
             for one in judgement.outcomes]  # fmt: skip
    assert max(at_90) == pytest.approx(before, abs=1)  # that quantile was an approximation


def test_family_is_holms(params):
    """The level is .025: of p = .008, .02, .4 (an extension) and a control, Holm makes .024, .04, .4."""
    paper, extension, control = (
        next(claim for claim in CLAIMS if claim.of == of) for of in ("paper", "extension", "control")
    )
    judgements = [
        verdicts.Judgement(paper, "lumber", "contradicted", (), p=0.02, of="paper"),
        verdicts.Judgement(paper, "lumber", "supported", (), p=0.008, of="paper"),
        verdicts.Judgement(extension, "lumber", "undecided", (), p=0.4, of="extension"),
        verdicts.Judgement(paper, "lumber", "missing", (), p=0.001, of="paper"),  # two seeds of five are there
        verdicts.Judgement(control, "lumber", "supported", (), p=0.001, of="control"),
    ]
    assert verdicts.family(judgements) == (judgements[:2], [judgements[1]])
    assert verdicts.family([judgements[3]]) == ([], [])
    text = presented.family_text(make_results(params(), {}), judgements)
    assert "With all 3 verdicts" in text
    assert text.endswith("1 of the 2 decided verdicts holds; these do not: RQ1a on lumber.")


def test_verdicts_at_their_own_level_only_are_marked(params):
    """RQ1b alone has p = .016. RQ2a is undecided, so that Holm doubles RQ1b's: .031 is above .025."""
    noisy = {name: {**AS_THE_PAPER_SAYS[name], "noise": 30} for name in GRES}
    results = make_results(params(), {**AS_THE_PAPER_SAYS, **noisy, "simple": {"noise": 2, "entropy": 1.0}})
    found = judged(results)
    assert (found["RQ1b"].verdict, found["RQ2a"].verdict) == ("supported", "undecided")
    assert found["RQ1b"].p == pytest.approx(0.0157, abs=1e-4)
    assert {name for name, one in found.items() if one.own_level_only} == {"RQ1b"}
    assert answers.listed(results, [found["RQ1b"]], {"supported": "as good"}).endswith("lumber †.")


@pytest.mark.parametrize(("found", "short", "evenness"), [
    (("supported", "supported"), "Yes", "Nearly uniform"),
    (("supported", "undecided"), "Partly shown", "Nearly uniform, where decided"),
    (("contradicted", "undecided"), "Not everywhere", "Not everywhere"),
    (("contradicted", "contradicted"), "No", "No"),
    (("undecided",), "Undecided", "Undecided"),
    (("supported", "not judged"), "Yes", "Nearly uniform, where decided"),
    (("not judged",), "Not judged", "Not judged"),
])  # fmt: skip
def test_answers_in_few_words(found, short, evenness):
    judgements = [verdicts.Judgement(CLAIMS[0], "lumber", one, (), of="paper") for one in found]
    assert (answers._short(judgements), answers._evenness(judgements)) == (short, evenness)


def test_an_answer_that_rests_on_verdicts_at_their_own_level_is_marked():
    """Holm leaves both, one, or neither of a supported and an undecided verdict as they are."""
    strong, weak = (
        verdicts.Judgement(CLAIMS[0], env, "supported", (), of="paper", own_level_only=own)
        for env, own in (("lumber", False), ("traffic", True))
    )
    assert answers._marked(answers._short, [strong]) == "Yes"
    assert answers._marked(answers._short, [strong, weak]) == "Yes †"
    assert answers._marked(answers._short, [weak]) == "Yes †"
    other = dataclasses.replace(weak, verdict="undecided", own_level_only=False)
    assert answers._marked(answers._short, [strong, other]) == "Partly shown"


@pytest.mark.parametrize(("final", "short"), [(30, "In places"), (0, "No gain shown"), (-30, "Worse in places")])
def test_whether_gre_helps_goes_by_the_end_too(params, final, short):
    results = make_results(params(), {name: {"final": final} for name in GRES})
    (answer,) = [one for one in answers.answers(results, verdicts.judge(results)) if one.name == "RQ2"]
    assert answer.short == short


LOST = {name: {"final": -170, "noise": 0} for name in PARAMS["run"]["algorithms"]}  # -220, doing nothing: -200
WORLDS = [
    (AS_THE_PAPER_SAYS, ("Nearly uniform", "Yes", "In places", "Yes"),
     ("is 0.980 on average", "As good on lumber", "Does it end higher? Yes", "-0.0683 to +0.0117: lowered on lumber")),
    ({"qmix": {"entropy": 0.9}, "simple": {"final": -20}, **{name: {"final": -20, "entropy": 0.95} for name in GRES}},
     ("No", "No", "Worse in places", "No"),
     ("on lumber it is 0.9000, and QMIX-simple, whose credits are equal, is 20 lower at 200K steps",
      "Lower at 200K steps on lumber, -20.0", "at the end? No",
      "by +0.0500: not lowered by any of the weights on lumber")),
    ({"simple": {"final": 20}, **{name: {"noise": 30} for name in GRES}},
     ("Nearly uniform", "No", "No gain shown", "No"),
     ("by +0.000.", "Not equal on lumber, 20.0", "at the end? Undecided on lumber", "by +0.0000")),
    ({**LOST, **{name: {"final": -160, "noise": 0} for name in GRES}},
     ("Nearly uniform", "Not judged", "No gain shown", "No"),
     ("is 0.980", "Nothing to compare on lumber.", "Does it end higher? Nothing to compare on lumber.", "not lowered")),
]  # fmt: skip


@pytest.mark.parametrize(("truths", "shorts", "texts"), WORLDS, ids=["paper", "opposite", "open", "lost"])
def test_answers_follow_from_the_runs(params, truths, shorts, texts):
    results = make_results(params(), truths)
    judgements = verdicts.judge(results)
    given = {one.name: one for one in answers.answers(results, judgements)}
    assert tuple(given[name].short for name in ("RQ1a", "RQ1b", "RQ2", "RQ3")) == shorts
    for name, text in zip(("RQ1a", "RQ1b", "RQ2", "RQ3"), texts, strict=True):
        assert text in given[name].text
    assert ("is not equal" in given["RQ1a"].text) == ("lower" in texts[0])
    (row,) = answers.environment_rows(results, judgements).rows
    assert row[1].startswith(f"{truths.get('qmix', {}).get('entropy', 0.98):.4f} [")


def test_a_measure_that_is_undefined_leaves_the_other_answers(params):
    """While epsilon falls in all of the training, nothing comes after exploration."""
    results = make_results(params(), AS_THE_PAPER_SAYS)
    train = results.params.train.model_copy(update={"epsilon_anneal_steps": 300_000})
    results = dataclasses.replace(results, params=results.params.model_copy(update={"train": train}))
    given = {one.name: one for one in answers.answers(results, verdicts.judge(results))}
    assert given["RQ1a"].short == "Not judged"
    assert "Not judged on lumber (not measured in these runs)" in given["RQ1a"].text
    assert given["RQ3"].short == "Yes"


def test_a_row_for_each_environment(params):
    """QMIX-simple ends 20 lower; the three lambdas' final returns and entropies are shown as ranges."""
    truths = {"qmix": {"entropy": 0.9, "noise": 0}, "simple": {"final": -20, "noise": 0}}
    for place, name in enumerate(GRES):
        truths[name] = {"final": -20 - place, "noise": 0, "entropy": 0.95 + 0.01 * place}
    results = make_results(params(), truths)
    assert answers.environment_rows(results, verdicts.judge(results)).rows == [[
        "lumber",
        "0.9000 [0.9000, 0.9000]: contradicted",
        "-20.0 [-20.0, -20.0]: contradicted",
        "-22.0 to -20.0 [-22.0, -20.0]: contradicted",
        "+0.0500 to +0.0700 [+0.0500, +0.0700]: not lowered",
    ]]  # fmt: skip


def test_a_p_value_is_never_shown_as_0():
    shown = [presented.p_text(p) for p in (None, 0.0, 0.00009, 0.0001, 0.02504, 1.0)]
    assert shown == [None, "<0.0001", "<0.0001", "0.0001", "0.0250", "1.0000"]


def test_every_margin_has_its_reason():
    for claim in CLAIMS:
        for test in claim.tests:
            assert len(test.margin.reason) > 10, claim.name
            assert test.margin.value >= 0
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)


def test_shipped_params_hold_every_tested_algorithm():
    shipped = load_params(ROOT / "params.yaml")
    keys = [one.find(shipped) for one in (VDN, QMIX, SIMPLE, *GRID, SIZED)]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    judged_envs = {one.env for one in verdicts.judge(Results(shipped, {}, {}))}
    assert judged_envs == set(shipped.run.envs)


@pytest.mark.parametrize(("env", "hypernet_dim", "size"), [("lumberjacks_v0", 146, 14_952),
                                                           ("traffic_junction10_v0", 88, 282_570)])  # fmt: skip
def test_size_matched_variant_has_qmixs_size(env, hypernet_dim, size):
    """On the environments themselves, with N agents and states of S numbers, K = 32 and hypernetworks of H units.

    QMIX-simple has 2 ((S+1) H + (H+1)) + (S+1) + (S+1) K + (K+1) mixer parameters, QMIX with H = 64
    2 (S+1) H + (H+1) (N K + K) + (S+1) K + (S+1) K + (K+1).
    """
    config = load_params(ROOT / "params.yaml").envs[env]
    vector = marl_gre_envs.make_vec(config.env, 1, **config.kwargs)
    agents, inputs, width = vector.n_agents, vector.state_dim + 1, 32
    qmix = 2 * inputs * 64 + 65 * (agents + 1) * width + 2 * inputs * width + width + 1

    def simple(hidden):
        return 2 * (inputs * hidden + hidden + 1) + inputs * (width + 1) + width + 1

    def count(mixer, **settings):
        return count_parameters(mixer(EnvSizes.of(vector), mixer.Config(**settings)))

    assert count(QMIXMixer) == qmix
    assert count(QMIXSimple) == simple(64) < 0.8 * qmix
    assert count(QMIXSimple, **SIZED.settings) == simple(hypernet_dim) == size == pytest.approx(qmix, rel=0.003)
    assert abs(size - qmix) <= min(abs(simple(hidden) - qmix) for hidden in (hypernet_dim - 1, hypernet_dim + 1))


ANCHORS = [one for family in reference("anchors").values() for one in family["values"]]


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda one: f"{one['env']}-{one['kwargs']}")
def test_anchor_of_doing_nothing(anchor):
    env = marl_gre_envs.make_vec(anchor["env"], 4, autoreset=False, **anchor["kwargs"])
    env.reset(seed=[0, 1, 2, 3])
    idle = env.noops[0]
    returns = np.zeros(4)
    while not (env.terminated | env.truncated).all():
        env.step(np.full((4, env.n_agents), idle))
        returns += env.reward
    spread = 1.5 if "bane_vs_bane" in anchor["kwargs"].values() else 1e-9  # three standard deviations
    assert returns == pytest.approx([anchor["idle"]] * 4, abs=spread)
    assert anchor["good"] > anchor["idle"]
