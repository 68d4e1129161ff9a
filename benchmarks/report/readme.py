"""The parts of README.md, docs/results.md and studies/README.md that results fill, each between two marker lines.

`python -m benchmarks.report.readme` fills them: the answers in short, the answers with one row per environment, and
each side study beside the main results.
"""

import argparse
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims.answers import answers, environment_rows
from benchmarks.claims.declared import anchor_of
from benchmarks.claims.presented import caveats, family_text
from benchmarks.claims.verdicts import judge
from benchmarks.report.gather import Results, gather, reference
from benchmarks.report.tables import FINAL_RETURN, Cell, Column, Content, entropy_percentiles, markdown_table, summarise
from marl_gre.config import load_params
from marl_gre.errors import BadInput, run_cli

README = Path("README.md")
ANSWERS = Path("docs/results.md")
STUDIES = Path("studies")

COMPARED_ENVS = {
    "readings": ("traffic_junction10_v0", "traffic_junction10_v1", "lumberjacks_v0"),
    "one_layer": ("lumberjacks_v0", "traffic_junction10_v0"),
}
"""Each side study, and the environments of the main results that stand beside its own."""

COMPARED_ALGORITHMS = ("qmix", "qmix_simple", "qmix_gre_1e-3")
"""The algorithms of the main results that the side studies vary."""


def main() -> None:
    """Put what came out into the three files."""
    files = f"{README}, {ANSWERS} and {STUDIES / README}"
    argparse.ArgumentParser(description=f"Fill the results of {files}.").parse_args()
    results = gathered(Path())
    put("claims", in_short(results), README)
    put("claims", answered(results), ANSWERS)
    for study, envs in COMPARED_ENVS.items():
        put(study, markdown_table(study_rows(results, gathered(STUDIES / study), envs)), STUDIES / README)


def gathered(folder: Path) -> Results:
    """Return the runs of the params.yaml in a folder."""
    with contextlib.chdir(folder):
        return gather(load_params(Path("params.yaml")))


def in_short(results: Results) -> str:
    """Return the paper's questions with their answers in a few words, as Markdown."""
    found = answers(results, judge(results))
    return "\n".join(f"- {one.question} **{one.short}.**" for one in found)


def answered(results: Results) -> str:
    """Return the answers to the paper's questions and the table of environments as Markdown."""
    judgements = judge(results)
    lines = [f"- **{one.name}. {one.question} {one.short}.** {one.text}" for one in answers(results, judgements)]
    total = len(results.runs) + len(results.missing)
    count = f"{len(results.runs)} of {total} runs are here" if results.missing else f"{total} runs"
    note = " ".join(
        [
            f"{count}, seeds {', '.join(map(str, results.params.run.seeds))}. Mean difference over seeds, interval, "
            "and verdict on the claim; of QMIX-GRE the range of the three lambdas and the outer ends of their "
            "intervals.",
            *([text] if (text := family_text(results, judgements, names=False)) else []),
            *caveats(results),
        ]
    )
    content = environment_rows(results, judgements)
    return "\n".join([*lines, "", markdown_table(Content(content.columns, content.rows, [f"*{note}*"]))])


def study_rows(results: Results, study: Results, compared: Sequence[str]) -> Content:
    """Return a side study's runs below those of the main results that they vary, environment by environment.

    Args:
        results: the main results.
        study: the side study's.
        compared: environments of the main results.
    """
    percents = reference("paper")["entropy_percentiles"]["percents"]
    rows: list[list[Cell]] = []
    for env in dict.fromkeys([*compared, *study.params.run.envs]):
        if env in compared:
            rows += [_study_row(results, env, name, percents) for name in COMPARED_ALGORITHMS]
        if env in study.params.run.envs:
            rows += [_study_row(study, env, name, percents) for name in study.params.run.algorithms]
    columns = [
        *(Column("Environment"), Column("Algorithm"), Column("Seeds", "d"), Column("Doing nothing", ".1f")),
        *(Column("Final return", ".1f"), Column("least", ".1f"), Column("most", ".1f")),
        *(Column(f"Entropy {percents[0]} %", ".3f"), *(Column(f"{percent} %", ".3f") for percent in percents[1:])),
    ]
    return Content(columns, rows)


def _study_row(results: Results, env: str, algorithm: str, percents: Sequence[float]) -> list[Cell]:
    found = summarise(results, FINAL_RETURN, env, algorithm)
    entropy = entropy_percentiles(results.select(env, algorithm), "single steps", "exact", percents)
    play = anchor_of(results.params, env)
    return [
        *(results.title(env), results.title(algorithm), found.seeds, float(play["idle"]) if play else None),
        *(found.mean, found.least, found.most),
        *(entropy.tolist() if entropy is not None else [None] * len(percents)),
    ]


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
