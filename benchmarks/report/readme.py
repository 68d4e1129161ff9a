"""The parts of README.md, docs/results.md and studies/README.md that results fill, each between two marker lines.

`python -m benchmarks.report.readme` fills them: the answers in short, the answers with one row per environment, and
each side study beside the main results, with its figure.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.style

from benchmarks.claims import decisive
from benchmarks.claims.answers import QUESTIONS, YES, answers, environment_rows, listed, upper
from benchmarks.claims.declared import CONFIDENCE, anchor_of
from benchmarks.claims.presented import caveats, compact, compared_text, family_text, p_text, verdict_rows
from benchmarks.claims.verdicts import Judgement, judge
from benchmarks.report import beside_game
from benchmarks.report.compared import BESIDE, Compared, missing, new_beside_pilot, png
from benchmarks.report.drawing import LOOK, Drawable, as_png
from benchmarks.report.figures import ENTROPY, SCORE, Curves
from benchmarks.report.gather import Key, Results, gather, reference, seed_list, together
from benchmarks.report.tables import (
    FINAL_RETURN,
    FINAL_WIN_RATE,
    Cell,
    Column,
    Content,
    Derivative,
    Reading,
    entropy_percentiles,
    markdown_table,
    percentile_rows,
    score_rows,
    summarise,
)
from marl_gre.config import load_params
from marl_gre.errors import BadInput, Parser, run_cli

README = Path("README.md")
ANSWERS = Path("docs/results.md")
STUDIES = Path("studies")

FIGURES = STUDIES / "figures"
SMAC_STAGES = ("smac", "smac_table3", "smac_credit")
CREDIT_SCORES = Curves("smac_credit_scores", "All algorithms on the embedded engine (Figures 4, 5, 8)", SCORE, None)
CREDIT_ENTROPY = Curves(
    "smac_credit_entropy",
    "Gradient entropy on the embedded engine (Figure 6)",
    (ENTROPY,),
    ("qmix", "qmix_gre", "qmix_simple"),
)
NOT_RUN = "No runs of this study yet."
DECISIVE_ALT = (
    "Differences between algorithms with their intervals, on the new seeds and in the pilot, beside what is claimed"
)


def main() -> None:
    """Put what came out into the three files."""
    files = f"{README}, {ANSWERS} and {STUDIES / README}"
    Parser(prog="python -m benchmarks.report.readme", description=f"Fill the results of {files}.").parse_args()
    results, new = gathered(Path()), gathered(STUDIES / "decisive")
    put("claims", in_short(results, new), README)
    put("claims", answered(results, new), ANSWERS)
    for name, beside in BESIDE.items():
        put(name, study_text(name, beside, results, gathered(STUDIES / name)), STUDIES / README)
    put("decisive", decided(results, new), STUDIES / README)
    stages = [gathered(STUDIES / name) for name in SMAC_STAGES]
    for name, text in zip(SMAC_STAGES, smac_texts(results, *stages), strict=True):
        put(name, text, STUDIES / README)
    put("smac", smac_so_far(stages), ANSWERS)


def gathered(folder: Path) -> Results:
    """Return the runs of the params.yaml in a folder."""
    with contextlib.chdir(folder):
        return gather(load_params(Path("params.yaml")))


def in_short(results: Results, new: Results) -> str:
    """Return the paper's questions with their answers in a few words, and the decisive test's, as Markdown."""
    found = answers(results, judge(results))
    lines = [f"- {one.question} **{one.short}.**" for one in found]
    if decisive.is_made(decisive.judge(new)):
        lines.append(decisive_line(new))
    return "\n".join(lines)


def decisive_line(new: Results, effects: bool = False) -> str:
    """Return what the decisive test says, or how many of its runs there are, as one point of a list.

    Args:
        new: the runs of the decisive test.
        effects: name the differences and their intervals.
    """
    judgements = decisive.judge(new)
    if not decisive.is_made(judgements):
        total = len(new.runs) + len(new.missing)
        text = f"Nothing is judged until every run that the tests read is available; {len(new.runs)} of {total} are."
    else:
        by_claim = {one.claim.name: [other for other in judgements if other.claim is one.claim] for one in judgements}
        text = " ".join(
            f"{QUESTIONS[name]} {upper(listed(new, found, YES, effects))}" for name, found in by_claim.items()
        )
    seeds = seed_list(decisive.SEEDS)
    return f"- **The decisive test**, for which these runs are the pilot: seeds {seeds}, tested once. {text}"


def answered(results: Results, new: Results) -> str:
    """Return the answers to the paper's questions and the table of environments as Markdown."""
    judgements = judge(results)
    lines = [f"- **{one.name}. {one.question} {one.short}.** {one.text}" for one in answers(results, judgements)]
    lines.append(decisive_line(new, effects=True))
    total = len(results.runs) + len(results.missing)
    count = f"{len(results.runs)} of {total} runs are available" if results.missing else f"{total} runs"
    note = " ".join(
        [
            f"{count}, seeds {seed_list(results.params.run.seeds)}. Mean difference over seeds, "
            f"{CONFIDENCE:.0%} interval, and verdict on the claim; of QMIX-GRE the range of the three lambdas and the "
            "outer ends of their intervals, widened for the choice among three.",
            *([text] if (text := family_text(results, judgements, names=False)) else []),
            *caveats(results),
        ]
    )
    content = environment_rows(results, judgements)
    return "\n".join([*lines, "", markdown_table(Content(content.columns, content.rows, [f"*{note}*"]))])


