"""Three consecutive updates of the paper's released code, recorded in float64, reproduced to 1e-10."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import TrainConfig
from marl_gre.credit import gradient_entropies
from marl_gre.learner import Learner
from marl_gre.mixers import MIXERS, QMIX, EnvSizes
from marl_gre.networks import Networks
from packing import packed

FILES = sorted((Path(__file__).parent / "data").glob("update_*.npz"))

# The recording's names -> ours. Ours are torch's nn.GRU names, and w1, w2, b1, v for the mixing weights.
RENAMED = {
    "rnn.weight_ih": "rnn.weight_ih_l0",
    "rnn.weight_hh": "rnn.weight_hh_l0",
    "rnn.bias_ih": "rnn.bias_ih_l0",
    "rnn.bias_hh": "rnn.bias_hh_l0",
    "hyper_w_1.": "hyper_w1.",
    "hyper_w_final.": "hyper_w2.",
    "hyper_b_1.": "hyper_b1.0.",
    "V.": "hyper_v.",
}


def ours(name):
    for theirs, our in RENAMED.items():
        if name.startswith(theirs):
            return our + name[len(theirs) :]
    return name


def weights(recording, moment, part):
    prefix = f"{moment}/{part}."
    return {
        ours(key[len(prefix) :]): torch.from_numpy(recording[key]) for key in recording.files if key.startswith(prefix)
    }


def batch(recording, update):
    def get(name):
        return torch.from_numpy(recording[f"batch{update}/{name}"])

    terminated = get("terminated").squeeze(-1).double()[:, :-1]
    mask = get("filled").squeeze(-1).double()[:, :-1]
    mask[:, 1:] *= 1 - terminated[:, :-1]
    return packed(
        obs=get("obs"),
        state=get("state"),
        action_mask=get("avail_actions"),
        actions=get("actions").squeeze(-1)[:, :-1],
        reward=get("reward").squeeze(-1)[:, :-1],
        terminated=terminated,
        mask=mask,
    )


def load(path):
    recording = np.load(path)
    config = json.loads(str(recording["config"]))
    name = config["algorithm"].lower()
    keys = {"gre_lambda": float(config["lamb"]), "gre_gradient": "released"} if name == "qmix_gre" else {}
    mixer_class = MIXERS[name]
    sizes = EnvSizes(*(config[name] for name in ("n_agents", "n_actions", "obs_dim", "state_dim")))
    mixer = mixer_class(sizes, mixer_class.Config(**keys))
    agent = RecurrentAgent(sizes, hidden_dim=64)
    train = TrainConfig(
        lr=config["lr"],
        gamma=config["gamma"],
        rmsprop_alpha=config["optim_alpha"],
        rmsprop_eps=config["optim_eps"],
        grad_norm_clip=float(config["grad_norm_clip"]),
    )
    learner = Learner(Networks(agent, mixer).double(), train)
    learner.agent.load_state_dict(weights(recording, "before", "agent"))
    learner.target_agent.load_state_dict(weights(recording, "before", "target_agent"))
    learner.mixer.load_state_dict(weights(recording, "before", "mixer"))
    learner.target_mixer.load_state_dict(weights(recording, "before", "target_mixer"))
    return recording, learner


def assert_equal(actual, expected):
    # float64 sums in another order differ by about 1e-14 relative; 1e-10 is the bar of the recording.
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-13)


def assert_weights(learner, recording, moment):
    for part in ("agent", "mixer", "target_agent", "target_mixer"):
        state = getattr(learner, part).state_dict()
        expected = weights(recording, moment, part)
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            assert_equal(state[name], value)


def test_all_five_recordings_are_here():
    assert len(FILES) == 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_updates_equal_the_released_code(path):
    recording, learner = load(path)
    for update in range(3):
        data = batch(recording, update)
        result = learner.update(data)
        n_agents = data.actions.shape[-1]
        for ours_name, theirs in (("loss", "loss"), ("grad_norm", "grad_norm"), ("td_error_abs", "td_error_abs")):
            expected = torch.from_numpy(recording[f"stats{update}/{theirs}"])
            assert_equal(getattr(result, ours_name), expected)
        # the recording divides these two by steps * agents
        assert_equal(result.q_tot_mean / n_agents, torch.from_numpy(recording[f"stats{update}/q_taken_mean"]))
        assert_equal(result.target_mean / n_agents, torch.from_numpy(recording[f"stats{update}/target_mean"]))
        if update in (0, 2):
            assert_weights(learner, recording, f"after{update + 1}")


@pytest.mark.parametrize("path", [p for p in FILES if "GRE" in p.stem], ids=lambda path: path.stem)
def test_both_entropies_equal_the_recording(path):
    recording, learner = load(path)
    assert isinstance(learner.mixer, QMIX)
    for update in range(3):
        data = batch(recording, update)
        for gradient, entropy in gradient_entropies(learner.networks, data).items():
            assert_equal(entropy.mean(), torch.from_numpy(recording[f"stats{update}/entropy_{gradient}"]))
        learner.update(data)
