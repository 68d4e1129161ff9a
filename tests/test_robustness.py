"""What users, machines and third parties do wrong: one line, the right exit code, and nothing of theirs is lost."""

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from marl_gre.agents.base import Agent, TorchActor
from marl_gre.config import load_params
from marl_gre.conformance.kit import ConformanceError
from marl_gre.data import EnvSizes
from marl_gre.errors import BadInput, RunInUse, StorageFailed
from marl_gre.jobs.check import check_params
from marl_gre.jobs.evaluate import evaluate
from marl_gre.mixers import VDN, MixerConfig, Qatten
from marl_gre.networks import Networks, build, try_agent
from marl_gre.rollout import make_env
from marl_gre.storage import checkpoint, files
from marl_gre.storage.files import publishing
from marl_gre.storage.mirror import Mirror
from marl_gre.storage.run_dir import PUBLISHED, SUMS, lock, prepare
from marl_gre.storage.weights import load_weights, read_weights, weights_bytes
from marl_gre.testing import check_agent

HERE = "test_robustness"

PARAMS = """
run: {envs: [lumberjacks], algorithms: [qmix], seeds: [0]}
envs:
  lumberjacks: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 60, test_interval_steps: 50,
    test_episodes: 2, entropy_interval_steps: 25}
algorithms: {qmix: {mixer: qmix}}
train: {hidden_dim: 8, batch_episodes: 2, device: cpu}
"""


def params_with(folder, old="", new=""):
    """Return a params file: PARAMS with a part replaced."""
    assert old in PARAMS
    path = folder / "params.yaml"
    path.write_text(PARAMS.replace(old, new) if old else PARAMS)
    return path


# --- the folder of the results --------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    thesis = tmp_path / "mine" / "thesis" / "chapter.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("all of it")
    with pytest.raises(BadInput, match="mine: found thesis in it and no run, which alone is replaced; name a new fold"):
        prepare(tmp_path / "mine")
    assert thesis.read_text() == "all of it"


def test_empty_folders_runs_and_what_is_left_of_them_are_replaced(tmp_path):
    for name, content in (("empty", ()), ("run", (*PUBLISHED, SUMS, "note.txt")), ("half deleted", PUBLISHED[2:])):
        folder = tmp_path / name
        folder.mkdir()
        for file in content:
            (folder / file).touch()
        prepare(folder)


def test_what_cannot_be_replaced_is_refused_before_the_work(tmp_path, monkeypatch):
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for target, message in (
        (".", r"^\.: found the current folder or one above it; name a new folder\.$"),
        ("..", r"^\.\.: found the current folder or one above it"),
        (str(tmp_path), "found the current folder or one above it"),
        ("new/..", "found the current folder or one above it"),
        ("/", "found a mount point"),
        (str(tmp_path / "link"), "found a link, which cannot be replaced; name the folder itself"),
    ):
        with pytest.raises(BadInput, match=message):
            prepare(Path(target))
    with pytest.raises(BadInput, match=r"^\.: found a folder; name a file\.$"):
        evaluate(tmp_path / "no run", Path(), None)


def test_the_old_folder_is_whole_until_the_new_one_is_there(tmp_path, monkeypatch):
    target = tmp_path / "run"
    target.mkdir()
    (target / "file").write_text("old")
    real, seen = shutil.rmtree, []

    def watched(path, *arguments, **keywords):
        seen.append((target / "file").read_text())
        real(path, *arguments, **keywords)

    monkeypatch.setattr(files.shutil, "rmtree", watched)
    with publishing(target) as new:
        (new / "file").write_text("new")
    assert set(seen) == {"old", "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_failed_replacement_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "run"
    target.mkdir()
    (target / "file").write_text("old")
    real = Path.rename

    def failing(self, to):
        if ".tmp-" in self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageFailed, match="cannot be written"), publishing(target):
        pass
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_a_killed_process_moved_aside_returns(tmp_path):
    moved = tmp_path / ".run.old-12"
    moved.mkdir()
    for name in (*PUBLISHED, SUMS):
        (moved / name).touch()
    prepare(tmp_path / "run")
    assert (tmp_path / "run" / SUMS).exists()
    moved.mkdir()
    prepare(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- locks, checkpoints and mirrors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(errno.EAGAIN, RunInUse, "is being trained by"), (errno.ENOLCK, StorageFailed, "cannot be locked .No locks avai")],
)
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number, error, message):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(error, match=message), lock(tmp_path / "work"):
        pass


def saved(work, number):
    checkpoint.save(work, "run", number, {"state": bytes([number])}, {}, {"number": number})


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path):
    left = tmp_path / f"checkpoint-000001.tmp-{os.getpid()}"
    left.mkdir()
    (left / "state").touch()
    saved(tmp_path, 1)
    assert checkpoint.load_newest(tmp_path, "run")[0] == {"number": 1}
    assert not left.exists()


