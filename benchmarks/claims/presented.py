"""The verdicts in words, as tables, as Markdown and as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.claims import decisive
from benchmarks.claims.declared import CONFIDENCE, GRID, Claim, Term, anchor_of
from benchmarks.claims.verdicts import Judgement, Outcome, family, in_family, planned, unsolved
from benchmarks.report.gather import Results
from benchmarks.report.tables import Cell, Column, Content, bold_notes, markdown_table
from marl_gre import stats
from marl_gre.stats import SeedsNeeded

OF = {"paper": "the paper", "extension": "an extension", "control": "our own control", "game": "the real game"}
"""Whose claim it is."""


OWN_LEVEL = " †"
"""After a verdict that does not stay when all verdicts are tested together."""


def caveats(results: Results) -> list[str]:
    """Return a sentence on each environment where no algorithm learned: "as good as" is worth little there."""
    sentences = []
    for env, (idle, best) in unsolved(results).items():
        if (anchor_of(results.params, env) or {}).get("win_rate"):
            text = f"no algorithm wins more than {best:.0%} of the battles, so verdicts about win rates and returns"
        else:
            text = (
                f"no algorithm ends better than doing nothing ({idle:g} per episode, the best mean is {best:.4g}), so "
                "verdicts about returns"
            )
        sentences.append(f"{results.title(env)}: {text} compare failures there.")
    return sentences


def family_text(results: Results, judgements: Sequence[Judgement], names: bool = True) -> str:
    """Return what a family-wise level leaves, in a sentence; "" where nothing is decided.

    Args:
        results: the runs.
        judgements: of all claims.
        names: name those that do not stay.
    """
    decided, kept = family(judgements)
    if not decided or decisive.is_planned(results.params):
        return ""
    fallen = [f"{one.claim.name} on {results.title(one.env)}" for one in decided if one not in kept]
    size = sum(in_family(one) for one in judgements)
    return (
        f"Each test has its own level. With all {size} verdicts about the paper's claims and their extensions as one "
        f"family (Holm), {len(kept)} of the {len(decided)} decided verdicts {'holds' if len(kept) == 1 else 'hold'}"
        + ("." if not fallen else f"; these do not: {'; '.join(fallen)}." if names else "; those marked † do not.")
    )


def verdict_text(judgement: Judgement) -> str:
    """Return a verdict as tables show it."""
    text = _verdict_text(judgement)
    return f"{text}; compares failures" if judgement.compares_failures and judgement.p is not None else text


def _verdict_text(judgement: Judgement) -> str:
    needed = judgement.seeds_needed
    if needed:
        return f"undecided ({seeds_text(needed)} would decide)"
    extension = {"supported": "carries over", "contradicted": "does not carry over"}
    word = extension.get(judgement.verdict) if judgement.of == "extension" else None
    word = word or judgement.verdict
    if judgement.verdict == "supported" and judgement.supported_by:
        return f"{word} (lambda {', '.join(name.removeprefix('QMIX-GRE ') for name in judgement.supported_by)})"
    whys = {outcome.why for outcome in judgement.outcomes if outcome.why and outcome.verdict == judgement.verdict}
    return f"{word} ({'; '.join(sorted(whys))})" if whys else word


def seeds_text(needed: SeedsNeeded) -> str:
    """Return a number of seeds with its interval."""
    if needed.least == needed.most:
        return f"{needed.about or f'more than {stats.MOST_SEEDS:,}'} seeds"
    about = f"about {needed.about:,}" if needed.about else f"more than {stats.MOST_SEEDS:,}"
    return f"{about} seeds [{needed.least or f'{stats.MOST_SEEDS:,}'} to {needed.most or 'any number'}]"


def effect_text(outcome: Outcome) -> str:
    """Return an effect in words, "" where there is none.

    As in "QMIX-simple - QMIX, final return: -46.9 per episode [-78.2, -15.6] (allowed ±4.8)".
    """
    return f"{compared_text(outcome)}: {compact(outcome)}" if outcome.mean is not None else ""


def compact(outcome: Outcome, bare: bool = False) -> str:
    """Return an effect without what it is of, as in "-46.9 per episode [-78.2, -15.6] (allowed ±4.8)".

    Args:
        outcome: a test's.
        bare: leave out the unit and what is claimed.
    """
    if outcome.mean is None:
        return ""
    digits = _digits(outcome)
    interval = ""
    if outcome.low is not None and outcome.high is not None:
        interval = f" [{outcome.low:,.{digits}f}, {outcome.high:,.{digits}f}]"
    measure = outcome.test.left.measure
    unit = f" {measure.unit}" if measure and measure.unit else ""
    if bare:
        return f"{outcome.mean:,.{digits}f}{interval}"
    claimed = outcome.test.kind.claimed(outcome.margin, f"{outcome.margin:,.{digits}f}")
    return f"{outcome.mean:,.{digits}f}{unit}{interval} ({claimed})"


def p_text(p: float | None) -> str | None:
    """Return a p-value with four decimals, never as 0: a test cannot say that."""
    if p is None:
        return None
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def compared_text(outcome: Outcome) -> str:
    """Return what is subtracted from what, in words."""
    left, right = outcome.test.left, outcome.test.right
    names = [term.algorithm.name if term.algorithm else outcome.candidate or "the candidate" for term in (left, right)]
    if left.measure is None:
        return _side(left)
    if right.measure is left.measure:
        return f"{names[0]} - {names[1]}, {left.measure.title}"
    if right.measure is None:
        constant = f" - {right.constant:g}" if right.constant else ""
        return f"{names[0]}, {left.measure.title}{constant}"
    return f"{names[0]}, {left.measure.title} - {right.measure.title}"


def _digits(outcome: Outcome) -> int:
    """Return the decimals that show a margin with two digits, or an interval where there is no margin."""
    if outcome.test.left.measure and outcome.test.left.measure.unit == "per episode":
        return 1
    sizes = [abs(size) for size in (outcome.margin, outcome.mean, outcome.low, outcome.high) if size]
    return max(0, 1 - math.floor(math.log10(sizes[0]))) if sizes else 0


def verdict_rows(
    results: Results, judgements: Sequence[Judgement], whole: Sequence[Judgement] | None = None
) -> Content:
    """Return the table of claims and verdicts, one column per environment.

    Args:
        results: the runs.
        judgements: those to show.
        whole: the family of verdicts, where only a part of it is shown.
    """
    shown = list(dict.fromkeys(judgement.env for judgement in judgements))
    found = {(judgement.claim.name, judgement.env): judgement for judgement in judgements}
    tested = {one.claim.name: one.claim for one in judgements}
    rows: list[list[Cell]] = [
        [
            *(name, _whose(results, [one for one in judgements if one.claim.name == name]), claim.says),
            *(verdict_text(found[name, env]) if (name, env) in found else None for env in shown),
        ]
        for name, claim in tested.items()
    ]
    columns = [Column("Claim"), Column("Of"), Column("What it says"), *(Column(results.title(env)) for env in shown)]
    if decisive.is_planned(results.params):
        return Content(columns, rows, [*decisive.NOTES, *caveats(results), *bold_notes(results)])
    left_out = [
        claim.name
        for claim in planned(results)
        if claim.name not in tested and any(claim.whose(results.params, env) for env in results.params.run.envs)
    ]
    scope, fixed = _scope(results)
    notes = [
        f"Verdicts are about {scope}. A claim is judged on each environment by the "
        f"mean of paired differences over seeds and its {CONFIDENCE:.0%} interval; tests, margins and their reasons "
        f"were fixed {fixed}.",
        "Claims that the paper makes about other environments are extensions here: one that does not carry over does "
        "not contradict the paper.",
        "Seeds that would decide: at 80% power, if the mean and the spread are those found; in brackets an 80% "
        "interval. If no candidate points towards support, the number is what it takes to contradict all of them.",
        *([_CHOICE] if any(claim.candidates for claim in planned(results)) else []),
        *([text] if (text := family_text(results, whole or judgements)) else []),
        *([f"Not tested, since these runs lack the algorithms: {'; '.join(left_out)}."] if left_out else []),
        *caveats(results),
        *bold_notes(results),
    ]
    return Content(columns, rows, notes)


_CHOICE = (
    "Claims about QMIX-GRE: all three lambdas of the paper's grid are tested; one that passes is enough, and the "
    f"intervals are widened accordingly (each {1 - (1 - CONFIDENCE) / len(GRID):.1%}, one-sided tests at "
    f"{(1 - CONFIDENCE) / len(GRID) / 2:.4f} instead of {(1 - CONFIDENCE) / 2:g})."
)


def _families(results: Results) -> set[str]:
    return {claim.family for claim in planned(results)}


def _places(results: Results) -> str:
    names = {"gridworld": "gridworlds", "smac": "the embedded SMAC engine"}
    return " and ".join(name for family, name in names.items() if family in _families(results))


def _scope(results: Results) -> tuple[str, str]:
    """Return what verdicts are about, and what was fixed when."""
    if "smac" not in _families(results):
        return (
            "gridworlds only, not about StarCraft",
            "before the runs, except for two measures and some rules (benchmarks/claims/declared.py says which)",
        )
    before = "before any full run on the engine (benchmarks/claims/smac.py)"
    return f"{_places(results)}, a substitute, none about StarCraft II itself", before


def _whose(results: Results, found: Sequence[Judgement]) -> str:
    """Return whose claim it is, with the environments where that differs between them."""
    names: dict[str, list[str]] = {}
    for one in found:
        names.setdefault(OF[one.of], []).append(results.title(one.env))
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{whose} ({', '.join(envs)})" for whose, envs in names.items())


def _declared_of(claim: Claim) -> str:
    """Return whose claim it is by its declaration."""
    on: dict[str, list[str]] = {}
    for name, of in claim.on.items():
        on.setdefault(OF[of], []).append(name)
    parts = [f"{whose} on {', '.join(names)}" for whose, names in on.items()]
    return "; ".join([*parts, *([f"{OF[claim.of]} elsewhere" if parts else OF[claim.of]] if claim.of else [])])


def detail_rows(results: Results, judgements: Sequence[Judgement]) -> Content:
    """Return every test with its effect, interval and verdict."""
    rows: list[list[Cell]] = []
    for judgement in judgements:
        for one in judgement.outcomes:
            low, high = one.region
            bounds = f"{low:.3g} to {high:.3g}".replace("-inf to", "below").removesuffix(" to inf")
            region = bounds if bounds.startswith("below") or " to " in bounds else f"above {bounds}"
            measure = one.test.left.measure
            rows.append(
                [
                    *(one.claim, results.title(one.env), one.candidate or ""),
                    f"{one.test.says} ({measure.title})" if measure else one.test.says,
                    *(f"{one.seeds} of {len(results.params.run.seeds)}", one.mean, one.low, one.high),
                    *(f"{one.confidence:.1%}", region, one.standardised, p_text(one.p), one.level),
                    f"{one.verdict} ({one.why})" if one.why else one.verdict,
                    seeds_text(one.seeds_needed) if one.seeds_needed else None,
                ]
            )
    columns = [
        *(Column("Claim"), Column("Environment"), Column("Candidate"), Column("Test"), Column("Seeds")),
        *(Column("Mean difference", ".4g"), Column("CI low", ".4g"), Column("CI high", ".4g"), Column("CI level")),
        *(Column("Claimed"), Column("In standard deviations", ".2f"), Column("p", ".4f"), Column("Level", ".4f")),
        *(Column("Verdict"), Column("Seeds that would decide")),
    ]
    notes = [
        "Paired by seed (runs of one seed are tested on the same episodes). CI: Student's t. Supported: the CI lies "
        "within the claimed region; contradicted: outside it. p: the larger of two one-sided tests against the "
        "region's ends, each at the level beside it. Seeds that would decide: with the mean and the spread found, "
        f"power 80%, to be tested once, on new seeds; in brackets the {stats.NUMBER_CONFIDENCE:.0%} interval of that "
        "number, which five seeds estimate poorly: for a test undecided at 95%, a 95% interval has no upper end.",
    ]
    return Content(columns, rows, notes)


def plan_rows(results: Results) -> Content:
    """Return what was decided in advance: the tests with their margins and reasons."""
    rows: list[list[Cell]] = []
    for claim in decisive.PLAN if decisive.is_planned(results.params) else planned(results):
        for test in claim.tests:
            right = _side(test.right)
            size = f"{test.margin.value:g}" if test.margin.of == "absolute" else f"{test.margin.value:.1%} of the span"
            rows.append(
                [
                    *(claim.name, _declared_of(claim), claim.source, f"{_side(test.left)} minus {right}"),
                    *(test.kind.text, size, test.margin.reason),
                ]
            )
    columns = [Column(name) for name in ("Claim", "Of", "Where", "Difference", "Claimed", "Margin", "Why this margin")]
    return Content(columns, rows)


def _side(term: Term) -> str:
    if term.measure is None:
        return f"{term.constant:g}"
    return f"{term.measure.title} of {term.algorithm.name if term.algorithm else 'the candidate'}"


def to_markdown(results: Results, judgements: Sequence[Judgement]) -> str:
    """Return verdicts, tests and the plan as one page."""
    if not judgements:
        return "# The paper's claims\n\nNone of the claims can be tested with these environments and algorithms.\n"
    return "\n".join(
        [
            f"# The paper's claims, tested on {_places(results)}\n",
            markdown_table(verdict_rows(results, judgements)),
            "## The tests\n",
            markdown_table(detail_rows(results, judgements)),
            "## What was decided in advance\n",
            markdown_table(plan_rows(results)),
        ]
    )


def as_json(results: Results, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return everything as JSON; what cannot be computed is null, an open end of a region too."""
    return {
        "scope": _places(results),
        "runs": {"done": len(results.runs), "missing": len(results.missing)},
        "confidence": CONFIDENCE,
        "caveats": caveats(results),
        "family": family_text(results, judgements),
        "verdicts": [
            {
                "claim": one.claim.name,
                "of": one.of,
                "says": one.claim.says,
                "env": one.env,
                "env_title": results.title(one.env),
                "verdict": one.verdict,
                "text": verdict_text(one),
                "supported_by": list(one.supported_by),
                "compares_failures": one.compares_failures,
                "seeds_needed": asdict(one.seeds_needed) if one.seeds_needed else None,
                "p": one.p,
                "tests": [_test_json(outcome) for outcome in one.outcomes],
            }
            for one in judgements
        ],
    }


def _test_json(one: Outcome) -> dict[str, Any]:
    plain = (
        "candidate",
        "verdict",
        "why",
        "seeds",
        "confidence",
        "mean",
        "low",
        "high",
        "standardised",
        "p",
        "p_outside",
    )
    return {
        "test": one.test.says,
        "kind": one.test.kind.text,
        "margin": one.margin,
        "region": [end if math.isfinite(end) else None for end in one.region],
        "differences": list(one.differences),
        "effect": effect_text(one),
        "level": one.level,
        "seeds_needed": asdict(one.seeds_needed) if one.seeds_needed else None,
        **{name: getattr(one, name) for name in plain},
    }
