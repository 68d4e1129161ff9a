"""The paper's claims, and controls of ours, as tests: data in `CLAIMS`; verdicts.py judges by them.

These are about the gridworlds; smac.py has those about StarCraft's maps.

Tests, margins and reasons were fixed before the runs of the five seeds, with two exceptions that were changed after
these runs were seen, and say so: control 2, and the measure of RQ2b. Before the claims were fixed there were pilots: at
the paper's budget, QMIX with three seeds on Lumberjacks and one on TrafficJunction10 as ma-gym has it, of which
entropies were read, and one seed of four algorithms of the released code (reference/released_code.yaml).

A test compares one number per run, paired by seed, with a region that the claim allows: a `Kind` and a `Margin`. Its
verdict is *supported* where the confidence interval of the mean difference lies inside the region, *contradicted*
where it lies outside, else *undecided*. (For an interval of confidence 1 - 2a, lying inside is the same as two
one-sided tests at level a.) A claim with several tests is supported in an environment where all are, contradicted
where one is; the interval that contradicts is widened for as many tests (Bonferroni).

Which lambda stands for GRE: none. Choosing it on the tested seeds would favour GRE, and choosing it on others would
cost as many runs again. The paper chose one per environment from a grid of three and does not say which. So all three
are trained, shown and tested; a claim about GRE is supported where it is for one lambda of the grid (the same for all
tests of the claim), contradicted where it is for all. Intervals are widened for this choice among three (Bonferroni).

Whose claim it is: the paper's where it makes it about these environments; an extension where it shows it elsewhere
(RQ3 on MMM2; RQ2b and RQ2c, since it calls its gridworlds comparable) and a failure here does not contradict it; or a
control.

Decided after the runs of the main results were seen, besides those two exceptions: what is an extension, that verdicts
where nothing is learned "compare failures", the stricter level of contradictions, that times with no room for a gain
are not judged, and the family of verdicts. Each makes fewer verdicts, or says less.

Nothing is judged before all seeds of params.yaml are there, or on less than the paper's budget of steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from benchmarks.report.gather import Run, paper_name, reference, same_env
from marl_gre import stats
from marl_gre.config import AlgorithmConfig, Params, find_mixer
from marl_gre.shares import EVEN
from marl_gre.stats import Array

CONFIDENCE = 0.95
"""Of the intervals that decide, fixed here and not in params.yaml."""

MIDDLE = (0.25, 0.75)
"""Of the training: its middle half."""

HALF_WAY = 0.5
"""Of the way from doing nothing to good play (reference/anchors.yaml): the return whose first test is timed."""


@dataclass(frozen=True)
class Algorithm:
    """An algorithm by what it is, whatever params.yaml calls it; other settings are the defaults."""

    name: str
    mixer: str
    settings: dict[str, Any] = field(default_factory=dict)

    def find(self, params: Params) -> str | None:
        """Return its key among the selected algorithms, None where it is not selected."""
        config = AlgorithmConfig(mixer=self.mixer, mixer_config=find_mixer(self.mixer).Config(**self.settings))
        return next((key for key in params.run.algorithms if params.algorithms[key] == config), None)


@dataclass(frozen=True)
class Measure:
    """One number per run; `read` gets all runs of an algorithm on an environment and returns [R]."""

    title: str
    unit: Literal["per episode", "of battles", "steps", ""]
    read: Callable[[Sequence[Run], Params], Array]
    undefined: str = "not measured in these runs"  # what NaN means
    is_time: bool = False  # of a test: from the first one, to one interval past the last for runs that never get there
    greatest: float | None = None  # that a run can reach; None where nothing bounds it

    @property
    def is_performance(self) -> bool:
        """Whether it says how well the environment is solved, which is worth little where nothing solves it."""
        return self.unit != ""


@dataclass(frozen=True)
class Margin:
    """How large a difference must be to count."""

    value: float
    of: Literal["absolute", "span"]  # span: share of the distance from doing nothing to good play
    reason: str


@dataclass(frozen=True)
class Kind:
    """What a claim says about the mean difference, as a region around 0 that depends on the margin m."""

    text: str
    region: Callable[[float], tuple[float, float]]
    effect: str  # what is claimed of a difference, with {} for the margin

    def claimed(self, margin: float, shown: str) -> str:
        """Return what is claimed of a difference, in words, with the margin as it is shown."""
        return self.effect.format(shown) if margin else self.effect.format("0").replace("-0", "0")


@dataclass(frozen=True)
class Term:
    """One side of a comparison: a measure of an algorithm (None: of each candidate in turn), or a constant."""

    measure: Measure | None = None
    algorithm: Algorithm | None = None
    constant: float = 0.0


@dataclass(frozen=True)
class Test:
    """A comparison whose outcome was said in advance."""

    says: str
    left: Term
    right: Term
    kind: Kind
    margin: Margin


Of = Literal["paper", "extension", "control", "game"]
"""Whose claim it is."""


@dataclass(frozen=True)
class Claim:
    """What the paper, a control or the real game says."""

    name: str
    of: Of | None  # None: of nobody, and not tested, but where `on` says otherwise
    says: str
    source: str
    tests: tuple[Test, ...]
    candidates: tuple[Algorithm, ...] = ()  # one of them is enough
    on: Mapping[str, Of] = field(default_factory=dict)  # whose it is on single environments, by the paper's names
    family: str = "gridworld"  # of the environments that it is about, as in reference/anchors.yaml

    def whose(self, params: Params, env: str) -> Of | None:
        """Return whose claim it is on an environment, None where it is not tested."""
        play = anchor_of(params, env)
        if play is None or play["family"] != self.family:
            return None
        return self.on.get(paper_name(params, env) or "", self.of)


def per_run(read: Callable[[Run, Params], float]) -> Callable[[Sequence[Run], Params], Array]:
    """Return a measure's `read` from a function of one run."""
    return lambda runs, params: np.array([read(run, params) for run in runs], float)