def test_no_previous_checkpoint_is_promised_where_there_is_none(tmp_path, capsys):
    saved(tmp_path, 1)
    (tmp_path / "checkpoint-000001" / "state").write_bytes(b"x")
    with pytest.raises(StorageFailed, match="all checkpoints are damaged"):
        checkpoint.load_newest(tmp_path, "run")
    assert "the previous one is used" not in capsys.readouterr().err


def test_an_intact_mirror_takes_the_place_of_damaged_checkpoints(tmp_path, capsys):
    work = tmp_path / "work"
    work.mkdir()
    mirror = Mirror(str(tmp_path / "mirror"), "run")
    mirror.take()
    for number in (1, 2):
        saved(work, number)
        mirror.push(work, number)
    for number in (1, 2):
        (work / f"checkpoint-00000{number}" / "state").write_bytes(b"x")
    mirror.fetch(work)
    assert checkpoint.load_newest(work, "run")[0] == {"number": 2}
    assert capsys.readouterr().err.count("damaged, the mirror's copy is used") == 2
    assert len(list(work.glob("damaged-*"))) == 2


# --- params.yaml and third parties' parts -----------------------------------------------------------------------------


class NoConfig(VDN):
    Config = object


class Regularised(VDN):
    def mix_and_regularise(self, values, state):
        return self(values, state), self(values, state)


class NoMemoryLeft(VDN):
    def __init__(self, sizes, config):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117]\nnot enough memory")


class Remembering(Agent):
    """A module under two names, and an agent that looks at its previous observations again."""

    def __init__(self, sizes, hidden_dim):
        super().__init__(sizes, hidden_dim)
        self.layer = torch.nn.Linear(sizes.obs_dim, sizes.n_actions)
        self.again = self.layer

    def initial_memory(self, num_envs):
        return (torch.zeros(num_envs, self.sizes.n_agents, self.sizes.obs_dim, dtype=self.layer.weight.dtype),)

    def step(self, obs, previous, memory):
        return self.layer(memory[0]) + self.again(obs), (obs,)


class Keeping(Remembering):
    def actor(self, num_envs):
        return KeepingActor(self, num_envs)


class KeepingActor(TorchActor):
    """Keeps the array that it was given, which the environment overwrites."""

    def act(self, obs, action_mask, epsilon, noise, playing=None):
        if hasattr(self, "kept"):
            self.memory = (torch.from_numpy(self.kept).to(self.previous),)
        self.kept = obs
        return super().act(obs, action_mask, epsilon, noise, playing)


class ActsWrongly(Remembering):
    returned: ClassVar = None

    def actor(self, num_envs):
        return type("Actor", (), {"act": lambda _, *arguments: self.returned})()


def no_weights(steps):
    raise KeyError("gone")


