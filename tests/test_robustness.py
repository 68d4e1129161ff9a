"""What users, machines and third parties do wrong: one line, the right exit code, and nothing of theirs is lost."""

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

import corridor
import marl_gre_envs
from marl_gre import cli, signals, trackers
from marl_gre.agents.base import Agent, TorchActor
from marl_gre.config import EnvConfig, EvaluateConfig, load_params
from marl_gre.conformance.kit import ConformanceError
from marl_gre.data import EnvSizes
from marl_gre.errors import BadInput, EnvironmentFailed, NonFinite, RunInUse, StorageFailed, run_cli
from marl_gre.jobs import credits_shapley
from marl_gre.jobs.check import check_params
from marl_gre.jobs.credits import diagnose_run
from marl_gre.jobs.evaluate import evaluate
from marl_gre.jobs.play import play_run, render
from marl_gre.jobs.train import train
from marl_gre.jobs.verify import _holds_the_same as holds_the_same
from marl_gre.jobs.verify import verify
from marl_gre.mixers import VDN, Mixer, MixerConfig, Qatten
from marl_gre.networks import Networks, build, try_agent
from marl_gre.rollout import BlamedOnEnv, make_env
from marl_gre.storage import checkpoint, files, provenance
from marl_gre.storage.files import publishing
from marl_gre.storage.mirror import Mirror
from marl_gre.storage.resume import Keeper
from marl_gre.storage.run_dir import PUBLISHED, SUMS, load_run, lock, prepare
from marl_gre.storage.weights import load_weights, read_weights, weights_bytes
from marl_gre.testing import check_agent
from marl_gre.third_party import installed
from marl_gre.trainer import Trainer

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
    with pytest.raises(BadInput, match="mine: found thesis, which does not belong to a run; move it or name another"):
        prepare(tmp_path / "mine")
    assert thesis.read_text() == "all of it"


def test_a_file_that_the_user_put_beside_a_run_is_not_deleted_with_it(tmp_path):
    for name in (*PUBLISHED, "notes.txt", "of_an_older_version.csv"):
        (tmp_path / name).touch()
    (tmp_path / SUMS).write_text(f"{'0' * 64}  of_an_older_version.csv\n")
    with pytest.raises(BadInput, match=r"found notes.txt, which does not belong to a run"):
        prepare(tmp_path)
    (tmp_path / "notes.txt").unlink()
    prepare(tmp_path)


def test_empty_folders_runs_and_what_is_left_of_them_are_replaced(tmp_path):
    for name, content in (("empty", ()), ("run", (*PUBLISHED, SUMS)), ("half deleted", PUBLISHED[2:])):
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


