"""Settings of all tests."""

from hypothesis import settings

# The same examples in every run: a red test is a finding, never chance. `--hypothesis-seed=N` searches elsewhere.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
