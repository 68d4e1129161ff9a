"""The pytest suite as a user runs it: the real command, outside the repository, on code that is not ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

THIRD_PARTY = Path(__file__).parent / "third_party"


def suite(folder, *options):
    """Run the suite in a folder with no settings of pytest."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--pyargs", "marl_gre.conformance"]
    environment = os.environ | {"PYTHONPATH": str(THIRD_PARTY), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], cwd=folder, env=environment, capture_output=True, text=True)


def test_what_is_sound_passes(tmp_path):
    names = ["--env", "corridor:parallel_env", "--mixer", "sound_mixer:WeightedSum", "--agent", "lstm_agent:LSTMAgent"]
    run = suite(tmp_path, *names)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "test_env[corridor:parallel_env-reproducible] PASSED" in run.stdout
    assert "test_mixer[sound_mixer:WeightedSum-analytic_credits] PASSED" in run.stdout
    assert "test_agent[lstm_agent:LSTMAgent-unroll_equals_stepping] PASSED" in run.stdout
    assert "skipped" not in run.stdout


def test_what_is_broken_fails_with_its_defect(tmp_path):
    names = ["--env", "broken_envs:RandomFromStep2", "--mixer", "broken_mixers:MixesTime"]
    run = suite(tmp_path, *names, "--agent", "broken_agents:LooksAhead")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "not reproducible: two instances given the same seed and actions play different episodes" in run.stdout
    assert "steps are not independent: regulariser of one step" in run.stdout
    assert "the unroll is not what stepping gives" in run.stdout
    assert "Traceback" not in run.stdout
    assert "test_env[broken_envs:RandomFromStep2-outputs] PASSED" in run.stdout  # only what is broken fails


def test_what_the_author_declares_is_taken_into_account(tmp_path):
    declared = ["--own-rewards", "--no-chance", "--ends", "truncated", "--not-monotonic", "--regulariser-moves-agents"]
    run = suite(tmp_path, "--env", "broken_envs:RewardNotShared", "--mixer", "vdn", *declared)
    assert run.returncode == 0, run.stdout + run.stderr


def test_nothing_to_check_is_a_usage_error(tmp_path):
    run = suite(tmp_path)
    assert run.returncode == 4  # pytest's exit code for a wrong command line
    assert "nothing to check: give --env package.module:parallel_env" in run.stderr


@pytest.mark.parametrize(("kind", "name", "says"), [
    ("env", "no_such_module:env", "environment 'no_such_module:env': module 'no_such_module' cannot be imported"),
    ("mixer", "no_such_module:Mixer", "found 'no_such_module:Mixer', which cannot be imported"),
    ("agent", "gro", "'gro'; did you mean 'gru'?"),
])  # fmt: skip
def test_a_name_of_nothing_is_a_usage_error(tmp_path, kind, name, says):
    run = suite(tmp_path, f"--{kind}", name, "--mixer", "vdn")
    assert run.returncode == 4
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stderr.startswith(f"ERROR: --{kind}: ")
    assert says in run.stderr


def test_other_pytest_runs_get_none_of_the_options(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--env", "corridor:parallel_env"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 4
    assert "unrecognized arguments: --env" in run.stderr
