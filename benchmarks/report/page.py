"""The report as one HTML page that needs no other file: results/report/index.html, filled from report.html.j2.

Answers first, then the differences behind them and the claims' verdicts, then every figure and table of the paper
beside ours, how to make each number again, deviations, where the runs were made, and sources.
"""

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from benchmarks.claims import presented
from benchmarks.claims.answers import answers
from benchmarks.claims.declared import ENTROPY_ALL, FINAL_RETURN, Measure
from benchmarks.claims.smac import FINAL_WIN_RATE
from benchmarks.claims.verdicts import Judgement, Outcome
from benchmarks.layout import evaluation_file, run_folder
from benchmarks.report.drawing import Drawn
from benchmarks.report.gather import Results, reference, seed_list
from benchmarks.report.tables import Column, Content, Table, shown
from marl_gre.storage.files import read_object
from marl_gre.storage.run_dir import PROVENANCE

HERE = Path(__file__).parent
WIDTH, HEIGHT = 220, 26
"""Of the picture of an interval, in CSS pixels."""

GROUPS = {
    "paper": "Claims of the paper",
    "extension": "Extensions of its claims",
    "game": "What holds in the real game",
    "control": "Our own controls",
}


def to_html(
    results: Results, judgements: Sequence[Judgement], written: Sequence[tuple[Table, Content]], drawn: Sequence[Drawn]
) -> str:
    """Return the page.

    Args:
        results: the runs.
        judgements: verdicts on the claims.
        written: tables with their content.
        drawn: figures that were saved as SVG and PNG.
    """
    template = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html.j2")
    paper = reference("paper")
    tested = {(one.claim.family, one.claim.name): one.claim for one in judgements}
    return template.render(
        results=results,
        answers=answers(results, judgements),
        choice=any(len(one.claim.candidates) > 1 for one in judgements),
        marked=any(one.own_level_only for one in judgements),
        forest=forest(results, judgements),
        envs=[results.title(env) for env in results.params.run.envs],
        algorithms=[results.title(name) for name in results.params.run.algorithms],
        seeds=seed_list(results.params.run.seeds),
        groups=[
            (title, Counter(_counted(one) for one in judgements if one.of == of), [
                (claim, found) for claim in tested.values()
                if (found := [one for one in judgements if one.claim is claim and one.of == of])])
            for of, title in GROUPS.items()],
        verdict_text=presented.verdict_text,
        effect_text=presented.effect_text,
        notes=presented.verdict_rows(results, judgements).notes,
        details=lambda found: _table(presented.detail_rows(results, found), skip=1, pictures=[
            interval_picture(outcome) for judgement in found for outcome in judgement.outcomes]),
        plan=_table(presented.plan_rows(results)),
        tables=[(table, _table(content), content.notes) for table, content in written],
        figures=[(figure, paper["figures"]["shows"].get(figure.figure, "")) for figure in drawn],
        data_uri=_data_uri,
        swatch=swatch,
        paper_read=paper["figures"]["read"],
        deviations=_deviations(),
        runs=_table(_runs(results)),
        made=_table(_made(results)),
    )  # fmt: skip


def _counted(judgement: Judgement) -> str:
    return "that compare failures" if judgement.compares_failures else judgement.verdict


@dataclass(frozen=True)
class Shown:
    """A table as the template needs it: texts with whether their column holds numbers, rows with a picture."""

    columns: list[tuple[str, bool]]
    rows: list[tuple[list[tuple[str, bool]], Markup]]


def _table(content: Content, pictures: Sequence[Markup] | None = None, skip: int = 0) -> Shown:
    """Return a table without its first `skip` columns, a picture before each row."""
    columns = content.columns[skip:]
    rows = [
        [(shown(cell, column), bool(column.format)) for cell, column in zip(row[skip:], columns, strict=True)]
        for row in content.rows
    ]
    return Shown(
        columns=[(column.title, bool(column.format)) for column in columns],
        rows=list(zip(rows, pictures or [Markup("")] * len(rows), strict=True)),
    )


@dataclass(frozen=True)
class Panel:
    """Differences that share an axis: (name, picture, effect in words) of each."""

    title: str
    note: str
    greyed: bool
    rows: list[tuple[str, Markup, str]]


