"""The decisive test: four claims on two environments, on seeds that nobody had seen when this was written.

The main results (seeds 0 to 4) are the pilot: they showed which claims are open and how large differences are. The
runs of `studies/decisive` (seeds 5 to 24) are tested once, when all that the tests read are there; until then every
verdict is "missing". (The study's tables and curves show runs as they come; nothing in the plan depends on them.) The
primary family is RQ1b, RQ2a, RQ2b and RQ3 on both environments. Tests, margins and measures are those of declared.py
with two differences: QMIX-GRE is its lambda of 1e-3 alone, so that intervals need not be widened for a choice; and a
run that never gets half-way counts in RQ2b as if it did one test after its last, since among 40 runs one that fails
must not leave the test without a verdict. (Where half of the pairs never do, it has none.)

Each claim is tested in both directions. Its p-value is the smaller of the two, and Holm's method adjusts the eight
together: a verdict is *supported* or *contradicted* where the adjusted p-value is at most `LEVEL`, the level of a
one-sided test behind a 95% interval, else *undecided*. A p-value that cannot be computed counts as 1.

Beside the family, two controls at their own level say why QMIX-simple may end lower (`EQUAL_CREDIT`).

Verdicts come from the new seeds alone. The pilot's stand beside them, and pilot and new seeds together are described,
not tested: the pilot chose what is tested.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.claims.declared import (
    CLAIMS,
    CONFIDENCE,
    EQUAL,
    FINAL_RETURN,
    GRID,
    OF_SPAN,
    QMIX,
    SIMPLE,
    STEPS_TO_HALF_WAY,
    Algorithm,
    Claim,
    Measure,
    Term,
    Test,
)
from benchmarks.claims.verdicts import Judgement, Outcome, Verdict
from benchmarks.claims.verdicts import judge as judge_each
from benchmarks.report.gather import Results, Run
from marl_gre import stats
from marl_gre.config import Params
from marl_gre.stats import Array

ENVS = ("lumberjacks_v1", "traffic_junction10_v1")
PILOT = tuple(range(5))
SEEDS = tuple(range(5, 25))
LEVEL = (1 - CONFIDENCE) / 2
EQUAL_UNITS = Algorithm("QMIX-equal", "qmix_equal")


def _censored(runs: Sequence[Run], params: Params) -> Array:
    """Return the steps to half-way, one test interval past the end for runs that never get there."""
    env = params.envs[runs[0].key[0]]
    found = STEPS_TO_HALF_WAY.read(runs, params)
    return np.where(np.isnan(found), env.total_steps + env.test_interval_steps, found)


CENSORED = Measure("steps to half-way (never: one test past the end)", "steps", _censored, is_time=True)


def _one_weight(claim: Claim) -> Claim:
    def side(term: Term) -> Term:
        return replace(term, measure=CENSORED) if term.measure is STEPS_TO_HALF_WAY else term

    tests = tuple(replace(test, left=side(test.left), right=side(test.right)) for test in claim.tests)
    return replace(claim, tests=tests, candidates=claim.candidates and GRID[:1])


FAMILY: tuple[Claim, ...] = tuple(
    _one_weight(claim) for claim in CLAIMS if claim.name in ("RQ1b", "RQ2a", "RQ2b", "RQ3")
)


EQUAL_CREDIT = tuple(
    Claim(
        f"RQ1b, {name}",
        "control",
        f"QMIX-equal, with QMIX's units and equal credit, performs like {other.name}. (Where RQ1b is contradicted by a "
        f"drop, this says that {says} it.)",
        "not in the paper",
        (Test("same final return", Term(FINAL_RETURN, EQUAL_UNITS), Term(FINAL_RETURN, other), EQUAL, OF_SPAN),),
    )
    for name, other, says in (
        ("units", QMIX, "having one unit causes"),
        ("credit", SIMPLE, "equal credit causes"),
    )
)
"""Beside the family, each at its level: why QMIX-simple may be lower. Declared on 27 November 2026, before any run."""


PLAN = (*FAMILY, *EQUAL_CREDIT)


def is_planned(params: Params) -> bool:
    """Return whether these are the runs that the plan is about."""
    return (*params.run.seeds,) == SEEDS and (*params.run.envs,) == ENVS


def judged(results: Results) -> list[Judgement]:
    """Return the verdicts of the plan where the runs are the plan's, else each claim's."""
    return [*judge(results), *beside(results)] if is_planned(results.params) else judge_each(results)


def judge(results: Results) -> list[Judgement]:
    """Return the verdicts of the family on the new seeds, "missing" while any run that they need is."""
    found = judge_each(results, FAMILY)
    if missing := _missing(found):
        return missing
    outcomes = [one.outcomes[0] for one in found]
    return [
        one if outcome.verdict == "not judged" else _with(one, verdict(outcome, p), "")
        for one, outcome, p in zip(found, outcomes, adjust(outcomes), strict=True)
    ]


def is_made(judgements: Sequence[Judgement]) -> bool:
    """Return whether the test is made: until all its runs are there, every verdict of `judge` is "missing"."""
    return all(one.verdict != "missing" for one in judgements)


def beside(results: Results) -> list[Judgement]:
    """Return the verdicts on `EQUAL_CREDIT`, each at its own level, "missing" while any run that they need is."""
    found = judge_each(results, EQUAL_CREDIT)
    return _missing(found) or found


def _missing(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Return the judgements as missing while any run that they need is, without what others show; else none."""
    outcomes = [one.outcomes[0] for one in judgements]
    whys = "; ".join(dict.fromkeys(one.why for one in outcomes if one.verdict == "missing"))
    why = f"tested once, when all runs are there: {whys}"
    return [_with(_unseen(one), "missing", why) for one in judgements] if whys else []


