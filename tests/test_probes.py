"""The whole trainer on probe environments whose optimal values are known on paper (gamma = 0.9)."""

import numpy as np
import pytest
import torch

from marl_gre.agents.base import random_available
from marl_gre.config import AlgorithmConfig, CentralConfig, EnvConfig, PartConfig, RunConfig, TrainConfig
from marl_gre.data import collate
from marl_gre.mixers import MIXERS, QMIX, FeedForward
from marl_gre.policy import epsilon_at
from marl_gre.rollout import play_greedily
from marl_gre.seeding import Purpose, rng
from marl_gre.trainer import Trainer

# q_tot of the greedy policy along an episode, as a function of the cue, and its return
PROBES = {
    "Constant": (lambda cue: [1.0], lambda cue: 1.0),
    "Cue": (lambda cue: [cue], lambda cue: cue),
    "Delay": (lambda cue: [0.9, 1.0], lambda cue: 1.0),  # 0 + 0.9 * 1, then 1
    "Choice": (lambda cue: [1.0], lambda cue: 1.0),  # the best joint action is (1, 0): 1 - 2 * 0
    "Memory": (lambda cue: [1.8, 2.0], lambda cue: 2.0),  # 0 + 0.9 * 2, then 1 + 1
    "Masked": (lambda cue: [1.9, 1.0], lambda cue: 2.0),  # 1 + 0.9 * 1, then 1
}


def algorithm(name):
    if name not in ("ow_qmix", "cw_qmix"):
        return AlgorithmConfig(mixer=name, mixer_config=MIXERS[name].Config())
    return AlgorithmConfig(
        mixer="qmix",
        mixer_config=QMIX.Config(),
        loss_weights=PartConfig(name=name.removesuffix("_qmix"), options={"alpha": 0.5}),
        central=CentralConfig(mixer="feed_forward", mixer_config=FeedForward.Config(hidden_dim=32)),
    )


def trained(probe, mixer):
    config = RunConfig(
        env_key="probe",
        algorithm_key=mixer,
        seed=0,
        env=EnvConfig(
            env=f"probe_envs:{probe}",
            kwargs={"episode_limit": 5},  # never reached: all probes end by themselves
            total_steps=10**6,
            test_interval_steps=10**6,
            test_episodes=10,
            entropy_interval_steps=10**6,
        ),
        algorithm=algorithm(mixer),
        train=TrainConfig(
            gamma=0.9, lr=5e-3, epsilon_anneal_steps=10, epsilon_finish=0.5, target_update_episodes=25, hidden_dim=16
        ),
    )
    trainer = Trainer(config)
    for step_size, episodes in ((5e-3, 300), (5e-4, 150)):  # the second phase lets the values settle
        trainer.learner.config = config.train.model_copy(update={"lr": step_size})
        for _ in range(episodes):
            trainer.play_round()
            if trainer.episodes >= 31:
                trainer.update()
            trainer.episodes += 1
    return trainer


CASES = [(probe, "vdn") for probe in PROBES]  # it stands for all on the probes that the mixer does not decide
CASES += [("Choice", mixer) for mixer in ("qmix", "qmix_simple", "qmix_equal")]
CASES += [(probe, mixer) for probe in ("Delay", "Choice") for mixer in ("qmix_gre", "qatten", "qplex", "ow_qmix")]
# the other weights, where central networks need their own memory and see no unavailable action
CASES += [(probe, "cw_qmix") for probe in ("Memory", "Masked", "Choice")]


@pytest.mark.parametrize(("probe", "mixer"), CASES)
def test_probe(probe, mixer):
    trainer = trained(probe, mixer)
    values, episode_return = PROBES[probe]
    episodes = play_greedily(trainer.test_env, trainer.policy, list(range(20)))
    batch = collate(episodes, trainer.env, timeout_is_terminal=True)
    with torch.no_grad():
        q_tot = trainer.learner.mixer(*trainer.learner.networks.values(batch))
    # all probes have episodes of one length: packed rows are [T, B]
    for episode, value in zip(episodes, q_tot.view(-1, len(episodes)).T, strict=True):
        cue = 1.0 if np.random.default_rng(episode.seed).random() < 0.5 else -1.0
        assert episode.episode_return == episode_return(cue)
        # 450 updates leave the values within a few per cent of the fixed point
        np.testing.assert_allclose(value.numpy(), values(cue), atol=0.1)


def test_exploration_is_drawn_per_agent_among_available_actions():
    mask = np.array([[1, 0, 1, 1], [0, 1, 0, 0]], np.int8)
    uniform = rng(0, Purpose.EXPLORE, 0).random((30_000, 2))
    actions = random_available(np.broadcast_to(mask, (30_000, 2, 4)), uniform)
    assert set(actions[:, 1]) == {1}
    counts = np.bincount(actions[:, 0], minlength=4)
    assert counts[1] == 0
    # each of three has 10,000 +- 5 standard deviations of sqrt(30,000 * 1/3 * 2/3) = 82
    assert (abs(counts[[0, 2, 3]] - 10_000) < 5 * 82).all()


def test_epsilon_schedule():
    train = TrainConfig()
    assert [epsilon_at(steps, train) for steps in (0, 50_000, 10**9)] == [1.0, pytest.approx(0.05), pytest.approx(0.05)]
    assert epsilon_at(25_000, train) == pytest.approx(0.525)  # half way from 1 to 0.05