def anchor_of(params: Params, env: str) -> dict[str, Any] | None:
    """Return what play without learning and good play are worth, None where the claims do not apply.

    Returns:
        The entry of reference/anchors.yaml, with its `family` and the family's budget, `total_steps`.
    """
    for family, content in reference("anchors").items():
        for one in content["values"]:
            if same_env(one, params.envs[env]):
                return {**one, "family": family, "total_steps": content["total_steps"]}
    return None


def _share(run: Run, params: Params, share: float) -> float:
    return share * params.envs[run.key[0]].total_steps


def _height(run: Run, params: Params, column: str, part: tuple[float, float]) -> float:
    """Return the mean height of a column of tests.csv over a part of the training."""
    ends = (_share(run, params, share) for share in part)
    return stats.mean_height(run.tests["due_steps"], run.tests[column], *ends)


def rise(column: str) -> Callable[[Sequence[Run], Params], Array]:
    """Return the measure of how much a column of tests.csv rises in the middle of the training."""
    middle = sum(MIDDLE) / 2
    return per_run(
        lambda run, params: (
            _height(run, params, column, (middle, MIDDLE[1])) - _height(run, params, column, (MIDDLE[0], middle))
        )
    )


def spread(column: str) -> Callable[[Sequence[Run], Params], Array]:
    """Return the measure of each seed's mean distance from the seeds' mean curve in the middle of training.

    It is what Levene's test compares.
    """

    def read(runs: Sequence[Run], params: Params) -> Array:
        if len(runs) < 3:
            return np.full(len(runs), math.nan)  # two seeds are always equally far from their mean
        start, end = (_share(runs[0], params, share) for share in MIDDLE)
        steps = runs[0].tests["due_steps"]
        inside = (steps >= start) & (steps <= end)
        curves = np.array([np.interp(steps[inside], run.tests["due_steps"], run.tests[column]) for run in runs])
        return np.abs(curves - curves.mean(0)).mean(1)

    return read


def _entropy(exploring: bool | None) -> Callable[[Run, Params], float]:
    """Return the mean gradient entropy over the training: while epsilon falls, after it, or (None) all of it."""

    def read(run: Run, params: Params) -> float:
        early = run.entropy["due_steps"] < params.train.epsilon_anneal_steps
        chosen = run.entropy["mean"][early == exploring if exploring is not None else slice(None)]
        return float(chosen.mean()) if len(chosen) else math.nan

    return read


def _evaluated(name: str) -> Callable[[Run, Params], float]:
    return lambda run, params: float(math.nan if run.evaluation.get(name) is None else run.evaluation[name])


def _steps_to_half_way(run: Run, params: Params) -> float:
    """Return the step of the first test at or above `HALF_WAY`, NaN where none is."""
    play = anchor_of(params, run.key[0])
    if play is None:
        return math.nan
    reached = run.tests["episode_return_mean"] >= play["idle"] + HALF_WAY * (play["good"] - play["idle"])
    return float(run.tests["due_steps"][reached.argmax()]) if reached.any() else math.nan


def _shift_ratio(run: Run, params: Params) -> float:
    """Return how far shuffled states move the shares, in units of how uneven they are."""
    moved, uneven = (_evaluated(f"share_{name}_mean")(run, params) for name in ("shift_shuffled", "unevenness"))
    return moved / uneven if uneven > EVEN else math.nan


