"""The adapter to StarCraft II over a stand-in of the packages' interface: the contract, faults, what is missing.

Nothing here has met the real game.
"""

import copy
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

import fake_smac
from helpers import random_actions
from marl_gre.cli import main
from marl_gre.testing import check_env
from marl_gre_envs import starcraft
from marl_gre_envs.parallel import CoreParallelEnv, metadata_of
from marl_gre_envs.smac.maps import SCENARIOS
from marl_gre_envs.starcraft_worker import Battle, Channel

FAKE = "fake_smac:StarCraft2Env"
FAKE_V2 = "fake_smac:StarCraftCapabilityEnvWrapper"
OUTPUTS = ("obs", "state", "action_mask", "reward", "agent_reward", "terminated", "truncated")


@pytest.fixture
def make(request):
    """Build environments over the stand-in that are closed after the test."""

    def build(map_name="3m", num_envs=1, autoreset=False, env_class=FAKE, **kwargs):
        vec = starcraft.vector_env(map_name, num_envs, autoreset, env_class=env_class, **kwargs)
        request.addfinalizer(vec.close)
        return vec

    return build


def play_out(vec, rng, most=10_000):
    """Play random actions until every copy has ended; return the rewards of each step."""
    rewards = []
    while not (vec.terminated | vec.truncated).all():
        vec.step(random_actions(vec, rng))
        rewards.append(vec.reward.copy())
        assert len(rewards) < most
    return np.array(rewards)


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, within_s=10.0):
    """Whether all processes are gone within some seconds."""
    deadline = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, pids))


MEDIAN_LENGTH = 38  # of 500 episodes of random play without a limit, so that both ends occur


class Face(CoreParallelEnv):
    """The PettingZoo face over the stand-in; relaunch makes its seeds mean what the kit asks of them."""

    metadata = metadata_of("smac_v0")
    vector_env = staticmethod(
        lambda num_envs, autoreset: starcraft.vector_env(
            "3m", num_envs, autoreset, env_class=FAKE, relaunch=True, limit=MEDIAN_LENGTH
        )
    )


def test_check_env():
    check_env(Face, ends=("terminated", "truncated"), shared_reward=True, seeds=2, episodes=2)


def test_sizes_names_and_dtypes(make):
    # smac-engine.md table 1.1: 2s3z has 5 agents, 11 actions, obs 80, state 120, limit 120
    vec = make("2s3z", 2)
    assert (vec.num_envs, vec.n_agents, vec.n_actions, vec.obs_dim, vec.state_dim) == (2, 5, 11, 80, 120)
    assert vec.episode_limit == 120
    assert vec.agents == [f"agent_{i}" for i in range(5)]
    assert vec.action_names == ["no-op", "stop", "north", "south", "east", "west", *(f"attack_{i}" for i in range(5))]
    assert vec.backend == "starcraft"
    vec.reset(seed=0)
    assert [getattr(vec, name).dtype for name in OUTPUTS] == [*["float32"] * 2, "int8", *["float64"] * 2, *["bool"] * 2]
    assert vec.obs.shape == (2, 5, 80)
    assert vec.observed == ("obs", "state", "action_mask")
    stored = vec.get_world()
    for found, name in zip(vec.observe(stored), vec.observed, strict=True):
        np.testing.assert_array_equal(found, getattr(vec, name))
        assert not np.shares_memory(found, stored[name])


@pytest.mark.parametrize(("name", "obs", "state"), [("3m", 30, 48), ("3s_vs_5z", 48, 68), ("MMM2", 176, 322)])
def test_the_stand_in_has_smacs_own_sizes(name, obs, state):
    found = Battle(FAKE, {"map_name": name}).sizes()
    assert (found["obs_shape"], found["state_shape"]) == (obs, state)  # smac-engine.md table 1.1


