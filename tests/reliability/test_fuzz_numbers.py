"""Z5-Z9: mixers, learner, replay, statistics and environments on random input, against definitions or invariants."""

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import count
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from scipy.stats import chisquare

import marl_gre_envs
from marl_gre import stats
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import TrainConfig
from marl_gre.credit import differentiate, gradient_entropy
from marl_gre.data import Batch, Episode
from marl_gre.learner import Learner
from marl_gre.mixers import MIXERS, AgentValues, EnvSizes, FeedForward
from marl_gre.networks import Networks
from marl_gre.replay import Replay
from marl_gre.storage import checkpoint


def random_mixer(generator, n_agents=None):
    name = generator.choice(sorted(MIXERS))
    mixer_class = MIXERS[name]
    keys = {}
    if name in ("qmix", "qmix_gre"):
        keys = {"embed_dim": generator.randint(1, 6), "hypernet_layers": generator.randint(1, 2)}
    n_agents = n_agents or generator.randint(2 if name == "qmix_gre" else 1, 8)
    state_dim = generator.randint(n_agents if name == "qatten" else 1, 9)  # a part of it belongs to each agent
    torch.manual_seed(generator.randrange(2**31))
    return mixer_class(EnvSizes(n_agents, 3, 1, state_dim), mixer_class.Config(**keys)).double(), n_agents, state_dim


def test_mixers(tally):
    """Z5: shapes, monotonic, the analytic gradient is autograd's, the greedy joint action is the agents' own (IGM)."""
    generator = random.Random(5)
    cases = count(60, 3000, 20_000)
    with torch.random.fork_rng(devices=[]):
        for case in range(cases):
            mixer, agents, state_dim = random_mixer(generator)
            batch, steps = generator.randint(1, 8), generator.randint(1, 8)
            scale = 10.0 ** generator.uniform(-3, 6)
            qs = scale * torch.randn(batch, steps, agents, dtype=torch.float64)
            state = 10.0 ** generator.uniform(-2, 2) * torch.randn(batch, steps, state_dim, dtype=torch.float64)
            values = AgentValues(qs, qs, torch.zeros_like(qs, dtype=torch.int64))
            q_tot, regulariser = mixer.mix_and_regularise(values, state)
            assert q_tot.shape == regulariser.shape == (batch, steps)
            assert torch.isfinite(q_tot).all()
            assert torch.isfinite(regulariser).all()
            gradient = differentiate(mixer, values, state)
            assert gradient.shape == qs.shape
            monotonic = not isinstance(mixer, FeedForward)
            assert not monotonic or (gradient >= 0).all()
            if analytic := mixer.analytic_credits(values, state):
                torch.testing.assert_close(analytic["exact"], gradient, rtol=1e-9, atol=1e-12)
            if agents > 1:
                entropy = gradient_entropy(gradient)
                assert ((entropy >= 0) & (entropy <= 1 + 1e-9)).all()
            if monotonic and agents <= 4 and case % 4 == 0:
                table = scale * torch.randn(agents, 3, dtype=torch.float64)
                joint = list(itertools.product(range(3), repeat=agents))
                actions = torch.tensor(joint).unsqueeze(1)  # [A^N, 1, N]
                own = table[torch.arange(agents), actions]
                greedy = table.amax(1).expand_as(own)
                joint_state = state[:1, :1].expand(len(joint), 1, state_dim)
                q_tot = mixer(AgentValues(own, greedy, actions), joint_state).squeeze(1)
                best = q_tot[joint.index(tuple(table.argmax(1).tolist()))]
                assert q_tot.max() - best <= 1e-9 * q_tot.abs().max()
    tally.add("mixers", cases=cases, wrong=0)


def random_batch(generator, agents, actions, obs_dim, state_dim):
    episodes = generator.integers(1, 5)
    lengths = np.sort(generator.integers(1, 6, episodes))[::-1]
    rows = [int((lengths >= t).sum()) for t in range(lengths[0] + 1)]
    packed, taken = sum(rows), int(lengths.sum())
    mask = (generator.random((packed, agents, actions)) < 0.6).astype(np.int8)
    mask[..., 0] = 1
    has_action = np.concatenate([t < lengths[: rows[t]] for t in range(len(rows))])
    now = np.flatnonzero(has_action)
    chosen = np.array([[generator.choice(np.flatnonzero(mask[row, n])) for n in range(agents)] for row in now])
    return Batch(
        obs=torch.from_numpy(generator.normal(size=(packed, agents, obs_dim)).astype(np.float32)),
        state=torch.from_numpy(generator.normal(size=(packed, state_dim)).astype(np.float32)),
        action_mask=torch.from_numpy(mask),
        actions=torch.from_numpy(chosen.astype(np.int64)).reshape(taken, agents),
        reward=torch.from_numpy(generator.normal(size=taken).astype(np.float32)),
        terminated=torch.from_numpy((generator.random(taken) < 0.3).astype(np.float32)),
        now=torch.from_numpy(now),
        episodes=tuple(rows),
    )  # fmt: skip


