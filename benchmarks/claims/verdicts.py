"""Judge the claims of claims.py on the runs that are there, and show the verdicts as tables and JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from benchmarks.claims.declared import CLAIMS, CONFIDENCE, FINAL_RETURN, GRID, Algorithm, Claim, Term, Test
from benchmarks.report.gather import Results, reference, same_env
from benchmarks.report.tables import Cell, Column, Content, markdown_table
from marl_gre import stats
from marl_gre.config import Params
from marl_gre.stats import Array

Verdict = Literal["supported", "contradicted", "undecided", "not judged", "missing"]


@dataclass(frozen=True)
class Outcome:
    """A test's result on one environment, for one candidate; None is what cannot be computed."""

    claim: str
    test: Test
    env: str
    candidate: str | None
    verdict: Verdict
    why: str  # of missing and not judged
    seeds: int
    confidence: float
    margin: float
    region: tuple[float, float]
    differences: tuple[float, ...] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    standardised: float | None = None  # mean / standard deviation of the paired differences
    p: float | None = None  # of two one-sided tests
    seeds_needed: int | None = None


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict on one environment, and what it rests on."""

    claim: Claim
    env: str
    verdict: Verdict
    outcomes: tuple[Outcome, ...]
    supported_by: tuple[str, ...] = ()  # candidates
    seeds_needed: int | None = None


def judge(results: Results) -> list[Judgement]:
    """Return the verdict of each claim that can be tested on each selected environment of reference/anchors.yaml."""
    return [
        _judge(results, claim, env, float(anchor["good"] - anchor["idle"]))
        for claim in CLAIMS
        if _testable(results, claim)
        for env in results.params.run.envs
        if (anchor := anchor_of(results.params, env)) is not None
    ]


def caveats(results: Results) -> list[str]:
    """Return a sentence on each environment where no algorithm learned: "as good as" is worth little there."""
    sentences = []
    for env in results.params.run.envs:
        finals = [FINAL_RETURN.read(found, results.params).mean() for name in results.params.run.algorithms
                  if (found := results.select(env, name))]  # fmt: skip
        anchor = anchor_of(results.params, env)
        if anchor and finals and max(finals) <= anchor["idle"]:
            sentences.append(
                f"{results.title(env)}: no algorithm ends better than doing nothing ({anchor['idle']:g} per episode, "
                f"the best mean is {max(finals):.4g}), so verdicts about returns compare failures there."
            )
    return sentences


def anchor_of(params: Params, env: str) -> dict[str, Any] | None:
    """Return what doing nothing and good play are worth, None where the claims do not apply."""
    return next((one for one in reference("anchors")["values"] if same_env(one, params.envs[env])), None)


def _testable(results: Results, claim: Claim) -> bool:
    """Return whether the selected algorithms are those of the claim, with one of its candidates at least."""
    return any(
        all(one.find(results.params) for test in claim.tests for one in _algorithms(test, candidate))
        for candidate in claim.candidates or (None,)
    )


def _algorithms(test: Test, candidate: Algorithm | None) -> list[Algorithm]:
    """Return whose runs a test reads."""
    algorithms = [term.algorithm or candidate for term in (test.left, test.right) if term.measure is not None]
    return [one for one in algorithms if one is not None]


def _judge(results: Results, claim: Claim, env: str, span: float) -> Judgement:
    candidates: list[Algorithm | None] = [*claim.candidates] or [None]
    confidence = 1 - (1 - CONFIDENCE) / len(candidates)
    groups = [[_outcome(results, claim, test, env, span, one, confidence) for test in claim.tests]
              for one in candidates]  # fmt: skip
    verdicts = [_all([outcome.verdict for outcome in group]) for group in groups]
    verdict = _one([*verdicts])
    needed = [_most([outcome.seeds_needed for outcome in group if outcome.verdict == "undecided"])
              for group, found in zip(groups, verdicts, strict=True) if found == "undecided"]  # fmt: skip
    known = [number for number in needed if number is not None]
    return Judgement(
        claim=claim,
        env=env,
        verdict=verdict,
        # a test without candidate is the same in every group
        outcomes=tuple({(o.test.says, o.candidate): o for group in groups for o in group}.values()),
        supported_by=tuple(
            one.name for one, found in zip(claim.candidates, verdicts, strict=False) if found == "supported"
        ),
        seeds_needed=min(known) if verdict == "undecided" and known else None,
    )


def _all(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on "all of these hold"."""
    order: list[Verdict] = ["contradicted", "missing", "not judged", "undecided", "supported"]
    return min(verdicts, key=order.index)


