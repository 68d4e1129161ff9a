"""F1-F3, F10-F12, F14, F17-F20: kills, signals, full and missing disks, broken environments, clocks, limits."""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from harness import ALGORITHMS, count, digest, finish, in_child, reference, run_config, start

import probe_envs
from marl_gre.config import load_params
from marl_gre.errors import NonFinite, StorageFailed
from marl_gre.storage import provenance
from marl_gre.storage.checkpoint import load_newest
from marl_gre.storage.resume import Keeper
from marl_gre.trainer import Trainer


def killed_until_done(config, folder, kills, generator, steps, every=8):
    """Train with up to `kills` kills at random environment steps (or while loading); return how many there were, and
    whether every attempt ended as it should."""
    done = 0
    while True:
        child = start(config, folder, every)
        if done < kills:
            target = int(generator.integers(1, 3 if generator.random() < 0.2 else max(3, 2 * steps // (kills + 1))))
            for seen in child.steps():
                if seen == target:
                    child.process.kill()
                    break
        code = child.end()
        if code == 0:
            return done, True
        if code != -signal.SIGKILL:
            print(child.errors())
            return done, False
        done += 1


def check_killed_runs(config, folder, runs, generator, steps):
    """Check that runs which are killed up to three times each give the bits of one that nothing disturbs."""
    expected = reference(config)
    kills = 0
    for run in range(runs):
        done, sound = killed_until_done(config, folder / str(run), 3, generator, steps)
        assert sound
        assert digest(folder / str(run)) == expected
        kills += done
    assert kills > 0


# F1, F2. The number of kills is that of the matrix: 4, 50, 200.
@pytest.mark.parametrize("env", ["probe", "traffic"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_killed_at_random_steps_and_resumed_the_bits_are_the_same(tmp_path, tally, env, algorithm):
    wanted = count(int(env == "probe"), 6, 25)
    if wanted == 0:
        pytest.skip("nightly")
    config = run_config(tmp_path, env, algorithm)
    expected = reference(config)
    generator = np.random.default_rng([len(env), ALGORITHMS.index(algorithm)])
    kills = runs = lost = different = 0
    while kills < wanted and runs < 3 * wanted:
        folder = tmp_path / str(runs)
        done, sound = killed_until_done(config, folder, min(5, wanted - kills), generator, steps=100)
        kills, runs, lost = kills + done, runs + 1, lost + (not sound)
        different += sound and digest(folder) != expected
        shutil.rmtree(folder)
    tally.add("resume", kills=kills, lost=lost, different=different)
    assert (kills, lost, different) == (wanted, 0, 0)


def test_killed_in_rounds_of_several_episodes_and_updates(tmp_path):
    config = run_config(tmp_path)
    train = config.train.model_copy(update={"episodes_per_round": 3, "updates_per_round": 2})
    config = config.model_copy(update={"train": train})
    check_killed_runs(config, tmp_path, count(1, 4, 10), np.random.default_rng(3), steps=60)


@pytest.mark.faults
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("env", ["lumberjacks", "smac"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_killed_on_a_gpu_and_resumed_the_bits_are_the_same(tmp_path, env, algorithm):
    config = run_config(tmp_path, env, algorithm)
    config = config.model_copy(update={"train": config.train.model_copy(update={"device": "cuda"})})
    generator = np.random.default_rng([len(env), ALGORITHMS.index(algorithm)])
    check_killed_runs(config, tmp_path, count(1, 2, 4), generator, steps=100)


@pytest.mark.faults
def test_qmix_gre_on_traffic_junction_10_killed_ten_times(tmp_path, tally):
    """The paper's network and environment on a short budget: 6,000 steps, a checkpoint every 500."""
    (tmp_path / "params.yaml").write_text(
        "run: {envs: [tj10], algorithms: [gre], seeds: [0]}\n"
        "envs: {tj10: {env: traffic_junction_v0, kwargs: {n_max: 10}, total_steps: 6000, test_interval_steps: 2000, "
        "test_episodes: 20}}\n"
        "algorithms: {gre: {mixer: qmix_gre, gre_lambda: 1e-3}}\ntrain: {device: cpu}\n"
    )
    config = load_params(tmp_path / "params.yaml").run_config("tj10", "gre", 0)
    expected = reference(config, every=500)
    generator = np.random.default_rng(10)
    kills, folder = 0, tmp_path / "killed"
    while kills < 10:
        child = start(config, folder, every=500)
        target = int(generator.integers(1, 1200))
        for seen in child.steps():
            if seen == target:
                child.process.kill()
                break
        assert child.end() == -signal.SIGKILL, child.errors()
        kills += 1
    child = start(config, folder, every=500)
    lost = child.end() != 0
    different = not lost and digest(folder) != expected
    tally.add("resume", kills=kills, lost=lost, different=different)
    assert not lost, child.errors()
    assert not different


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_ends_with_its_code(tmp_path, number):
    config = run_config(tmp_path)
    expected = reference(config)
    generator = np.random.default_rng(int(number))
    for attempt in range(count(1, 4, 20)):
        folder = tmp_path / str(attempt)
        target = int(generator.integers(3, 60))
        child = start(config, folder, 10**9, default_signals, pause_at=target)  # no checkpoint but the signal's
        child.wait_for_pause()
        os.kill(child.process.pid, number)
        child.go_on()
        assert child.end() == 128 + number, child.errors()
        assert child.errors().strip().splitlines()[-1] == (
            f"error: stopped by {number.name}; run the same command to go on."
        )
        assert finish(config, folder) == expected
        assert "resumed at" in (folder / "log").read_text()


def default_signals():
    """As started from a shell, whatever these tests were started from: nohup and background jobs ignore some."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_hangup():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_under_nohup_a_hangup_is_ignored(tmp_path):
    child = start(run_config(tmp_path), tmp_path / "run", 8, ignore_hangup, pause_at=20)
    child.wait_for_pause()
    os.kill(child.process.pid, signal.SIGHUP)
    child.go_on()
    assert child.end() == 0


# --- storage --------------------------------------------------------------------------------------------------------


def limit_file_size(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_no_room_for_the_results_is_found_before_training(tmp_path):
    """The kernel refuses files above a size: as on a disk that is nearly full, the published files would not fit."""
    child = start(run_config(tmp_path), tmp_path / "run", 8, limit_file_size, 500_000)
    assert list(child.steps()) == []
    assert child.end() == 6
    assert child.errors().startswith("error: ")
    assert child.errors().count("\n") == 1


def test_a_disk_that_fills_up_stops_the_run_which_goes_on_later(tmp_path, monkeypatch):
    config = run_config(tmp_path)
    expected = reference(config)
    child = start(config, tmp_path / "run", 8, fill_up)
    assert child.end() == 6
    assert "File too large" in child.errors()
    assert finish(config, tmp_path / "run") == expected
    assert "resumed at" in (tmp_path / "run" / "log").read_text()


def fill_up():
    """Let the kernel refuse every file above 1 KB after the third checkpoint."""
    from marl_gre.storage import checkpoint

    save = checkpoint.save

    def filling(work, run, number, *arguments):
        save(work, run, number, *arguments)
        if number == 3:
            limit_file_size(1000)

    checkpoint.save = filling


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_real_disk_that_fills_up(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        config = run_config(tmp_path)
        expected = reference(config)
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "work").symlink_to(disk)
        (disk / "ballast").write_bytes(bytes(1_100_000))
        assert start(config, folder).end() == 6
        (disk / "ballast").unlink()
        assert finish(config, folder) == expected
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("where", ["work", "out"])
def test_a_file_in_place_of_a_folder_is_found_before_training(tmp_path, where):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / where).touch()
    child = start(run_config(tmp_path), tmp_path / "run")
    assert list(child.steps()) == []
    assert child.end() == 6
    assert child.errors().count("\n") == 1
    assert str(tmp_path / "run" / where) in child.errors()


def become_nobody(folder):
    folder.chmod(0o555)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user the folder could not be handed over")
@pytest.mark.parametrize("where", ["work", "."])
def test_a_folder_that_may_not_be_written_is_found_before_training(tmp_path, where):
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    run = tmp_path / "run"
    (run / "work").mkdir(parents=True)
    (run / "log").touch()
    if where == ".":
        (run / "work").chmod(0o777)
    child = start(run_config(tmp_path), run, 8, become_nobody, run / where)
    assert list(child.steps()) == []
    assert child.end() == 6, child.errors()
    assert "Permission denied" in child.errors()
    assert child.errors().count("\n") == 1


@pytest.mark.parametrize("what", ["work", "work/*/replay", "work/*/checkpoint-*"])
def test_a_folder_that_vanishes_stops_the_run(tmp_path, what):
    """What is gone is gone; but no checkpoint is written that lacks what it needs."""
    config = run_config(tmp_path)
    expected = reference(config)
    child = start(config, tmp_path / "run", pause_at=40)
    child.wait_for_pause()
    for path in (tmp_path / "run").glob(what):
        shutil.rmtree(path)
    child.go_on()
    code = child.end()
    if what.endswith("checkpoint-*"):  # the next one is whole by itself
        assert code == 0
        return
    assert code == 6, child.errors()
    assert "No such file or directory" in child.errors()
    if what == "work":
        assert finish(config, tmp_path / "run") == expected  # from the beginning
    else:
        again = start(config, tmp_path / "run")
        assert again.end() == 6
        assert "all checkpoints are damaged; delete this folder" in again.errors()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_what_stands_in_the_way_of_reading_is_not_called_damage(tmp_path, monkeypatch, code):
    config = run_config(tmp_path)
    trainer, keeper = Trainer(config), Keeper(tmp_path, config.identity())
    for _ in trainer.run():
        if trainer.episodes == 10:
            break
    keeper.save(trainer)

    def refuse(path):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("marl_gre.storage.checkpoint.sha256", refuse)
        with pytest.raises(StorageFailed, match="cannot be read"):
            load_newest(tmp_path, config.identity())
    assert load_newest(tmp_path, config.identity()) is not None


# --- numbers that are not finite ------------------------------------------------------------------------------------


class Spoilt(probe_envs.Memory):
    """Memory whose observation, reward or state is NaN, infinite or huge from the k-th step of its life on."""

    metadata = {"name": "spoilt", "render_modes": []}  # noqa: RUF012

    def __init__(self, what, value, at):
        super().__init__()
        self.what, self.value, self.at, self.life = what, value, at, 0

    def step(self, actions):
        self.life += 1
        return super().step(actions)

    def reward(self, actions):
        return self.value if self.what == "reward" and self.life >= self.at else super().reward(actions)

    def observe(self):
        return self.value if self.what == "observation" and self.life >= self.at else super().observe()

    def state(self):
        value = self.value if self.what == "state" and self.life >= self.at else 0.0
        return np.array([value, float(self.steps)], np.float32)


def spoilt_env(what, value, at):
    return Spoilt(what, float(value), at)


def spoilt_config(tmp_path, what, value, at, lr=5e-4):
    path = tmp_path / "spoilt.yaml"
    path.write_text(
        f"run: {{envs: [e], algorithms: [a], seeds: [0]}}\nenvs: {{e: {{env: 'test_faults:spoilt_env', kwargs: {{what: "
        f"{what}, value: '{value}', at: {at}, episode_limit: 2}}, total_steps: 60, test_interval_steps: 1000, "
        f"test_episodes: 1}}}}\nalgorithms: {{a: {{mixer: qmix}}}}\ntrain: {{hidden_dim: 8, batch_episodes: 4, "
        f"replay_episodes: 8, lr: {lr}, device: cpu}}\n"
    )
    return load_params(path).run_config("e", "a", 0)


def newest_is_finite(work, config):
    found = load_newest(work, config.identity())
    if found is None:
        return True
    tensors = safetensors.torch.load(found[1]["state.safetensors"].read_bytes())
    return all(torch.isfinite(value).all() for value in tensors.values())


def test_numbers_that_are_not_finite_name_their_side(tmp_path):
    generator = np.random.default_rng(12)
    for case in range(count(6, 100, 500)):
        what, value = ("observation", "reward", "state")[case % 3], ("nan", "inf", "-inf")[case // 3 % 3]
        at = int(generator.integers(5, 50))
        folder = tmp_path / str(case)
        folder.mkdir()
        config = spoilt_config(folder, what, value, at)
        child = start(config, folder)
        reached = len(list(child.steps()))
        assert child.end() == 4, child.errors()
        assert "error: the environment" in child.errors()
        assert what in child.errors()
        assert reached <= at + 4  # two reports of loading, one step of the first test ... at once
        assert newest_is_finite(folder / "work" / config.identity()[:12], config)
        shutil.rmtree(folder)


@pytest.mark.parametrize("how", ["reward of 1e30", "weight"])
def test_a_model_that_is_not_finite_is_named_and_its_batch_kept(tmp_path, how):
    if how == "weight":
        config, setup = run_config(tmp_path), poke_a_weight
    else:
        config, setup = spoilt_config(tmp_path, "reward", "1e30", 20), None  # squared: infinite in float32
    child = start(config, tmp_path / "run", 8, setup)
    assert child.end() == 4
    errors = child.errors().splitlines()[-1]
    assert errors.startswith("error: found numbers that are not finite in the model: the update has loss")
    (kept,) = (tmp_path / "run").glob("work/*/failure/*.safetensors")
    assert str(kept) in errors
    tensors = safetensors.torch.load(kept.read_bytes())
    assert {"batch.obs", "batch.reward", "batch.actions", "agent.fc1.weight"} <= set(tensors)
    assert (tensors["batch.reward"].abs().max() > 1e29) == (how != "weight")
    assert newest_is_finite(kept.parents[1], config)


def poke_a_weight():
    update = Trainer.update

    def poking(trainer):
        if trainer.updates == 12:
            trainer.learner.agent.fc1.weight.data[0, 0] = float("inf")
        update(trainer)

    Trainer.update = poking


def test_a_checkpoint_never_holds_what_is_not_finite(tmp_path):
    config = run_config(tmp_path)
    trainer, keeper = Trainer(config), Keeper(tmp_path, config.identity())
    keeper.save(trainer)
    next(iter(trainer.learner.target_mixer.parameters())).data.fill_(float("nan"))
    with pytest.raises(NonFinite, match="target_mixer"):
        keeper.save(trainer)
    assert newest_is_finite(tmp_path, config)


# --- environments that fail -----------------------------------------------------------------------------------------


def failing_env(how, at, marker, episode_limit=2):
    """Memory that fails at the k-th step of its life, once: the marker file says that it did."""
    env = probe_envs.Memory()
    step, life = env.step, iter(range(1, 10**9))

    def failing(actions):
        from pathlib import Path

        if next(life) == at and not Path(marker).exists():
            Path(marker).touch()
            if how == "raise":
                raise RuntimeError("the game crashed")
            if how == "exit":
                os._exit(1)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            return {"garbage": 1}, {}, {}, {}, {}
        return step(actions)

    env.step = failing
    return env


@pytest.mark.parametrize(("how", "code"), [("raise", 3), ("garbage", 3), ("exit", 1), ("kill", -9)])
def test_an_environment_that_fails_once_costs_nothing(tmp_path, how, code):
    generator = np.random.default_rng(len(how))
    path = tmp_path / "failing.yaml"
    for attempt in range(count(1, 12, 50)):
        marker = tmp_path / "failed"
        path.write_text(
            f"run: {{envs: [e], algorithms: [a], seeds: [0]}}\nenvs: {{e: {{env: 'test_faults:failing_env', kwargs: "
            f"{{how: {how}, at: {generator.integers(10, 60)}, marker: {marker}, episode_limit: 2}}, total_steps: 60, "
            "test_interval_steps: 1000, test_episodes: 1}}\nalgorithms: {a: {mixer: qmix}}\n"
            "train: {hidden_dim: 8, batch_episodes: 4, replay_episodes: 8, device: cpu}\n"
        )
        config = load_params(path).run_config("e", "a", 0)
        marker.touch()
        expected = reference(config)
        marker.unlink()
        child = start(config, tmp_path / str(attempt))
        assert child.end() == code, child.errors()
        if code == 3:
            assert child.errors().splitlines()[-1].startswith("error: the environment failed in")
        assert finish(config, tmp_path / str(attempt)) == expected
        marker.unlink()


# --- races, clocks, limits, git -------------------------------------------------------------------------------------


def test_of_trainers_that_race_for_a_run_one_trains(tmp_path):
    config = run_config(tmp_path)
    expected = reference(config)
    for race in range(count(1, 10, 40)):
        folder = tmp_path / str(race)
        children = [start(config, folder) for _ in range(2 + race % 7)]
        for child in children:
            child.log = folder / "log"
        codes = sorted(child.end() for child in children)
        # one that starts after the winner has ended trains again, to the same bits
        assert set(codes) <= {0, 5}
        assert codes[0] == 0
        assert digest(folder) == expected


def test_the_lock_names_who_holds_it_and_dies_with_it(tmp_path):
    config = run_config(tmp_path)
    child = start(config, tmp_path / "run", pause_at=10)
    child.wait_for_pause()
    second = start(config, tmp_path / "run")
    assert second.end() == 5
    assert f"trained by process {child.process.pid}" in second.errors()
    child.process.kill()
    assert child.end() == -signal.SIGKILL
    finish(config, tmp_path / "run")


def jumping_clock():
    jumps = iter(range(10**9))
    time.time = lambda: (-86400.0, 3.2e8, 0.0, 1e9)[next(jumps) % 4]


def test_clocks_and_dates_of_files_change_nothing(tmp_path):
    config = run_config(tmp_path)
    expected = reference(config)
    child = start(config, tmp_path / "run", 8, jumping_clock, pause_at=60)
    child.wait_for_pause()
    child.process.kill()
    child.end()
    for i, path in enumerate((tmp_path / "run" / "work").rglob("*")):
        os.utime(path, ((0, 0), (4102444800, 4102444800))[i % 2])  # 1970 and 2100
    child = start(config, tmp_path / "run", 8, jumping_clock)
    assert child.end() == 0, child.errors()
    assert digest(tmp_path / "run") == expected
    assert '"wall_s": -' not in (tmp_path / "run" / "out" / "provenance.json").read_text()


def limits(which):
    if which == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    elif which == "nice":
        os.nice(19)
    else:  # what is there and 50 MB
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 50_000_000, now + 50_000_000))


@pytest.mark.faults
@pytest.mark.parametrize("which", ["files", "nice", "memory"])
def test_under_pressure_a_run_is_slower_or_stops_never_wrong(tmp_path, which):
    config = run_config(tmp_path)
    expected = reference(config)
    child = start(config, tmp_path / "run", 8, limits, which)
    code = child.end()
    assert code == 0 or which == "memory", child.errors()
    if code != 0:
        finish(config, tmp_path / "run")
    assert digest(tmp_path / "run") == expected


@pytest.mark.parametrize("git", ["absent", "no checkout"])
def test_provenance_without_git(tmp_path, monkeypatch, git):
    if git == "absent":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    found = provenance.provenance(torch.device("cpu"), time.monotonic())
    assert (found["commit"], found["dirty"]) == (None, False)


@pytest.mark.faults
def test_provenance_of_a_dirty_and_of_a_detached_checkout(tmp_path):
    from pathlib import Path

    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", Path(provenance.__file__).parents[2], clone], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", "HEAD"], cwd=clone, check=True)
    code = (
        "import torch; from marl_gre.storage.provenance import provenance; "
        "found = provenance(torch.device('cpu'), 0); print(found['commit'], found['dirty'])"
    )
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True).stdout.strip()
    for dirty, changed in ((False, "dvc.lock"), (False, "results/report/README.md"), (True, "LICENSE")):
        (clone / changed).write_text("changed")  # what the pipeline writes is no change of the sources
        done = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True)
        assert done.stdout.split() == [head, str(dirty)], done.stderr


def test_what_a_killed_publishing_left_is_removed(tmp_path):
    left = tmp_path / "run" / ".out.tmp-123"
    left.mkdir(parents=True)
    (left / "train.json").touch()
    (tmp_path / "run" / ".other.tmp-123").mkdir()
    finish(run_config(tmp_path), tmp_path / "run")
    assert not left.exists()
    assert (tmp_path / "run" / ".other.tmp-123").exists()


def test_nothing_is_left_when_training_ends(tmp_path):
    """No process, no temporary file: the lock is all that stays in the work folder."""
    config = run_config(tmp_path)
    finish(config, tmp_path / "run")
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file() and "out" not in path.parts]
    assert sorted(left) == ["lock", "log", "state"]
    with contextlib.suppress(ChildProcessError):
        assert os.waitpid(-1, os.WNOHANG)[0] == 0


def test_children_see_the_same_program(tmp_path):
    """The reference made in a child equals one made in this process: forking changes nothing."""
    config = run_config(tmp_path)
    expected = finish(config, tmp_path / "child")
    from marl_gre.jobs import train

    train.train(config, tmp_path / "own" / "out", tmp_path / "own" / "work")
    (tmp_path / "own" / "state").touch()
    own = digest(tmp_path / "own")
    assert {name: own[name] for name in own if name != "state"} == {n: expected[n] for n in own if n != "state"}
    assert in_child(os.getpid) != os.getpid()
