"""D1-D6, D8: the same bits from the same config, whatever else is different."""

import hashlib
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from harness import ALGORITHMS, PARAMS, count, digest, finish, in_child, reference, run_config, start

from marl_gre.trainer import Trainer

GRIDWORLDS = [pytest.param(name, marks=pytest.mark.faults) for name in ("lumberjacks", "traffic")]


# 4 algorithms x 4 environments x seeds; 4 (two environments), 32 and 48 pairs
@pytest.mark.parametrize("env", ["probe", "smac", *GRIDWORLDS])
def test_two_runs_give_the_same_bits_and_other_seeds_others(tmp_path, tally, env):
    """D1, D2, and D5: the second runs are trained side by side, the first ones alone."""
    algorithms = ALGORITHMS if count(0, 1, 1) else ALGORITHMS[3:]
    seeds = range(count(2, 2, 3))
    keys = [(algorithm, seed) for algorithm in algorithms for seed in seeds]
    configs = {key: run_config(tmp_path, env, *key) for key in keys}
    alone = {key: finish(config, tmp_path / "alone" / f"{key}") for key, config in configs.items()}
    together = {}
    for first in range(0, len(keys), 4):
        children = {key: start(configs[key], tmp_path / f"{key}") for key in keys[first : first + 4]}
        for key, child in children.items():
            assert child.end() == 0, child.errors()
            together[key] = digest(tmp_path / f"{key}")
    mismatches = sum(alone[key] != together[key] for key in keys)
    tally.add("determinism", pairs=len(keys), mismatches=mismatches)
    assert mismatches == 0
    weights = {digests["weights.safetensors"] for digests in alone.values()}
    assert len(weights) == len(keys)  # a seed or an algorithm that is ignored would give the same


@pytest.mark.faults
@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_hash_order_changes_nothing(tmp_path, hash_seed):
    config = run_config(tmp_path)
    expected = finish(config, tmp_path / "reference")
    (tmp_path / "params.yaml").write_text(PARAMS)
    command = [sys.executable, "-m", "marl_gre", "train", "--env", "probe", "--algorithm", "qmix_gre", "--out", "out"]
    path = os.pathsep.join(sys.path)
    subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}, check=True
    )
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").iterdir()}
    del expected["state"]  # which the command does not keep
    assert {name: found[name] for name in expected} == expected


def poison():
    """Seed the global generators anew at every update, from a source that nobody controls."""
    update = Trainer.update

    def poisoned(trainer):
        noise = int.from_bytes(os.urandom(4), "little")
        random.seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        torch.manual_seed(noise)
        before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
        update(trainer)
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])

    Trainer.update = poisoned


def test_global_generators_are_neither_read_nor_moved(tmp_path):
    config = run_config(tmp_path)
    child = start(config, tmp_path / "run", 8, poison)
    assert child.end() == 0, child.errors()
    assert digest(tmp_path / "run") == reference(config)


@pytest.mark.parametrize("env", ["probe", *GRIDWORLDS])
def test_how_often_is_looked_changes_no_learning(tmp_path, env):
    """D6: intervals of checkpoints, tests and measurements, and copies that play tests, leave the weights alone."""
    config = run_config(tmp_path, env)
    expected = reference(config)
    assert finish(config, tmp_path / "never", every=10**9) == expected
    assert finish(config, tmp_path / "always", every=1) == expected
    for name, value in (("test_interval_steps", 33), ("entropy_interval_steps", 7), ("test_episodes", 2)):
        other = config.model_copy(update={"env": config.env.model_copy(update={name: value})})
        found = finish(other, tmp_path / name)
        same = {file for file in found if found[file] == expected[file]}
        assert {"weights.safetensors", "state"} <= same, name
        assert "train.json" not in same  # it is another config, and another identity
    fewer = config.model_copy(update={"env": config.env.model_copy(update={"test_copies": 2})})
    found = finish(fewer, tmp_path / "copies")
    assert found["weights.safetensors"] == expected["weights.safetensors"]


def one_update(threads):
    """Loss, gradient norm and weights after one update with so many threads."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        config = run_config(Path(folder), "traffic")
    torch.set_num_threads(threads)
    trainer = Trainer(config)
    while len(trainer.replay) < 4:
        trainer.play_round()
        trainer.episodes += 1
    results = []
    update = trainer.learner.update

    def noting(batch):
        results.append(update(batch))
        return results[0]

    trainer.learner.update = noting
    trainer.update()
    weights = np.concatenate([p.detach().numpy().ravel() for p in trainer.learner.parameters])
    return float(results[0].loss), float(results[0].grad_norm), weights


def test_threads_agree_to_rounding_after_one_update():
    loss, norm, weights = in_child(one_update, 1)
    for threads in (2, 8):
        other = in_child(one_update, threads)
        assert other[:2] == pytest.approx((loss, norm), rel=1e-5)
        # RMSprop divides by the root of the gradient's square: a tiny gradient's rounding is as large as a step
        assert np.quantile(abs(other[2] - weights), 0.99) < 1e-5
