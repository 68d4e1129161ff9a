"""Settings of all tests."""

import torch
from hypothesis import settings

torch.set_num_threads(1)  # as the commands do: the bits of a run depend on it

# The same examples in every run: a red test is a finding, never chance. `--hypothesis-seed=N` searches elsewhere.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