def unplugged():
    raise OSError("the simulator is not plugged in")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "max_steps: 10",
            "max_steps: .inf",
            "lumberjacks.kwargs: max_steps: found inf; text in quotes, true, f",
        ),
        ("max_steps: 10", "a: {b: [1, .nan]}", "envs.lumberjacks.kwargs: a: b: 1: found nan"),
        ("max_steps: 10", "day: 2024-01-01", r"kwargs: day: found datetime.date\(2024, 1, 1\), a date;"),
        ("max_steps: 10", "a: {1: 2}", "kwargs: a: found the key 1; keys are text: quote it"),
        ("qmix}", "qmix, loss_weights: {name: ow, alpha: .nan}}", "qmix.loss_weights: alpha: found nan"),
        ("qmix}", "qmix, loss_weights: {name: ow, 1: 2}}", "qmix.loss_weights: found the key 1"),
        ("qmix}", "qmix, loss_weights: 'builtins:max'}", "qmix.loss_weights: builtins:max does not take these"),
        ("qmix}", f"'{HERE}:NoConfig'}}", "qmix.mixer: found .*, whose Config is not a subclass of marl_gre.mixers"),
        ("qmix}", "qmix, central: {mixer: vdn, loss_weight: '2'}}", "central.loss_weight: found '2'; input should be"),
        ("qmix}", "qmix, central: {mixer: vdn, loss_weight: true}}", "central.loss_weight: found True"),
        ("qmix}", "qmix, central: qmix_gre}", "central.mixer: found 'qmix_gre', which has a regulariser"),
        ("qmix}", f"qmix, central: '{HERE}:Regularised'}}", "which has a regulariser .*: use a mixer without one"),
        ("hidden_dim: 8", "hidden_dim: 70000", "train.hidden_dim: found 70000; input should be less than or equal"),
        ("qmix}", "qmix, embed_dim: 70000}", "qmix.embed_dim: found 70000; input should be less than or equal"),
        ("qmix}", "qmix_gre, gre_eps: 1e-40}", "qmix.gre_eps: found 1e-40; input should be greater than or equal"),
        ("qmix}", "vdn, gre_lambda: 1, gre_eps: 1e-40}", "qmix.gre_eps: found 1e-40"),
        ("qmix: {mixer: qmix}", "", "run.algorithms: found 'qmix', but `algorithms` is empty; add an entry"),
        (
            "run: {envs: [lumberjacks], algorithms: [qmix], seeds: [0]}",
            "run: 3",
            r"run: found 3; a mapping is needed\.$",
        ),
        ("{max_steps: 10}", "[10]", r"kwargs: found \[10\]; a mapping is needed"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_key(tmp_path, old, new, message):
    with pytest.raises(BadInput, match=message) as caught:
        load_params(params_with(tmp_path, old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "qmix}",
            "qmix, loss_weights: {name: ow, alpha: abc}}",
            "lumberjacks: loss_weights: alpha must be a fini",
        ),
        ("qmix}", "qmix, loss_weights: {name: cw, alpha: -1}}", "loss_weights: alpha must lie from 0 to 1, found -1"),
        ("qmix}", "qmix, loss_weights: {name: ow, alpha: 2}}", "loss_weights: alpha must lie from 0 to 1, found 2"),
        ("qmix}", f"qmix, loss_weights: '{HERE}:no_weights'}}", "loss_weights raised KeyError: 'gone'"),
        ("qmix}", f"'{HERE}:NoMemoryLeft'}}", "lumberjacks: RuntimeError: .enforce fail"),
        ("lumberjacks_v0, kwargs: {max_steps: 10}", f"'{HERE}:unplugged'", "OSError: the simulator is not plugged in"),
        ("qmix}", f"qmix, agent: '{HERE}:ActsWrongly'}}", "ActsWrongly: found actions object of shape"),
    ],
)
def test_a_part_that_cannot_work_is_found_before_training(tmp_path, old, new, message):
    with pytest.raises(BadInput, match=message):
        check_params(params_with(tmp_path, old, new))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros((1, 2)), r"found actions float64 of shape \[1, 2\]; integers of shape \[1, 2\] are needed"),
        (np.zeros((2, 1), int), r"found actions int64 of shape \[2, 1\]"),
        (np.zeros((1, 2), int), "acting chose an action that is not available"),
        (np.full((1, 2), 3), "acting chose an action that is not available"),
    ],
)
def test_an_agents_actions_are_tried(monkeypatch, returned, message):
    sizes = EnvSizes(n_agents=2, n_actions=3, obs_dim=4, state_dim=5)
    monkeypatch.setattr(ActsWrongly, "returned", returned)
    with pytest.raises(BadInput, match=message):
        try_agent(ActsWrongly(sizes, 8), sizes)


def test_an_agent_may_remember_observations_but_an_actor_copies_them():
    check_agent(Remembering)
    with pytest.raises(ConformanceError, match="greedy acting does not choose the action that step values highest"):
        check_agent(Keeping)


def test_a_module_with_two_names_is_saved_and_loaded():
    sizes = EnvSizes(n_agents=2, n_actions=3, obs_dim=4, state_dim=5)
    agent, other = Remembering(sizes, 8), Remembering(sizes, 8)
    weights = read_weights(weights_bytes(Networks(agent, VDN(sizes, MixerConfig()))))
    load_weights(weights, other, VDN(sizes, MixerConfig()))
    assert torch.equal(other.again.weight, agent.layer.weight)
    assert other.again.weight is other.layer.weight


def test_a_state_too_small_for_qatten():
    sizes = EnvSizes(n_agents=3, n_actions=3, obs_dim=4, state_dim=2)
    with pytest.raises(ValueError, match="found a state of 2 numbers for 3 agents; each agent needs one or more"):
        Qatten(sizes, Qatten.Config())


def test_results_versions_of_unnamed_parts_count_from_the_second_on(tmp_path, monkeypatch):
    plain = load_params(params_with(tmp_path)).run_config("lumberjacks", "qmix", 0)
    entropy = load_params(params_with(tmp_path, "qmix}", "qmix_gre}")).run_config("lumberjacks", "qmix", 0)
    assert set(plain.results_versions()) == set(entropy.results_versions()) == {"trainer", "env", "mixer"}
    monkeypatch.setattr("marl_gre.config.GRU_RESULTS_VERSION", 2)
    assert plain.results_versions()["agent"] == 2
    monkeypatch.setattr("marl_gre.config.GradientEntropy.results_version", 3)
    assert entropy.results_versions()["gradient_entropy"] == 3
    assert "gradient_entropy" not in plain.results_versions()


def test_building_networks_leaves_all_generators_alone(tmp_path, monkeypatch):
    config = load_params(params_with(tmp_path)).run_config("lumberjacks", "qmix", 0)
    env = make_env("lumberjacks", config.env, 1)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("CUDA was seeded"))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: pytest.fail("MPS was seeded"))
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("all devices were seeded"))
    build(config, env)
