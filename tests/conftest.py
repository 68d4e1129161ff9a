"""Settings of all tests."""

import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import settings

from marl_gre import cli

torch.set_num_threads(1)  # as the commands do: the bits of a run depend on it

# The same examples in every run: a red test is a finding, never chance. `--hypothesis-seed=N` searches elsewhere.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def only_figures(monkeypatch):
    """A function after which reports draw the figures of these names only: drawing is most of what a report costs."""
    from benchmarks.report import figures

    def only(*names):
        chosen = tuple(one for one in figures.FIGURES if one.name in names)
        assert len(chosen) == len(names)
        monkeypatch.setattr(figures, "FIGURES", chosen)

    return only


@pytest.fixture
def marl_gre(tmp_path, monkeypatch, capsys):
    """Run the command in the test's folder and this process; return exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # which the command changes

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["marl-gre", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=out, stderr=err)

    return run
