"""Judge the claims of declared.py and smac.py on the runs that are there; presented.py shows the verdicts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from benchmarks.claims.declared import (
    CLAIMS,
    CONFIDENCE,
    FINAL_RETURN,
    Algorithm,
    Claim,
    Of,
    Term,
    Test,
    anchor_of,
)
from benchmarks.claims.smac import FINAL_WIN_RATE, SMAC_CLAIMS, WIN_RATE_MARGIN
from benchmarks.report.gather import Results, seed_list
from marl_gre import stats
from marl_gre.config import EnvConfig
from marl_gre.stats import Array, SeedsNeeded

Verdict = Literal["supported", "contradicted", "undecided", "not judged", "missing"]


ALL_CLAIMS = (*CLAIMS, *SMAC_CLAIMS)

NO_ROOM = "no room for the gain that is claimed"

ROUNDING_STEPS = 16
"""Neighbouring float64 numbers that sums of the same float32 values in another order may lie apart."""


@dataclass(frozen=True)
class Outcome:
    """A test's result on one environment, for one candidate; None is what cannot be computed."""

    claim: str
    test: Test
    env: str
    candidate: str | None
    verdict: Verdict
    why: str  # of missing, not judged, and undecided by one seed
    seeds: int
    confidence: float
    margin: float
    region: tuple[float, float]
    differences: tuple[float, ...] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    standardised: float | None = None  # mean / standard deviation of the paired differences
    p: float | None = None  # of two one-sided tests for lying in the region
    p_outside: float | None = None  # of the one-sided test for lying beyond the nearer bound
    seeds_needed: SeedsNeeded | None = None

    @property
    def level(self) -> float:
        """The level of each one-sided test."""
        return (1 - self.confidence) / 2

    @property
    def heads_for_support(self) -> bool:
        """Whether the mean lies in the region."""
        return self.mean is not None and self.region[0] < self.mean < self.region[1]


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict on one environment, and what it rests on."""

    claim: Claim
    env: str
    verdict: Verdict
    outcomes: tuple[Outcome, ...]
    supported_by: tuple[str, ...] = ()  # candidates
    seeds_needed: SeedsNeeded | None = None  # None where nothing is undecided
    p: float | None = None  # of the likelier of "supported" and "contradicted", None where it cannot be computed
    compares_failures: bool = False  # it is about performance where none of its algorithms solves the environment
    own_level_only: bool = False  # decided, but not at the level of all verdicts together (`family`)
    of: Of = field(kw_only=True)  # whose claim it is on this environment


def judge(results: Results, claims: Sequence[Claim] = ALL_CLAIMS) -> list[Judgement]:
    """Return the verdict of each claim that can be tested on each selected environment of reference/anchors.yaml."""
    found = [
        _judge(results, claim, env, of)
        for claim in claims
        for env in results.params.run.envs
        if (of := claim.whose(results.params, env)) is not None and _testable(results, claim, env)
    ]
    decided, kept = family(found)
    weak = [one for one in decided if one not in kept]
    return [replace(one, own_level_only=True) if one in weak else one for one in found]


def planned(results: Results) -> tuple[Claim, ...]:
    """Return the claims about environments of the families that are selected; gridworlds' where none is."""
    found = [anchor_of(results.params, env) for env in results.params.run.envs]
    families = {one["family"] for one in found if one} or {"gridworld"}
    return tuple(claim for claim in ALL_CLAIMS if claim.family in families)


def unsolved(results: Results) -> dict[str, tuple[float, float]]:
    """Return the environments where no algorithm learned, with what doing nothing and the best algorithm reach."""
    found = {env: _failed(results, env, results.params.run.algorithms) for env in results.params.run.envs}
    return {env: reached for env, reached in found.items() if reached}


def _failed(results: Results, env: str, algorithms: Iterable[str]) -> tuple[float, float] | None:
    """Return what doing nothing and the best of some algorithms reach where none of them learned, else None.

    It is the return, or the win rate where battles are won; a win rate within the margin of doing nothing is none.
    """
    anchor = anchor_of(results.params, env)
    if anchor is None:
        return None
    wins = anchor.get("win_rate")
    measure, idle = (FINAL_WIN_RATE, wins["idle"]) if wins else (FINAL_RETURN, anchor["idle"])
    found = [runs for name in algorithms if (runs := results.select(env, name))]
    best = max((float(measure.read(runs, results.params).mean()) for runs in found), default=math.inf)
    return (float(idle), best) if best <= idle + (WIN_RATE_MARGIN.value if wins else 0) else None