def test_values_of_unavailable_actions_change_no_bit():
    """Z6: an action that is nowhere available may have any value. There is no padding left to put garbage into."""
    for case in range(count(20, 1000, 10_000)):
        generator = np.random.default_rng([6, case])
        batch = random_batch(generator, 3, 4, 5, 6)
        batch.action_mask[..., 3] = 0
        batch.actions.clamp_(max=2)
        mixer_class, sizes = MIXERS[sorted(MIXERS)[case % len(MIXERS)]], EnvSizes(3, 4, 5, 6)
        results = []
        for garbage in (0.0, 10.0 ** generator.uniform(0, 8), -(10.0 ** generator.uniform(0, 8))):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(case)
                agent = RecurrentAgent(sizes, hidden_dim=6)
                mixer = mixer_class(sizes, mixer_class.Config())
            agent.fc2.bias.data[3] += garbage
            learner = Learner(Networks(agent, mixer), TrainConfig())
            result = learner.update(batch)
            gradients = [p.grad for p in learner.parameters]
            results.append([result.loss, result.grad_norm, *gradients])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


# --- replay ---------------------------------------------------------------------------------------------------------


class ReplayLife(RuleBasedStateMachine):
    """Z7: add, save, be killed and load in any order; the replay always holds what a plain list would."""

    folder: Path

    @initialize(capacity=st.integers(1, 6))
    def begin(self, capacity):
        self.capacity, self.replay, self.all, self.saved = capacity, Replay(capacity), [], None
        ReplayLife.life += 1
        self.work = self.folder / str(ReplayLife.life)
        self.work.mkdir()
        self.number, self.segments, self.stored = 0, {}, 0

    life = 0

    @rule(count=st.integers(1, 4), length=st.integers(1, 5))
    def add(self, count, length):
        for _ in range(count):
            number = len(self.all)
            generator = np.random.default_rng(number)
            episode = Episode(
                seed=number,
                world={"cells": generator.integers(0, 9, (length + 1, 2, 2)).astype(np.int16),
                       "wood": generator.random((length + 1, 3)).astype(np.float32)},
                actions=generator.integers(0, 5, (length, 2)).astype(np.int16),
                reward=generator.normal(size=length),
                terminated=bool(number % 2),
                won=(None, False, True)[self.capacity % 3],
            )  # fmt: skip
            self.all.append(episode)
            self.replay.add(episode)

    @rule()
    @precondition(lambda self: len(self.all) > 0)
    def save(self):
        oldest = self.replay.added - len(self.replay)
        if self.replay.added > self.stored:
            first = max(self.stored, oldest)
            name = f"{first:07d}-{self.replay.added - 1:07d}"
            self.segments |= checkpoint.write_segment(self.work, name, self.replay.segment(first))
            self.stored = self.replay.added
        self.segments = {n: e for n, e in self.segments.items() if int(n.split("-")[-1]) >= oldest}
        self.number += 1
        checkpoint.save(self.work, "run", self.number, {}, self.segments, {"added": self.replay.added})
        self.saved = len(self.all)

    @rule()
    @precondition(lambda self: self.saved is not None)
    def be_killed_and_load(self):
        content, files, self.segments = checkpoint.load_newest(self.work, "run")
        assert content["added"] == self.saved
        self.replay = Replay(self.capacity)
        for name in sorted(files):
            self.replay.restore(files[name].read_bytes(), int(name.split("/")[-1].split("-")[0]))
        self.stored = self.replay.added
        del self.all[self.saved :]

    @invariant()
    def holds_what_a_list_would(self):
        if not hasattr(self, "all"):
            return
        expected = self.all[-self.capacity :]
        assert self.replay.added == len(self.all)
        assert len(self.replay) == len(expected)
        if not expected:
            return
        found = {e.seed: e for e in self.replay.sample(len(expected), np.random.default_rng(0))}
        assert sorted(found) == [e.seed for e in expected]
        for episode in expected:
            other = found[episode.seed]
            assert (other.terminated, other.won) == (episode.terminated, episode.won)
            pairs = [(episode.actions, other.actions), (episode.reward, other.reward)]
            pairs += [(episode.world[name], other.world[name]) for name in episode.world]
            assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_replay_through_saves_and_kills(tmp_path):
    ReplayLife.folder = tmp_path
    run_state_machine_as_test(
        ReplayLife,
        settings=settings(max_examples=count(15, 500, 2000), stateful_step_count=20, deadline=None, database=None),
    )


def test_sampling_is_uniform():
    replay = Replay(8)
    for number in range(20):
        replay.add(Episode(number, {"x": np.zeros((2, 1))}, np.zeros((1, 1), np.int16), np.zeros(1), True, None))
    counts = np.zeros(20)
    for draw in range(4000):
        for episode in replay.sample(3, np.random.default_rng([7, draw])):
            counts[episode.seed] += 1
    assert counts[:12].sum() == 0
    assert chisquare(counts[12:]).pvalue > 1e-3


