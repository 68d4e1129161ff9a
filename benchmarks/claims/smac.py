"""The claims about StarCraft's maps, declared before any full run on the embedded engine: data in `SMAC_CLAIMS`.

They are tested on the engine, a substitute for StarCraft II; no verdict is about the game. Performance is the win rate,
in the report's tables the mean of the last five greedy tests of 32 episodes; returns stand beside it as controls.
Declared.py says how a claim is tested. Nothing is chosen among candidates: of QMIX-GRE the lambda 1e-3 alone is run,
the released code's configuration.

Whose claim it is depends on the map (`Claim.on`, by the paper's names). The paper's Table 3 has percentiles of QMIX's
entropy on its eight maps; its Figures 4 and 5, as far as they are known here, show QMIX-simple as good as QMIX, and
QMIX-GRE at least as good and faster early on 3s5z, MMM2 and 27m_vs_30m; its Figure 6 is about MMM2. Elsewhere these are
extensions. 8m is not in the paper. The orders of algorithms that hold in the real game (reference/real_game.yaml) are
claims of the game's: they test the engine, not the paper.

**Runs**, two at once, in this order, each project published as it finishes:

1. `studies/smac`: 2s3z, 8m, 3s5z, 5m_vs_6m, 3s_vs_5z, MMM2; QMIX and VDN, seeds 0 to 2.
2. `studies/smac_table3`: 10m_vs_11m, 27m_vs_30m, bane_vs_bane; QMIX, seeds 0 and 1.
3. `studies/smac_credit`: MMM2, then 3s5z; QMIX-simple and QMIX-GRE 1e-3, seeds 0 to 2.

Within a project all seeds of one map come before the next map. **Stop rule**: no run is stopped, added or left out for
what it shows. When the time ends, what has not run is missing, with its measured cost, and a claim whose runs are not
all there is shown as missing, not judged. A run that stands at a checkpoint counts as missing.

**Added while the first runs were under way, before any had ended**: a time is not judged where in half of the pairs or
more neither run gets there, or where the baseline leaves no room for a gain; what contradicts a claim of several tests
is held to a stricter level (declared.py); and a verdict "compares failures" where the algorithms that its claim
compares all fail, whatever a third one does.

**Changed on 27 November 2026**, when all runs on 2s3z, 8m and 3s5z and seed 0 on 5m_vs_6m had been seen (seed 1 had
ended), and none on any other map: a gain for which the baseline's win rate leaves no room is not judged (Order 1 on
3s5z, which was undecided); a claim of several tests is missing while the runs of any of them are, even if another test
contradicts it; all stages are one family of verdicts in docs/results.md and studies/README.md (a stage's own report
holds that stage alone); and a stricter rule says whether learning looks like learning on the game
(report/beside_game.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.claims.declared import (
    AT_LEAST,
    CLAIMS,
    ENTROPY_ALL,
    EQUAL,
    FINAL_RETURN,
    GRID,
    LESS,
    MORE,
    OF_SPAN,
    PRINTED,
    QMIX,
    ROUNDING,
    SIGN,
    SIMPLE,
    TENTH_OF_AXIS,
    VDN,
    Claim,
    Margin,
    Measure,
    Of,
    Term,
    Test,
    per_run,
    rise,
    spread,
)
from benchmarks.report import tables
from benchmarks.report.gather import Run, paper_name, reference
from benchmarks.report.tables import Derivative, entropy_percentiles
from benchmarks.smac_validation.learning import steps_to
from marl_gre.config import Params
from marl_gre.stats import Array

FAMILY = "smac"
GRE = GRID[0]
HALF = 0.5
"""The win rate that is timed."""

TABLE_3 = ("3s_vs_5z", "3s5z", "27m_vs_30m", "2s3z", "5m_vs_6m", "10m_vs_11m", "bane_vs_bane", "MMM2")
FASTER = ("3s5z", "MMM2", "27m_vs_30m")
"""Maps on which the paper has QMIX-GRE ahead."""


def paper_on(*names: str) -> dict[str, Of]:
    """Return that a claim is the paper's own on these maps."""
    return dict.fromkeys(names, "paper")


def _steps_to_half(run: Run, params: Params) -> float:
    env = params.envs[run.key[0]]
    steps = steps_to(run.tests, HALF)
    return float(env.total_steps + env.test_interval_steps) if steps is None else steps


