"""D7: golden runs. Unchanged versions mean unchanged numbers: a change that moves them names the version to raise.

Plays of environments bit for bit everywhere: they hold integers and float64 without fused multiply-add. Runs bit for
bit on the CPU type and versions that recorded them; elsewhere their first update's numbers, to float32 rounding.
"""

import json
import math

import golden
import pytest
import torch

from marl_gre.storage.provenance import machine

RECORDED = json.loads(golden.PATH.read_text())
HERE = {**machine(torch.device("cpu")), "threads": 1}
HINT = "If that is intended: raise it, run `make golden`, and write it into CHANGELOG.md under Changes results."


@pytest.fixture(scope="module")
def configs():
    torch.set_num_threads(1)
    return golden.configs()


@pytest.fixture(scope="module")
def runs(configs):
    """Every run, each once; (env, algorithm) -> what it came to."""
    return {(env, name): golden.run(config) for env, own in configs.items() for name, config in own.items()}


def test_every_kind_of_environment_and_every_mixer_is_there(configs):
    from marl_gre.mixers import MIXERS
    from marl_gre_envs import ENVS

    own = {config.env.env for runs in configs.values() for config in runs.values()}
    assert set(ENVS) <= own
    algorithms = [config.algorithm for runs in configs.values() for config in runs.values()]
    central = {algorithm.central.mixer for algorithm in algorithms if algorithm.central}
    assert {algorithm.mixer for algorithm in algorithms} | central == set(MIXERS)
    assert {env: set(runs) for env, runs in RECORDED["runs"].items()} == {env: set(own) for env, own in configs.items()}


@pytest.mark.parametrize("env", golden.ENVS)
def test_environments_give_what_was_recorded(configs, env):
    then, now = RECORDED["envs"][env], golden.play(configs[env]["vdn"])
    assert then["version"] == now["version"], "the golden runs are of another version: run `make golden`"
    part = f"RESULTS_VERSION of the environment {configs[env]['vdn'].env.env}"
    assert now == then, f"{env} plays differently with the same version. The part is {part}. {HINT}"


def moved(runs):
    """The runs that are not what was recorded, by environment, and what moved in each."""
    found = {}
    for (env, name), now in runs.items():
        then = RECORDED["runs"][env][name]
        parts = [key for key in ("counters", "sha256") if now[key] != then[key]]
        parts = parts if RECORDED["machines"][env] == HERE else []
        for key, value in then["first_update"].items():
            near = math.isclose(now["first_update"][key], value, rel_tol=2e-3, abs_tol=1e-5)
            parts += [] if near else [f"first update's {key}"]
        if parts:
            found.setdefault(env, {})[name] = parts
    return found


def culprit(found):
    """The part whose version is to be raised, from which runs moved and which did not."""
    mixers = {"qmix_gre_released": "qmix_gre", "qmix_regularised": "qmix", "qplex_10_kernels": "qplex"}
    names = {mixers.get(name, name) for own in found.values() for name in own}
    everywhere = all(len(own) == len(golden.names_on(env)) for env, own in found.items())
    if everywhere and len(found) == 1:
        return f"RESULTS_VERSION of the environment behind {next(iter(found))}"
    if everywhere or len(names) > 2:
        return "TRAINER_RESULTS_VERSION in marl_gre/config.py"
    return "results_version of the mixer " + " and ".join(sorted(names))


def test_runs_give_what_was_recorded(runs, record_property, capsys):
    for (env, name), now in runs.items():
        assert now["versions"] == RECORDED["runs"][env][name]["versions"], (
            "the golden runs are of another version: run `make golden`"
        )
    exact = sum(RECORDED["machines"][env] == HERE for env, _ in runs)
    compared = f"{exact} of {len(runs)} golden runs compared bit for bit, the others by their first update"
    record_property("compared", compared)
    with capsys.disabled():
        print(f"\n{compared}.")
    found = moved(runs)
    assert not found, f"numbers moved with the same versions. The part is {culprit(found)}. {HINT} Moved: {found}"


def test_the_part_is_named():
    every = {env: {name: ["sha256"] for name in golden.names_on(env)} for env in golden.ENVS}
    assert "behind smac" in culprit({"smac": every["smac"]})
    assert "TRAINER" in culprit(every)
    assert culprit({env: {"qmix": ["sha256"]} for env in golden.ENVS}).endswith("the mixer qmix")
    gre = {"qmix_gre": ["sha256"], "qmix_gre_released": ["sha256"]}
    assert culprit(dict.fromkeys(golden.ENVS, gre)).endswith("the mixer qmix_gre")