def test_the_only_folder_left_is_kept_where_it_is_and_returns(tmp_path, monkeypatch):
    """Neither the new folder nor the old one can be put in place: the next run finds the old one beside it."""
    target = tmp_path / "run"
    target.mkdir()
    for name in (*PUBLISHED, SUMS):
        (target / name).touch()
    real = Path.rename

    def failing(self, to):
        if to == target:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageFailed, match="cannot be written"), publishing(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [f".run.old-{os.getpid()}"]
    with pytest.raises(StorageFailed, match="cannot be written"), publishing(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [f".run.old-{os.getpid()}"]
    monkeypatch.undo()
    prepare(target)
    assert (target / SUMS).exists()


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


class Detached(VDN):
    def forward(self, values, state):
        return values.chosen.detach().sum(-1)


class DetachedAgent(Remembering):
    def step(self, obs, previous, memory):
        agent_qs, memory = super().step(obs, previous, memory)
        return agent_qs.detach(), memory


class AsInPyMARL(VDN):
    def __init__(self, args):
        super().__init__(args.sizes, args.config)


class NoForward(Mixer):
    pass


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
        ("qmix}", "qmix, central: {mixer: vdn, loss_weight: '2'}}", "central.loss_weight: found '2'; a number is need"),
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
        ("qmix}", f"'{HERE}:Detached'}}", r"Detached: found q_tot without a gradient, .*; it must not be detached\.$"),
        ("qmix}", f"qmix, agent: '{HERE}:DetachedAgent'}}", "DetachedAgent: found agent_qs without a gradient"),
        ("qmix}", f"'{HERE}:NoForward'}}", f"a mixer defines forward.* --mixer {HERE}:NoForward`"),
        ("qmix}", f"'{HERE}:AsInPyMARL'}}", r"TypeError: .*; mixers are made as Mixer\(sizes, config\), agents as"),
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


# --- commands on a finished run ---------------------------------------------------------------------------------------


def doubled_loss(update, batch):
    return 2 * update.loss


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of a single agent with a third party's metric."""
    folder = tmp_path_factory.mktemp("alone")
    path = params_with(folder, "{max_steps: 10}", "{max_steps: 10, n_agents: 1}")
    path.write_text(f"{path.read_text()}metrics: ['{HERE}:doubled_loss']\n")
    train(load_params(path).run_config("lumberjacks", "qmix", 0), folder / "run", folder / "work")
    return folder / "run"


def test_training_again_verifies_a_run_with_metrics_of_third_parties(alone):
    assert "doubled_loss" in (alone / "training.csv").read_text()
    lines = list(verify(alone, retrain=True))
    assert re.search(r"trained again, .*training\.csv.* bit-equal", lines[-1])
    text = (alone / "training.csv").read_text().splitlines()
    names = text[0].split(",")
    for name, same in (("doubled_loss", True), ("td_loss", False)):
        cells = text[-1].split(",")
        cells[names.index(name)] = "7"
        changed = alone.parent / f"{name}.csv"
        changed.write_text("\n".join([*text[:-1], ",".join(cells)]) + "\n")
        other = alone.parent / name / "training.csv"
        other.parent.mkdir()
        other.write_text(changed.read_text())
        without = alone.parent / name / "again" / "training.csv"
        without.parent.mkdir()
        keep = [i for i, column in enumerate(names) if column != "doubled_loss"]
        without.write_text("".join(",".join(row.split(",")[i] for i in keep) + "\n" for row in text))
        assert holds_the_same(other, without) == same
    shorter = alone.parent / "shorter" / "training.csv"
    shorter.parent.mkdir()
    shorter.write_text("\n".join(text[:-1]) + "\n")
    assert not holds_the_same(alone / "training.csv", shorter)


def test_credits_of_one_agent_print_no_numbers_that_are_undefined(alone, tmp_path, capsys):
    diagnose_run(alone, tmp_path / "out", 0, 1)
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "the entropy of a single agent's credit is undefined" in printed


def test_a_number_of_orders_is_refused_before_anything_is_played(alone, tmp_path, monkeypatch):
    monkeypatch.setattr("marl_gre.jobs.credits.measure", lambda *arguments: pytest.fail("it played"))
    with pytest.raises(BadInput, match="--shapley: found 3 permutations; an even number of 4 or more is allowed"):
        diagnose_run(alone, tmp_path / "out", 0, 1, permutations=3)


def test_a_window_keeps_no_pictures_and_environments_are_closed(alone, monkeypatch, capsys):
    shown, closed = [], []
    monkeypatch.setattr("marl_gre.jobs.play.Window", lambda *_: SimpleNamespace(show=shown.append, close=lambda: None))
    monkeypatch.setattr("marl_gre.jobs.play.save_gif", lambda *_: pytest.fail("it kept pictures"))
    monkeypatch.setattr("marl_gre_envs.vector.VectorEnv.close", lambda self: closed.append(self))
    play_run(alone, None, 0, 2)
    lengths = [int(length) for length in re.findall(r"(\d+) steps", capsys.readouterr().out)]
    assert len(shown) == sum(lengths) + 2  # and the starts
    evaluate(alone, None, EvaluateConfig(episodes=2))
    assert len(closed) == 2
    with pytest.raises(BadInput, match="found a folder; name a file"):
        play_run(alone, alone, 0, 1)


class Failing:
    def reset(self, seed):
        raise ValueError(f"seed {seed}")

    def step(self, actions):
        raise KeyError("lost")

    def render(self, index):
        raise KeyError("no picture")


def guarded(call):
    with BlamedOnEnv([3]):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda env: guarded(lambda: env.reset(seed=[3])),
            "the environment failed in the episode with seed 3: ValueError",
        ),
        (
            lambda env: guarded(lambda: env.step(np.zeros((1, 2)))),
            "the environment failed in the episode with seed 3: KeyError",
        ),
        (lambda env: render(env, "mine"), "envs.mine: rendering failed: KeyError: 'no picture'"),
    ],
)
def test_an_environment_that_fails_while_it_is_watched_is_named(call, message):
    with pytest.raises(EnvironmentFailed, match=message):
        call(Failing())


