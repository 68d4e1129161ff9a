"""Settings of all tests."""

import pytest
import torch
from hypothesis import settings

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