def forest(results: Results, judgements: Sequence[Judgement]) -> list[Panel]:
    """Return the differences from QMIX: final returns by environment, then entropies."""
    panels = []
    for env in dict.fromkeys(one.env for one in judgements):
        here = [one for one in judgements if one.env == env]
        for measure, words, digits in ((FINAL_WIN_RATE, "win rate", 2), (FINAL_RETURN, "return per episode", 1)):
            lines: dict[str, tuple[Judgement, Outcome]] = {}
            for one in here:
                for outcome in one.outcomes:
                    if _is_difference(outcome, measure):
                        # two claims about one difference, as "not lower" and "higher", are one line
                        lines.setdefault(presented.compared_text(outcome), (one, outcome))
            if lines:
                shown = [*lines.values()]
                note = f"final {words}; band: ±{shown[0][1].margin:.{digits}f}"
                panels.append(_forest_panel(results.title(env), note, shown, shown[0][0].compares_failures))
    entropies = [(one, outcome) for one in judgements for outcome in one.outcomes
                 if _is_difference(outcome, ENTROPY_ALL)]  # fmt: skip
    for env in dict.fromkeys(one.env for one, _ in entropies):
        there = [(one, outcome) for one, outcome in entropies if one.env == env]
        note = f"gradient entropy; band: ±{there[0][1].margin:g}; GRE should lie left of it"
        panels.append(_forest_panel(f"{results.title(env)}, entropy", note, there, greyed=False))
    return panels


def _is_difference(outcome: Outcome, measure: Measure) -> bool:
    return outcome.mean is not None and outcome.test.left.measure is measure is outcome.test.right.measure


def _forest_panel(title: str, note: str, shown: Sequence[tuple[Judgement, Outcome]], greyed: bool) -> Panel:
    outcomes = [outcome for _, outcome in shown]
    ends = [end for one in outcomes for end in (one.mean, one.low, one.high, -one.margin, one.margin, 0.0)
            if end is not None]  # fmt: skip
    axis = (min(ends), max(ends))
    rows = []
    for outcome in outcomes:
        name, base = (term.algorithm or outcome.candidate for term in (outcome.test.left, outcome.test.right))
        name, base = (one if isinstance(one, str) else one.name if one else "" for one in (name, base))
        picture = interval_picture(outcome, (-outcome.margin, outcome.margin), axis)
        rows.append((f"{name} - {base}", picture, presented.compact(outcome, bare=True)))
    return Panel(title, note, greyed, rows)


def interval_picture(
    outcome: Outcome, region: tuple[float, float] | None = None, axis: tuple[float, float] | None = None
) -> Markup:
    """Return an SVG of a region (shaded), 0 (thin line), the mean (dot) and its interval (bar).

    Args:
        outcome: what is shown.
        region: None is what is claimed.
        axis: ends of the values that fit, None to fit this one.
    """
    if outcome.mean is None:
        return Markup("")
    low, high = region or outcome.region
    ends = [outcome.mean, 0.0, *(end for end in (low, high, outcome.low, outcome.high)
                                 if end is not None and math.isfinite(end))]  # fmt: skip
    least, most = axis or (min(ends), max(ends))
    room = (most - least) * (0.12 if axis is None else 0.03) or 1.0
    least, most = least - room, most + room

    def x(value: float) -> str:
        return f"{100 * (min(max(value, least), most) - least) / (most - least):.1f}"

    middle = HEIGHT / 2
    bar = ""
    if outcome.low is not None and outcome.high is not None:
        bar = f'<line x1="{x(outcome.low)}%" x2="{x(outcome.high)}%" y1="{middle}" y2="{middle}" class="bar"/>'
    label = f"mean {outcome.mean:.3g}" + (f", interval {outcome.low:.3g} to {outcome.high:.3g}" if bar else "")
    # numbers only
    return Markup(  # noqa: S704
        f'<svg class="interval" role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}"><rect x="{x(low)}%" '
        f'width="{float(x(high)) - float(x(low)):.1f}%" y="0" height="{HEIGHT}" class="claimed"/>'
        f'<line x1="{x(0)}%" x2="{x(0)}%" y1="0" y2="{HEIGHT}" class="zero"/>{bar}'
        f'<circle cx="{x(outcome.mean)}%" cy="{middle}" r="4"/></svg>'
    )


