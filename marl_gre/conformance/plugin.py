"""Command-line options of the suite: `pytest --pyargs marl_gre.conformance --env ... --mixer ... --agent ...`.

Registered with pytest as a plugin, because pytest reads the conftest.py of a `--pyargs` package only after the command
line. It adds its options only to runs whose arguments name the suite. From a source tree that is not installed, add `-p
marl_gre.conformance.plugin`.
"""

import sys
from pathlib import Path

import pytest

KINDS = {
    "env": "a PettingZoo parallel env: package.module:factory, or an id of marl_gre_envs.ENVS; repeatable",
    "mixer": "a mixer class: package.module:Class, or a name of marl_gre.mixers.MIXERS; repeatable",
    "agent": "an agent class: package.module:Class, or a name of marl_gre.agents.AGENTS; repeatable",
}
"""What the suite checks."""

PREFIX = "marl_gre_"  # of the options' names inside pytest, where other plugins may have an "env" too


def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> None:
    """Add the options if the arguments name this package, as a module or as a folder."""
    if not any(arg.startswith("marl_gre.conformance") or _is_here(arg) for arg in args):
        return
    sys.path.insert(0, "")  # as `python -m pytest` does: options name their author's own modules
    group = parser.getgroup("marl_gre.conformance", "what is checked, and what its author declares")
    for name, meaning in KINDS.items():
        group.addoption(f"--{name}", dest=PREFIX + name, action="append", default=[], metavar="NAME", help=meaning)
    group.addoption(
        "--ends",
        dest=PREFIX + "ends",
        choices=["terminated", "truncated", "terminated,truncated"],
        default="terminated,truncated",
        help="the ends that random play must reach in every --env",
    )
    declared = {
        "own-rewards": "the agents' rewards may differ",
        "no-chance": "the envs draw no random numbers",
        "not-monotonic": "dq_tot/dq_i may be negative",
        "regulariser-moves-agents": "the regulariser may reach the agents' Q values",
    }
    for name, meaning in declared.items():
        group.addoption(f"--{name}", dest=PREFIX + name.replace("-", "_"), action="store_true", help=meaning)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a run of the suite that would check nothing, and names of what is not there."""
    if not hasattr(config.option, PREFIX + "env"):
        return
    named = {kind: config.getoption(f"--{kind}") for kind in KINDS}
    if not any(named.values()):
        raise pytest.UsageError(
            "nothing to check: give --env package.module:parallel_env, --mixer package.module:Mixer or "
            "--agent package.module:Agent."
        )
    from marl_gre.config import find_agent, find_mixer  # not in every run of pytest: torch takes a second
    from marl_gre_envs import results_version

    find = {"env": results_version, "mixer": find_mixer, "agent": find_agent}
    for kind, names in named.items():
        for name in names:
            try:
                find[kind](name)
            except ValueError as error:
                raise pytest.UsageError(f"--{kind}: {error}") from None


def _is_here(arg: str) -> bool:
    return Path(arg.partition("::")[0]).resolve().is_relative_to(Path(__file__).parent)