def _percentile(percent: int, derivative: Derivative) -> Callable[[Sequence[Run], Params], Array]:
    def read(run: Run, params: Params) -> float:
        found = entropy_percentiles([run], "single steps", derivative, [percent])
        return float("nan") if found is None else float(found[0])

    return per_run(read)


def _printed(percent: int) -> Callable[[Sequence[Run], Params], Array]:
    """Return the paper's percentile of each run's map."""

    def read(run: Run, params: Params) -> float:
        paper = reference("paper")["entropy_percentiles"]
        return float(paper["values"][paper_name(params, run.key[0])][paper["percents"].index(percent)])

    return per_run(read)


FINAL_WIN_RATE = Measure(
    "final win rate", "of battles", per_run(lambda run, _: tables.FINAL_WIN_RATE.read(run)), greatest=1.0
)
STEPS_TO_HALF = Measure(
    "steps to a win rate of 50% (mean of five tests; never: one test past the end)",
    "steps",
    per_run(_steps_to_half),
    is_time=True,
)
WIN_RATE_RISE = Measure("win rate in the third quarter minus the second", "of battles", rise("win_rate"))
WIN_RATE_SPREAD = Measure("distance from the seeds' mean curve, middle half", "of battles", spread("win_rate"))

WIN_RATE_MARGIN = Margin(
    0.05,
    "absolute",
    "5 points: a final win rate rests on 5 tests of 32 episodes, so that chance in the episodes alone has a standard "
    "error of 2 to 4 points in one run, and sources of one protocol on the real game end up to 16 points apart "
    "(5m_vs_6m), so less than 5 is nothing that others could find again. What must not count as equal is larger: QMIX "
    "ends 17 points above VDN on the game's 3s5z and 46 on its MMM2",
)
TEST_INTERVAL = Margin(10_000.0, "absolute", "the steps between two tests: nothing finer is measured")
FIVE_PERCENT = Margin(
    0.02,
    "absolute",
    "a fifth of the axis of the paper's entropy figures, 0.9 to 1: on the gridworlds, whose rules are known exactly, "
    "our 5% lie up to 0.018 from the paper's",
)

MARGINS = {5: FIVE_PERCENT, 25: TENTH_OF_AXIS, 50: TENTH_OF_AXIS, 75: TENTH_OF_AXIS, 95: TENTH_OF_AXIS}
"""Of the percentiles of Table 3."""


def _table_3(derivative: Derivative) -> tuple[Test, ...]:
    return tuple(
        Test(
            f"{percent}% as printed",
            Term(
                Measure(f"{percent}% of single steps, {derivative} derivative", "", _percentile(percent, derivative)),
                QMIX,
            ),
            Term(Measure(f"the paper's {percent}%", "", _printed(percent)), QMIX),
            EQUAL,
            margin,
        )
        for percent, margin in MARGINS.items()
    )


def _again(name: str, of: Of | None = None, **on: Of) -> Claim:
    """Return a claim about gridworlds as one about StarCraft's maps, with the same tests."""
    (claim,) = [one for one in CLAIMS if one.name == name]
    return replace(claim, family=FAMILY, of=of or claim.of, on=on)