DASHES = {"-": "", "--": "6 3", "-.": "7 3 1.5 3", ":": "1.5 3"}
"""Of the lines of matplotlib's styles, in pixels."""


def swatch(style: dict[str, Any]) -> Markup:
    """Return a line of a legend as SVG."""
    return Markup(
        '<svg class="swatch" aria-hidden="true" width="30" height="10"><line x1="0" x2="30" y1="5" y2="5" stroke="{}" '
        'stroke-width="2" stroke-dasharray="{}"/></svg>'
    ).format(style["color"], DASHES[style["linestyle"]])


def _data_uri(panel: bytes, is_picture: bool) -> str:
    """Return a panel for use inside the page."""
    mime = "image/png" if is_picture else "image/svg+xml"
    return f"data:{mime};base64,{base64.b64encode(panel).decode()}"


def _deviations() -> Markup:
    """Return the list of deviations without its title."""
    text = (HERE.parent / "deviations.md").read_text().partition("\n")[2]
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return Markup(re.sub(r"<th\b", '<th scope="col"', html))  # noqa: S704


def _runs(results: Results) -> Content:
    """Return all runs with what makes each again."""
    rows: list[list[Any]] = []
    for env in results.params.run.envs:
        for algorithm in results.params.run.algorithms:
            for seed in results.params.run.seeds:
                key = (env, algorithm, seed)
                run, item = results.runs.get(key), "-".join(map(str, key))
                seconds = _seconds(_provenance(key)) if run else None
                rows.append(
                    [
                        *(results.title(env), results.title(algorithm), str(seed)),
                        float(run.record["final_return"]) if run else results.missing[key],
                        float(run.evaluation["episode_return_mean"]) if run else None,
                        seconds / 60 if seconds is not None else None,
                        f"dvc repro -f -s train@{item} evaluate@{item}",
                        f"marl-gre verify {run_folder(*key)} --evaluation {evaluation_file(*key)}",
                    ]
                )
    columns = [
        *(Column("Environment"), Column("Algorithm"), Column("Seed")),
        *(Column("Final return", ".1f"), Column("Return of the final policy", ".1f"), Column("Minutes", ".1f")),
        *(Column("Make it again"), Column("Check it")),
    ]
    return Content(columns, rows)


def _made(results: Results) -> Content:
    """Return where and with what the runs were made, and how many of each."""
    counts: dict[str, Counter[str]] = {}
    hours = 0.0
    for key in results.runs:
        made = _provenance(key)
        versions = made.get("versions")
        found = {
            "Commit": f"{made.get('commit')}{', changed' * bool(made.get('dirty'))}" if made.get("commit") else None,
            "Processor": made.get("cpu"),
            "Device": made.get("device"),
            "Threads": made.get("threads"),
            "Python": made.get("python"),
            **(versions if isinstance(versions, dict) else {}),
        }
        for name, value in found.items():
            counts.setdefault(name, Counter())[str(value or "not recorded")] += 1
        hours += (_seconds(made) or 0) / 3600
    rows: list[list[Any]] = [
        [name, value, str(number)] for name, values in counts.items() for value, number in sorted(values.items())
    ]
    rows.append(["Seeds", seed_list(results.params.run.seeds), str(len(results.runs))])
    rows.append(["Training, hours in all", f"{hours:.1f}", str(len(results.runs))])
    return Content([Column("What"), Column("Value"), Column("Runs")], rows)


def _provenance(key: tuple[str, str, int]) -> dict[str, Any]:
    """Return what a run says about its making; it is informative only, so a damaged file is no reason to stop."""
    try:
        return read_object(run_folder(*key) / PROVENANCE)
    except (OSError, ValueError):
        return {}


def _seconds(made: Mapping[str, Any]) -> float | None:
    wall_s = made.get("wall_s")
    return float(wall_s) if isinstance(wall_s, int | float) else None