FINAL_RETURN = Measure("final return", "per episode", per_run(lambda r, _: r.record["final_return"]))
STEPS_TO_HALF_WAY = Measure(
    "steps to half-way",
    "steps",
    per_run(_steps_to_half_way),
    "some runs never get half-way to good play",
    is_time=True,
)
MIDDLE_RISE = Measure("return in the third quarter minus the second", "per episode", rise("episode_return_mean"))
MIDDLE_SPREAD = Measure(
    "distance from the seeds' mean curve, middle half", "per episode", spread("episode_return_mean")
)
ENTROPY_ALL = Measure("entropy, mean over training", "", per_run(_entropy(None)))
ENTROPY_EXPLORING = Measure("entropy while epsilon falls", "", per_run(_entropy(True)))
ENTROPY_AFTER = Measure("entropy after epsilon has fallen", "", per_run(_entropy(False)))
ENTROPY_FINAL = Measure("entropy of the final policy", "", per_run(_evaluated("entropy_mean")))
ENTROPY_UNTRAINED = Measure("same steps, untrained networks", "", per_run(_evaluated("entropy_untrained_mean")))
SHIFT_RATIO = Measure("shift of the shares with shuffled states, over their unevenness", "", per_run(_shift_ratio))
BY_AGENT = Measure(
    "part of the squared unevenness that the agent's index fixes", "", per_run(_evaluated("share_unevenness_by_agent"))
)

VDN = Algorithm("VDN", "vdn")
QMIX = Algorithm("QMIX", "qmix")
SIMPLE = Algorithm("QMIX-simple", "qmix_simple")
# 14,952 mixer parameters where QMIX has 14,913 (QMIX-simple: 7,408) on Lumberjacks, 282,570 for 282,305 (217,306) on
# TrafficJunction10
SIZED = Algorithm("QMIX-simple, QMIX's size", "qmix_simple", {"hypernet_dim": "as_qmix"})
GRID = tuple(
    Algorithm(f"QMIX-GRE {text}", "qmix_gre", {"gre_lambda": float(text)}) for text in ("1e-3", "5e-4", "1e-4")
)

EQUAL = Kind("within the margin", lambda m: (-m, m), "allowed ±{}")
AT_LEAST = Kind("not lower by the margin", lambda m: (-m, math.inf), "allowed down to -{}")
MORE = Kind("higher by more than the margin", lambda m: (m, math.inf), "claimed above {}")
LESS = Kind("lower by more than the margin", lambda m: (-math.inf, -m), "claimed below -{}")
BELOW = Kind("below the margin", lambda m: (-math.inf, m), "claimed below {}")

