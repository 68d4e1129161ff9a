"""The baselines of the gradient entropy that an evaluation holds."""

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from benchmarks import metrics_page
from marl_gre.config import EvaluateConfig, load_params
from marl_gre.data import Batch
from marl_gre.jobs.evaluate import _with_states, evaluate_run
from marl_gre.networks import build
from marl_gre.rollout import make_env
from marl_gre.seeding import Purpose, rng
from marl_gre.storage.run_dir import FinishedRun

PARAMS = """
run: {envs: [lumber], algorithms: [vdn, qmix], seeds: [3]}
envs: {lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 100, test_interval_steps: 100}}
algorithms: {vdn: {mixer: vdn}, qmix: {mixer: qmix}}
"""


@pytest.fixture
def evaluated(tmp_path):
    """A function that evaluates a policy with initial weights after a change of them."""
    YAML().dump(YAML(typ="safe").load(PARAMS), tmp_path / "params.yaml")

    def run(algorithm, change=lambda agent, mixer: None):
        config = load_params(tmp_path / "params.yaml").run_config("lumber", algorithm, 3)
        networks = build(config, make_env("lumber", config.env, 1))
        change(networks.agent, networks.mixer)
        weights = networks.state_dict()
        sums = {"weights.safetensors": "y"}
        return evaluate_run(FinishedRun(config, {"config_hash": "x"}, weights, sums), EvaluateConfig(episodes=3))

    return run


def test_initial_weights_are_their_own_baseline(evaluated):
    result = evaluated("qmix")
    assert result["entropy_untrained_mean"] == result["entropy_mean"]
    assert result["entropy_shuffled_mean"] != result["entropy_mean"]  # the states matter to QMIX
    assert 0 < result["share_shift_shuffled_mean"] < 2 * result["share_unevenness_mean"]


def test_the_page_of_metrics_lists_what_an_evaluation_measures(evaluated):
    about = {"schema", "results_version", "env", "algorithm", "seed", "config_hash", "weights_sha256"}
    measured = evaluated("vdn").keys() - about - {"episodes", "entropy_quantiles"}  # the last two by --out only
    assert measured == metrics_page.EVALUATED.keys()


def test_other_weights_are_not(evaluated):
    def uneven(agent, mixer):
        mixer.hyper_w1[-1].bias.data[:32] += 10  # agent 0 weighs more than agent 1

    result = evaluated("qmix", uneven)
    assert result["entropy_mean"] < 0.5 < result["entropy_untrained_mean"]
    assert result["share_unevenness_by_agent"] > 0.9  # agent 0 has more on every step


def test_a_mixer_that_ignores_the_state_is_not_moved_by_shuffling(evaluated):
    def stateless(agent, mixer):
        for name, weights in mixer.named_parameters():
            if name.endswith("weight") and not name.startswith("hyper_v"):
                weights.data.zero_()

    result = evaluated("qmix", stateless)
    assert result["entropy_shuffled_mean"] == pytest.approx(result["entropy_mean"], abs=1e-6)
    assert result["share_shift_shuffled_mean"] == pytest.approx(0, abs=1e-6)
    result = evaluated("vdn")
    assert result["share_unevenness_mean"] == result["share_shift_shuffled_mean"] == 0
    assert result["share_unevenness_by_agent"] is None
    assert result["entropy_mean"] == result["entropy_shuffled_mean"] == result["entropy_untrained_mean"]
    assert result["entropy_mean"] == pytest.approx(1, abs=1e-6)  # the tolerance of the claim about equal credits


def test_states_are_exchanged_between_steps_and_those_after_the_last_stay():
    """Episodes of three and one steps: rows 3 and 5 of six hold the states in which they end."""
    state, now = torch.arange(6.0)[:, None], torch.tensor([0, 1, 2, 4])
    nothing = dict.fromkeys(("obs", "action_mask", "actions", "reward", "terminated"))
    batch = Batch(state=state, now=now, episodes=(2, 2, 1, 1), **nothing)
    found = _with_states(batch, np.array([3, 0, 1, 2]))
    assert found.state.flatten().tolist() == [4, 0, 1, 3, 2, 5]


def test_the_draw_of_shuffled_states_is_none_of_an_episode(evaluated, monkeypatch):
    """Episodes have the indices below their number, 3."""
    drawn = []
    monkeypatch.setattr("marl_gre.jobs.evaluate.rng", lambda *key: drawn.append(key) or rng(*key))
    evaluated("qmix")
    assert drawn == [(3, Purpose.EVAL, 3)]


def test_a_win_rate_of_0_is_shown(evaluated, monkeypatch):
    assert evaluated("vdn")["win_rate"] is None  # nothing to win
    monkeypatch.setattr("marl_gre.jobs.evaluate.win_rate", lambda episodes: 0.0)
    assert evaluated("vdn")["win_rate"] == 0
