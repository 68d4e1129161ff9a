"""Fixtures of the reliability tests."""

import pytest
from harness import Tally


@pytest.fixture
def tally(request):
    """Counts for the table of `make reliability`."""
    counted = Tally(request.node.nodeid)
    yield counted
    counted.write()