OF_SPAN = Margin(
    0.025,
    "span",
    "2.5% of the way from doing nothing to good play (reference/anchors.yaml): small for a reader of the curves, and "
    "smaller than what the released code's VDN lacks to its QMIX on Lumberjacks (4%), which must not count as equal",
)
NEAR_ONE = Margin(
    0.05,
    "absolute",
    "half of the axis of the paper's figures, 0.9 to 1; all medians of its Tables 2 and 3 are nearer (0.972 and more)",
)
TENTH_OF_AXIS = Margin(0.01, "absolute", "a tenth of the axis of the paper's entropy figures, 0.9 to 1")
PRINTED = Margin(0.001, "absolute", "the last digit of the paper's tables; the claim names no size")
TEST_INTERVAL = Margin(5000.0, "absolute", "the steps between two tests: nothing finer is measured")
HALF = Margin(
    0.5,
    "absolute",
    "half: 0 where states do not matter, 1 to 2 where each step's state draws even-on-average shares anew",
)
MOST_OF_IT = Margin(0.5, "absolute", "half: then what changes with the state is more than what each agent always has")
ROUNDING = Margin(1e-6, "absolute", "float32 rounding")
SIGN = Margin(0.0, "absolute", "the claim is about the sign and names no size")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "RQ1a",
        "paper",
        "QMIX's gradient entropy stays near its maximum.",
        "RQ1; Figures 3 and 7, Tables 2 and 3",
        (
            Test(
                "near 1 after the exploration phase",
                Term(ENTROPY_AFTER, QMIX),
                Term(constant=1.0),
                AT_LEAST,
                NEAR_ONE,
            ),
        ),
    ),
    Claim(
        "RQ1a, phase",
        "paper",
        "QMIX's gradient entropy is lower while exploration is random.",
        "RQ1; Figures 3 and 7",
        (
            Test(
                "lower in the exploration phase than after it",
                Term(ENTROPY_EXPLORING, QMIX),
                Term(ENTROPY_AFTER, QMIX),
                LESS,
                PRINTED,
            ),
        ),
    ),
    Claim(
        "RQ1a, control 1",
        "control",
        "QMIX's entropy is that of its own untrained networks: being near 1 says nothing beyond the initialisation.",
        "not in the paper",
        (
            Test(
                "trained as untrained, on the steps of the final policy",
                Term(ENTROPY_FINAL, QMIX),
                Term(ENTROPY_UNTRAINED, QMIX),
                EQUAL,
                TENTH_OF_AXIS,
            ),
        ),
    ),
    Claim(
        "RQ1a, control 2",
        "control",
        "What unevenness QMIX's credit has follows the state, not the agent's index.",
        "not in the paper; replaced another control after the runs were seen",
        (
            Test(
                "shares move with the states by more than half of their unevenness",
                Term(SHIFT_RATIO, QMIX),
                Term(),
                MORE,
                HALF,
            ),
            Test(
                "less than half of the squared unevenness is the agents' own",
                Term(BY_AGENT, QMIX),
                Term(),
                BELOW,
                MOST_OF_IT,
            ),
        ),
    ),
    Claim(
        "RQ1a, control 3",
        "control",
        "The measurement gives 1 where credits are equal by construction.",
        "Table 1",
        (
            Test("VDN", Term(ENTROPY_ALL, VDN), Term(constant=1.0), EQUAL, ROUNDING),
            Test("QMIX-simple", Term(ENTROPY_ALL, SIMPLE), Term(constant=1.0), EQUAL, ROUNDING),
        ),
    ),
    Claim(
        "RQ1b",
        "paper",
        "QMIX-simple performs like QMIX.",
        "RQ1; Figure 4",
        (Test("same final return", Term(FINAL_RETURN, SIMPLE), Term(FINAL_RETURN, QMIX), EQUAL, OF_SPAN),),
    ),
    Claim(
        "RQ1b, size",
        "control",
        "QMIX-simple with as many parameters as QMIX performs like QMIX. (Where RQ1b is contradicted by a drop, this "
        "decides whether the drop comes from fewer parameters.)",
        "RQ1",
        (Test("same final return", Term(FINAL_RETURN, SIZED), Term(FINAL_RETURN, QMIX), EQUAL, OF_SPAN),),
    ),
    Claim(
        "RQ2a",
        "paper",
        "QMIX-GRE performs at least as well as QMIX (the paper: comparable on gridworlds; only 'not worse' is tested).",
        "RQ2; Figure 5",
        (Test("final return not lower", Term(FINAL_RETURN), Term(FINAL_RETURN, QMIX), AT_LEAST, OF_SPAN),),
        GRID,
    ),
    Claim(
        "RQ2a, better",
        "control",
        "QMIX-GRE ends above QMIX.",
        "not in the paper about gridworlds; added after the runs were seen",
        (Test("higher final return", Term(FINAL_RETURN), Term(FINAL_RETURN, QMIX), MORE, OF_SPAN),),
        GRID,
    ),
    Claim(
        "RQ2b",
        "extension",
        "QMIX-GRE learns faster early.",
        "RQ2; Figure 5 (its gridworlds: comparable); the measure replaced another after the runs were seen",
        (
            Test(
                "fewer steps to half-way from doing nothing to good play",
                Term(STEPS_TO_HALF_WAY),
                Term(STEPS_TO_HALF_WAY, QMIX),
                LESS,
                TEST_INTERVAL,
            ),
        ),
        GRID,
    ),
    Claim(
        "RQ2c",
        "extension",
        "QMIX drops in mid-training where QMIX-GRE rises, with less variance.",
        "RQ2; Figure 5; not known here on which maps",
        (
            Test("QMIX drops", Term(MIDDLE_RISE, QMIX), Term(), LESS, OF_SPAN),
            Test("QMIX-GRE rises", Term(MIDDLE_RISE), Term(), MORE, OF_SPAN),
            Test("QMIX-GRE varies less between seeds", Term(MIDDLE_SPREAD), Term(MIDDLE_SPREAD, QMIX), LESS, SIGN),
        ),
        GRID,
    ),
    Claim(
        "RQ3",
        "extension",
        "GRE lowers the gradient entropy.",
        "RQ3; Figure 6, which is about MMM2",
        (Test("lower than QMIX's over the training", Term(ENTROPY_ALL), Term(ENTROPY_ALL, QMIX), LESS, PRINTED),),
        GRID,
    ),
)
