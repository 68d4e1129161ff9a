"""The training and evaluation jobs: determinism, published files, replay, locks, signals, commands."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import marl_gre_envs
from marl_gre import stats
from marl_gre.config import EvaluateConfig, load_params
from marl_gre.data import Episode, collate
from marl_gre.errors import BadInput, EnvironmentFailed, NonFinite, RunInUse
from marl_gre.jobs.credits_measured import measure
from marl_gre.jobs.evaluate import evaluate_run
from marl_gre.jobs.train import train
from marl_gre.metrics import QUANTILES
from marl_gre.networks import build
from marl_gre.policy import Policy
from marl_gre.replay import Replay
from marl_gre.rollout import make_env, play, play_greedily, win_rate
from marl_gre.seeding import Purpose, episode_seed, rng
from marl_gre.storage.run_dir import load_run, lock
from marl_gre.trainer import Trainer, greedy_test

PARAMS = """
run: {envs: [lumberjacks], algorithms: [qmix_gre], seeds: [0]}
envs:
  lumberjacks:
    {env: lumberjacks_v0, kwargs: {max_steps: 20}, total_steps: 1000, test_interval_steps: 300, test_episodes: 5,
     entropy_interval_steps: 200}
  traffic:
    {env: traffic_junction_v0, kwargs: {max_steps: 15, n_max: 5}, total_steps: 800, test_interval_steps: 300,
     test_episodes: 5}
algorithms:
  vdn: {mixer: vdn}
  qmix: {mixer: qmix}
  qmix_simple: {mixer: qmix_simple}
  qmix_gre: {mixer: qmix_gre}
train: {hidden_dim: 16, batch_episodes: 8, device: cpu}
"""
FILES = [
    "SHA256SUMS",
    *("entropy.csv", "provenance.json", "tests.csv", "train.json", "training.csv", "weights.safetensors"),
]


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(PARAMS)
    return load_params(path)


def run(params, folder, env="lumberjacks", algorithm="qmix_gre", seed=0):
    train(params.run_config(env, algorithm, seed), folder / "out", folder / "work")
    return folder / "out"


def digest(folder):
    """SHA-256 of everything but provenance, which holds times."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in FILES[1:]
        if name != "provenance.json"
    }


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(params, tmp_path_factory):
    return run(params, tmp_path_factory.mktemp("finished"))


@pytest.mark.parametrize("env", ["lumberjacks", "traffic"])
@pytest.mark.parametrize("algorithm", ["vdn", "qmix", "qmix_simple", "qmix_gre"])
def test_same_seed_same_bits(params, tmp_path, env, algorithm):
    assert digest(run(params, tmp_path / "a", env, algorithm)) == digest(run(params, tmp_path / "b", env, algorithm))


@pytest.mark.parametrize("env", ["lumberjacks", "traffic"])
def test_other_seed_other_bits(params, tmp_path, env):
    one, other = (digest(run(params, tmp_path / str(seed), env, "qmix_gre", seed)) for seed in (0, 1))
    assert one["weights.safetensors"] != other["weights.safetensors"]


def test_published_files(finished, params):
    assert sorted(path.name for path in finished.iterdir()) == FILES
    tests = rows(finished / "tests.csv")
    # episodes of 20 steps: tests at 0, 300, 600, 900 and at the end
    assert [int(row["due_steps"]) for row in tests] == [0, 300, 600, 900, 1000]
    assert [int(row["env_steps"]) for row in tests] == [0, 300, 600, 900, 1000]
    entropy = rows(finished / "entropy.csv")
    # the first update follows episode 8, at 160 steps; its due label is 0
    assert [int(row["due_steps"]) for row in entropy] == [0, 200, 400, 600, 800, 1000]
    assert int(entropy[0]["env_steps"]) == 160
    for row in entropy:
        quantiles = [float(row[f"q{round(100 * q):03d}"]) for q in QUANTILES]
        assert quantiles == sorted(quantiles)
        assert quantiles[0] <= float(row["mean"]) <= quantiles[-1] <= 1 + 1e-6
        assert float(row["released_mean"]) != float(row["mean"])
    record = json.loads((finished / "train.json").read_text())
    assert (record["env_steps"], record["episodes"], record["updates"]) == (1000, 50, 43)  # 50 - 7 before a full batch
    returns = [float(row["episode_return_mean"]) for row in tests]
    assert record["last_return"] == pytest.approx(returns[-1], rel=1e-8)
    assert record["final_return"] == pytest.approx(np.mean(returns[-5:]), rel=1e-8)
    assert record["config_hash"] == params.run_config("lumberjacks", "qmix_gre", 0).identity()