def test_an_adapter_that_finds_numbers_that_are_not_finite_has_an_error_of_its_own():
    with pytest.raises(NonFinite, match="in the episode with seed 3: the env returned rewards"), BlamedOnEnv([3]):
        raise FloatingPointError("the env returned rewards that are not finite: [inf]")


@pytest.mark.parametrize("code", [0, None, 3])
def test_an_environment_cannot_end_the_program(code, tmp_path):
    found = "" if code is None else code
    with pytest.raises(EnvironmentFailed, match=f"the episode with seed 3: SystemExit: {found}$"), BlamedOnEnv([3]):
        sys.exit(code)
    (tmp_path / "exits_at_once.py").write_text(f"import sys\nsys.exit({code})\n")
    sys.path.insert(0, str(tmp_path))
    try:
        path = params_with(tmp_path, "env: lumberjacks_v0, kwargs: {max_steps: 10}", "env: exits_at_once:parallel_env")
        with pytest.raises(BadInput, match="module 'exits_at_once' cannot be imported"):
            check_params(path)
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([7], "failed in the episode with seed 7: KeyError"),
        (list(range(100, 110)), "failed in one of the episodes with seeds 100 to 109: KeyError"),
        ([4, 9, 2, 1, 7, 5], "failed in one of the episodes with seeds 4, 9, 2, 1, 7, ...: KeyError"),
    ],
)
def test_a_failure_in_a_batch_is_not_blamed_on_its_first_episodes(seeds, words):
    with pytest.raises(EnvironmentFailed, match=re.escape(words)), BlamedOnEnv(seeds):
        raise KeyError("lost")


class FailsInItsFirstStep(corridor.parallel_env):
    def step(self, actions):
        raise KeyError("lost")


class PaysTooMuch(corridor.parallel_env):
    def rewards(self, agents, arrived):
        return dict.fromkeys(agents, float("inf"))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("FailsInItsFirstStep", EnvironmentFailed, "environment failed in the episode with seed 0: KeyError: 'lost'"),
        ("PaysTooMuch", NonFinite, "environment failed in the episode with seed 0: the env returned rewards that are"),
    ],
)
def test_a_check_takes_the_first_step_of_a_third_partys_environment(tmp_path, name, error, message):
    path = params_with(tmp_path, "env: lumberjacks_v0, kwargs: {max_steps: 10}", f"env: {HERE}:{name}")
    with pytest.raises(error, match=f"envs.lumberjacks: the {message}"):
        check_params(path)


@pytest.mark.parametrize(
    "command",
    [lambda run: play_run(run, run / "a.gif", 2**32 - 3, 4), lambda run: diagnose_run(run, None, 2**32 - 3, 4)],
)
def test_seeds_that_would_count_up_too_far_are_named(command, tmp_path):
    with pytest.raises(BadInput, match="--seed 4294967293 and 4 episodes: seeds up to 4294967295 are allowed"):
        command(tmp_path)


class CannotDraw(corridor.parallel_env):
    def __init__(self, render_mode=None):
        super().__init__()

    def render(self):
        raise KeyError("no font")


def test_credits_need_no_pictures(tmp_path, capsys):
    path = params_with(tmp_path, "env: lumberjacks_v0, kwargs: {max_steps: 10}", f"env: {HERE}:CannotDraw")
    train(load_params(path).run_config("lumberjacks", "qmix", 0), tmp_path / "run", tmp_path / "work")
    capsys.readouterr()
    diagnose_run(tmp_path / "run", tmp_path / "credits", 0, 1)
    warning = "warning: the animation is without pictures: envs.lumberjacks: rendering failed: KeyError: 'no font'\n"
    assert capsys.readouterr().err == warning
    names = {"credits.csv", "phases.csv", "credits.png", "credits.gif"}
    assert {file.name for file in (tmp_path / "credits").iterdir()} == names
    with pytest.raises(EnvironmentFailed, match="rendering failed: KeyError: 'no font'"):
        play_run(tmp_path / "run", tmp_path / "film.gif", 0, 1)