def adjust(outcomes: Sequence[Outcome]) -> list[float]:
    """Return each test's smaller p-value of its two directions, adjusted for all of them (Holm)."""
    smaller = [
        1.0 if one.verdict in ("missing", "not judged") else min(_or_one(one.p), _or_one(one.p_outside))
        for one in outcomes
    ]
    return stats.holm(smaller).tolist()


def verdict(outcome: Outcome, adjusted: float) -> Verdict:
    """Return what a test says at the family's level."""
    if adjusted > LEVEL:
        return "undecided"
    return "supported" if _or_one(outcome.p) < _or_one(outcome.p_outside) else "contradicted"


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def _unseen(judgement: Judgement) -> Judgement:
    """Return a judgement without what some of its runs show."""
    outcomes = tuple(
        replace(
            one,
            differences=(),
            mean=None,
            low=None,
            high=None,
            standardised=None,
            p=None,
            p_outside=None,
            seeds_needed=None,
        )
        for one in judgement.outcomes
    )
    return replace(judgement, outcomes=outcomes, p=None, seeds_needed=None)


def _with(judgement: Judgement, verdict: Verdict, why: str) -> Judgement:
    outcomes = tuple(replace(one, verdict=verdict, why=why) for one in judgement.outcomes)
    needed = judgement.outcomes[0].seeds_needed if verdict == "undecided" else None
    by = tuple(one.candidate for one in outcomes if one.candidate) if verdict == "supported" else ()
    return replace(
        judgement, verdict=verdict, outcomes=outcomes, seeds_needed=needed, supported_by=by, own_level_only=False
    )


def pilot(main: Results) -> list[Judgement]:
    """Return the same tests on the pilot, each at its own level."""
    return judge_each(_only(main, PILOT), FAMILY)


def pooled(main: Results, new: Results) -> list[Judgement]:
    """Return the same tests on all seeds together, to describe: their verdicts mean nothing."""
    together = _only(new, (*PILOT, *SEEDS))
    return judge_each(replace(together, runs=_only(main, PILOT).runs | new.runs), FAMILY)


def _only(results: Results, seeds: Sequence[int]) -> Results:
    """Return the results on the plan's environments and these seeds."""
    run = results.params.run.model_copy(update={"envs": [*ENVS], "seeds": [*seeds]})
    runs = {key: run for key, run in results.runs.items() if key[0] in ENVS and key[2] in seeds}
    return replace(results, params=results.params.model_copy(update={"run": run}), runs=runs)


NOTES = (
    "The decisive test: seeds 5 to 24, tested once. Plan and reasons: benchmarks/claims/decisive.py, committed before "
    "the runs.",
    f"Verdicts are those of the family: the p-values of the {len(FAMILY)} claims on {len(ENVS)} environments, the "
    f"smaller of both directions each, adjusted together (Holm) and compared with {LEVEL:g}. Intervals and p-values "
    "shown are each test's own, and so are the verdicts on QMIX-equal, controls beside the family.",
)
