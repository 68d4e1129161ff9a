"""The tables of the report, a function each that returns its lines; its docstring is what the report says about it.

The references are in reference.py, the cases and the numbers of others in cases.py, the way of measuring in tools.py.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import marl_gre_envs
from benchmarks.speed.cases import (
    ENTRIES,
    OTHERS,
    RELEASED_GFLOPS,
    RELEASED_TRAINING,
    RELEASED_UPDATE_MS,
    UPDATES,
    Effort,
)
from benchmarks.speed.reference import (
    CellAgent,
    Dense,
    DenseLearner,
    DenseQMIX,
    DenseReplay,
    DenseTrainer,
    GRUAgent,
    dense_episode,
    dense_episodes,
)
from benchmarks.speed.tools import (
    MATRIX_PRODUCT_GFLOP,
    in_its_own_process,
    matrix_product,
    median,
    medians,
    memory_of,
    peak_gflops,
    resident_peak_mb,
    seconds_of,
    side_by_side,
    update_gflop,
)
from marl_gre.agents.base import random_available
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import AlgorithmConfig, EnvConfig, Params, RunConfig, TrainConfig
from marl_gre.data import Batch, Episode, collate
from marl_gre.learner import Learner
from marl_gre.mixers import QMIX, EnvSizes
from marl_gre.networks import Networks, build
from marl_gre.policy import Policy
from marl_gre.rollout import make_env, play, play_greedily
from marl_gre.trainer import Trainer, make_learner
from marl_gre_envs.vector import VectorEnv

Row = dict[str, Any]

TRAIN = TrainConfig(device="cpu")


def learner(effort: Effort) -> list[Row]:
    """One update of QMIX on 32 episodes of random play.

    The reference does what PyMARL does, on padded episodes; nn.GRU unrolls the same padded episodes at once; the floor
    is the matrix products of the real steps at the speed of a large matrix product.
    """
    return [learner_row(shape, effort) for shape in effort.shapes]


def learner_row(shape: str, effort: Effort) -> Row:
    """Return one line of `learner`."""
    env = make_env(shape, ENTRIES[shape], TRAIN.batch_episodes)
    sizes = {name: getattr(env, name) for name in ("n_agents", "obs_dim", "n_actions", "state_dim")}
    episodes = random_episodes(env)
    dense_replay = DenseReplay(env, len(episodes))
    for episode in episodes:
        dense_replay.add(dense_episode(episode, env, TRAIN.timeout_is_terminal))
    generator = np.random.default_rng(0)
    batch, dense = collate(episodes, env, True), dense_replay.sample(len(episodes), generator)
    ours, reference, gru = our_learner(**sizes), dense_learner(CellAgent, **sizes), dense_learner(GRUAgent, **sizes)
    seconds = medians(
        {
            "ours": lambda: ours.update(batch),
            "reference": lambda: reference.update(dense),
            "nn.GRU": lambda: gru.update(dense),
            "our batch": lambda: collate(episodes, env, TRAIN.timeout_is_terminal),
            "its batch": lambda: dense_replay.sample(len(episodes), generator),
            "product": matrix_product(),
        },
        effort.repetitions,
    )
    ms = {name: 1e3 * value for name, value in seconds.items()}
    peak = MATRIX_PRODUCT_GFLOP / seconds["product"]
    gflop = update_gflop(len(batch.obs), len(batch.actions), **sizes)
    floor = 1e3 * gflop / peak
    released = RELEASED_UPDATE_MS.get(shape, float("nan")) * RELEASED_GFLOPS / peak
    return {
        "shape": shape,
        "steps, mean": len(batch.actions) / len(episodes),
        "longest": len(batch.episodes) - 1,
        "ours, ms": ms["ours"],
        "reference, ms": ms["reference"],
        "nn.GRU, ms": ms["nn.GRU"],
        "floor, ms": floor,
        "reference / ours": ms["reference"] / ms["ours"],
        "nn.GRU / ours": ms["nn.GRU"] / ms["ours"],
        "floor / ours": floor / ms["ours"],
        "our batch, ms": ms["our batch"],
        "reference's batch, ms": ms["its batch"],
        "GFLOP": gflop,
        "peak, GFLOP/s": peak,
        "released code, scaled, ms": released,
        "reference / released": ms["reference"] / released,
    }


def mixers(effort: Effort) -> list[Row]:
    """One update of each algorithm, on one batch of 32 episodes of random play, taking turns."""
    return [row for shape in effort.mixers for row in mixers_rows(shape, effort)]


def mixers_rows(shape: str, effort: Effort) -> list[Row]:
    """Return the lines of `mixers` for one environment."""
    batch, learners = learners_of(shape, torch.device("cpu"))
    calls = {name: partial(learner.update, batch) for name, learner in learners.items()}
    seconds = medians(calls, effort.repetitions)
    return [
        {
            "shape": shape,
            "algorithm": name,
            "update, ms": 1e3 * taken,
            "update / QMIX's": taken / seconds["qmix"],
            "parameters": sum(parameter.numel() for parameter in learners[name].parameters),
        }
        for name, taken in seconds.items()
    ]


def gpu(effort: Effort) -> list[Row]:
    """One update of each algorithm on 32 episodes of random play, on one CPU thread and on a CUDA device.

    Wall seconds, until the device is done; the batch lies there already.
    """
    if not torch.cuda.is_available():
        return []
    return [row for shape in effort.gpu for row in gpu_rows(shape, effort)]


def gpu_rows(shape: str, effort: Effort) -> list[Row]:
    """Return the lines of `gpu` for one environment."""
    taken = {}
    for device in (torch.device("cpu"), torch.device("cuda")):
        batch, learners = learners_of(shape, device)
        calls = {name: partial(update_and_wait, learner, batch) for name, learner in learners.items()}
        taken[device.type] = medians(calls, effort.repetitions, time.perf_counter)
    return [
        {
            "shape": shape,
            "algorithm": name,
            "CPU, ms": 1e3 * seconds,
            "CUDA, ms": 1e3 * taken["cuda"][name],
            "CPU / CUDA": seconds / taken["cuda"][name],
        }
        for name, seconds in taken["cpu"].items()
    ]


def update_and_wait(learner: Learner, batch: Batch) -> None:
    """Take one gradient step, until the device is done."""
    learner.update(batch)
    torch.cuda.synchronize()


def learners_of(shape: str, device: torch.device) -> tuple[Batch, dict[str, Learner]]:
    """Return a batch of random play and a learner of each algorithm in `UPDATES`."""
    entry = ENTRIES[shape]
    env = make_env(shape, entry, TRAIN.batch_episodes)
    batch = collate(random_episodes(env), env, TRAIN.timeout_is_terminal).to(device)
    learners = {}
    for name, algorithm in UPDATES.items():
        params = Params.model_validate(
            {
                "run": {"envs": [shape], "algorithms": ["a"], "seeds": [0]},
                "envs": {shape: entry},
                "algorithms": {"a": algorithm},
                "train": TRAIN,
            }
        )
        config = params.run_config(shape, "a", 0)
        learners[name] = make_learner(config, build(config, env), device)
    return batch, learners


def training(effort: Effort) -> list[Row]:
    """Whole training in env steps/s, from the first update on; a test is 100 greedy episodes every 5,000 steps."""
    return [training_row(shape, effort) for shape in effort.trained]


def training_row(shape: str, effort: Effort) -> Row:
    """Return one line of `training`."""
    entry, episodes = ENTRIES[shape], effort.rounds * effort.round_episodes
    reference = DenseTrainer(
        marl_gre_envs.make(entry.env, **entry.kwargs), TRAIN, capacity=episodes + TRAIN.batch_episodes
    )
    untested = entry.model_copy(update={"test_interval_steps": entry.total_steps})
    loops: dict[str, Callable[[], int]] = {
        "reference": reference.train_episode,
        "ours": steps_of(Trainer(run_config(shape, untested))),
        "tested": steps_of(Trainer(run_config(shape, entry))),
    }
    for loop in loops.values():
        for _ in range(TRAIN.batch_episodes):  # the first update comes with the last of these
            loop()
    steps, taken = dict.fromkeys(loops, 0), dict.fromkeys(loops, 0.0)
    peaks = []
    for _ in range(effort.rounds):
        for name, loop in loops.items():
            for _ in range(effort.round_episodes):
                started = time.process_time()
                steps[name] += loop()
                taken[name] += time.process_time() - started
        peaks.append(peak_gflops())
    speed = {name: steps[name] / taken[name] for name in loops}
    test_s = entry.test_episodes * median(lambda: reference.play(0.0), max(3, effort.repetitions // 2))
    reference_tested = 1 / (1 / speed["reference"] + test_s / entry.test_interval_steps)
    released = RELEASED_TRAINING[shape] * statistics.median(peaks) / RELEASED_GFLOPS
    return {
        "shape": shape,
        "episodes": episodes,
        "ours": speed["ours"],
        "reference": speed["reference"],
        "ours, with tests": speed["tested"],
        "reference, with tests": reference_tested,
        "ours / reference": speed["ours"] / speed["reference"],
        "both with tests": speed["tested"] / reference_tested,
        "ours with tests / reference without": speed["tested"] / speed["reference"],
        "released code, scaled": released,
        "reference / released": speed["reference"] / released,
    }


def jobs(effort: Effort) -> list[Row]:
    """Whole training with tests in env steps per wall second: one run alone, and two at once, a process each."""
    return [jobs_row(shape, effort) for shape in effort.trained]


def jobs_row(shape: str, effort: Effort) -> Row:
    """Return one line of `jobs`."""
    one = sum(side_by_side(1, training_speed, shape, effort))
    two = sum(side_by_side(2, training_speed, shape, effort))
    return {"shape": shape, "one run": one, "two runs, in all": two, "two / one": two / one}


def training_speed(begin: Callable[[], object], shape: str, effort: Effort) -> float:
    """Return env steps per wall second, after `begin()` returned; runs in a process of its own."""
    advance = steps_of(Trainer(run_config(shape, ENTRIES[shape])))
    for _ in range(TRAIN.batch_episodes):
        advance()
    begin()
    started = time.perf_counter()
    steps = sum(advance() for _ in range(effort.rounds * effort.round_episodes))
    return steps / (time.perf_counter() - started)


def steps_of(trainer: Trainer) -> Callable[[], int]:
    """Return a function that trains for one more episode and returns its steps."""
    run = trainer.run()

    def advance() -> int:
        before = trainer.env_steps
        next(run)
        return trainer.env_steps - before

    return advance


def environments(effort: Effort) -> list[Row]:
    """Env steps/s with observations, state and masks under random legal actions; bytes of world and outputs."""
    return [environment_row(name, effort) for name in effort.environments]


def environment_row(name: str, effort: Effort) -> Row:
    """Return one line of `environments`."""
    entry = ENTRIES[name]
    row: Row = {"env": name, "PettingZoo form": blocks_speed(lambda: single_block(entry, effort), effort)}
    for copies in effort.copies:
        env = marl_gre_envs.make_vec(entry.env, copies, **entry.kwargs)
        row[f"E = {copies}"] = copies * blocks_speed(lambda env=env: batched_block(env, effort), effort)  # type: ignore[misc]
    row |= {"another package, E = 1": OTHERS[name], "bytes per environment": memory_of(env) / env.num_envs}
    return row | {"peak, GFLOP/s": peak_gflops()}


def blocks_speed(block: Callable[[], float], effort: Effort) -> float:
    """Return steps/s from the median of blocks, functions that return the seconds of `block_steps` steps."""
    block()
    taken = [block()]
    while sum(taken) < effort.block_seconds:
        taken.append(block())
    return effort.block_steps / statistics.median(taken)


def single_block(entry: EnvConfig, effort: Effort) -> float:
    """Return the seconds of a block of steps of the PettingZoo form, restarts included."""
    env = marl_gre_envs.make(entry.env, **entry.kwargs)
    _, infos = env.reset(seed=0)
    draws, taken = np.random.default_rng(0), 0.0
    for _ in range(effort.block_steps):
        masks = np.stack([infos[agent]["action_mask"] for agent in env.agents])
        chosen = random_available(masks, draws.random(len(masks))).tolist()
        actions = dict(zip(env.agents, chosen, strict=True))
        started = time.process_time()
        *_, infos = env.step(actions)
        if not env.agents:
            _, infos = env.reset()
        taken += time.process_time() - started
    return taken


def batched_block(env: VectorEnv, effort: Effort) -> float:
    """Return the seconds of a block of steps of all copies, restarts included."""
    env.reset(seed=0)
    draws, taken = np.random.default_rng(0), 0.0
    for _ in range(effort.block_steps):
        actions = random_available(env.action_mask, draws.random((env.num_envs, env.n_agents)))
        started = time.process_time()
        env.step(actions)
        taken += time.process_time() - started
    return taken


def acting(effort: Effort) -> list[Row]:
    """Choosing the actions of E environments, 100 greedy test episodes at once, and what a replay stores per step."""
    return [acting_row(shape, effort) for shape in effort.shapes]


def acting_row(shape: str, effort: Effort) -> Row:
    """Return one line of `acting`."""
    entry = ENTRIES[shape]
    row: Row = {"shape": shape}
    single, many = make_env(shape, entry, 1), make_env(shape, entry, 100)
    policy = Policy(untrained(single))
    noise = np.random.default_rng(0).random((2, 1, single.n_agents))
    repetitions = 20 * effort.repetitions
    for name, env, draws in (("exploring, E = 1, µs", single, noise), ("greedy, E = 100, µs", many, None)):
        env.reset(seed=0)
        policy.begin(env.num_envs)
        act = lambda env=env, draws=draws: policy.act(env.obs, env.action_mask, 0.5, draws)  # noqa: E731
        row[name] = 1e6 * median(act, repetitions)
    test_s = median(lambda: play_greedily(many, policy, range(100), record=False), -(-effort.repetitions // 3))
    episodes = random_episodes(many)
    steps = sum(episode.length for episode in episodes)
    return row | {
        "greedy episodes/s": 100 / test_s,
        "replay, bytes/step": sum(map(stored_bytes, episodes)) / steps,
        "reference's replay, bytes/step": len(episodes) * dense_bytes(single) / steps,
    }


def memory(effort: Effort) -> list[Row]:
    """Peak resident memory of training until the replay is full, with ten updates on the way and a test at the end."""
    return [in_its_own_process(memory_row, *case) for case in effort.replays]


def memory_row(shape: str, count: int, length: int) -> Row:
    """Return one line of `memory`; runs in a process of its own."""
    started = resident_peak_mb()
    trainer = Trainer(run_config(shape, ENTRIES[shape]))
    (played,) = random_episodes(trainer.env)

    def stretched(values: np.ndarray, rows: int) -> np.ndarray:
        return values[np.arange(rows) % len(values)]  # from the start again where it is too short

    for number in range(count):
        world = {name: stretched(values, length + 1) for name, values in played.world.items()}
        actions, reward = stretched(played.actions, length), stretched(played.reward, length)
        stored = replace(played, world=world, actions=actions, reward=reward)
        trainer.replay.add(stored)
        if (number + 1) % max(count // 10, TRAIN.batch_episodes) == 0:
            trainer.update()
    trainer.test_if_due()
    return {
        "shape": shape,
        "episodes": count,
        "steps of each": length,
        "after imports, MB": started,
        "peak, MB": resident_peak_mb(),
        "our replay, MB": count * stored_bytes(stored) / 1e6,
        "reference's replay, MB": count * dense_bytes(trainer.env) / 1e6,
    }


def growth(effort: Effort) -> list[Row]:
    """An update against agents, length and batch: observations of 100 numbers, a state of 300, 10 actions."""
    return [in_its_own_process(growth_row, *case.values(), effort) for case in effort.growth]


def growth_row(agents: int, steps: int, episodes: int, effort: Effort) -> Row:
    """Return one line of `growth`, on full episodes of random numbers; runs in a process of its own."""
    sizes = {"n_agents": agents, "obs_dim": 100, "n_actions": 10, "state_dim": 300}
    generator = torch.Generator().manual_seed(0)
    rows, played = episodes * (steps + 1), episodes * steps
    batch = Batch(
        obs=torch.rand(rows, agents, sizes["obs_dim"], generator=generator),
        state=torch.rand(rows, sizes["state_dim"], generator=generator),
        action_mask=torch.ones(rows, agents, sizes["n_actions"], dtype=torch.int8),
        actions=torch.randint(sizes["n_actions"], (played, agents), generator=generator),
        reward=torch.rand(played, generator=generator),
        terminated=torch.zeros(played),
        now=torch.arange(played),
        episodes=(episodes,) * (steps + 1),
    )
    ours, before = our_learner(**sizes), resident_peak_mb()
    seconds_of(lambda: ours.update(batch))
    memory_mb = resident_peak_mb() - before
    reference, dense = dense_learner(CellAgent, **sizes), dense_batch(batch)
    calls = {"ours": lambda: ours.update(batch), "reference": lambda: reference.update(dense), "p": matrix_product()}
    seconds = medians(calls, -(-effort.repetitions // 3))
    floor_s = update_gflop(rows, played, **sizes) / MATRIX_PRODUCT_GFLOP * seconds["p"]
    return {
        "agents": agents,
        "steps": steps,
        "episodes": episodes,
        "ours, ms": 1e3 * seconds["ours"],
        "reference, ms": 1e3 * seconds["reference"],
        "reference / ours": seconds["reference"] / seconds["ours"],
        "floor / ours": floor_s / seconds["ours"],
        "batch, MB": sum(v.nbytes for v in vars(batch).values() if isinstance(v, Tensor)) / 1e6,
        "our update's memory, MB": memory_mb,
    }


def dense_batch(batch: Batch) -> Dense:
    """Return packed episodes of equal length as padded ones."""
    episodes, times = batch.episodes[0], len(batch.episodes)

    def dense(values: Tensor) -> Tensor:
        padded = torch.cat((values, values.new_zeros(episodes * times - len(values), *values.shape[1:])))
        return padded.view(times, episodes, *values.shape[1:]).transpose(0, 1).contiguous()

    names = ("obs", "state", "action_mask", "actions", "reward", "terminated")
    fields = {name: dense(getattr(batch, name)) for name in names}
    one_hot = nn.functional.one_hot(fields["actions"], batch.action_mask.shape[-1]).float()
    return fields | {"one_hot": one_hot, "filled": dense(torch.ones_like(batch.now))}


START = """
import sys, time
began = time.perf_counter()
import marl_gre.jobs.train
imported = time.perf_counter()
from benchmarks.speed.sections import first_update
prepared = time.perf_counter()
first_update(sys.argv[1])
print(imported - began, time.perf_counter() - prepared)
"""


def start(effort: Effort) -> list[Row]:
    """Wall seconds to import the training job, and then to a first episode and update, kernels cached or compiled."""
    return [start_row(shape, effort) for shape in effort.shapes]


def start_row(shape: str, effort: Effort) -> Row:
    """Return one line of `start`."""
    start_once(shape)  # fills the cache
    imports, cached = zip(*(start_once(shape) for _ in range(-(-effort.repetitions // 5))), strict=True)
    row = {"shape": shape, "import, s": statistics.median(imports), "cached, s": statistics.median(cached)}
    if effort.compiling:
        with tempfile.TemporaryDirectory() as empty:
            row["compiled, s"] = start_once(shape, NUMBA_CACHE_DIR=empty)[1]
    return row


def start_once(shape: str, **environment: str) -> tuple[float, float]:
    """Return the seconds of the import and of the first episode and update in a new interpreter."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", START, shape],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported, updated = map(float, done.stdout.split())
    return imported, updated


