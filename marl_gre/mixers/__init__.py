"""The mixers, one file each; a new one is a file, a line here and an entry in params.yaml."""

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, MixerConfig
from marl_gre.mixers.feed_forward import FeedForward
from marl_gre.mixers.qatten import Qatten
from marl_gre.mixers.qmix import QMIX
from marl_gre.mixers.qmix_equal import QMIXEqual
from marl_gre.mixers.qmix_gre import QMIXGRE
from marl_gre.mixers.qmix_simple import QMIXSimple
from marl_gre.mixers.qplex import QPLEX
from marl_gre.mixers.vdn import VDN

MIXERS: dict[str, type[Mixer]] = {
    "vdn": VDN,
    "qmix": QMIX,
    "qmix_simple": QMIXSimple,
    "qmix_equal": QMIXEqual,
    "qmix_gre": QMIXGRE,
    "qatten": Qatten,
    "qplex": QPLEX,
    "feed_forward": FeedForward,
}

__all__ = [
    "MIXERS",
    "QMIX",
    "QMIXGRE",
    "QPLEX",
    "VDN",
    "AgentValues",
    "EnvSizes",
    "FeedForward",
    "Mixer",
    "MixerConfig",
    "QMIXEqual",
    "QMIXSimple",
    "Qatten",
]