def _one(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on "one of these holds"."""
    order: list[Verdict] = ["supported", "missing", "not judged", "undecided", "contradicted"]
    return min(verdicts, key=order.index)


def _most(numbers: list[int | None]) -> int | None:
    return None if None in numbers else max(number for number in numbers if number is not None)


def _outcome(
    results: Results,
    claim: Claim,
    test: Test,
    env: str,
    span: float,
    candidate: Algorithm | None,
    confidence: float,
) -> Outcome:
    """Return the result of one test."""
    margin = test.margin.value * (span if test.margin.of == "span" else 1.0)
    low_bound, high_bound = region = test.kind.region(margin)
    per_candidate = any(term.measure is not None and term.algorithm is None for term in (test.left, test.right))
    keys = {one.name: one.find(results.params) for one in _algorithms(test, candidate)}
    lacking = [name for name, key in keys.items() if key is None]
    wanted = results.params.run.seeds
    seeds = [seed for seed in wanted if all((env, key, seed) in results.runs for key in keys.values() if key)]
    why = ""
    if lacking:
        why = f"not run: {', '.join(lacking)}"
    elif not seeds:
        why = "not run yet"
    elif len(seeds) < len(wanted):
        why = f"seeds missing: {', '.join(str(seed) for seed in wanted if seed not in seeds)}"
    differences: Array = np.empty(0)
    if seeds and not lacking:
        left, right = (_values(results, term, env, candidate, seeds) for term in (test.left, test.right))
        differences = np.asarray(left - right)
        if not np.isfinite(differences).all():
            why, differences = "not measured in these runs", np.empty(0)
    enough = reference("anchors")["total_steps"]
    steps = results.params.envs[env].total_steps
    verdict: Verdict = "missing" if why else "undecided"
    if not why and steps < enough:
        verdict, why = "not judged", f"{steps:,} of {enough:,} environment steps"
    outcome = Outcome(
        claim=claim.name,
        test=test,
        env=env,
        candidate=candidate.name if candidate and per_candidate else None,
        verdict=verdict,
        why=why,
        seeds=len(differences),
        confidence=confidence,
        margin=margin,
        region=region,
        differences=tuple(differences.tolist()),
        mean=float(differences.mean()) if len(differences) else None,
    )
    if len(differences) < 2:
        return replace(outcome, seeds_needed=2 if verdict == "undecided" else None)
    low, high = stats.mean_interval(differences, confidence)
    if verdict == "undecided" and low_bound < low and high < high_bound:
        verdict = "supported"
    elif verdict == "undecided" and (high <= low_bound or high_bound <= low):
        verdict = "contradicted"
    deviation = float(differences.std(ddof=1))
    return replace(
        outcome,
        verdict=verdict,
        low=low,
        high=high,
        standardised=float(differences.mean()) / deviation if deviation > 0 else None,
        p=stats.one_sided_tests(differences, *region),
        seeds_needed=stats.seeds_to_decide(differences, *region, confidence) if verdict == "undecided" else None,
    )


def _values(results: Results, term: Term, env: str, candidate: Algorithm | None, seeds: Sequence[int]) -> Array | float:
    """Return one side of a comparison, one value per seed."""
    algorithm = term.algorithm or candidate
    if term.measure is None or algorithm is None:
        return term.constant
    key = algorithm.find(results.params)
    runs = [run for run in results.select(env, key or "") if run.key[2] in seeds]
    return term.measure.read(runs, results.params)


def verdict_text(judgement: Judgement) -> str:
    """Return a verdict as tables show it."""
    if judgement.verdict == "undecided":
        many = f"about {judgement.seeds_needed}" if judgement.seeds_needed else f"more than {stats.MOST_SEEDS:,}"
        return f"undecided ({many} seeds would decide)"
    if judgement.verdict == "supported" and judgement.supported_by:
        return f"supported (lambda {', '.join(name.removeprefix('QMIX-GRE ') for name in judgement.supported_by)})"
    whys = {outcome.why for outcome in judgement.outcomes if outcome.why and outcome.verdict == judgement.verdict}
    return f"{judgement.verdict} ({'; '.join(sorted(whys))})" if whys else judgement.verdict


def effect_text(judgement: Judgement) -> str:
    """Return the effect behind a verdict that rests on a single test, "" where there are several or none."""
    if len(judgement.outcomes) != 1 or judgement.outcomes[0].mean is None:
        return ""
    (one,) = judgement.outcomes
    interval = f" [{one.low:.3g}, {one.high:.3g}]" if one.low is not None else ""
    return f"difference {one.mean:.3g}{interval}, margin {one.margin:.3g}"


def verdict_rows(results: Results, judgements: Sequence[Judgement]) -> Content:
    """Return the table of claims and verdicts, one column per environment."""
    shown = list(dict.fromkeys(judgement.env for judgement in judgements))
    found = {(judgement.claim.name, judgement.env): judgement for judgement in judgements}
    tested = {one.claim.name: one.claim.says for one in judgements}
    rows: list[list[Cell]] = [
        [name, says, *(verdict_text(found[name, env]) for env in shown)] for name, says in tested.items()
    ]
    left_out = [claim.name for claim in CLAIMS if claim.name not in tested]
    notes = [
        "Verdicts are about gridworlds only, none speaks of StarCraft. A claim is judged on each environment by the "
        f"mean of paired differences over seeds and its {CONFIDENCE:.0%} interval; tests, margins and their reasons "
        "were fixed before the runs (benchmarks/claims/declared.py).",
        "Claims about QMIX-GRE: all three lambdas of the paper's grid are tested, one that passes is enough, and the "
        f"intervals are widened for it (each {1 - (1 - CONFIDENCE) / len(GRID):.1%}).",
        *([f"Not tested, since these runs lack the algorithms: {'; '.join(left_out)}."] if left_out else []),
        *caveats(results),
        *(f"**{text}**" for text in results.notes()),
    ]
    return Content(
        [Column("Claim"), Column("What it says"), *(Column(results.title(env)) for env in shown)], rows, notes
    )


def detail_rows(results: Results, judgements: Sequence[Judgement]) -> Content:
    """Return every test with its effect, interval and verdict."""
    rows: list[list[Cell]] = []
    for judgement in judgements:
        for one in judgement.outcomes:
            low, high = one.region
            bounds = f"{low:.3g} to {high:.3g}".replace("-inf to", "below").removesuffix(" to inf")
            region = bounds if bounds.startswith("below") or " to " in bounds else f"above {bounds}"
            needed = one.seeds_needed or (f"> {stats.MOST_SEEDS:,}" if one.verdict == "undecided" else None)
            measure = one.test.left.measure
            rows.append(
                [
                    *(one.claim, results.title(one.env), one.candidate or ""),
                    f"{one.test.says} ({measure.title})" if measure else one.test.says,
                    *(f"{one.seeds} of {len(results.params.run.seeds)}", one.mean, one.low, one.high),
                    *(f"{one.confidence:.1%}", region, one.standardised, one.p),
                    f"{one.verdict} ({one.why})" if one.why else one.verdict,
                    str(needed) if needed else None,
                ]
            )
    columns = [
        *(Column("Claim"), Column("Environment"), Column("Candidate"), Column("Test"), Column("Seeds")),
        *(Column("Mean difference", ".4g"), Column("CI low", ".4g"), Column("CI high", ".4g"), Column("CI level")),
        *(Column("Claimed"), Column("In standard deviations", ".2f"), Column("p", ".3f")),
        *(Column("Verdict"), Column("Seeds that would decide")),
    ]
    notes = [
        "Paired by seed (runs of one seed are tested on the same episodes). CI: Student's t. Supported: the CI lies "
        "within the claimed region; contradicted: outside it. p: the larger of two one-sided tests against the "
        "region's ends. Seeds that would decide: with a mean and a spread as found here, power 80 %; to be tested "
        "once, on new seeds.",
    ]
    return Content(columns, rows, notes)


def plan_rows() -> Content:
    """Return what was decided in advance: the tests with their margins and reasons."""
    rows: list[list[Cell]] = []
    for claim in CLAIMS:
        for test in claim.tests:
            right = _side(test.right)
            size = f"{test.margin.value:g}" if test.margin.of == "absolute" else f"{test.margin.value:.1%} of the span"
            rows.append([claim.name, claim.source, f"{_side(test.left)} minus {right}", test.kind.text, size,
                         test.margin.reason])  # fmt: skip
    columns = [Column(name) for name in ("Claim", "Where", "Difference", "Claimed", "Margin", "Why this margin")]
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
            "# The paper's claims, tested on gridworlds\n",
            markdown_table(verdict_rows(results, judgements)),
            "## The tests\n",
            markdown_table(detail_rows(results, judgements)),
            "## What was decided in advance\n",
            markdown_table(plan_rows()),
        ]
    )


def as_json(results: Results, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return everything as JSON; what cannot be computed is null, an open end of a region too."""
    return {
        "scope": "gridworlds",
        "runs": {"done": len(results.runs), "missing": len(results.missing)},
        "confidence": CONFIDENCE,
        "caveats": caveats(results),
        "verdicts": [
            {
                "claim": one.claim.name,
                "says": one.claim.says,
                "env": one.env,
                "env_title": results.title(one.env),
                "verdict": one.verdict,
                "text": verdict_text(one),
                "supported_by": list(one.supported_by),
                "seeds_needed": one.seeds_needed,
                "tests": [_test_json(outcome) for outcome in one.outcomes],
            }
            for one in judgements
        ],
    }


def _test_json(one: Outcome) -> dict[str, Any]:
    plain = ("candidate", "verdict", "why", "seeds", "confidence", "mean", "low", "high", "standardised", "p")
    return {
        "test": one.test.says,
        "kind": one.test.kind.text,
        "margin": one.margin,
        "region": [end if math.isfinite(end) else None for end in one.region],
        "differences": list(one.differences),
        "seeds_needed": one.seeds_needed,
        **{name: getattr(one, name) for name in plain},
    }