def test_an_episode_is_what_the_package_plays(make):
    vec, env = make(), fake_smac.StarCraft2Env("3m", seed=7, continuing_episode=True)
    vec.reset(seed=7)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(6):
        terminated = False
        while not terminated:
            np.testing.assert_array_equal(vec.obs[0], env.get_obs())
            np.testing.assert_array_equal(vec.state[0], env.get_state())
            np.testing.assert_array_equal(vec.action_mask[0], [env.get_avail_agent_actions(i) for i in range(3)])
            actions = random_actions(vec, rng)
            vec.step(actions)
            reward, terminated, info = env.step(actions[0])
            assert vec.reward[0] == reward
            assert vec.agent_reward[0].tolist() == [reward] * 3
            assert vec.truncated[0] == info.get("episode_limit", False)
            assert vec.terminated[0] == (terminated and not vec.truncated[0])
            for name in ("battle_won", "dead_allies", "dead_enemies"):
                assert vec.info[name][0] == info[name]
            assert vec.info["agent_done"][0].sum() == (3 if terminated else info["dead_allies"])
        vec.reset()
        env.reset()


def test_the_time_limit_truncates_and_says_so(make):
    vec = make(limit=4)
    vec.reset(seed=0)
    stop = np.where(vec.action_mask[..., 1] == 1, 1, 0)
    for step in range(1, 5):
        vec.step(stop)
        assert vec.truncated[0] == vec.info["episode_limit"][0] == (step == 4)
        assert not vec.terminated[0]


def test_copies_are_separate_games_with_their_own_seeds(make):
    batch, singles = make(num_envs=2, autoreset=True), [make(autoreset=True) for _ in range(2)]
    batch.reset(seed=[9, 4])
    for single, seed in zip(singles, (9, 4), strict=True):
        single.reset(seed=seed)
    rng = np.random.default_rng(1)
    ends = 0
    for _ in range(150):
        actions = random_actions(batch, rng)
        batch.step(actions)
        for i, single in enumerate(singles):
            single.step(actions[i : i + 1])
            for name in (*OUTPUTS, "final_obs", "final_state", "final_action_mask"):
                np.testing.assert_array_equal(getattr(batch, name)[i], getattr(single, name)[0], err_msg=name)
        ends += (batch.terminated | batch.truncated).sum()
    assert ends >= 4  # restarts were compared: an episode has at most 60 steps


def test_autoreset_keeps_the_last_outputs(make):
    vec, kept = make(autoreset=True), make()
    rng = np.random.default_rng(3)
    vec.reset(seed=1)
    kept.reset(seed=1)
    while not (kept.terminated | kept.truncated)[0]:
        actions = random_actions(kept, rng)
        vec.step(actions)
        kept.step(actions)
    for name in ("obs", "state", "action_mask"):
        np.testing.assert_array_equal(getattr(vec, f"final_{name}"), getattr(kept, name))
    for name, value in kept.info.items():
        np.testing.assert_array_equal(vec.info[name], value, err_msg=name)
    kept.reset()
    np.testing.assert_array_equal(vec.obs, kept.obs)


def test_finished_copies_stay_frozen_without_autoreset(make):
    vec = make(limit=3)
    vec.reset(seed=0)
    play_out(vec, np.random.default_rng(0))
    frozen = {name: getattr(vec, name).copy() for name in OUTPUTS} | copy.deepcopy(vec.info)
    vec.step([[99, 0, 0]])
    for name, value in frozen.items():
        found = vec.info[name] if name in vec.info else getattr(vec, name)
        np.testing.assert_array_equal(found, np.zeros_like(value) if "reward" in name else value, err_msg=name)


def test_an_illegal_action_is_replaced_and_counted_or_raises(make):
    replaced, stopped, strict = make(), make(), make(strict=True)
    for vec in (replaced, stopped, strict):
        vec.reset(seed=0)
    replaced.step([[0, 99, -1]])  # the no-op is for the dead only
    stopped.step([[1, 1, 1]])
    assert replaced.info["illegal_actions"].tolist() == [3]
    np.testing.assert_array_equal(replaced.obs, stopped.obs)
    with pytest.raises(ValueError, match=r"illegal action 0 of agent_1 in environment 0; legal are \[1, 2"):
        strict.step([[1, 0, 1]])


