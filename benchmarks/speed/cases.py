"""What is measured and beside which numbers of others, as data."""

from dataclasses import dataclass
from typing import Any

from marl_gre.config import EnvConfig

# The paper's protocols.
GRIDWORLD = {"total_steps": 200_000, "test_interval_steps": 5_000, "test_episodes": 100}
SMAC = {"total_steps": 2_000_000, "test_interval_steps": 10_000, "test_episodes": 32}
MAPS = ("3s5z", "MMM2", "27m_vs_30m", "2s3z", "10m_vs_11m", "bane_vs_bane")

ENTRIES: dict[str, EnvConfig] = {
    "lumberjacks": EnvConfig(env="lumberjacks_v0", kwargs={}, **GRIDWORLD),
    "traffic_junction10": EnvConfig(env="traffic_junction_v0", kwargs={"n_max": 10}, **GRIDWORLD),
    **{name: EnvConfig(env="smac_v0", kwargs={"map_name": name}, **SMAC) for name in MAPS},
}

# The paper's released code, one thread, on a core whose float32 matrix products reach this many GFLOP/s.
RELEASED_GFLOPS = 102.0
RELEASED_UPDATE_MS = {"lumberjacks": 112.0, "traffic_junction10": 337.0}
RELEASED_TRAINING = {"lumberjacks": 555.0, "traffic_junction10": 178.0}  # env steps/s, without tests

# Env steps/s of one copy on a machine like that: ma-gym 0.0.14, and SMAClite, which plays by other rules.
OTHERS = {
    "lumberjacks": 14_000.0,
    "traffic_junction10": 10_500.0,
    "2s3z": 96.0,
    "MMM2": 46.0,
    "10m_vs_11m": 93.0,
    "27m_vs_30m": 29.0,
    "bane_vs_bane": 32.0,
}

# One update of each algorithm beside QMIX's. An ally has 7 features in the state of 3s5z.
UPDATES: dict[str, dict[str, Any]] = {
    "vdn": {"mixer": "vdn"},
    "qmix": {"mixer": "qmix"},
    "qmix_simple": {"mixer": "qmix_simple"},
    "qmix_equal": {"mixer": "qmix_equal"},
    "qmix_gre": {"mixer": "qmix_gre"},
    "qatten": {"mixer": "qatten", "unit_dim": 7},
    "qatten, gre_lambda": {"mixer": "qatten", "unit_dim": 7, "gre_lambda": 1e-3},
    "qplex, 4 kernels, 1 layer": {"mixer": "qplex"},
    "qplex, 10 kernels, 3 layers": {"mixer": "qplex", "kernels": 10, "kernel_layers": 3},
    "ow_qmix": {"mixer": "qmix", "central": "feed_forward", "loss_weights": "ow"},
    "cw_qmix": {"mixer": "qmix", "central": "feed_forward", "loss_weights": "cw"},
}

BASE = {"agents": 10, "steps": 100, "episodes": 32}
GROWTH = (
    BASE,
    *({**BASE, "agents": agents} for agents in (3, 30, 100)),
    *({**BASE, "steps": steps} for steps in (25, 50, 200)),
    *({**BASE, "episodes": episodes} for episodes in (8, 128)),
)


@dataclass(frozen=True)
class Effort:
    """What is measured and how often."""

    repetitions: int
    shapes: tuple[str, ...]  # learner, acting, start
    trained: tuple[str, ...]
    rounds: int  # turns of the training loops
    round_episodes: int
    environments: tuple[str, ...]
    copies: tuple[int, ...]
    block_steps: int  # steps from a reset
    block_seconds: float  # blocks are repeated for so long
    replays: tuple[tuple[str, int, int], ...]  # shape, episodes, steps of each
    mixers: tuple[str, ...]  # shapes
    gpu: tuple[str, ...]  # shapes
    growth: tuple[dict[str, int], ...]
    compiling: bool  # whether to start without compiled kernels, too


FULL = Effort(
    repetitions=15,
    shapes=("lumberjacks", "traffic_junction10", "3s5z", "MMM2", "27m_vs_30m"),
    trained=("lumberjacks", "traffic_junction10"),
    rounds=6,
    round_episodes=20,
    environments=tuple(OTHERS),
    copies=(1, 32, 1024),
    block_steps=100,
    block_seconds=2.0,
    replays=(
        ("traffic_junction10", 5000, 65),
        ("traffic_junction10", 5000, 100),
        ("27m_vs_30m", 5000, 80),
        ("27m_vs_30m", 5000, 180),
    ),
    mixers=("3s5z",),
    gpu=("lumberjacks", "3s5z", "27m_vs_30m"),
    growth=GROWTH,
    compiling=True,
)
QUICK = Effort(
    repetitions=1,
    shapes=("lumberjacks",),
    trained=("lumberjacks",),
    rounds=1,
    round_episodes=1,
    environments=("lumberjacks", "2s3z"),
    copies=(1, 4),
    block_steps=3,
    block_seconds=0.0,
    replays=(("lumberjacks", 40, 20),),
    mixers=("lumberjacks",),
    gpu=("lumberjacks",),
    growth=({"agents": 2, "steps": 3, "episodes": 2},),
    compiling=False,
)
