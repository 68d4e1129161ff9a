"""The criteria for a valid substitute, judged from the checks of all sections."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.tables import Column, Content, markdown_table
from benchmarks.smac_validation.checks import Check, Section

FAR = 0.20
"""Near-random play: what is not met may be no further from the game's mean than this share of it."""

MAPS, MAPS_NEEDED = 12, 10
PAIRS, PAIRS_NEEDED = 9, 7
"""How many of the maps, and of the pairs of map and time in the learning curves, must be met."""
SEEDS = 3  # of each learning curve; on fewer nothing is judged

POINTS = 0.20
"""The scripted policy: a win rate further off than this is to be explained."""

NOT_MEASURED = "not measured"
BRIEF = 40  # characters of detail that the summary takes over


@dataclass(frozen=True)
class Criterion:
    """One criterion and what became of it.

    Attributes:
        name: in few words.
        needed: what is required.
        found: how much of it is there.
        detail: what misses it.
        outcome: "met", "missed", "open" (not enough is measured to tell, or not explained), or "-" (not measured).
    """

    name: str
    needed: str
    found: str = NOT_MEASURED
    detail: str = ""
    outcome: str = "-"


def judge(sections: Sequence[Section]) -> list[Criterion]:
    """Return all criteria; what was not measured says so."""
    found = {section.name: section.checks for section in sections}
    return [
        *_near_random(found.get("near_random", ())),
        _all_met("one-step predictions from recorded states on 3m", found.get("one_step", ())),
        _all_met("recorded battles on 3m continued from first contact", found.get("played_on", ())),
        _all_met("whom the enemies attack", found.get("attacked", ())),
        _all_met("first deaths in replays of 2s3z", found.get("replays", ())),
        _scripted(found.get("scripted", ())),
        *_learning(found.get("learning", ())),
    ]


def markdown(criteria: Sequence[Criterion]) -> str:
    """Return one row per criterion."""
    titles = ("Criterion", "Needed", "Found", "Missed by", "Outcome")
    rows = [[c.name[:1].upper() + c.name[1:], c.needed, c.found, c.detail, c.outcome] for c in criteria]
    return markdown_table(Content([Column(title) for title in titles], rows))


def summary(criteria: Sequence[Criterion], table: str) -> str:
    """Return a Markdown list: one point for each outcome, and where the whole table is."""
    start = f"Compared with recordings and training logs of StarCraft II itself ([table]({table})):"
    points = []
    for outcome in ("met", "missed", "open"):
        found = [c for c in criteria if c.outcome == outcome]
        if found:
            points.append(f"- **{outcome.capitalize()}**: {'; '.join(_in_words(c) for c in found)}.")
    return "\n".join([start, "", *(points or [f"- {NOT_MEASURED}."])])


def _in_words(criterion: Criterion) -> str:
    brief = criterion.outcome != "met" and 0 < len(criterion.detail) <= BRIEF
    return f"{criterion.name} ({criterion.found}{f': {criterion.detail}' if brief else ''})"


def _near_random(checks: Sequence[Check]) -> list[Criterion]:
    name, needed = (
        "near-random play within 10% of the game's mean or inside its range",
        f"{MAPS_NEEDED} of {MAPS} maps",
    )
    far_name = f"means of near-random play more than {100 * FAR:.0f}% off the game's"
    judged = [check for check in checks if check.met is not None]
    maps = list(dict.fromkeys(check.where for check in judged))
    if not maps:
        return [Criterion(name, needed), Criterion(far_name, "none")]
    bad = [check for check in judged if not check.met]
    good = len(maps) - len({check.where for check in bad})
    far = [check for check in bad if check.deviation is not None and abs(check.deviation) > FAR]
    return [
        Criterion(
            name, needed, f"{good} of {len(maps)} maps", _names(bad), _enough(good, len(maps), MAPS_NEEDED, MAPS)
        ),
        Criterion(
            far_name, "none", str(len(far)), _names(far), "missed" if far else "met" if len(maps) == MAPS else "open"
        ),
    ]


def _all_met(name: str, checks: Sequence[Check]) -> Criterion:
    required = [check for check in checks if check.allowed is not None]
    if not required:
        return Criterion(name, "all")
    good = [check for check in required if check.met]
    bad = [check for check in required if not check.met]
    outcome = "missed" if any(check.met is False for check in bad) else "open" if bad else "met"
    return Criterion(name, "all", f"{len(good)} of {len(required)}", _misses(bad), outcome)


def _scripted(checks: Sequence[Check]) -> Criterion:
    name, needed = f"the scripted policy's win rates more than {100 * POINTS:.0f} points from the game's", "explained"
    gaps = {c.where: c.engine - c.game for c in checks if c.engine is not None and c.game is not None}
    if not gaps:
        return Criterion(name, needed)
    far = {where: gap for where, gap in gaps.items() if abs(gap) > POINTS}
    detail = ", ".join(f"{where} {100 * gap:+.0f} points" for where, gap in far.items())
    return Criterion(name, needed, f"{len(far)} of {len(gaps)} maps", detail, "open" if far else "met")


def _learning(checks: Sequence[Check]) -> list[Criterion]:
    wins = [check for check in checks if check.met is not None and check.quantity.startswith("win rate")]
    spreads = [check for check in checks if check.quantity.startswith("spread")]
    needed = f"{PAIRS_NEEDED} of {PAIRS} pairs of map and time, {SEEDS} seeds"
    rates = Criterion("win rates inside the game's range while learning", needed)
    if wins:
        bad = [check for check in wins if not check.met]
        good = len(wins) - len(bad)
        seeds = min(check.samples or 0 for check in wins)
        outcome = _enough(good, len(wins), PAIRS_NEEDED, PAIRS) if seeds >= SEEDS else "open"
        maps = ", ".join(dict.fromkeys(check.where.split()[0] for check in wins))
        found = f"{good} of {len(wins)} on {maps}; {seeds} {'seed' if seeds == 1 else 'seeds'}"
        rates = Criterion(rates.name, needed, found, _misses(bad), outcome)
    return [rates, _all_met("spread of returns within a factor of 1.5 while learning", spreads)]


def _enough(good: int, counted: int, needed: int, total: int) -> str:
    """Return the outcome where `counted` are measured, `good` of them met, and `needed` of every `total` must be."""
    planned = max(counted, total)  # a larger number of measurements needs as large a share
    if good * total >= needed * planned:
        return "met"
    return "missed" if (counted - good) * total > (total - needed) * planned else "open"


def _names(checks: Sequence[Check]) -> str:
    return ", ".join(f"{check.where} {check.quantity} {check.deviation or 0.0:+.0%}" for check in checks)


def _misses(checks: Sequence[Check]) -> str:
    return "; ".join(f"{check.where} {check.quantity}: {check.verdict}" for check in checks)