def test_hash_order_changes_nothing(tmp_path, finished):
    (tmp_path / "params.yaml").write_text(PARAMS)
    command = [sys.executable, "-m", "marl_gre", "train", "--env", "lumberjacks", "--algorithm", "qmix_gre"]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert digest(tmp_path / "runs" / "lumberjacks" / "qmix_gre" / "0") == digest(finished)


def test_rounds_of_several_episodes_and_updates(params):
    """Four episodes at once are the four that one after another would be, while no weights change in between."""
    config = params.run_config("traffic", "qmix", 0)
    wide = config.train.model_copy(update={"episodes_per_round": 4, "updates_per_round": 3, "epsilon_anneal_steps": 1})
    narrow = wide.model_copy(update={"episodes_per_round": 1})  # epsilon is constant after the first step
    together = Trainer(config.model_copy(update={"train": wide}))
    alone = Trainer(config.model_copy(update={"train": narrow}))
    together.env_steps = alone.env_steps = 1
    together.play_round()
    for alone.episodes in range(4):
        alone.play_round()
    assert together.env_steps == alone.env_steps
    for one, two in zip(together.replay.kept.values(), alone.replay.kept.values(), strict=True):
        assert one.seed == two.seed
        assert np.array_equal(one.actions, two.actions)
        assert np.array_equal(one.reward, two.reward)
    rounds = Trainer(config.model_copy(update={"train": wide}))
    sample, drawn = rounds.replay.sample, []
    rounds.replay.sample = lambda count, generator: drawn.append(state_of(generator)) or sample(count, generator)
    list(rounds.run())
    # batches of 8 episodes: every round but the first updates three times
    assert rounds.updates == 3 * (rounds.episodes // 4 - 1)
    assert drawn == [state_of(rng(0, Purpose.REPLAY, number)) for number in range(rounds.updates)]
    assert rounds.replay.added == rounds.episodes
    assert [episode.seed for episode in rounds.replay.kept.values()] == [
        episode_seed(0, Purpose.ENV, number) for number in range(rounds.episodes)
    ]


def state_of(generator):
    return generator.bit_generator.state["state"]["state"]


def test_evaluation_is_reproducible_and_on_other_episodes_than_the_tests(finished):
    loaded = load_run(finished)
    result = evaluate_run(loaded, EvaluateConfig(episodes=7))
    assert result == evaluate_run(loaded, EvaluateConfig(episodes=7))
    assert len(result["episodes"]) == 7
    assert result["episode_return_mean"] == np.mean([episode["return"] for episode in result["episodes"]])
    assert sum(result["credit_share_mean"]) == pytest.approx(1)
    assert 0 <= result["entropy_mean"] <= 1
    tests = {episode_seed(0, Purpose.TEST, i) for i in range(100)}
    assert not tests & {episode["seed"] for episode in result["episodes"]}


def test_an_evaluation_summarises_its_episodes(finished):
    """`measure` takes each episode by itself; in the means every step counts alike, whichever episode it is of."""
    loaded = load_run(finished)
    result = evaluate_run(loaded, EvaluateConfig(episodes=7))
    assert result["episode_return_iqm"] == stats.iqm([episode["return"] for episode in result["episodes"]])
    found = measure(loaded, [episode["seed"] for episode in result["episodes"]])
    shares, entropy = (np.concatenate([getattr(one, name) for one in found]) for name in ("shares", "entropy"))
    assert result["credit_share_mean"] == pytest.approx(shares.mean(0).tolist(), rel=1e-5)
    assert result["entropy_mean"] == pytest.approx(entropy.mean(), rel=1e-5)
    quantiles = {f"{q:g}": np.quantile(entropy, q) for q in QUANTILES}
    assert result["entropy_quantiles"] == pytest.approx(quantiles, rel=1e-5)


def test_all_algorithms_are_tested_on_the_same_episodes(params, tmp_path):
    def first(algorithm):
        return rows(run(params, tmp_path / algorithm, algorithm=algorithm) / "tests.csv")[0]

    one, two = first("qmix"), first("qmix_gre")
    assert one == two  # untrained agents with the same seed have the same weights and the same episodes


def test_agents_begin_alike_with_every_mixer_and_not_with_every_seed(params):
    def agent(algorithm, seed):
        config = params.run_config("lumberjacks", algorithm, seed)
        return build(config, make_env("lumberjacks", config.env, 1)).agent.state_dict()

    first, other = agent("vdn", 0), agent("vdn", 1)
    for algorithm in ("qmix", "qmix_simple", "qmix_gre"):
        assert all(torch.equal(value, first[name]) for name, value in agent(algorithm, 0).items())
    assert not any(torch.equal(value, first[name]) for name, value in other.items())


def test_replay_gives_back_exactly_what_the_agents_saw(params):
    """Observations, states, masks, actions and rewards recomputed from worlds, against a plain recording."""
    config = params.run_config("traffic", "qmix", 0)
    env = marl_gre_envs.make_vec(
        "traffic_junction_v0", 1, autoreset=False, n_max=3, max_steps=60
    )  # ends at different times
    agent = build(config, env).agent

    class Recorder(Policy):
        def begin(self, copies):
            super().begin(copies)
            self.seen, self.taken = [], []

        def act(self, *arguments):
            self.seen.append((env.obs[0].copy(), env.state[0].copy(), env.action_mask[0].copy()))
            self.taken.append(super().act(*arguments)[0])
            return self.taken[-1][None]

    policy, episodes, recordings = Recorder(agent), [], []
    for number in range(6):
        noise = rng(0, Purpose.EXPLORE, number).random((env.episode_limit, 2, 1, env.n_agents))
        episodes += play(env, policy, [number], 1.0 if number % 2 else 0.3, noise)
        recordings.append((policy.seen, policy.taken))
    order = sorted(range(6), key=lambda i: -episodes[i].length)
    rows = [(i, t) for t in range(env.episode_limit + 1) for i in order if t <= episodes[i].length]
    taken_in = [(i, t) for t in range(env.episode_limit) for i in order if t < episodes[i].length]
    batch = collate(episodes, env, timeout_is_terminal=True)
    assert len({episode.length for episode in episodes}) > 1
    assert len(batch.obs) == len(rows)
    assert [rows[row] for row in batch.now] == taken_in
    for row, (i, step) in enumerate(rows):
        if step < episodes[i].length:  # what follows the last action is not acted on
            obs, state, action_mask = recordings[i][0][step]
            assert np.array_equal(batch.obs[row].numpy(), obs)
            assert np.array_equal(batch.state[row].numpy(), state)
            assert np.array_equal(batch.action_mask[row].numpy(), action_mask)
    for q, (i, step) in enumerate(taken_in):
        assert rows[batch.episodes[0] + q] == (i, step + 1)
        assert np.array_equal(batch.actions[q].numpy(), recordings[i][1][step])
        assert batch.reward[q] == np.float32(episodes[i].reward[step])
        assert batch.terminated[q] == (step == episodes[i].length - 1)
    free = collate(episodes, env, timeout_is_terminal=False)
    assert free.terminated.sum() == sum(episode.terminated for episode in episodes)


def first_update(config):
    """The first batch that a training takes, and what its learner does with it."""
    trainer, batches = Trainer(config), []
    update = trainer.learner.update
    trainer.learner.update = lambda batch: batches.append(batch) or update(batch)
    for _ in trainer.run():
        if batches:
            return batches[0]
    raise AssertionError("no update was made")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_training_takes_timeouts_as_its_option_says(params, terminal):
    config = params.run_config("lumberjacks", "vdn", 0)
    env = config.env.model_copy(update={"kwargs": {"max_steps": 3}})  # too short to fell 12 trees
    train = config.train.model_copy(update={"timeout_is_terminal": terminal})
    batch = first_update(config.model_copy(update={"env": env, "train": train}))
    assert batch.terminated.sum() == (8 if terminal else 0)


def test_tests_are_due_at_multiples_whenever_they_were_played(params):
    """Episodes of 20 steps, tests each 50: the first episode that ends at 50 or later ends at 60, for 150 at 160."""
    config = params.run_config("lumberjacks", "vdn", 0)
    env = config.env.model_copy(update={"total_steps": 200, "test_interval_steps": 50})
    trainer = Trainer(config.model_copy(update={"env": env}))
    list(trainer.run())
    assert [row["due_steps"] for row in trainer.tests] == [0, 50, 100, 150, 200]
    assert [row["env_steps"] for row in trainer.tests] == [0, 60, 100, 160, 200]


def test_the_final_return_is_the_mean_of_the_last_five_tests(params):
    trainer = Trainer(params.run_config("lumberjacks", "vdn", 0))
    trainer.tests = [{"episode_return_mean": value} for value in (100.0, 1.0, 2.0, 3.0, 4.0, 7.5)]
    assert (trainer.record()["final_return"], trainer.record()["last_return"]) == (3.5, 7.5)


@pytest.mark.parametrize(("per_round", "ends", "expected"), [(1, 22, [10, 20]), (4, 32, [12, 24])])
def test_targets_are_copied_by_the_number_of_a_rounds_first_episode(params, per_round, ends, expected):
    """Every 10, counted from 0; batches of 8 make the first update follow episode 7.

    Rounds of 4 begin with the episodes 0, 4, 8, ...: the first at 10 or later is 12, and 10 or more after it is 24.
    """
    config = params.run_config("lumberjacks", "vdn", 0)
    train = config.train.model_copy(update={"target_update_episodes": 10, "episodes_per_round": per_round})
    trainer, copied = Trainer(config.model_copy(update={"train": train})), []
    for _ in trainer.run():
        both = zip(trainer.learner.agent.parameters(), trainer.learner.target_agent.parameters(), strict=True)
        if trainer.updates and all(torch.equal(online, target) for online, target in both):
            copied.append(trainer.episodes - per_round)
        if trainer.episodes == ends:
            break
    assert copied == expected


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_reward_too_great_for_float32_is_the_environments(params):
    config = params.run_config("lumberjacks", "vdn", 0)
    env = config.env.model_copy(update={"kwargs": {"max_steps": 3, "step_cost": -1e39}})
    with pytest.raises(NonFinite, match="not finite in the environment's reward: "):
        first_update(config.model_copy(update={"env": env}))


def test_a_test_by_hand(params, monkeypatch):
    # of returns 1 and 5 the standard deviation is 2; a sample's would be sqrt(8)
    seeds = []

    def play_greedily(env, policy, played, record):
        seeds.extend(played)
        return [SimpleNamespace(episode_return=value, length=7, won=value > 2) for value in (1.0, 5.0)]

    monkeypatch.setattr("marl_gre.trainer.play_greedily", play_greedily)
    found = greedy_test(params.run_config("lumberjacks", "vdn", 3), None, None)
    assert found == {
        "episode_return_mean": 3.0, "episode_return_std": 2.0, "episode_length_mean": 7.0, "win_rate": 0.5
    }  # fmt: skip
    assert seeds == [episode_seed(3, Purpose.TEST, number) for number in range(5)]


def test_draws_are_those_of_spawned_seeds():
    """Published runs depend on the purposes' numbers; the children are numpy's own."""
    names = ["INIT", "ENV", "EXPLORE", "REPLAY", "TEST", "EVAL", "SHAPLEY"]
    assert [purpose.name for purpose in sorted(Purpose)] == names
    assert sorted(Purpose) == [*range(7)]
    for purpose in Purpose:
        child = np.random.SeedSequence(3).spawn(7)[purpose].spawn(5)[4]
        assert np.array_equal(rng(3, purpose, 4).random(9), np.random.default_rng(child).random(9))
        assert episode_seed(3, purpose, 4) == np.random.default_rng(child).integers(2**31)


def test_replay_keeps_the_newest_and_samples_without_repeats(params):
    config = params.run_config("lumberjacks", "vdn", 0)
    env = marl_gre_envs.make_vec("lumberjacks_v0", 8, autoreset=False, **config.env.kwargs)
    agent = build(config, env).agent
    episodes = play_greedily(env, Policy(agent), range(7))
    assert [episode.seed for episode in episodes] == list(range(7))
    replay = Replay(5)
    for episode in episodes:
        replay.add(episode)
    assert sorted(episode.seed for episode in replay.kept.values()) == [2, 3, 4, 5, 6]
    counts = np.zeros(7, int)
    for draw in range(2000):
        chosen = [episode.seed for episode in replay.sample(2, rng(0, Purpose.REPLAY, draw))]
        assert len(set(chosen)) == 2
        counts[chosen] += 1
    # each of five: 2000 * 2/5 = 800 +- 5 standard deviations of sqrt(2000 * 0.4 * 0.6) = 22
    assert (abs(counts[2:] - 800) < 5 * 22).all()


def test_replay_keeps_every_number_wherever_chunks_end(params, monkeypatch):
    config = params.run_config("traffic", "vdn", 0)
    env = marl_gre_envs.make_vec("traffic_junction_v0", 9, autoreset=False, n_max=3, max_steps=60)
    agent = build(config, env).agent
    episodes = play_greedily(env, Policy(agent), range(9))
    longest = max(episode.world["pos"].nbytes for episode in episodes)
    monkeypatch.setattr("marl_gre.replay.CHUNK_BYTES", 2 * longest)  # an episode has several arrays
    replay = Replay(4)
    for number, episode in enumerate(episodes):
        replay.add(episode)
        for kept, original in zip(replay.kept.values(), episodes[max(0, number - 3) :], strict=False):
            assert np.array_equal(kept.actions, original.actions)
            assert np.array_equal(kept.reward, original.reward)
            assert kept.reward.flags.aligned
            for name, values in original.world.items():
                assert kept.world[name].dtype == values.dtype
                assert np.array_equal(kept.world[name], values)
                assert not np.shares_memory(kept.world[name], values)


def test_a_segment_gives_its_episodes_back():
    replay, restored = Replay(5), Replay(5)
    for seed, (length, won) in enumerate(((4, None), (1, True), (3, False), (2, None))):
        world = {"clock": 10 * seed + np.arange(length + 1)}
        actions = np.full((length, 2), seed, np.int16)
        replay.add(Episode(seed, world, actions, 0.5 * np.arange(length), seed % 2 == 0, won))
    restored.restore(replay.segment(1), 1)
    assert restored.added == 4
    assert [*restored.kept] == [1, 2, 3]
    for number, episode in restored.kept.items():
        kept = replay.kept[number]
        assert (episode.seed, episode.terminated, episode.won) == (number, number % 2 == 0, kept.won)
        for one, two in ((episode.world["clock"], kept.world["clock"]), (episode.reward, kept.reward)):
            assert one.tolist() == two.tolist()
        assert episode.actions.tolist() == kept.actions.tolist()


class Scripted:
    """Three battles of three steps at most: one is won after one step, one reaches the limit, one is lost after two.

    The reward is the number of the step, and the world's clock counts the steps; both stand still after the end.
    """

    num_envs, n_agents, episode_limit, observed = 3, 1, 3, ("clock",)
    ends, limited, wins = np.array([1, 3, 2]), np.array([False, True, False]), np.array([True, False, False])
    obs, action_mask = np.zeros((3, 1, 1), np.float32), np.ones((3, 1, 2), np.int8)

    def __init__(self):
        self.reset(None)

    def reset(self, seed):
        self.steps = 0
        self.show()

    def step(self, actions):
        self.steps += 1
        self.show()

    def show(self):
        ended = self.steps >= self.ends
        self.terminated, self.truncated = ended & ~self.limited, ended & self.limited
        self.reward = np.where(self.steps <= self.ends, self.steps, 0.0)
        self.info = {"battle_won": (ended & self.wins).astype(float)}
        self.world = {"clock": np.minimum(self.steps, self.ends)}


def test_episodes_that_end_at_different_times_by_hand():
    seen = []

    def act(obs, action_mask, epsilon, noise, playing):
        seen.append((noise, playing))
        return np.ones((3, 1), np.int64)

    policy, noise = SimpleNamespace(begin=lambda num_envs: None, act=act), np.random.default_rng(0).random((3, 2, 3, 1))
    episodes = play(Scripted(), policy, [7, 8, 9], 0.5, noise)
    assert [episode.seed for episode in episodes] == [7, 8, 9]
    assert [episode.reward.tolist() for episode in episodes] == [[1], [1, 2, 3], [1, 2]]
    assert [len(episode.actions) for episode in episodes] == [1, 3, 2]
    assert [episode.world["clock"].tolist() for episode in episodes] == [[0, 1], [0, 1, 2, 3], [0, 1, 2]]
    assert [episode.terminated for episode in episodes] == [True, False, True]
    assert [episode.won for episode in episodes] == [True, False, False]
    assert win_rate(episodes) == pytest.approx(1 / 3)
    assert [playing.tolist() for _, playing in seen] == [[True] * 3, [False, True, True], [False, True, False]]
    assert np.array_equal([drawn for drawn, _ in seen], noise)  # each step has its own
    assert [episode.episode_return for episode in play_greedily(Scripted(), policy, range(5))] == [1, 6, 3, 1, 6]


def test_copies_played_together_equal_copies_played_alone(params):
    """The rollout adds nothing of its own: worlds, actions and rewards do not depend on who plays beside."""
    config = params.run_config("traffic", "qmix", 0)
    alone, together = (
        marl_gre_envs.make_vec("traffic_junction_v0", copies, autoreset=False, n_max=3, max_steps=60)
        for copies in (1, 4)
    )
    policy = Policy(build(config, alone).agent)
    together, alone = (play_greedily(env, policy, range(6)) for env in (together, alone))
    assert len({episode.length for episode in alone}) > 1
    for one, two in zip(together, alone, strict=True):
        assert np.array_equal(one.actions, two.actions)
        assert np.array_equal(one.reward, two.reward)
        assert all(np.array_equal(one.world[name], two.world[name]) for name in one.world)
        assert one.terminated == two.terminated


def test_tests_record_no_worlds_and_are_otherwise_the_same(params):
    config = params.run_config("traffic", "qmix", 0)
    env = marl_gre_envs.make_vec("traffic_junction_v0", 4, autoreset=False, **config.env.kwargs)
    policy = Policy(build(config, env).agent)
    full, bare = play_greedily(env, policy, range(6)), play_greedily(env, policy, range(6), record=False)
    for one, two in zip(full, bare, strict=True):
        assert one.world
        assert not two.world
        assert np.array_equal(one.actions, two.actions)
        assert np.array_equal(one.reward, two.reward)


def test_a_run_in_use_is_refused(params, tmp_path):
    config = params.run_config("lumberjacks", "vdn", 0)
    in_use = pytest.raises(RunInUse, match=f"trained by process {os.getpid()}")
    with lock(tmp_path / "work" / config.identity()[:12]), in_use:
        train(config, tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "out").exists()
    train(config, tmp_path / "out", tmp_path / "work")


def test_a_signal_ends_with_its_code_and_publishes_nothing(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("total_steps: 1000", "total_steps: 100000000"))
    command = [sys.executable, "-m", "marl_gre", "train", "--env", "lumberjacks", "--algorithm", "qmix"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    lock_file = None
    while not lock_file and process.poll() is None:  # the handlers are in place once the lock holds the pid
        lock_file = next((path for path in tmp_path.glob("work/*/lock") if path.read_text()), None)
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.strip().splitlines()[-1] == "error: stopped by SIGTERM; run the same command to go on."
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.glob("work/*/checkpoint-*")] == ["checkpoint-000001"]  # of where it stopped
    assert not any(path.is_file() for path in (tmp_path / "runs").rglob("*"))


class Broken(marl_gre_envs.vector.VectorEnv):
    """Lumberjacks whose reward or step fails after some steps."""

    def __init__(self, inner, how):
        self.__dict__.update(inner.__dict__)
        self.inner, self.how, self.steps = inner, how, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def reset(self, seed=None, options=None):
        self.inner.reset(seed, options)

    def step(self, actions):
        self.steps += 1
        if self.how == "raise" and self.steps == 7:
            raise RuntimeError("the game crashed")
        self.inner.step(actions)
        if self.how == "nan" and self.steps == 7:
            self.inner.reward[0] = float("nan")

    def observe(self, world):
        return self.inner.observe(world)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("raise", EnvironmentFailed, "seed 42: RuntimeError: the game crashed"),
        ("nan", NonFinite, "reward that is not finite in the episode with seed 42"),
    ],
)
def test_a_failing_environment_is_named_with_its_seed(params, how, error, message):
    config = params.run_config("lumberjacks", "vdn", 0)
    env = marl_gre_envs.make_vec("lumberjacks_v0", 1, autoreset=False, **config.env.kwargs)
    agent = build(config, env).agent
    with pytest.raises(error, match=message):
        play(Broken(env, how), Policy(agent), [42])


