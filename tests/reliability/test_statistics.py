"""S5: what the trainer reaches on environments whose optimum is known on paper, against a stored sample.

S1 to S4 (what a report shows) are tested in tests/test_aggregate.py, tests/test_claims.py and tests/test_stats.py.
"""

import json
from pathlib import Path

import pytest
from harness import FORK, PARAMS, finish, run_config
from scipy.stats import ttest_ind

PATH = Path(__file__).parents[1] / "data" / "regression_sample.json"
SEEDS = range(10)


def returns(folder):
    """The final return of ten seeds of QMIX-GRE on the two-step memory task (optimum 2) and on Lumberjacks."""
    found = {}
    for env, steps in (("probe", 600), ("lumberjacks", 1500)):
        scores = []
        for seed in SEEDS:
            config = run_config(folder, env, "qmix_gre", seed)
            config = config.model_copy(
                update={
                    "env": config.env.model_copy(update={"total_steps": steps, "test_interval_steps": steps // 5}),
                    "train": config.train.model_copy(
                        update={
                            "epsilon_anneal_steps": steps // 2,
                            "replay_episodes": 200,
                            "lr": 5e-3,
                            "hidden_dim": 16,
                        }
                    ),
                }
            )
            finish(config, folder / env / str(seed), every=10**9)
            scores.append(json.loads((folder / env / str(seed) / "out" / "train.json").read_text())["final_return"])
        found[env] = scores
    return found


@pytest.mark.faults
def test_returns_are_those_of_the_stored_sample(tmp_path):
    """Welch's test at 0.001: changes that only move bits stay below it. `python tests/reliability/test_statistics.py`
    stores a new sample, after a change of results that is wanted."""
    stored = json.loads(PATH.read_text())
    for env, scores in returns(tmp_path).items():
        if scores == stored[env]:
            continue
        assert ttest_ind(scores, stored[env], equal_var=False).pvalue > 0.001, (env, scores, stored[env])


def test_the_test_would_notice():
    stored = json.loads(PATH.read_text())
    for scores in stored.values():
        spread = max(scores) - min(scores)
        worse = [score - 2 * spread for score in scores]
        assert ttest_ind(worse, scores, equal_var=False).pvalue < 0.001


if __name__ == "__main__":
    import tempfile

    assert FORK is not None
    assert "probe" in PARAMS
    with tempfile.TemporaryDirectory() as folder:
        PATH.write_text(json.dumps(returns(Path(folder)), indent=1) + "\n")