def first_update(shape: str) -> None:
    """Make a trainer, play an episode and learn from it."""
    config = run_config(shape, ENTRIES[shape])
    trainer = Trainer(config.model_copy(update={"train": TRAIN.model_copy(update={"batch_episodes": 1})}))
    trainer.play_round()
    trainer.update()


def random_episodes(env: VectorEnv) -> list[Episode]:
    """Return one episode of random legal actions from each copy."""
    noise = np.random.default_rng(0).random((env.episode_limit, 2, env.num_envs, env.n_agents))
    return play(env, Policy(untrained(env)), range(env.num_envs), 1.0, noise)


def untrained(env: VectorEnv) -> RecurrentAgent:
    """Return an agent for an environment, always with the same weights: how long episodes are depends on them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RecurrentAgent(EnvSizes.of(env), TRAIN.hidden_dim)


def our_learner(n_agents: int, obs_dim: int, n_actions: int, state_dim: int) -> Learner:
    """Return our learner with QMIX."""
    sizes = EnvSizes(n_agents, n_actions, obs_dim, state_dim)
    agent = RecurrentAgent(sizes, TRAIN.hidden_dim)
    return Learner(Networks(agent, QMIX(sizes, QMIX.Config())), TRAIN)


def dense_learner(agent: type[nn.Module], n_agents: int, obs_dim: int, n_actions: int, state_dim: int) -> DenseLearner:
    """Return a reference learner with that kind of agent."""
    return DenseLearner(agent(obs_dim, n_actions, n_agents, TRAIN.hidden_dim), DenseQMIX(n_agents, state_dim), TRAIN)


def run_config(shape: str, entry: EnvConfig) -> RunConfig:
    """Return a run of QMIX."""
    algorithm = AlgorithmConfig(mixer="qmix", mixer_config=QMIX.Config())
    return RunConfig(env_key=shape, algorithm_key="qmix", seed=0, env=entry, algorithm=algorithm, train=TRAIN)


def stored_bytes(episode: Episode) -> int:
    """Return the bytes of an episode in our replay."""
    return sum(values.nbytes for values in (*episode.world.values(), episode.actions, episode.reward))


def dense_bytes(env: VectorEnv) -> int:
    """Return the bytes of an episode in the reference's replay."""
    return sum(tensor.nbytes for tensor in dense_episodes(env, 1).values())


SECTIONS: dict[str, Callable[[Effort], list[Row]]] = {
    section.__name__: section
    for section in (learner, mixers, gpu, training, jobs, environments, acting, memory, growth, start)
}
