"""The checks of a mixer as tests; `pytest --pyargs marl_gre.conformance --mixer package.module:NAME`."""

from collections.abc import Callable

import pytest

from marl_gre.conformance.kit import ConformanceError
from marl_gre.conformance.mixer_checks import MixerUnderTest


def test_mixer(mixer_case: MixerUnderTest, check: Callable[[MixerUnderTest], None]) -> None:
    """The mixer keeps this promise."""
    try:
        check(mixer_case)
        return
    except ConformanceError as error:
        if error.__cause__ is not None:  # the mixer itself raised: its traceback is what helps
            raise
        defect = str(error)
    pytest.fail(defect, pytrace=False)
