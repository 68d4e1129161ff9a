"""A trained mixer's credits within episodes of any finished run: numbers, a picture and an animation.

They are drawn with Pillow, which rendering needs anyway, so the library needs no matplotlib (credits_drawing.py).
"""

import sys
from pathlib import Path

import numpy as np

from marl_gre.config import EnvConfig
from marl_gre.data import Episode
from marl_gre.errors import BadInput, EnvironmentFailed
from marl_gre.jobs.credits_drawing import animation, picture
from marl_gre.jobs.credits_measured import PHASES, EpisodeCredits, measure
from marl_gre.jobs.credits_shapley import comparison_lines, comparison_rows, contributions, game_rows
from marl_gre.jobs.play import drawing, render, save_gif
from marl_gre.metrics import Row
from marl_gre.rollout import BlamedOnEnv, counted_up, opened
from marl_gre.shapley import require_orders
from marl_gre.storage.files import csv_text, writing
from marl_gre.storage.run_dir import load_run


def diagnose_run(run: Path, out: Path | None, seed: int, episodes: int, permutations: int = 0) -> None:
    """Play greedy episodes of a finished run and write its mixer's credits.

    The files are credits.csv (every step), phases.csv (entropy by phase of the episode), and credits.png and
    credits.gif (the first episode). With permutations, shapley.csv and shapley_phases.csv too: what each agent adds to
    the return beside its credit (credits_shapley.py).

    Args:
        run: folder of the run.
        out: folder of the files; credits/ENV/ALGORITHM/SEED if None.
        seed: seed of the first episode; further episodes count up from it.
        episodes: number of episodes.
        permutations: orders of the agents for their Shapley values; 0 computes none.

    Raises:
        BadInput: the folder holds no intact run, a seed would be too large, `out` is a file, or Shapley values are
            asked for where there are none.
        EnvironmentFailed, NonFinite: the environment raised, or returned numbers that are not finite.
        StorageFailed: the files cannot be written.
    """
    if permutations:
        try:
            require_orders(permutations)
        except ValueError as error:
            raise BadInput(f"--shapley: {error}") from error
    seeds = counted_up(seed, episodes)
    finished = load_run(run)
    config = finished.config
    out = out or Path("credits") / config.env_key / config.algorithm_key / str(config.seed)
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: found a file; name a folder.")
    found = measure(finished, seeds)
    title = f"{config.env_key}, {config.algorithm_key}, seed {config.seed}"
    first = found[0]
    frames = _frames(config.env_key, config.env, first.episode)
    games = contributions(finished, found, permutations) if permutations else []
    phases = phase_rows(found)
    tables = {"credits.csv": step_rows(found), "phases.csv": phases}
    further = {"shapley.csv": game_rows(games), "shapley_phases.csv": comparison_rows(games)} if games else {}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in {**tables, **further}.items():
            (out / name).write_text(csv_text(rows))
        picture(title, first.shares, first.entropy).save(out / "credits.png")
    images = animation(title, frames, first.shares, first.entropy)
    for name in (*tables, "credits.png", *further):
        print(out / name)
    save_gif(out / "credits.gif", images)
    if first.entropy is None:
        print("the entropy of a single agent's credit is undefined")
    for row in phases if first.entropy is not None else ():
        print(f"phase {row['phase']}: entropy {row['entropy_mean']:.4f}, 5 to 95%: "
              f"{row['entropy_q05']:.4f} to {row['entropy_q95']:.4f}")  # fmt: skip
    for line in comparison_lines(games):
        print(line)


def step_rows(found: list[EpisodeCredits]) -> list[Row]:
    """Return one row per step: credits, shares, and the entropy (NaN for one agent)."""
    rows: list[Row] = []
    for one in found:
        shares, phase = one.shares, one.phase
        for step in range(one.episode.length):
            rows.append(
                {
                    "episode_seed": one.episode.seed,
                    "step": step,
                    "phase": int(phase[step]) + 1,
                    "reward": float(one.episode.reward[step]),
                    "entropy": float("nan") if one.entropy is None else float(one.entropy[step]),
                    **{f"credit_{i}": float(value) for i, value in enumerate(one.credits[step])},
                    **{f"share_{i}": float(value) for i, value in enumerate(shares[step])},
                }
            )
    return rows


def phase_rows(found: list[EpisodeCredits]) -> list[Row]:
    """Return the entropy of all steps by phase of the episode; NaN for a phase without steps or a single agent."""
    rows: list[Row] = []
    for phase in range(PHASES):
        chosen = [one.entropy[one.phase == phase] for one in found if one.entropy is not None]
        values = np.concatenate(chosen) if chosen else np.empty(0)
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95]) if len(values) else [float("nan")] * 3
        rows.append(
            {
                "phase": phase + 1,
                "steps": len(values),
                "entropy_mean": float(values.mean()) if len(values) else float("nan"),
                "entropy_q05": float(low),
                "entropy_q50": float(middle),
                "entropy_q95": float(high),
            }
        )
    return rows


def _frames(key: str, config: EnvConfig, episode: Episode) -> list[np.ndarray] | None:
    """Return the episode's pictures, one before each step; None where the environment draws none or fails to."""
    frames = []
    try:
        with opened(key, drawing(config), 1) as env:
            guarded = BlamedOnEnv([episode.seed])
            with guarded:
                env.reset(seed=[episode.seed])
            for actions in episode.actions:
                frames.append(render(env, key))
                with guarded:
                    env.step(actions[None])
    except BadInput:
        return None
    except EnvironmentFailed as error:  # the numbers, which are complete, need no pictures
        print(f"warning: the animation is without pictures: {' '.join(str(error).split())}", file=sys.stderr)
        return None
    return frames