def study_text(name: str, beside: Compared, main: Results, study: Results) -> str:
    """Return a side study beside the main results as Markdown, and write its figure."""
    if not study.runs:
        return NOT_RUN
    text = markdown_table(study_rows(beside, main, study))
    if beside.figure is None:
        return text
    return f"{_shown(name, beside.alt, png(beside.figure, beside, main, study))}\n\n{text}"


def study_rows(beside: Compared, main: Results, study: Results) -> Content:
    """Return a side study's runs below those of the main results that they vary, environment by environment."""
    percents = reference("paper")["entropy_percentiles"]["percents"]
    rows = [
        row
        for env in dict.fromkeys([*beside.envs, *study.params.run.envs])
        for results, algorithm in beside.lines(main, study, env)
        for row in _study_rows(results, env, algorithm, percents)
    ]
    columns = [
        *(Column("Environment"), Column("Algorithm"), Column("Seeds", "d"), Column("Doing nothing", ".1f")),
        *(Column("Final return", ".1f"), Column("lowest", ".1f"), Column("highest", ".1f")),
        *(Column(f"Entropy {percents[0]}%", ".3f"), *(Column(f"{percent}%", ".3f") for percent in percents[1:])),
    ]
    return Content(columns, rows, missing(study))


def _study_rows(results: Results, env: str, algorithm: str, percents: Sequence[float]) -> list[list[Cell]]:
    """Return an algorithm's row, and one for the credits of the function where they are not the gradient's."""
    found, runs = summarise(results, FINAL_RETURN, env, algorithm), results.select(env, algorithm)
    entropy = entropy_percentiles(runs, "single steps", "exact", percents)
    of_function = entropy_percentiles(runs, "single steps", "function", percents)
    play = anchor_of(results.params, env)
    title = results.title(algorithm)
    rows: list[list[Cell]] = [
        [
            *(results.title(env), title, found.seeds, float(play["idle"]) if play else None),
            *(found.mean, found.least, found.most),
            *(entropy.tolist() if entropy is not None else [None] * len(percents)),
        ]
    ]
    if of_function is not None:
        nothing = [None] * 4
        rows.append([results.title(env), f"{title}: credits of the function", found.seeds, *nothing, *of_function])
    return rows


