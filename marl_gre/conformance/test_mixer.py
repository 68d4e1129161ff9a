"""The checks of a mixer as tests; `pytest --pyargs marl_gre.conformance --mixer package.module:NAME`."""

from collections.abc import Callable

from marl_gre.conformance.kit import run_as_test
from marl_gre.conformance.mixer_checks import MixerUnderTest


def test_mixer(mixer_case: MixerUnderTest, check: Callable[[MixerUnderTest], None]) -> None:
    """The mixer keeps this promise."""
    run_as_test(check, mixer_case)
