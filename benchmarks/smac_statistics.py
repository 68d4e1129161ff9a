"""Random play on the embedded SMAC engine: mean return, length and win rate of each map, beside the expected bands.

    python -m benchmarks.smac_statistics [MAP ...] [--episodes 1000] [--without RULE ...]

The bands (docs/smac-engine.md) come from an earlier prototype without death bursts, line splash and calls for help.
Where a map falls outside, `--without` switches rules off one by one (each alone) to show which one moves it. The last
column tells how far units of one plane stay apart after pushing: the closest pair's distance as a share of the sum of
their collision radii, median and lowest 1 % of all states with such a pair.
"""

import argparse
from typing import Any

import numpy as np

from marl_gre.seeding import Purpose, rng
from marl_gre_envs.smac.core import SMAC
from marl_gre_envs.smac.maps import MAPS
from marl_gre_envs.smac.units import FLIES, SEPARATION, UNIT_TABLE

COPIES = 100
SAMPLE_STEPS = 4  # the closest pair is looked for in every fourth step
# map: (return from, to), (length from, to)
BANDS = {
    "2s3z": ((3.7, 4.7), (45, 60)),
    "3s5z": ((4.2, 5.3), (50, 66)),
    "3s_vs_5z": ((2.5, 3.7), (40, 75)),
    "5m_vs_6m": ((1.1, 1.8), (26, 38)),
    "10m_vs_11m": ((1.5, 2.2), (33, 48)),
    "27m_vs_30m": ((1.9, 2.8), (48, 66)),
    "MMM2": ((1.7, 2.4), (38, 52)),
    "bane_vs_bane": ((11, 18), (25, 60)),
}
RULES = ("retaliation", "call_for_help", "random_delay", "range_slop", "missiles", "death_burst", "line_splash")


def closest_pairs(env: SMAC) -> np.ndarray:
    """Return each copy's closest pair of a plane, as a share of the sum of their collision radii; at most 2."""
    pos, hp, kinds = env.world["pos"], env.world["hp"], env.map.unit_type
    radius, flies = UNIT_TABLE[kinds, SEPARATION], UNIT_TABLE[kinds, FLIES]
    apart = np.sqrt(((pos[:, :, None] - pos[:, None]) ** 2).sum(-1)) / (radius[:, None] + radius)
    alive = hp > 0
    pairs = alive[:, :, None] & alive[:, None] & (flies[:, None] == flies) & ~np.eye(len(kinds), dtype=bool)
    return np.where(pairs, apart, 2.0).min((1, 2)).clip(max=2.0)


def random_play(name: str, episodes: int, **settings: Any) -> tuple[np.ndarray, ...]:
    """Return returns, lengths, victories, closest pairs of the first episodes of copies with seeds 0, 1, ...

    Args:
        name: of the map.
        episodes: how many; the same number from each copy, so that short episodes do not count for more.
        settings: keywords of SMAC.
    """
    copies = min(COPIES, episodes)
    each = -(-episodes // copies)
    env = SMAC(copies, map_name=name, **settings)
    env.reset(seed=0)
    draws = rng(0, Purpose.EVAL, 0)
    totals, lengths = np.zeros(copies), np.zeros(copies, int)
    closest = []
    found: list[list[tuple[float, int, bool]]] = [[] for _ in range(copies)]
    while min(len(done) for done in found) < each:
        wish = draws.random(env.action_mask.shape) * env.action_mask
        env.step(wish.argmax(-1))
        totals += env.reward
        lengths += 1
        if lengths[0] % SAMPLE_STEPS == 0:
            closest.append(closest_pairs(env))
        for e in np.flatnonzero(env.terminated | env.truncated):
            if len(found[e]) < each:
                found[e].append((totals[e], lengths[e], bool(env.info["battle_won"][e])))
            totals[e], lengths[e] = 0.0, 0
    columns = np.array([row for done in found for row in done][:episodes]).T
    return columns[0], columns[1], columns[2], np.concatenate(closest)


def line(name: str, episodes: int, **settings: Any) -> str:
    """Return one line of the table."""
    returns, lengths, wins, closest = random_play(name, episodes, **settings)
    pair, worst = np.quantile(closest[closest < 2.0], [0.5, 0.01])
    words = (
        f"{returns.mean():6.2f} ±{returns.std():5.2f} {lengths.mean():7.1f} {wins.mean():6.3f} {pair:5.2f} {worst:5.2f}"
    )
    if name in BANDS:
        (low, high), (short, long) = BANDS[name]
        inside = low <= returns.mean() <= high and short <= lengths.mean() <= long
        words += f"   {low:g}-{high:g}, {short}-{long}: {'inside' if inside else 'OUTSIDE'}"
    return words


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("maps", nargs="*", metavar="MAP", help=f"of {', '.join(MAPS)}; all by default")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--without", nargs="*", choices=RULES, default=[], help="rules to switch off, each alone")
    asked = parser.parse_args()
    print(f"{asked.episodes} episodes per map, uniform random legal actions")
    print(f"{'map':15s} {'return ± sd':>13s} {'length':>7s} {'wins':>6s} {'closest':>11s}   band of return, of length")
    for name in asked.maps or MAPS:
        print(f"{name:15s} {line(name, asked.episodes)}", flush=True)
        for rule in asked.without:
            print(f"  without {rule:15s} {line(name, asked.episodes, **{rule: False})}", flush=True)


if __name__ == "__main__":
    main()