@pytest.mark.parametrize("when", ["begin", "act"])
def test_a_failure_in_the_policy_is_not_the_environments(params, when):
    config = params.run_config("lumberjacks", "vdn", 0)
    env = marl_gre_envs.make_vec("lumberjacks_v0", 1, autoreset=False, **config.env.kwargs)
    policy = Policy(build(config, env).agent)

    def fail(*_):
        raise RuntimeError("the policy's own")

    setattr(policy, when, fail)
    with pytest.raises(RuntimeError, match=r"^the policy's own$"):
        play(env, policy, [42])


def test_runs_that_cannot_be_read(finished, tmp_path):
    with pytest.raises(BadInput, match="no finished run here"):
        load_run(tmp_path)
    for name, content, message in (
        ("train.json", b"{", "damaged"),
        ("train.json", b"[]", "another file layout"),
        ("weights.safetensors", b"\x00" * 20, "damaged"),
    ):
        for path in finished.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=f"{name} is not what SHA256SUMS says"):
            load_run(tmp_path)
        digest = hashlib.sha256(content).hexdigest()  # even with a hash that fits
        sums = (tmp_path / "SHA256SUMS").read_text()
        (tmp_path / "SHA256SUMS").write_text(re.sub(f".*  {name}", f"{digest}  {name}", sums))
        with pytest.raises(BadInput, match=message):
            load_run(tmp_path)