def _testable(results: Results, claim: Claim, env: str) -> bool:
    """Return whether the claim's algorithms are selected for an environment, with one of its candidates at least."""
    return any(
        all(
            (key := one.find(results.params)) and results.seeds(env, key)
            for test in claim.tests
            for one in _algorithms(test, candidate)
        )
        for candidate in claim.candidates or (None,)
    )


def _algorithms(test: Test, candidate: Algorithm | None) -> list[Algorithm]:
    """Return whose runs a test reads."""
    algorithms = [term.algorithm or candidate for term in (test.left, test.right) if term.measure is not None]
    return [one for one in algorithms if one is not None]


def _judge(results: Results, claim: Claim, env: str, of: Of) -> Judgement:
    candidates: list[Algorithm | None] = [*claim.candidates] or [None]
    confidence = 1 - (1 - CONFIDENCE) / len(candidates)
    groups = [[_outcome(results, claim, test, env, one, confidence) for test in claim.tests]
              for one in candidates]  # fmt: skip
    verdicts = [_all([outcome.verdict for outcome in group]) for group in groups]
    verdict = _one([*verdicts])
    undecided = [group for group, found in zip(groups, verdicts, strict=True) if found == "undecided"]
    measures = [term.measure for test in claim.tests for term in (test.left, test.right) if term.measure]
    compared = {key for test in claim.tests for one in candidates for algorithm in _algorithms(test, one)
                if (key := algorithm.find(results.params))}  # fmt: skip
    return Judgement(
        claim=claim,
        env=env,
        verdict=verdict,
        # a test without candidate is the same in every group
        outcomes=tuple({(o.test.says, o.candidate): o for group in groups for o in group}.values()),
        supported_by=tuple(
            one.name for one, found in zip(claim.candidates, verdicts, strict=False) if found == "supported"
        ),
        seeds_needed=_needed(undecided) if verdict == "undecided" and groups[0][0].seeds > 1 else None,
        p=_p(groups),
        compares_failures=any(one.is_performance for one in measures) and bool(_failed(results, env, sorted(compared))),
        of=of,
    )


def _needed(groups: list[list[Outcome]]) -> SeedsNeeded:
    """Return the seeds that would decide a claim.

    One candidate whose tests all head for "supported" is enough, the one with the fewest seeds; all of its undecided
    tests must be decided. Where there is none, the claim heads for "contradicted", and every candidate must be: by the
    one of its tests that takes the fewest.

    Args:
        groups: the tests of each undecided candidate.
    """
    towards = [group for group in groups if all(one.heads_for_support for one in group)]
    if towards:
        return min((max(_numbers(group, support=True), key=_count) for group in towards), key=_count)
    return max((min(_numbers(group, support=False), key=_count) for group in groups), key=_count)


def _numbers(group: list[Outcome], support: bool) -> list[SeedsNeeded]:
    return [one.seeds_needed for one in group if one.seeds_needed and one.heads_for_support == support]


def _count(number: SeedsNeeded) -> tuple[float, float]:
    return (number.about or math.inf, number.most or math.inf)


def _p(groups: list[list[Outcome]]) -> float | None:
    """Return the smaller p-value of the claim and of its contradiction.

    Both are corrected for the choice of a candidate, and the contradiction, for which one test is enough, for the
    number of tests.
    """
    if any(one.p is None or one.p_outside is None for group in groups for one in group):
        return None
    holds = min(max(one.p or 0.0 for one in group) for group in groups)
    fails = max(len(group) * min(one.p_outside or 0.0 for one in group) for group in groups)
    return min(1.0, len(groups) * min(holds, fails))


