"""The speed benchmark: its reference learners compute what ours does, its counts are right, and it runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import marl_gre_envs
from benchmarks.speed import __main__ as speed
from benchmarks.speed.reference import CellAgent, DenseLearner, DenseQMIX, DenseReplay, GRUAgent, dense_episode
from benchmarks.speed.tools import memory_of, update_gflop
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import TrainConfig
from marl_gre.data import collate
from marl_gre.errors import BadInput
from marl_gre.learner import Learner
from marl_gre.mixers import QMIX, EnvSizes
from marl_gre.networks import Networks
from marl_gre.policy import Policy
from marl_gre.rollout import play

IN_PROCESSES_OF_THEIR_OWN = ("jobs", "start")
"""Sections that import and compile everything anew."""


def doubled(tensors):
    return {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}


@pytest.fixture(scope="module")
def ragged():
    """Six random episodes of different lengths on 3m, where some actions are unavailable."""
    env = marl_gre_envs.make_vec("smac_v0", 6, autoreset=False, map_name="3m")
    torch.manual_seed(0)
    agent = RecurrentAgent(EnvSizes.of(env), 64)
    noise = np.random.default_rng(0).random((env.episode_limit, 2, 6, env.n_agents))
    episodes = play(env, Policy(agent), range(6), 1.0, noise)
    assert len({episode.length for episode in episodes}) > 2
    return env, agent, episodes


@pytest.mark.parametrize(("kind", "suffix"), [(CellAgent, ""), (GRUAgent, "_l0")])
def test_the_reference_learners_compute_our_loss_and_gradients(ragged, kind, suffix):
    env, agent, episodes = ragged
    config = TrainConfig(device="cpu")
    own = RecurrentAgent(EnvSizes.of(env), 64)
    learner = Learner(Networks(own, QMIX(EnvSizes.of(env), QMIX.Config())).double(), config)
    learner.target_agent.load_state_dict(agent.state_dict())  # the target differs from the online network
    batch = collate(episodes, env, timeout_is_terminal=True)
    batch = replace(batch, **doubled({n: v for n, v in vars(batch).items() if isinstance(v, torch.Tensor)}))

    reference = DenseLearner(
        kind(env.obs_dim, env.n_actions, env.n_agents, 64).double(),
        DenseQMIX(env.n_agents, env.state_dim).double(),
        config,
    )
    pairs = [(reference.agent, learner.agent), (reference.target_agent, learner.target_agent)]
    pairs += [(reference.mixer, learner.mixer), (reference.target_mixer, learner.target_mixer)]
    for theirs, ours in pairs:
        theirs.load_state_dict({name.replace("_l0", suffix): value for name, value in ours.state_dict().items()})
    replay = DenseReplay(env, len(episodes))
    for episode in episodes:
        replay.add(dense_episode(episode, env, timeout_is_terminal=True))
    dense = doubled(replay.sample(len(episodes), np.random.default_rng(1)))
    assert dense["obs"].shape[1] == max(episode.length for episode in episodes) + 1  # cut to the longest

    loss = reference.update(dense)
    torch.testing.assert_close(learner.update(batch).loss, loss, rtol=1e-9, atol=0)
    for theirs, ours in pairs[::2]:
        for (name, a), b in zip(theirs.named_parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-9, atol=1e-9, msg=name)
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9, msg=name)


def test_operations_of_an_update_by_hand():
    # 2 agents, 3 inputs, 5 actions, state 7, H = 64; one episode of 1 step: P = 2 rows, Q = 1 step.
    # agent, multiplications per row and agent: 3 H + 6 H H + 5 H = 192 + 24,576 + 320 = 25,088; backward once more for
    # all but the first layer's input: 192 + 2 * (24,576 + 320) = 49,984.
    # mixer: from the state 7 * (64 + 64 + 32 + 32) = 1,344; the rest 64 * 2 * 32 + 64 * 32 + 32 + 2 * 32 + 32 = 6,272;
    # backward 1,344 + 2 * 6,272 = 13,888.
    agent = 2 * (2 * 2 * 25_088) + 1 * 2 * 49_984
    mixer = 2 * (1_344 + 6_272) + 13_888
    found = update_gflop(rows=2, steps=1, n_agents=2, obs_dim=3, n_actions=5, state_dim=7)
    assert found == pytest.approx(2 * (agent + mixer) / 1e9)


def test_all_sections_run_and_are_written(tmp_path, capsys, monkeypatch):
    for name in IN_PROCESSES_OF_THEIR_OWN:
        monkeypatch.delitem(speed.SECTIONS, name)
    speed.main(["--quick", "--out", str(tmp_path)])
    text = (tmp_path / "speed.md").read_text()
    assert text in capsys.readouterr().out
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["machine"]["threads"] == 1
    assert list(found["sections"]) == list(speed.SECTIONS)
    for name, rows in found["sections"].items():
        assert f"## {name}" in text
        assert rows or (name == "gpu" and not torch.cuda.is_available())
        for row in rows:
            assert all(value > 0 for value in row.values() if isinstance(value, float))


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PROCESSES_OF_THEIR_OWN)
def test_one_section_alone(capsys, name):
    speed.main(["--quick", "--only", name])
    assert f"## {name}" in capsys.readouterr().out


def test_an_unknown_section_is_refused():
    with pytest.raises(BadInput, match="invalid choice: 'lerner'.*; see python -m benchmarks.speed --help."):
        speed.main(["--only", "lerner"])


def test_memory_of_copies_counts_shared_arrays_once():
    one, three = (memory_of(marl_gre_envs.make_vec("traffic_junction_v0", copies, n_max=10)) for copies in (1, 3))
    # the state is a view of the observations (10 agents x 135 numbers), both twice (final_*), beside smaller arrays
    assert 2 * 10 * 135 * 4 < one < 3 * 10 * 135 * 4
    assert 0.97 * 3 * one < three < 3 * one  # each env also has a few tables, whatever the number of copies