def test_a_trainer_without_the_second_agent(params):
    """One agent: the entropy is an error as a loss and an empty value as a metric."""
    lumberjacks = params.envs["lumberjacks"].model_copy(update={"kwargs": {"n_agents": 1, "max_steps": 20}})
    single = params.model_copy(update={"envs": {"lumberjacks": lumberjacks}})
    with pytest.raises(BadInput, match="qmix_gre on envs.lumberjacks: qmix_gre: found 1 agent"):
        Trainer(single.run_config("lumberjacks", "qmix_gre", 0))
    trainer = Trainer(single.run_config("lumberjacks", "qmix", 0))
    for _ in trainer.run():
        pass
    assert np.isnan(trainer.entropies[-1]["mean"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--env", "lumberjack", "--algorithm", "qmix"],
            "error: env: unknown name 'lumberjack'; did you mean",
        ),
        (
            ["train", "--env", "lumberjacks", "--algorithm", "qmix", "--seed", "-1"],
            "error: argument --seed: found '-1'",
        ),
        (["train"], "error: the following arguments are required: --env, --algorithm; see marl-gre train --help."),
        (["fly"], "error: argument COMMAND: invalid choice: 'fly'"),
        (["check", "--params", "none.yaml"], "error: none.yaml: cannot be read"),
        (["evaluate", "nowhere"], "error: nowhere: no finished run here"),
        (
            ["play", "nowhere", "--episodes", "0"],
            "error: argument --episodes: found '0'; a whole number of 1 or more is allowed",
        ),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, marl_gre, arguments, message):
    (tmp_path / "params.yaml").write_text(PARAMS)
    done = marl_gre(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message), done.stderr
    assert done.stderr.count("\n") == 1