def _all(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on "all of these hold"."""
    order: list[Verdict] = ["missing", "contradicted", "not judged", "undecided", "supported"]
    return min(verdicts, key=order.index)


def _one(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on "one of these holds"."""
    order: list[Verdict] = ["supported", "missing", "not judged", "undecided", "contradicted"]
    return min(verdicts, key=order.index)


def _outcome(
    results: Results, claim: Claim, test: Test, env: str, candidate: Algorithm | None, confidence: float
) -> Outcome:
    """Return the result of one test."""
    anchor = anchor_of(results.params, env) or {}
    span = float(anchor["good"] - anchor["idle"])
    margin = test.margin.value * (span if test.margin.of == "span" else 1.0)
    region = test.kind.region(margin)
    per_candidate = any(term.measure is not None and term.algorithm is None for term in (test.left, test.right))
    differences, missing, undefined = _differences(results, test, env, candidate, region, confidence)
    why = missing or undefined or short_budget(results, env)
    outcome = Outcome(
        claim=claim.name,
        test=test,
        env=env,
        candidate=candidate.name if candidate and per_candidate else None,
        verdict="missing" if missing else "not judged" if why else "undecided",
        why=why,
        seeds=len(differences),
        confidence=confidence,
        margin=margin,
        region=region,
        differences=tuple(differences.tolist()),
        mean=float(differences.mean()) if len(differences) else None,
    )
    if len(differences) < 2 or undefined:
        return replace(outcome, why="one seed shows no spread") if outcome.verdict == "undecided" else outcome
    return _tested(outcome, differences, len(claim.tests))


def _differences(
    results: Results,
    test: Test,
    env: str,
    candidate: Algorithm | None,
    region: tuple[float, float],
    confidence: float,
) -> tuple[Array, str, str]:
    """Return the paired differences of a test, what of its runs is missing, and why the others show nothing.

    Without an algorithm, a seed or a finite number there are no differences; both texts are "" where all is well.
    """
    keys = {one.name: one.find(results.params) for one in _algorithms(test, candidate)}
    if lacking := [name for name, key in keys.items() if key is None]:
        return np.empty(0), f"not run: {', '.join(lacking)}", ""
    plans = [results.seeds(env, key) for key in keys.values() if key]
    wanted = [seed for seed in results.params.run.seeds if all(seed in plan for plan in plans)]
    seeds = [seed for seed in wanted if all((env, key, seed) in results.runs for key in keys.values() if key)]
    if not seeds:
        return np.empty(0), "not run yet", ""
    unrun = [seed for seed in wanted if seed not in seeds]
    missing = f"seeds missing: {seed_list(unrun)}" if unrun else ""
    left, right = (_values(results, term, env, candidate, seeds) for term in (test.left, test.right))
    differences = _paired(left, right)
    measure = test.left.measure or test.right.measure
    if not np.isfinite(differences).all():
        return np.empty(0), missing, measure.undefined if measure else ""
    undefined = ""
    if measure and measure.is_time:
        undefined = _says_nothing(left, right, region, results.params.envs[env], confidence)
    elif measure and measure.greatest is not None and region[1] == math.inf:
        undefined = _at_the_top(np.asarray(right), measure.greatest, region, confidence)
    return differences, missing, undefined


def _tested(outcome: Outcome, differences: Array, tests: int) -> Outcome:
    """Return an outcome with intervals, p-values and, where it may be judged, the verdict.

    Args:
        outcome: without them.
        differences: its paired differences, two or more.
        tests: number of tests of its claim.
    """
    confidence, (low_bound, high_bound) = outcome.confidence, outcome.region
    verdict = outcome.verdict
    low, high = stats.mean_interval(differences, confidence)
    stricter = 1 - (1 - confidence) / tests  # one test is enough to contradict a claim
    least, most = stats.mean_interval(differences, stricter)
    if verdict == "undecided" and low_bound < low and high < high_bound:
        verdict = "supported"
    elif verdict == "undecided" and (most <= low_bound or high_bound <= least):
        verdict = "contradicted"
    deviation = float(differences.std(ddof=1))
    towards = confidence if low_bound < differences.mean() < high_bound else stricter
    return replace(
        outcome,
        verdict=verdict,
        low=low,
        high=high,
        standardised=float(differences.mean()) / deviation if deviation > 0 else None,
        p=stats.one_sided_tests(differences, low_bound, high_bound),
        p_outside=min(
            stats.one_sided_tests(differences, -math.inf, low_bound) if low_bound > -math.inf else 1.0,
            stats.one_sided_tests(differences, high_bound, math.inf) if high_bound < math.inf else 1.0,
        ),
        seeds_needed=(
            stats.seeds_to_decide(differences, low_bound, high_bound, towards) if verdict == "undecided" else None
        ),
    )


def short_budget(results: Results, env: str) -> str:
    """Return how many of the environment steps that a verdict needs are planned, "" where all are."""
    steps, enough = results.params.envs[env].total_steps, (anchor_of(results.params, env) or {}).get("total_steps", 0)
    return f"{steps:,} of {enough:,} environment steps" if steps < enough else ""


def _says_nothing(
    left: Array | float, right: Array | float, region: tuple[float, float], env: EnvConfig, confidence: float
) -> str:
    """Return why times of tests cannot show which of two algorithms is faster, "" where they can.

    Two runs that never get there are not equally fast. And where the right side gets there at once, no gain is large
    enough.
    """
    first, never = env.test_interval_steps, env.total_steps + env.test_interval_steps
    left, right = np.broadcast_arrays(np.asarray(left, float), np.asarray(right, float))
    neither = int(((left >= never) & (right >= never)).sum())
    if 2 * neither >= len(right):
        return f"neither gets there in {neither} of {len(right)} pairs of runs"
    if _no_room(first - right, region, confidence):
        return f"{NO_ROOM}: the baseline gets there after {right.mean():,.0f} steps"
    return ""


def _at_the_top(right: Array, greatest: float, region: tuple[float, float], confidence: float) -> str:
    """Return why no run can be as far above the right side as is claimed, "" where one can."""
    if _no_room(greatest - right, region, confidence):
        return f"{NO_ROOM}: the baseline has {right.mean():.3f} of {greatest:g}"
    return ""


def _no_room(limits: Array, region: tuple[float, float], confidence: float) -> bool:
    """Return whether no differences up to these limits, one per pair, would support a one-sided claim.

    Large ones that differ may say less than smaller ones that agree, so the limits are capped at each of them in turn.
    """
    cap = np.maximum if region[0] == -math.inf else np.minimum
    return limits.size > 1 and not any(_inside(cap(limits, one), region, confidence) for one in limits)


def _inside(differences: Array, region: tuple[float, float], confidence: float) -> bool:
    low, high = stats.mean_interval(differences, confidence)
    return bool(region[0] < low and high < region[1])


def _values(results: Results, term: Term, env: str, candidate: Algorithm | None, seeds: Sequence[int]) -> Array | float:
    """Return one side of a comparison, one value per seed."""
    algorithm = term.algorithm or candidate
    if term.measure is None or algorithm is None:
        return term.constant
    key = algorithm.find(results.params)
    runs = [run for run in results.select(env, key or "") if run.key[2] in seeds]
    return term.measure.read(runs, results.params)


def _paired(left: Array | float, right: Array | float) -> Array:
    """Return the paired differences; what differs between them by rounding only is no spread."""
    differences = np.asarray(left - right)
    if not np.isfinite(differences).all():
        return differences
    scale = max(np.abs(left).max(), np.abs(right).max())
    if np.ptp(differences) <= ROUNDING_STEPS * np.spacing(scale):
        differences = np.full_like(differences, differences[0])
    return differences


def in_family(judgement: Judgement) -> bool:
    """Return whether a verdict could be reached, so that it counts in the family; runs that have begun do not yet."""
    reached = judgement.verdict not in ("missing", "not judged") and judgement.p is not None
    return reached and judgement.of in ("paper", "extension")


def family(judgements: Sequence[Judgement]) -> tuple[list[Judgement], list[Judgement]]:
    """Return the decided verdicts, controls aside, and those of them that stay with a family-wise level (Holm).

    The family is every verdict on a claim of the paper or its extension (`in_family`); each is tested in both
    directions, at the level of one one-sided test.
    """
    tested = {place: one.p for place, one in enumerate(judgements) if in_family(one) and one.p is not None}
    if not tested:
        return [], []
    adjusted = dict(zip(tested, stats.holm([*tested.values()]), strict=True))
    decided = [place for place in tested if judgements[place].verdict in ("supported", "contradicted")]
    kept = [place for place in decided if adjusted[place] <= (1 - CONFIDENCE) / 2]
    return [judgements[place] for place in decided], [judgements[place] for place in kept]
