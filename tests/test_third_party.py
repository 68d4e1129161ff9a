"""What a user brings from outside, from params.yaml to published files, through the real command line.

The examples of docs/how-to are run by test_docs.py.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import broken_agents
from advantage_mixer import AdvantageSum
from lstm_agent import LSTMAgent
from marl_gre.config import load_params
from marl_gre.conformance.kit import ConformanceError
from marl_gre.errors import BadInput
from marl_gre.jobs.check import check_params
from marl_gre.jobs.train import train
from marl_gre.testing import check_agent, check_mixer

THIRD_PARTY = Path(__file__).parent / "third_party"

PARAMS = """
run: {{envs: [corridor], algorithms: [theirs], seeds: [0]}}
envs: {{corridor: {{env: "corridor:parallel_env", total_steps: 150, test_interval_steps: 100, test_episodes: 5}}}}
algorithms:
  plain: {{mixer: qmix}}
  theirs: {theirs}
train: {{batch_episodes: 4, hidden_dim: 8}}
"""


def ok(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": f"{folder}:{THIRD_PARTY}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "marl_gre", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trained(folder, algorithm):
    """Train in this process; return the run's folder."""
    config = load_params(folder / "params.yaml").run_config("corridor", algorithm, 0)
    train(config, folder / algorithm, folder / "work")
    return folder / algorithm


def test_mixer_agent_and_weights_from_outside_train_and_are_evaluated_and_verified(tmp_path):
    theirs = {
        "mixer": "advantage_mixer:AdvantageSum",
        "floor": 0.2,
        "agent": {"name": "lstm_agent:LSTMAgent", "scale": 0.5},
        "loss_weights": {"name": "step_weights:pessimistic", "alpha": 0.1},
    }
    (tmp_path / "params.yaml").write_text(PARAMS.format(theirs=json.dumps(theirs)))
    ok(tmp_path, "train", "--env", "corridor", "--algorithm", "theirs", "--seed", "0")
    run = tmp_path / "runs/corridor/theirs/0"
    record = json.loads((run / "train.json").read_text())
    assert record["config"]["algorithm"] == theirs
    assert set(record["results_versions"]) == {"trainer", "env", "mixer", "agent", "loss_weights"}
    assert "entropy_mean" in ok(tmp_path, "evaluate", str(run), "--episodes", "5")
    assert "trained again" in ok(tmp_path, "verify", str(run), "--retrain")


