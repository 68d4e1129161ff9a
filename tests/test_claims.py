"""The claims' verdicts on made-up runs whose truth is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

import marl_gre_envs
from benchmarks.claims import verdicts
from benchmarks.claims.declared import CLAIMS, GRID, QMIX, SIMPLE, SIZED, VDN
from benchmarks.report.gather import Results, Run, reference
from marl_gre.config import load_params
from marl_gre.mixers import QMIX as QMIXMixer
from marl_gre.mixers import EnvSizes, QMIXSimple
from marl_gre.mixers.qmix_simple import count_parameters

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
    """A run of known early level, change in mid-training, spread between seeds, final return and entropies."""
    noise = np.random.default_rng([seed, len(algorithm), ord(algorithm[-1])]).normal()
    start, rise, spread, final = (truth.get(name, 0.0) for name in ("start", "rise", "spread", "final"))
    # level until the middle, another after it; seeds lie above and below by the spread in turn
    curve = -60 + start * (STEPS <= 50_000) + np.where(STEPS > 100_000, rise, 0) + spread * (-1) ** seed
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
            "entropy_shuffled_mean": truth.get("shuffled", entropy),
        },
    )


def make_results(params, truths: dict, without=()) -> Results:
    keys = [("lumber", name, seed) for name in params.run.algorithms for seed in params.run.seeds]
    runs = {key: make_run(*key[1:], **truths.get(key[1], {})) for key in keys if key not in without}
    return Results(params, runs, dict.fromkeys(without, "not trained"))


def judged(results: Results) -> dict[str, verdicts.Judgement]:
    return {one.claim.name: one for one in verdicts.judge(results)}


def found(results: Results) -> dict[str, str]:
    return {name: one.verdict for name, one in judged(results).items()}


# the margin of returns on lumberjacks_v0 is 2.5 % of 153.6 = 3.84
AS_THE_PAPER_SAYS = {
    "vdn": {"entropy": 1.0},
    "simple": {"entropy": 1.0},
    "qmix": {"rise": -10, "spread": 2, "dip": 0.05},
    "gre_3": {"start": 20, "rise": 10, "spread": 1, "entropy": 0.9},
    "gre_5": {"final": -20},
}


def test_a_world_as_the_paper_says(params):
    results = make_results(params(), AS_THE_PAPER_SAYS)
    assert found(results) == {claim.name: "supported" for claim in CLAIMS}
    judgement = judged(results)["RQ2b"]
    assert judgement.supported_by == ("QMIX-GRE 1e-3",)
    (first, *others) = judgement.outcomes
    # the early curves differ by 20; five seeds in turn above and below leave a fifth of the spreads, 1 - 2
    assert first.mean == pytest.approx(20 - 1 / 5, abs=0.05)
    assert first.margin == pytest.approx(0.025 * 153.6)
    assert first.confidence == pytest.approx(1 - 0.05 / 3)
    assert [one.verdict for one in others] == ["contradicted", "contradicted"]


def test_the_opposite_world(params):
    truths = {
        "vdn": {"entropy": 0.9},
        "qmix": {"entropy": 0.9, "untrained": 0.7, "shuffled": 0.7},
        "simple": {"final": -20, "entropy": 1.0},
        "sized": {"final": 20},
        **{name: {"final": -20, "entropy": 0.95, "spread": 0.5} for name in GRES},
    }
    assert found(make_results(params(), truths)) == {claim.name: "contradicted" for claim in CLAIMS}


def test_noise_leaves_open_and_says_how_many_seeds(params):
    results = make_results(params(), {"simple": {"noise": 12, "entropy": 1.0}, "vdn": {"entropy": 1.0}})
    judgement = judged(results)["RQ1b"]
    assert judgement.verdict == "undecided"
    (outcome,) = judgement.outcomes
    assert outcome.low < -outcome.margin < outcome.high or outcome.low < outcome.margin < outcome.high
    assert judgement.seeds_needed == outcome.seeds_needed
    assert judgement.seeds_needed is None or judgement.seeds_needed > 5
    assert "undecided" in verdicts.verdict_text(judgement)


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
    assert "missing (seeds missing: 3)" in verdicts.to_markdown(results, verdicts.judge(results))
    few = make_results(params(algorithms=["qmix", "gre_3"]), AS_THE_PAPER_SAYS)
    assert "RQ1b" not in judged(few)
    assert "lack the algorithms: RQ1a, control 3; RQ1b; RQ1b, size." in verdicts.to_markdown(few, verdicts.judge(few))
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
    assert judged(results)["RQ2a"].seeds_needed == 2


def test_the_spread_of_two_seeds_is_not_measured(params):
    """Two seeds are equally far from their mean, which would look like a difference without any doubt."""
    results = make_results(params(seeds=[0, 1]), AS_THE_PAPER_SAYS)
    outcomes = {one.test.says: one for one in judged(results)["RQ2c"].outcomes}
    assert outcomes["QMIX-GRE varies less between seeds"].verdict == "missing"
    assert outcomes["QMIX drops"].verdict != "missing"


def test_environments_that_the_claims_are_not_about(params):
    results = make_results(params(envs=["other"]), {})
    assert verdicts.judge(results) == []
    assert "None of the claims can be tested" in verdicts.to_markdown(results, [])


def test_the_margin_is_where_it_is_said_to_be(params):
    for shift, verdict in ((3.85, "contradicted"), (3.83, "supported"), (-3.83, "supported"), (-3.85, "contradicted")):
        results = make_results(params(), {"simple": {"final": shift, "noise": 0}, "qmix": {"noise": 0}})
        assert judged(results)["RQ1b"].verdict == verdict


def test_tables_and_json_hold_every_claim(params):
    results = make_results(params(), AS_THE_PAPER_SAYS)
    judgements = verdicts.judge(results)
    content = verdicts.verdict_rows(results, judgements)
    assert [row[0] for row in content.rows] == [claim.name for claim in CLAIMS]
    page = verdicts.to_markdown(results, judgements)
    assert "gridworlds only" in page
    assert "supported (lambda 1e-3)" in page
    data = verdicts.as_json(results, judgements)
    assert len(data["verdicts"]) == len(CLAIMS)
    assert len(data["verdicts"][0]["tests"][0]["differences"]) == 5


def test_an_environment_where_nothing_is_learned_says_so(params):
    """Doing nothing on Lumberjacks is worth -200; one algorithm that is better is enough."""
    lost = {name: {"final": -170, "noise": 0} for name in PARAMS["run"]["algorithms"]}
    results = make_results(params(), lost)
    (sentence,) = verdicts.caveats(results)
    assert "lumber: no algorithm ends better than doing nothing (-200 per episode, the best mean is -220)" in sentence
    assert sentence in verdicts.to_markdown(results, verdicts.judge(results))
    assert verdicts.caveats(make_results(params(), {**lost, "vdn": {"final": -140}})) == []
    assert verdicts.caveats(Results(params(), {}, {})) == []


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


@pytest.mark.parametrize("anchor", reference("anchors")["values"], ids=lambda one: f"{one['env']}-{one['kwargs']}")
def test_anchor_of_doing_nothing(anchor):
    env = marl_gre_envs.make_vec(anchor["env"], 4, autoreset=False, **anchor["kwargs"])
    env.reset(seed=[0, 1, 2, 3])
    idle = env.noops[0]
    returns = np.zeros(4)
    while not (env.terminated | env.truncated).all():
        env.step(np.full((4, env.n_agents), idle))
        returns += env.reward
    assert returns == pytest.approx([anchor["idle"]] * 4)
    assert anchor["good"] > anchor["idle"]