def decided(main: Results, new: Results) -> str:
    """Return the decisive test as Markdown: verdicts of the new seeds, the pilot and all seeds beside them.

    Once the test is made, its figure is written too.
    """
    if not new.runs:
        return NOT_RUN
    judgements = decisive.judge(new)
    adjusted, pilot = decisive.adjust([one.outcomes[0] for one in judgements]), decisive.pilot(main)
    rows: list[list[Cell]] = []
    for one, p, before, both in zip(judgements, adjusted, pilot, decisive.pooled(main, new), strict=True):
        outcome, earlier, together = (judgement.outcomes[0] for judgement in (one, before, both))
        rows.append(
            [
                *(one.claim.name, new.title(one.env), one.verdict, compared_text(outcome)),
                *(compact(outcome), outcome.seeds, p_text(outcome.p), p_text(outcome.p_outside)),
                p_text(p) if one.verdict in ("supported", "contradicted", "undecided") else None,
                f"{compact(earlier, bare=True)}: {before.verdict}",
                "" if one.verdict == "missing" else compact(together, bare=True),
            ]
        )
    for one in decisive.beside(new):
        (outcome,) = one.outcomes
        rows.append(
            [
                *(one.claim.name, new.title(one.env), one.verdict, compared_text(outcome), compact(outcome)),
                *(outcome.seeds, p_text(outcome.p), p_text(outcome.p_outside), None, "", ""),
            ]
        )
    columns = [
        *(Column("Claim"), Column("Environment"), Column("Verdict"), Column("Difference"), Column("New seeds")),
        *(Column("Seeds", "d"), Column("p", ".4f"), Column("p of the contrary", ".4f"), Column("Holm", ".4f")),
        *(Column("Pilot, at its own level"), Column("All seeds, descriptive")),
    ]
    text = markdown_table(Content(columns, rows, [*decisive.NOTES, *missing(new)]))
    if not decisive.is_made(judgements):
        return text
    picture = png(new_beside_pilot, new, judgements, pilot)
    return f"{_shown('decisive', DECISIVE_ALT, picture)}\n\n{text}"


def smac_texts(main: Results, learning: Results, table_3: Results, credit: Results) -> tuple[str, str, str]:
    """Return what the three stages on the embedded SMAC engine say, as Markdown, and write their figures.

    Each stage takes from the others, and from the main results, what it stands beside. The verdicts of all stages are
    one family.
    """
    engine = together(learning, table_3, credit)
    found = judge(engine)
    return (
        _learning(learning, engine, found),
        _table_3(main, learning, table_3, found),
        _credit(learning, credit, found),
    )


def _learning(results: Results, engine: Results, judgements: Sequence[Judgement]) -> str:
    """Return the first stage, the engine beside the game, and the answers of all stages."""
    if not results.runs:
        return NOT_RUN
    lines = [f"- {one.question} **{one.short}.** {one.text}" for one in answers(engine, judgements)]
    notes = [text for text in (family_text(engine, judgements, names=False), *caveats(engine)) if text]
    picture = _drawn("smac", results, beside_game.FIGURE)
    learner = beside_game.learner_rows(results)
    parts = [picture, markdown_table(beside_game.game_rows(results)), "\n".join(lines), " ".join(notes)]
    return "\n\n".join([part for part in (*parts, *missing(results), *_table(learner)) if part])


def _table(content: Content) -> list[str]:
    return [markdown_table(content)] if content.rows else []