def test_a_reset_in_the_first_episode_starts_a_new_game(make):
    # SMAC itself would start a second game there and lose the first; the stand-in asserts that nobody does that.
    vec, fresh = make(), make()
    vec.reset(seed=0)
    vec.step([[1, 1, 1]])
    vec.reset(seed=3)
    fresh.reset(seed=3)
    np.testing.assert_array_equal(vec.obs, fresh.obs)
    vec.reset()


def test_relaunch_makes_a_seed_mean_the_same_again(make):
    def episode(vec, seed):
        vec.reset(seed=seed)
        return play_out(vec, np.random.default_rng(seed))

    again, going_on = make(relaunch=True), make()
    first = [episode(vec, 5) for vec in (again, going_on)]
    np.testing.assert_array_equal(*first)
    np.testing.assert_array_equal(episode(again, 5), first[0])
    assert not np.array_equal(episode(going_on, 5), first[0])  # the game's chance went on


def test_smacv2_draws_are_a_function_of_seed_and_episode(make):
    def drawn(vec):
        return vec.state[0, -10:].tolist()

    vec, other = (make("protoss_5_vs_5", env_class=FAKE_V2) for _ in range(2))
    assert (vec.n_agents, vec.n_actions, vec.episode_limit) == (5, 11, 200)
    vec.reset(seed=11)
    first = drawn(vec)
    play_out(vec, np.random.default_rng(0))
    vec.reset()
    second = drawn(vec)
    other.reset(seed=11)
    assert drawn(other) == first
    other.reset()  # in mid-episode: a new game, the same draws
    assert drawn(other) == second
    other.reset(seed=12)
    assert len({str(draw) for draw in (first, second, drawn(other))}) == 3


def test_all_maps_and_scenarios_have_their_package():
    for name in starcraft.MAPS:
        assert starcraft._package_and_options(name, {})[0] == "smac"
    assert len(starcraft.MAPS) == 23
    assert len(SCENARIOS) == 15  # 3 races, 5 sizes
    for name in SCENARIOS:
        race, allies, enemies = (int(part) if part.isdigit() else part for part in name.split("_") if part != "vs")
        package, options = starcraft._package_and_options(name, {"reward_sparse": True})
        assert (package, options["map_name"], options["reward_sparse"]) == ("smacv2", f"10gen_{race}", True)
        capability = options["capability_config"]
        assert (capability["n_units"], capability["n_enemies"]) == (allies, enemies)
        # of SMACv2's configurations examples/configs/sc2_gen_*.yaml, in their order
        assert (capability["team_gen"]["unit_types"], capability["team_gen"]["weights"]) == {
            "protoss": (["stalker", "zealot", "colossus"], [0.45, 0.45, 0.1]),
            "terran": (["marine", "marauder", "medivac"], [0.45, 0.45, 0.1]),
            "zerg": (["zergling", "baneling", "hydralisk"], [0.45, 0.1, 0.45]),
        }[race]
        exceptions = {"protoss": [], "terran": ["medivac"], "zerg": ["baneling"]}
        assert capability["team_gen"]["exception_unit_types"] == exceptions[race]


def test_the_stray_zero_before_the_time_is_dropped(make):
    plain, timed = make(), make(obs_timestep_number=True)
    assert timed.obs_dim == plain.obs_dim + 1
    for vec in (plain, timed):
        vec.reset(seed=0)
        vec.step([[1, 1, 1]])
    np.testing.assert_array_equal(timed.obs[..., :-1], plain.obs)
    np.testing.assert_array_equal(timed.obs[..., -1], np.float32(1 / 60))  # one of 60 steps


def test_a_crash_of_the_game_truncates_and_is_counted(make):
    vec = make(autoreset=True, fault="game crashes", fault_seed=2)
    vec.reset(seed=2)
    vec.step([[1, 1, 1]])
    vec.step([[1, 1, 1]])
    before = vec.obs.copy()
    vec.step([[1, 1, 1]])
    assert (vec.truncated[0], vec.terminated[0], vec.reward[0]) == (True, False, 0.0)
    assert (vec.info["game_restarts"][0], vec.info["episode_limit"][0]) == (1, 0)
    np.testing.assert_array_equal(vec.final_obs, before)
    vec.step([[1, 1, 1]])
    assert not vec.truncated[0]
    assert vec.info["game_restarts"][0] == 0


