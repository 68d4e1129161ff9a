"""The animations of docs/: episodes of published policies, and of a scripted one where no policy is published."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import marl_gre_envs
from benchmarks.site.tables import DOCS, ROOT
from benchmarks.smac_validation.scripted import attack_or_approach, closest_kept
from marl_gre.jobs.play import play_run, save_gif

RUNS = {
    "lumberjacks_v0": ("lumberjacks_v0/qmix/0", 0),
    "lumberjacks_v1": ("lumberjacks_v1/qmix/0", 0),
    "traffic_junction_v0": ("traffic_junction10_v0/qmix/0", 0),
    "traffic_junction_v1": ("traffic_junction10_v1/qmix/0", 0),
}
"""Picture: the run that plays, and the seed of the episode."""

SMAC_MAP = "2s3z"


def draw() -> Iterator[Path]:
    """Draw every animation; yield the files."""
    for name, (run, seed) in RUNS.items():
        path = DOCS / f"images/{name}.gif"
        play_run(ROOT / "results/runs" / run, path, seed, episodes=1)
        yield path
    yield _battle(DOCS / "images/smac_v0.gif")


def _battle(path: Path) -> Path:
    """Draw a battle of the scripted policy of benchmarks/smac_validation."""
    with marl_gre_envs.make_vec("smac_v0", 1, autoreset=False, map_name=SMAC_MAP) as env:
        env.reset(seed=0)
        targets = np.full((1, env.n_agents), -1)
        frames = [env.render(0)]
        while not (env.terminated[0] or env.truncated[0]):
            targets = closest_kept(env.world["pos"], env.world["hp"], targets)
            env.step(attack_or_approach(env.world["pos"], targets, env.action_mask))
            frames.append(env.render(0))
    save_gif(path, frames)
    return path