def test_folders_may_be_given_as_text(tmp_path):
    config = load_params(params_with(tmp_path)).run_config("lumberjacks", "qmix", 0)
    run = str(tmp_path / "run")
    train(config, run, str(tmp_path / "work"))
    assert load_run(run, str(tmp_path / "work")).record["env"] == "lumberjacks"
    evaluate(run, str(tmp_path / "evaluation.json"), EvaluateConfig(episodes=2))
    assert "files:" in next(verify(run, str(tmp_path / "evaluation.json")))


class CannotClose(corridor.parallel_env):
    closed = 0

    def close(self):
        type(self).closed += 1
        raise RuntimeError("cannot close")


def test_what_closing_raises_stops_nothing_and_every_environment_is_closed(tmp_path):
    path = params_with(tmp_path, "env: lumberjacks_v0, kwargs: {max_steps: 10}", f"env: {HERE}:CannotClose")
    check_params(path)
    assert CannotClose.closed == 1
    train(load_params(path).run_config("lumberjacks", "qmix", 0), tmp_path / "run", tmp_path / "work")
    assert (tmp_path / "run" / SUMS).exists()
    assert CannotClose.closed == 1 + 1 + 1  # and the one that trained; a test stops at the first that raises


def test_too_little_memory_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: np.empty(2**45))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: out of memory \(Unable to allocate .*\); make networks smaller .*\.\n", error)


@pytest.mark.parametrize("found", [None, "1", 1.5, float("inf"), True, -1])
def test_a_results_version_that_is_no_whole_number_is_one_line(found, monkeypatch):
    monkeypatch.setattr(corridor, "RESULTS_VERSION", found, raising=False)
    with pytest.raises(
        ValueError, match=f"corridor:parallel_env': RESULTS_VERSION must be a whole .*, found {found!r}"
    ):
        marl_gre_envs.results_version("corridor:parallel_env")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("play run --seed 4294967296", "--seed: found '4294967296'; a whole number from 0 to 4294967295 is allowed"),
        ("credits run --seed -1", "--seed: found '-1'; a whole number from 0 to 4294967295"),
        ("evaluate run --episodes abc", "--episodes: found 'abc'; a whole number of 1 or more is allowed"),
    ],
)
def test_numbers_on_the_command_line(words, message):
    with pytest.raises(BadInput, match=message):
        cli.parser().parse_args(words.split())


def test_games_of_short_episodes_draw_from_generators_of_their_own(monkeypatch):
    drawn = []
    monkeypatch.setattr(credits_shapley, "rng", lambda seed, purpose, index: drawn.append(index))
    monkeypatch.setattr(credits_shapley, "restore", lambda *_: SimpleNamespace(agent=None))
    monkeypatch.setattr(credits_shapley, "shapley", lambda *_: None)
    episode = SimpleNamespace(episode=SimpleNamespace(seed=0), shares=np.ones((3, 2)), starts={0: 0, 2: 1, 3: 2})
    config = SimpleNamespace(seed=0, train=SimpleNamespace(gamma=1.0))
    env = SimpleNamespace(noops=[0], n_agents=2)
    credits_shapley._games(SimpleNamespace(config=config), env, [episode, episode], 4)
    assert drawn == [0, 2, 3, 4, 6, 7]


# --- signals, output and libraries ------------------------------------------------------------------------------------


def test_a_second_request_to_stop_ends_what_hangs(monkeypatch):
    ended = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    try:
        with signals.noted(again_ends=True) as received:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # the same request
            assert (len(received), ended) == (2, [])
            monkeypatch.setattr(signals, "SAME_S", -1.0)
            signal.raise_signal(signal.SIGTERM)
            assert ended == [signal.SIGTERM]
        with signals.noted() as received:  # a launcher decides itself
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert (len(received), len(ended)) == (2, 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_the_system_refuses_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: load_run(Path("x" * 300)))
    assert ended.value.code == 6
    error = capsys.readouterr().err
    assert "File name too long" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("code", [0, 3, "gone"])
def test_code_that_exits_is_one_line_and_no_success(code, capsys):
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: sys.exit(code))
    assert ended.value.code == 2
    expected = f"error: code that this command runs called sys.exit({code!r}); let it raise an exception instead.\n"
    assert capsys.readouterr().err == expected


def test_a_full_disk_behind_the_output_is_one_line():
    code = "from marl_gre.errors import run_cli; run_cli(lambda: print('sound'))"
    with open("/dev/full", "w") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": ""}  # so that it fails at the end, not in print
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 6
    assert re.fullmatch(r"error: .*No space left on device.*\n", done.stderr)


