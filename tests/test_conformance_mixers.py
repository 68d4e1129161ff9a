"""The conformance kit over every registered mixer, in every variant of its config that changes the arithmetic."""

import pytest

from marl_gre.mixers import MIXERS
from marl_gre.mixers.feed_forward import FeedForwardConfig
from marl_gre.mixers.qatten import QattenConfig
from marl_gre.mixers.qmix import QMIXConfig
from marl_gre.mixers.qmix_gre import QMIXGREConfig
from marl_gre.mixers.qplex import QPLEXConfig
from marl_gre.testing import check_mixer

VARIANTS = [
    *((name, None) for name in MIXERS),
    ("qmix", QMIXConfig(hypernet_layers=1)),
    ("qmix", QMIXConfig(embed_dim=1, hypernet_dim=1)),
    ("qmix_simple", QMIXConfig(hypernet_layers=1)),
    ("qmix_equal", QMIXConfig(hypernet_layers=1)),
    ("qmix_gre", QMIXGREConfig(gre_lambda=1.0, hypernet_layers=1)),
    ("qmix_gre", QMIXGREConfig(gre_gradient="released")),
    ("qmix_gre", QMIXGREConfig(gre_lambda=0.0)),
    ("qatten", QattenConfig(attention="frozen", unit_dim=1)),
    ("qplex", QPLEXConfig(kernels=10, kernel_layers=3)),
    ("feed_forward", FeedForwardConfig(hidden_layers=1, hidden_dim=8)),
    ("qplex", QPLEXConfig(kernels=1, kernel_layers=2)),
    ("qatten", QattenConfig(head_weights="none", heads=1)),
]


@pytest.mark.parametrize(("name", "config"), VARIANTS, ids=str)
def test_check_mixer(name, config):
    check_mixer(MIXERS[name], config, monotonic=name != "feed_forward")