def smac_so_far(stages: Sequence[Results]) -> str:
    """Return how learning on the embedded SMAC engine compares with the game, and the answers there, as Markdown."""
    engine = together(*stages)
    if not engine.runs:
        return NOT_RUN
    judgements = judge(engine)
    found = answers(engine, judgements)
    lines = [*beside_game.sentences(stages[0]), *(f"**{one.question} {one.short}.** {one.text}" for one in found)]
    picture = f"![{beside_game.FIGURE.describe(stages[0])}](../{STUDIES}/figures/smac.png)"
    counts = [f"{len(stage.runs)} of the {len(stage.runs) + len(stage.missing)}" for stage in stages]
    note = " ".join(
        [
            f"Runs available: {', '.join(counts[:-1])} and {counts[-1]} of the three stages. {engine.substitutes()}",
            *([text] if (text := family_text(engine, judgements, names=False)) else []),
            *caveats(engine),
        ]
    )
    return "\n\n".join([picture, "\n".join(f"- {line}" for line in lines), f"*{note}*"])


def _table_3(main: Results, learning: Results, results: Results, judgements: Sequence[Judgement]) -> str:
    """Return the second stage: Table 3 whole, with Table 2's rows above it and the claims about it."""
    if not results.runs:
        return NOT_RUN
    whole = together(learning, results, main)
    readings: list[tuple[Reading, Derivative]] = [("single steps", "released"), ("single steps", "exact")]
    content = percentile_rows(whole, mixer="qmix", readings=readings)
    engine = together(learning, results)
    chosen = [one for one in judgements if one.claim.name.startswith("RQ1a") and one.env in engine.params.run.envs]
    notes = [*dict.fromkeys([*content.notes, f"**{engine.substitutes()}**"]), *missing(results)]
    text = markdown_table(Content(content.columns, content.rows, notes))
    return f"{text}\n{markdown_table(verdict_rows(engine, chosen, whole=judgements))}"


def _credit(learning: Results, results: Results, judgements: Sequence[Judgement]) -> str:
    """Return the third stage: QMIX-simple and QMIX-GRE beside the first stage's QMIX and VDN on the same maps."""
    if not results.runs:
        return NOT_RUN
    both = beside(learning, results)
    figures = [
        _drawn(f"smac_credit_{name}", both, figure)
        for name, figure in (("scores", CREDIT_SCORES), ("entropy", CREDIT_ENTROPY))
    ]
    verdicts = verdict_rows(both, [one for one in judgements if one.env in both.params.run.envs], whole=judgements)
    tables = [verdicts, score_rows(both, score=FINAL_WIN_RATE), score_rows(both, score=FINAL_RETURN)]
    texts = [markdown_table(Content(one.columns, one.rows)) for one in tables]
    notes = dict.fromkeys(note for one in tables for note in one.notes)
    return "\n\n".join([*figures, *texts, *notes, *missing(results)])


def beside(learning: Results, results: Results) -> Results:
    """Return a stage's runs with the first stage's on the same maps."""
    both = together(learning, results)
    envs = results.params.run.envs
    run = both.params.run.model_copy(update={"envs": envs})

    def here(runs: dict[Key, Any]) -> dict[Key, Any]:
        return {key: value for key, value in runs.items() if key[0] in envs}

    params = both.params.model_copy(update={"run": run})
    return replace(both, params=params, runs=here(both.runs), missing=here(both.missing))


def _drawn(name: str, results: Results, figure: Drawable) -> str:
    """Write a figure of the report for studies/README.md, and return the line that shows it."""
    with matplotlib.style.context(["default", LOOK]):
        _, drawn = next(figure.draw(results))
        return _shown(name, figure.describe(results), as_png(drawn))


def _shown(name: str, alt: str, picture: bytes) -> str:
    """Write a picture for studies/README.md, and return the line that shows it."""
    path = FIGURES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(picture)
    return f"![{alt}]({path.relative_to(STUDIES)})"


def put(name: str, table: str, readme: Path) -> None:
    """Put a table between the markers of that name.

    Raises:
        BadInput: the markers are not there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = readme.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise BadInput(f"{readme}: the lines {begin} and {end} are needed, once.")
    readme.write_text(pattern.sub(lambda _: f"{begin}\n{table.rstrip()}\n{end}", text))


if __name__ == "__main__":
    run_cli(main)