@pytest.mark.parametrize(("code", "expected"), [
    ("print('x' * 100_000)", 141),
    ("print('x'); raise StorageFailed('gone')", 6),  # whatever else went wrong
    ("Parser().parse_args(['--help'])", 141),
])  # fmt: skip
def test_the_exit_code_where_nobody_reads_the_output(code, expected):
    code = f"import sys\nfrom marl_gre.errors import *\ndef main():\n    {code}\nrun_cli(main)"
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONUNBUFFERED": ""}  # so that it fails at the end, not in print
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (expected, "error: gone\n" if expected == 6 else "")


def test_more_actions_than_episodes_store_are_refused(tmp_path):
    config = EnvConfig.model_validate(
        {"env": "corridor_variants:ManyActions", "total_steps": 1, "test_interval_steps": 1}
    )
    with pytest.raises(BadInput, match=r"envs\.many: found 32,769 actions; at most 32,768 are allowed\."):
        make_env("many", config, 1)


def test_environments_of_a_trainer_that_cannot_be_made_are_closed(tmp_path, monkeypatch):
    config = load_params(params_with(tmp_path)).run_config("lumberjacks", "qmix", 0)
    closed = []
    monkeypatch.setattr("marl_gre.trainer.close", closed.append)
    monkeypatch.setattr("marl_gre.trainer.make_learner", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Trainer(config)
    assert [type(env).__name__ for env in closed] == ["Lumberjacks"] * 2


def test_an_installed_package_in_somebodys_repository_records_no_commit(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "theirs").touch()
    git("add", "theirs")
    git("commit", "-qm", "theirs")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    (tmp_path / "provenance.py").touch()
    found = provenance.provenance(torch.device("cpu"), 0.0)
    assert (found["commit"], found["dirty"]) == (None, False)
    git("add", "provenance.py")
    git("commit", "-qm", "ours")
    assert len(provenance.provenance(torch.device("cpu"), 0.0)["commit"]) == 40


def test_a_folder_is_no_library(tmp_path, monkeypatch):
    (tmp_path / "plain_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed("plain_folder")
    assert not installed("no_such_library")
    assert installed("numpy")


def test_a_mistake_in_the_variable_names_the_variable(monkeypatch):
    monkeypatch.setenv("MARL_GRE_LOG", "tensorbord")
    with pytest.raises(BadInput, match=r"^MARL_GRE_LOG: found 'tensorbord'; csv, tensorboard, wandb or package"):
        trackers.from_variable()


# --- runs that go on -------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_counts_the_time_of_both_processes(tmp_path):
    config = load_params(params_with(tmp_path)).run_config("lumberjacks", "qmix", 0)
    first = Keeper(tmp_path, "run")
    first.started -= 1000
    trainer = Trainer(config)
    trainer.test_if_due()
    trainer.play_round()
    first.save(trainer)
    second = Keeper(tmp_path, "run")
    assert second.resume(Trainer(config))
    assert 1000 <= time.monotonic() - second.started < 1100
    content = checkpoint.load_newest(tmp_path, "run")[0]
    older = {name: value for name, value in content.items() if name != "wall_s"}  # as older versions wrote it
    state = (tmp_path / "checkpoint-000001" / "state.safetensors").read_bytes()
    segments = checkpoint.load_newest(tmp_path, "run")[2]
    checkpoint.save(tmp_path, "run", 2, {"state.safetensors": state}, segments, older)
    third = Keeper(tmp_path, "run")
    assert third.resume(Trainer(config))
    assert time.monotonic() - third.started < 100


def test_a_metric_that_is_no_longer_named_leaves_no_column(tmp_path):
    path = params_with(tmp_path)
    plain = path.read_text()
    path.write_text(f"{plain}metrics: ['{HERE}:doubled_loss']\n")
    trainer = Trainer(load_params(path).run_config("lumberjacks", "qmix", 0))
    trainer.means.add({"doubled_loss": 1.0, "td_loss": 2.0})
    path.write_text(plain)
    other = Trainer(load_params(path).run_config("lumberjacks", "qmix", 0))
    other.load_state_dict(trainer.state_dict())
    assert other.means.take() == {"td_loss": 2.0}