def test_loss_weights_change_the_run_and_their_absence_leaves_no_trace(tmp_path):
    weighted = '{mixer: qmix, loss_weights: "step_weights:pessimistic"}'
    (tmp_path / "params.yaml").write_text(PARAMS.format(theirs=weighted))
    plain, theirs = trained(tmp_path, "plain"), trained(tmp_path, "theirs")
    assert (plain / "weights.safetensors").read_bytes() != (theirs / "weights.safetensors").read_bytes()
    record = json.loads((plain / "train.json").read_text())
    assert set(record["config"]["algorithm"]) == {"mixer", "embed_dim", "hypernet_layers", "hypernet_dim"}
    assert set(record["results_versions"]) == {"trainer", "env", "mixer"}


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            '{mixer: "broken_mixers:KeepsLastAxis"}',
            "KeepsLastAxis: found q_tot of shape [2, 3, 1]; [2, 3] is needed.",
        ),
        ('{mixer: "broken_mixers:ScalarRegulariser"}', "found regulariser of shape []; [2, 3] is needed."),
        (
            '{mixer: vdn, agent: "broken_agents:OneActionTooMany"}',
            "OneActionTooMany: found agent_qs of shape [1, 2, 4]; [1, 2, 3] is needed.",
        ),
        (
            '{mixer: "broken_mixers:ConfigWithATuple"}',
            "algorithms: theirs: broken_mixers.ConfigWithATuple.Config does not survive a run's record: layers: found "
            "[32, 32]; input should be a valid tuple; its fields may be text, booleans, finite numbers, and lists and",
        ),
        (
            '{mixer: "broken_mixers:NoCredits"}',
            "NoCredits: found analytic_credits that return a NoneType; a dict is needed.",
        ),
        (
            '{mixer: "broken_mixers:WrongCreditsShape"}',
            "WrongCreditsShape: found analytic credits 'even' of shape [2, 3]; [2, 3, 2] is needed.",
        ),
        (
            '{mixer: "broken_mixers:ConfigWithAPath"}',
            "survive a run's record: file: found PosixPath('mixing.npz'), a PosixPath",
        ),
        (
            '{mixer: "broken_mixers:ConfigWithAnothersKey"}',
            "theirs.mixer: found 'broken_mixers:ConfigWithAnothersKey', whose Config has a field central, a key of",
        ),
        ('{mixer: vdn, agent: "lstm_agent:LSTM"}', "algorithms: theirs.agent: found 'lstm_agent:LSTM', which"),
        ('{mixer: vdn, agent: {name: "lstm_agent:LSTMAgent", depth: 2}}', "does not take these options"),
        ('{mixer: vdn, agent: grue}', "theirs.agent: unknown agent 'grue'; did you mean 'gru'?"),
        ('{mixer: vdn, loss_weights: "step_weights:none"}', "theirs.loss_weights: found 'step_weights:none'"),
        ('{mixer: vdn, loss_weights: [1]}', "theirs.loss_weights: found [1]; a name is needed"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_line(tmp_path, theirs, message):
    (tmp_path / "params.yaml").write_text(PARAMS.format(theirs=theirs))
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        check_params(tmp_path / "params.yaml")
    assert "\n" not in str(error.value)


def test_loss_weights_of_a_wrong_shape_end_in_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.format(theirs='{mixer: vdn, loss_weights: "step_weights:scalar"}'))
    with pytest.raises(BadInput, match=r"found loss weights of shape \[\]; \[") as error:
        trained(tmp_path, "theirs")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            '{mixer: "failing_parts:FailsInAnUpdate"}',
            "training with failing_parts:FailsInAnUpdate raised RuntimeError: a batch of 4 episodes; look for the",
        ),
        (
            '{mixer: "failing_parts:CreditsFailInAnUpdate"}',
            "CreditsFailInAnUpdate raised KeyError: 'credits'; look for",
        ),
        ('{mixer: vdn, agent: "failing_parts:FailsToAct"}', "failing_parts:FailsToAct raised IndexError: step 5; look"),
    ],
)
def test_a_part_that_fails_while_it_trains_is_named_in_one_line(tmp_path, theirs, message):
    (tmp_path / "params.yaml").write_text(PARAMS.format(theirs=theirs))
    check_params(tmp_path / "params.yaml")
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        trained(tmp_path, "theirs")
    assert "\n" not in str(error.value)


def test_a_fault_of_this_package_keeps_its_type(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS.format(theirs="{mixer: vdn}"))

    def fail(*_):
        raise RuntimeError("ours")

    monkeypatch.setattr("marl_gre.learner.Learner.update", fail)
    with pytest.raises(RuntimeError, match="^ours$"):
        trained(tmp_path, "theirs")


def test_sound_parts_pass_the_conformance_kit():
    check_mixer(AdvantageSum)
    check_agent(LSTMAgent)
    check_agent(LSTMAgent, scale=0.5)


@pytest.mark.parametrize("defect", broken_agents.DEFECTS)
def test_a_broken_agent_fails_with_its_defect(defect):
    with pytest.raises(ConformanceError, match=broken_agents.DEFECTS[defect]):
        check_agent(getattr(broken_agents, defect))


def test_every_broken_agent_is_listed():
    classes = {
        name for name, value in vars(broken_agents).items() if getattr(value, "__module__", "") == "broken_agents"
    }
    assert classes == set(broken_agents.DEFECTS)
