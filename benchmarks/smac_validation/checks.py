"""A quantity of the engine beside the game's, and a section of them as a table.

Whether the engine is close enough follows from the numbers: a check carries the interval that is allowed, and says
whether the engine is in it and by how much it misses.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from benchmarks.report.tables import Cell, Column, Content, markdown_table


@dataclass(frozen=True)
class Check:
    """One quantity of the engine beside the game's.

    Attributes:
        where: the map, or the file.
        quantity: what it is, with its unit.
        engine, game: the values, None where there is none.
        error: standard error of the engine's value over seeds.
        game_range: least and greatest value of the game's runs.
        allowed: least and greatest value that passes; None without a criterion.
        samples: how much the engine's value rests on: seeds, episodes or steps.
    """

    where: str
    quantity: str
    engine: float | None
    game: float | None = None
    error: float | None = None
    game_range: tuple[float, float] | None = None
    allowed: tuple[float, float] | None = None
    samples: int | None = None

    @property
    def met(self) -> bool | None:
        """Whether the engine is inside what is allowed; None where there is nothing to decide."""
        if self.allowed is None or self.engine is None:
            return None
        return self.allowed[0] <= self.engine <= self.allowed[1]

    @property
    def missed_by(self) -> float:
        """How far the engine lies outside what is allowed, in the quantity's unit; 0 inside."""
        if self.allowed is None or self.engine is None:
            return 0.0
        return max(self.allowed[0] - self.engine, self.engine - self.allowed[1], 0.0)

    @property
    def deviation(self) -> float | None:
        """The engine's difference from the game as a share of the game's value."""
        return self.engine / self.game - 1.0 if self.game and self.engine is not None else None

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if self.met is None:
            return "not seen" if self.allowed is not None else ""
        away = "" if self.deviation is None else f" ({self.deviation:+.0%})"
        return f"met{away}" if self.met else f"missed by {short(self.missed_by)}{away}"

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Check":
        """Return the check that as_row wrote."""
        known = {f.name: row.get(f.name) for f in fields(cls)}
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}
        return cls(**values)

    def as_row(self) -> dict[str, Any]:
        """Return the check as plain data, its outcome included; JSON has no NaN."""
        row = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(self).items()}
        return {**row, "met": self.met, "missed_by": self.missed_by, "deviation": self.deviation}


@dataclass(frozen=True)
class Section:
    """A part of the table.

    Attributes:
        name: key in the JSON file and on the command line.
        title, note: what the reader is told.
        checks: its rows.
        by_map: whether each map or file is one row with its quantities side by side.
    """

    name: str
    title: str
    note: str
    checks: Sequence[Check] = field(default_factory=tuple)
    by_map: bool = False

    def markdown(self) -> str:
        """Return heading, table and note."""
        table = side_by_side(self.checks) if self.by_map else below_each_other(self.checks)
        return f"**{self.title}.** {self.note}\n\n{table}"


def within(game: float, share: float, game_range: Sequence[float] | None = None) -> tuple[float, float]:
    """Return the interval from `share` below to `share` above the game's value, widened to the range of its runs."""
    ends = [game - share * abs(game), game + share * abs(game), *(game_range or ())]
    return min(ends), max(ends)


def short(value: float | None) -> str:
    """Return a number in three digits, "-" for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def below_each_other(checks: Iterable[Check]) -> str:
    """Return one row per check."""
    titles = ("Where", "Quantity", "Engine", "Game", "Allowed", "Outcome")
    rows: list[list[Cell]] = [
        [c.where, c.quantity, engine_cell(c), game_cell(c), interval(c.allowed) or "-", c.verdict] for c in checks
    ]
    return markdown_table(Content([Column(title) for title in titles], rows))


def side_by_side(checks: Sequence[Check]) -> str:
    """Return one row per map or file: each quantity's value, the game's, and the outcome where one is required."""
    quantities = list(dict.fromkeys(check.quantity for check in checks))
    judged = {check.quantity for check in checks if check.allowed is not None}
    found = {(check.where, check.quantity): check for check in checks}
    with_game = {check.quantity for check in checks if check.game is not None}
    counted = {where: {check.samples for check in checks if check.where == where} for where, _ in found}
    one_sample = all(len(samples) == 1 for samples in counted.values())
    columns = [Column("Where"), *([Column("Sample")] if one_sample else [])]
    for quantity in quantities:
        columns.append(Column(quantity[:1].upper() + quantity[1:]))
        columns += [Column("game")] if quantity in with_game else []
        columns += [Column("outcome")] if quantity in judged else []
    rows: list[list[Cell]] = []
    for where, samples in counted.items():
        row: list[Cell] = [where, *(map(str, samples) if one_sample else ())]
        for quantity in quantities:
            check = found.get((where, quantity), Check(where, quantity, None))
            row.append(engine_cell(check))
            row += [game_cell(check)] if quantity in with_game else []
            row += [check.verdict or "-"] if quantity in judged else []
        rows.append(row)
    return markdown_table(Content(columns, rows))


def engine_cell(check: Check) -> str:
    """Return the engine's value, with its standard error if there is one."""
    return short(check.engine) + (f" ± {short(check.error)}" if check.error is not None else "")


def game_cell(check: Check) -> str:
    """Return the game's value, with the range of its runs if it is known."""
    return " ".join(part for part in (short(check.game), interval(check.game_range)) if part)


def interval(ends: tuple[float, float] | None) -> str:
    """Return "[least, most]", or nothing."""
    if ends is None:
        return ""
    low, high = (short(end) if math.isfinite(end) else "" for end in ends)
    return f"at most {high}" if not low else f"at least {low}" if not high else f"[{low}, {high}]"