def test_check_finds_what_only_the_environment_can_know(tmp_path, marl_gre):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("kwargs: {max_steps: 20}", "kwargs: {max_step: 20}"))
    done = marl_gre("check")
    assert done.returncode == 2
    assert done.stderr.startswith("error: envs.lumberjacks:")
    assert "max_steps" in done.stderr
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert marl_gre("check").stdout == ("params.yaml: sound; 1 envs x 1 algorithms x 1 seeds = 1 runs.\n")


def test_evaluate_and_play_a_run(finished, tmp_path, marl_gre):
    done = marl_gre("evaluate", finished, "--episodes", 3, "--out", "result.json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["algorithm"] == "qmix_gre"
    assert len(json.loads((tmp_path / "result.json").read_text())["episodes"]) == 3
    done = marl_gre("play", finished, "--gif", "episode.gif")
    assert done.returncode == 0, done.stderr
    from PIL import Image

    with Image.open(tmp_path / "episode.gif") as gif:
        assert gif.n_frames == 21  # the start and 20 steps


def test_doctor_says_what_is_there(marl_gre):
    done = marl_gre("doctor")
    assert done.returncode == 0
    assert "lumberjacks_v0" in done.stdout


def test_imports_are_silent_and_leave_torch_alone():
    code = "import threading, marl_gre, marl_gre_envs, marl_gre.jobs.train; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert Path(marl_gre_envs.__file__).parent.name == "marl_gre_envs"