def test_a_crash_after_an_episode_that_terminated_only_truncates(make):
    vec = make(autoreset=True, fault="game crashes", fault_episode=1, fault_step=1)
    vec.reset(seed=0)
    rng = np.random.default_rng(0)
    while not (vec.terminated | vec.truncated)[0]:
        vec.step(random_actions(vec, rng))
    assert vec.terminated[0]
    vec.step([[1, 1, 1]])
    assert (vec.info["game_restarts"][0], vec.truncated[0], vec.terminated[0]) == (1, True, False)


def test_a_crash_at_the_start_of_an_episode_is_tried_again_once(make):
    vec = make(fault="crash at reset", fault_seed=2, fault_episode=1, limit=2)
    vec.reset(seed=2)
    play_out(vec, np.random.default_rng(0))
    vec.reset()  # the new game has another seed, so it works
    play_out(vec, np.random.default_rng(0))
    broken = make(fault="crash at reset")
    with pytest.raises(RuntimeError, match="seed 0, episode 0, step 0.*crashed twice"):
        broken.reset(seed=0)


FAULTS = {
    "killed": (RuntimeError, "its process was killed by SIGKILL"),
    "exits": (RuntimeError, r"its process exited \(3\)"),
    "hangs": (RuntimeError, "no answer within 1 s"),
    "frozen": (RuntimeError, "no answer within 1 s"),
    "raises": (RuntimeError, "RuntimeError: something went wrong"),
    "nan": (FloatingPointError, "obs holds NaN or infinity"),
    "bad reward": (FloatingPointError, "the reward is inf"),
    "agent lost": (RuntimeError, r"obs is float32 \(2, 30\), expected \(3, 30\)"),
    "short state": (RuntimeError, r"state is float32 \(47,\), expected \(48,\)"),
    "no action": (RuntimeError, "action_mask holds something else than 0 and 1, or leaves an agent no legal action"),
}


def step_until_it_fails(vec):
    for _ in range(4):
        vec.step(np.where(vec.action_mask[..., 1] == 1, 1, 0))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_worker_ends_in_one_line_and_leaves_nothing_behind(make, fault, tmp_path):
    error, reason = FAULTS[fault]
    vec = make(
        num_envs=2,
        fault=fault,
        fault_seed=8,
        fault_step=2 if fault in ("nan", "agent lost", "short state", "no action") else 3,
        step_timeout_s=1 if fault in ("hangs", "frozen") else 30,  # a busy machine may need more than 1 s to answer
        process_folder=str(tmp_path),
    )
    vec.reset(seed=7)
    processes = [game.process.pid for game in vec._members] + [int(path.name) for path in tmp_path.iterdir()]
    assert len(processes) == 4  # two workers, two games
    assert all(map(alive, processes))
    started = time.monotonic()
    with pytest.raises(error, match=rf"worker 1 \(3m, seed 8, episode 0, step \d\) failed: {reason}") as failure:
        step_until_it_fails(vec)
    assert "\n" not in str(failure.value)
    assert time.monotonic() - started < 10  # 1 s and what killing takes on a busy machine
    assert gone(processes)
    with pytest.raises(RuntimeError, match="closed: make it anew"):
        vec.step(np.ones((2, 3), int))
    vec.close()


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\0" * 7 + b"\x05hello", b"\0" * 7 + b"\x40half"])
def test_bytes_that_are_no_answer_end_in_one_line(make, garbage):
    vec = make(step_timeout_s=1)
    vec.reset(seed=3)
    pid = vec._members[0].process.pid
    ours, theirs = socket.socketpair()
    with theirs:
        vec._members[0].channel.close()
        vec._members[0].channel = Channel(ours)
        theirs.sendall(garbage)
        with pytest.raises(RuntimeError, match=r"worker 0 \(3m, seed 3, .*(cannot be read|no answer within)"):
            vec.step([[1, 1, 1]])
    assert gone([pid])