# --- statistics -----------------------------------------------------------------------------------------------------


def slow_iqm(values):
    """The definition: drop the lowest and the highest quarter, rounded down, and average."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def slow_improvement(x, y):
    """The definition: the share of pairs in which x is larger, ties counted half."""
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y) / (len(x) * len(y))


def test_statistics_equal_their_definitions():
    """Z8: one run, ties, many runs; NaN, infinity and nothing are refused."""
    generator = random.Random(8)
    for _ in range(count(200, 2000, 10_000)):
        x = [generator.choice([0.0, 1.0, -1.0, generator.gauss(0, 10)]) for _ in range(generator.randint(1, 12))]
        y = [generator.choice([0.0, 1.0, generator.gauss(0, 10)]) for _ in range(generator.randint(1, 12))]
        assert float(stats.iqm(x)) == pytest.approx(slow_iqm(x), rel=1e-12, abs=1e-12)
        assert float(stats.mean(x)) == pytest.approx(math.fsum(x) / len(x), rel=1e-9, abs=1e-12)
        assert stats.probability_of_improvement(x, y) == pytest.approx(slow_improvement(x, y), abs=1e-12)
        low, high = stats.bootstrap_interval(x, resamples=100, seed=generator.randrange(100))
        assert min(x) - 1e-9 <= low <= high <= max(x) + 1e-9
        if len(x) == 1:
            assert low == high == x[0]
        bad = [*x, generator.choice([math.nan, math.inf, -math.inf])]
        for function in (stats.iqm, stats.mean, stats.bootstrap_interval):
            with pytest.raises(ValueError, match="finite"):
                function(bad)
    with pytest.raises(ValueError, match="no scores"):
        stats.iqm([])


def test_a_bootstrap_equals_all_resamples():
    """Three runs have 27 resamples: the interval's ends are quantiles of exactly these means."""
    scores = [1.0, 2.0, 4.0]
    means = [sum(sample) / 3 for sample in itertools.product(scores, repeat=3)]
    low, high = stats.bootstrap_interval(scores, stats.mean, resamples=200_000, confidence=0.8)
    assert low == pytest.approx(np.quantile(means, 0.1), abs=0.05)
    assert high == pytest.approx(np.quantile(means, 0.9), abs=0.05)


# --- environments ---------------------------------------------------------------------------------------------------

CORNERS = [
    ("lumberjacks_v0", {"n_agents": 1, "grid_shape": (1, 1), "n_trees": 0, "agent_view": (0, 0), "max_steps": 3}),
    ("lumberjacks_v0", {"n_agents": 2, "grid_shape": (2, 2), "n_trees": 1, "max_steps": 10}),
    ("lumberjacks_v1", {"n_agents": 4, "grid_shape": (3, 7), "n_trees": 5, "max_steps": 20}),
    ("lumberjacks_v1", {"max_steps": 30}),
    ("traffic_junction_v0", {"n_max": 1, "max_steps": 10}),
    ("traffic_junction_v0", {"n_max": 10, "max_steps": 20}),
    ("traffic_junction_v1", {"n_max": 4, "max_steps": 20}),
    ("smac_v0", {"map_name": "3m"}),
    ("smac_v0", {"map_name": "terran_5_vs_5"}),
]


@pytest.mark.parametrize(("name", "kwargs"), CORNERS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CORNERS)])
def test_random_play_keeps_the_promises(name, kwargs):
    """Z9: legal and illegal actions; finite outputs of the right kind, a legal action for everybody, an end in time."""
    episodes = count(3, 120, 1100)
    copies = 3
    env = marl_gre_envs.make_vec(name, copies, **kwargs)
    generator = np.random.default_rng(9)
    env.reset(seed=9)
    ended, age, legal = 0, np.zeros(copies, int), True
    while ended < episodes:
        for array in (env.obs, env.state, env.reward):
            assert np.isfinite(array).all()
        assert set(np.unique(env.action_mask)) <= {0, 1}
        assert (env.action_mask.sum(-1) >= 1).all()
        assert not (env.terminated & env.truncated).any()
        actions = generator.integers(0, env.n_actions, (copies, env.n_agents))
        if legal:
            noise = generator.random(env.action_mask.shape) * env.action_mask
            actions = noise.argmax(-1)
            allowed = np.take_along_axis(env.action_mask, actions[..., None], -1).all()
            assert allowed
        env.step(actions)
        age += 1
        done = env.terminated | env.truncated
        assert (age <= env.episode_limit).all()
        assert (age[env.truncated] == env.episode_limit).all()
        if legal:
            assert (env.info["illegal_actions"] == 0).all()
        age[done] = 0
        ended += int(done.sum())
        legal = generator.random() < 0.9
    env.close()