SMAC_CLAIMS: tuple[Claim, ...] = (
    _again("RQ1a", "extension", **paper_on(*TABLE_3)),
    Claim(
        "RQ1a, Table 3",
        None,
        "The percentiles of QMIX's gradient entropy are those of Table 3.",
        "RQ1; Table 3, read as percentiles of single steps with the released code's ELU derivative, which is what the "
        "authors' program computed",
        _table_3("released"),
        on=paper_on(*TABLE_3),
        family=FAMILY,
    ),
    Claim(
        "RQ1a, Table 3, exact",
        None,
        "The same with the exact derivative of ELU, as the paper's Eq. 8 has it.",
        "RQ1; Table 3",
        _table_3("exact"),
        on=dict.fromkeys(TABLE_3, "control"),
        family=FAMILY,
    ),
    _again("RQ1a, phase", "extension", **paper_on(*TABLE_3)),
    _again("RQ1a, control 1"),
    _again("RQ1a, control 2"),
    *(
        Claim(
            f"RQ1a, control 3 ({algorithm.name})",
            "control",
            f"The measurement gives 1 for {algorithm.name}, whose credits are equal by construction.",
            "Table 1",
            (Test(algorithm.name, Term(ENTROPY_ALL, algorithm), Term(constant=1.0), EQUAL, ROUNDING),),
            family=FAMILY,
        )
        for algorithm in (VDN, SIMPLE)
    ),
    Claim(
        "RQ1b",
        "extension",
        "QMIX-simple performs like QMIX.",
        "RQ1; Figure 4",
        (
            Test(
                "same final win rate", Term(FINAL_WIN_RATE, SIMPLE), Term(FINAL_WIN_RATE, QMIX), EQUAL, WIN_RATE_MARGIN
            ),
        ),
        on=paper_on("MMM2", "3s5z"),
        family=FAMILY,
    ),
    Claim(
        "RQ1b, return",
        "control",
        "The same by returns.",
        "RQ1; Figure 4",
        (Test("same final return", Term(FINAL_RETURN, SIMPLE), Term(FINAL_RETURN, QMIX), EQUAL, OF_SPAN),),
        family=FAMILY,
    ),
    Claim(
        "RQ2a",
        "extension",
        "QMIX-GRE performs at least as well as QMIX.",
        "RQ2; Figure 5",
        (
            Test(
                "final win rate not lower",
                Term(FINAL_WIN_RATE, GRE),
                Term(FINAL_WIN_RATE, QMIX),
                AT_LEAST,
                WIN_RATE_MARGIN,
            ),
        ),
        on=paper_on(*FASTER),
        family=FAMILY,
    ),
    Claim(
        "RQ2a, better",
        "extension",
        "QMIX-GRE ends above QMIX.",
        "RQ2; Figure 5, which is known here as 'at least as good'",
        (Test("higher final win rate", Term(FINAL_WIN_RATE, GRE), Term(FINAL_WIN_RATE, QMIX), MORE, WIN_RATE_MARGIN),),
        family=FAMILY,
    ),
    Claim(
        "RQ2a, return",
        "control",
        "QMIX-GRE performs at least as well as QMIX, by returns.",
        "RQ2; Figure 5",
        (Test("final return not lower", Term(FINAL_RETURN, GRE), Term(FINAL_RETURN, QMIX), AT_LEAST, OF_SPAN),),
        family=FAMILY,
    ),
    Claim(
        "RQ2b",
        "extension",
        "QMIX-GRE learns faster early.",
        "RQ2; Figure 5",
        (
            Test(
                "fewer steps to a win rate of 50%",
                Term(STEPS_TO_HALF, GRE),
                Term(STEPS_TO_HALF, QMIX),
                LESS,
                TEST_INTERVAL,
            ),
        ),
        on=paper_on(*FASTER),
        family=FAMILY,
    ),
    Claim(
        "RQ2c",
        "extension",
        "QMIX drops in mid-training where QMIX-GRE rises, with less variance.",
        "RQ2; Figure 5; not known here on which maps",
        (
            Test("QMIX drops", Term(WIN_RATE_RISE, QMIX), Term(), LESS, WIN_RATE_MARGIN),
            Test("QMIX-GRE rises", Term(WIN_RATE_RISE, GRE), Term(), MORE, WIN_RATE_MARGIN),
            Test(
                "QMIX-GRE varies less between seeds",
                Term(WIN_RATE_SPREAD, GRE),
                Term(WIN_RATE_SPREAD, QMIX),
                LESS,
                SIGN,
            ),
        ),
        family=FAMILY,
    ),
    Claim(
        "RQ3",
        "extension",
        "GRE lowers the gradient entropy.",
        "RQ3; Figure 6, which is about MMM2",
        (Test("lower than QMIX's over the training", Term(ENTROPY_ALL, GRE), Term(ENTROPY_ALL, QMIX), LESS, PRINTED),),
        on=paper_on("MMM2"),
        family=FAMILY,
    ),
    Claim(
        "Order 1",
        None,
        "QMIX ends above VDN.",
        "the real game: 94 and 77% on 3s5z, 59 and 13% on MMM2 (benchmarks/reference/real_game.yaml)",
        (Test("higher final win rate", Term(FINAL_WIN_RATE, QMIX), Term(FINAL_WIN_RATE, VDN), MORE, WIN_RATE_MARGIN),),
        on={"3s5z": "game", "MMM2": "game"},
        family=FAMILY,
    ),
    Claim(
        "Order 2",
        None,
        "VDN reaches a win rate of 50% before QMIX.",
        "the real game: after 0.75 and 1.40 million steps on 3s_vs_5z (benchmarks/reference/real_game.yaml)",
        (Test("fewer steps to 50%", Term(STEPS_TO_HALF, VDN), Term(STEPS_TO_HALF, QMIX), LESS, TEST_INTERVAL),),
        on={"3s_vs_5z": "game"},
        family=FAMILY,
    ),
)