def test_closing_and_forgetting_end_all_processes(make, tmp_path):
    vec = make(num_envs=2, process_folder=str(tmp_path))
    vec.reset(seed=0)
    forgotten = starcraft.vector_env("3m", env_class=FAKE, process_folder=str(tmp_path))
    forgotten.reset(seed=0)
    pids = [game.process.pid for game in (*vec._members, *forgotten._members)]
    pids += [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 6
    del forgotten
    vec.close()
    vec.close()
    assert gone(pids)


def test_a_game_that_does_not_close_is_killed(make, monkeypatch, tmp_path):
    monkeypatch.setattr(starcraft.stop, "__defaults__", (0.3,))
    vec = make(fault="slow to close", process_folder=str(tmp_path))
    vec.reset(seed=0)
    pids = [vec._members[0].process.pid, *(int(path.name) for path in tmp_path.iterdir())]
    vec.close()
    assert gone(pids)


PARENT = """
import sys
sys.path.insert(0, {folder!r})
import signal
from marl_gre_envs import starcraft

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children would ignore it
    vec = starcraft.vector_env("3m", env_class="fake_smac:StarCraft2Env", process_folder={pids!r}, fault={fault!r})
    vec.reset(seed=0)
    print(vec._members[0].process.pid, flush=True)
    while True:
        vec.step([[1, 1, 1]])
"""


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_games_end_with_their_parent_however_it_ends(ended_by, tmp_path):
    script, pids = tmp_path / "parent.py", tmp_path / "pids"
    pids.mkdir()
    script.write_text(PARENT.format(folder=str(Path(__file__).parent / "third_party"), pids=str(pids), fault="hangs"))
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        worker = int(parent.stdout.readline())
        games = [int(path.name) for path in pids.iterdir()]
        assert games
        parent.send_signal(ended_by)
        assert parent.wait(120) != 0
        assert gone([worker, *games])
    finally:
        parent.kill()
        parent.stdout.close()


def test_it_refuses_to_be_pickled(make):
    vec = make()
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        pickle.dumps(vec)
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        copy.deepcopy(vec)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"map_name": "3ms"}, r"unknown map_name '3ms'; did you mean '3m'\?"),
        ({"map_name": "protoss_5_vs_6"}, "unknown map_name 'protoss_5_vs_6'; did you mean 'protoss_5_vs_5'"),
        ({"num_envs": 0}, "num_envs must be a whole number from 1 .*, found 0"),
        ({"continuing_episode": False}, "continuing_episode is always on here.*: leave it out"),
        ({"seed": 3}, r"seed is not an option of the environment: pass it to reset\(\)"),
        ({"step_timeout_s": 0}, "step_timeout_s must lie from 0.1"),
        ({"relaunch": "no"}, "relaunch must be true or false"),
        ({"env_class": "fake_smac"}, 'env_class must be "package.module:Class"'),
        ({"env_class": "smacv2.env:StarCraft2Env"}, "smacv2 observes SMAC's maps wrongly: play 3m with smac"),
        ({"map_name": "zerg_5_vs_5", "env_class": "smac.env:StarCraft2Env"}, "smac has no random units"),
        ({"env_class": "no_such_package:Env"}, "3m cannot be played by .*ModuleNotFoundError: No module named"),
        ({"env_class": "fake_smac:NoSuchClass"}, "3m cannot be played by .*AttributeError"),
        ({"reward_sprase": True}, "unknown keyword of fake_smac:StarCraft2Env: 'reward_sprase'; did you mean"),
        ({"fault": "cannot start"}, r"3m cannot be played by .*KeyError: .*no such\\nmap"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(make, kwargs, message):
    with pytest.raises(ValueError, match=message) as failure:
        make(**kwargs)
    assert "\n" not in str(failure.value)


def test_the_game_starts_from_its_map_only(make):
    vec = make()
    with pytest.raises(ValueError, match="option 'ally': StarCraft II starts from its map only"):
        vec.reset(options={"ally": np.zeros((3, 8))})
    with pytest.raises(NotImplementedError):
        vec.set_world({})
    with pytest.raises(RuntimeError, match="call reset"):
        vec.step([[1, 1, 1]])


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretend which packages are installed; the game is looked for in tmp_path/game."""
    specs = dict.fromkeys(("smac", "smacv2", "pysc2", "dvc", "matplotlib", "pygame", "supersuit"))
    monkeypatch.setattr(starcraft.importlib.util, "find_spec", lambda name: specs.get(name))
    monkeypatch.setenv("SC2PATH", str(tmp_path / "game"))

    def install(name, *files):
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        specs[name] = ModuleSpec(name, None, origin=str(tmp_path / name / "__init__.py"), is_package=True)
        specs[name].submodule_search_locations = [str(tmp_path / name)]

    return install


def test_what_is_missing_comes_with_its_installation_steps(installed, tmp_path):
    with pytest.raises(ImportError) as failure:
        starcraft.vector_env("3m")
    message = str(failure.value)
    assert "\n" not in message
    for step in (
        "pip install git+https://github.com/oxwhirl/smac.git",
        "the smac on PyPI is another project",
        "pip install pysc2",
        "SC2.4.10.zip",
        "SC2PATH",
        str(tmp_path / "game"),
        "the map 3m in",
        "SMAC_Maps.zip",
        "docs/starcraft.md",
        'backend="embedded"',
    ):
        assert step in message
    with pytest.raises(ImportError, match=r"terran_5_vs_5 over StarCraft II needs the package smacv2 \(pip install"):
        starcraft.vector_env("terran_5_vs_5")


def test_each_part_that_is_there_is_no_longer_missing(installed, tmp_path):
    assert len(starcraft.missing("smac")) == 4
    installed("pysc2", "__init__.py")
    installed("smac", "env/starcraft2/starcraft2.py")
    assert [problem[:12] for problem in starcraft.missing("smac")] == ["StarCraft II", "the map 3m i"]
    (tmp_path / "game" / "Versions").mkdir(parents=True)
    assert len(starcraft.missing("smac")) == 1
    maps = tmp_path / "game" / "Maps" / "SMAC_Maps"
    maps.mkdir(parents=True)
    (maps / "3m.SC2Map").touch()
    assert starcraft.missing("smac") == []
    assert starcraft.missing("smac", "MMM2") != []
    assert [problem[:18] for problem in starcraft.missing("smacv2")] == ["the package smacv2", "the map 32x32_flat"]


def test_other_projects_named_smac_are_recognised(installed):
    installed("smac", "facade/hyperparameter_optimization_facade.py")
    assert (
        "is another project (PyPI's smac optimises hyperparameters): pip uninstall smac" in starcraft.missing("smac")[0]
    )
    installed("smac", "env/starcraft2/starcraft2.py", "env/starcraft2/distributions.py")
    assert "is an early SMACv2, which observes SMAC's maps wrongly" in starcraft.missing("smac")[0]


def test_the_game_is_looked_for_where_sc2path_says(monkeypatch):
    monkeypatch.setenv("SC2PATH", "/somewhere")
    assert starcraft.game_folder() == Path("/somewhere")
    monkeypatch.delenv("SC2PATH")
    monkeypatch.setattr(starcraft.platform, "system", lambda: "Linux")
    assert starcraft.game_folder() == Path(os.path.expanduser("~/StarCraftII"))


def test_doctor_says_which_backends_are_usable(installed, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["marl-gre", "doctor"])
    installed("smac", "env/starcraft2/starcraft2.py")
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert "SMAC, embedded engine: ok, needs nothing else" in lines
    (smac,) = [line for line in lines if line.startswith("SMAC over StarCraft II: missing; needs the package pysc2")]
    assert "SC2.4.10.zip" in smac
    assert any(line.startswith("SMACv2 over StarCraft II: missing; needs the package smacv2") for line in lines)
