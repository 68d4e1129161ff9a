"""DVC stage: from the runs that params.yaml names to tables, figures, curves, a summary and an index.

Gathers by the lists in params.yaml, never by what lies on disk. Everything is redrawn and appears at once.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims import decisive, presented
from benchmarks.layout import REPORT
from benchmarks.report import beside_game, contributions, drawing, figures, marl_eval, page, tables
from benchmarks.report.gather import Results, gather
from marl_gre import stats
from marl_gre.config import load_params
from marl_gre.errors import Parser, run_cli
from marl_gre.storage.files import publishing, write_json

CURVES = {"returns": figures.RETURN, "win_rates": figures.WIN_RATE, "entropy": figures.ENTROPY}
CURVE_COLUMNS = ("env", "algorithm", "due_steps", "seeds", "mean", "min", "max", "iqm", "iqm_low", "iqm_high")


def main() -> None:
    """Write the report of the params file in the current folder."""
    parser = Parser(
        prog="python -m benchmarks.aggregate", description="Draw tables and figures from the runs of params.yaml."
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    results = gather(load_params(parser.parse_args().params))
    with publishing(REPORT) as folder:
        write_report(results, folder)
    for (env, algorithm, seed), reason in results.missing.items():
        print(f"missing: {env} {algorithm} seed {seed}: {reason}")


def write_report(results: Results, folder: Path) -> None:
    """Write all files of the report."""
    for name in ("tables", "figures", "curves"):
        (folder / name).mkdir()
    written = []
    for table in (*tables.TABLES, contributions.TABLE, *beside_game.TABLES):
        content = table.fill(results)
        if not content.rows:
            continue  # win rates where there is nothing to win, contributions where they were not measured, ...
        written.append((table, content))
        (folder / "tables" / f"{table.name}.csv").write_text(tables.to_csv(content))
        (folder / "tables" / f"{table.name}.md").write_text(tables.to_markdown(table.title, content))
    drawn = figures.write(results, folder / "figures", [beside_game.FIGURE])
    for name, metric in CURVES.items():
        write_curves(results, metric, folder / "curves" / f"{name}.csv")
    write_json(folder / "marl_eval.json", marl_eval.as_json(results))
    write_json(folder / "summary.json", summary(results))
    judgements = decisive.judged(results)
    (folder / "claims.md").write_text(presented.to_markdown(results, judgements))
    write_json(folder / "claims.json", presented.as_json(results, judgements))
    (folder / "README.md").write_text(index(results, [table for table, _ in written], drawn))
    (folder / "index.html").write_text(page.to_html(results, judgements, written, drawn))


def write_curves(results: Results, metric: figures.Metric, path: Path) -> None:
    """Write the lines of the figures as numbers: what `dvc plots` shows and what other plotting programs can read."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CURVE_COLUMNS)
        for env in results.params.run.envs:
            for algorithm in results.params.run.algorithms:
                runs = results.select(env, algorithm)
                steps, curves = figures.aligned(runs, metric)
                if not len(steps):
                    continue
                mean, least, most = figures.MEAN.band(results)(curves)
                middle, low, high = figures.IQM.band(results)(curves)
                for step, *values in np.stack([steps, mean, least, most, middle, low, high], axis=1).tolist():
                    writer.writerow([env, algorithm, int(step), len(runs), *(f"{value:.6g}" for value in values)])


def summary(results: Results) -> dict[str, Any]:
    """Return the numbers that `dvc metrics` compares; what is missing has no entry."""
    content: dict[str, Any] = {"runs": {"done": len(results.runs), "missing": len(results.missing)}}
    for env in results.params.run.envs:
        for algorithm in results.params.run.algorithms:
            runs = results.select(env, algorithm)
            if not runs:
                continue
            entry: dict[str, float] = {"seeds": len(runs)}
            scores = [tables.FINAL_RETURN, tables.EVALUATION_RETURN]
            scores += [tables.FINAL_WIN_RATE, tables.EVALUATION_WIN_RATE] if results.has_wins(env) else []
            for score in scores:
                values = [score.read(run) for run in runs]
                entry[f"{score.name}_iqm"] = float(f"{stats.iqm(values):.6g}")
            entropy = tables.entropy_percentiles(runs, "single steps", "exact", [50])
            if entropy is not None:
                entry["entropy_median"] = float(f"{entropy[0]:.6g}")
            content.setdefault(env, {})[algorithm] = entry
    return content


def index(results: Results, written: list[tables.Table], drawn: list[drawing.Drawn]) -> str:
    """Return the report's front page in Markdown."""
    total = len(results.runs) + len(results.missing)
    lines = ["# Report", "", f"{len(results.runs)} of {total} runs.", ""]
    for text in results.notes():
        lines += [f"**{text}**", ""]
    if results.missing:
        lines += ["## Missing runs", "", "| Environment | Algorithm | Seed | Why |", "| --- | --- | --- | --- |"]
        lines += [f"| {env} | {name} | {seed} | {why} |" for (env, name, seed), why in results.missing.items()]
        lines += ["", "Tables and figures hold the other runs only.", ""]
    lines += ["All of it on one page, to open in a browser: [index.html](index.html).", ""]
    lines += ["## Claims", "", "[The paper's claims and their verdicts](claims.md) ([JSON](claims.json))", ""]
    lines += ["## Tables", ""]
    lines += [f"- [{table.title}](tables/{table.name}.md) ([CSV](tables/{table.name}.csv))" for table in written]
    lines += ["", "## Figures", ""]
    for figure in drawn:
        name = figure.name
        lines += [f"![{figure.title}](figures/{name}.png)", "", f"[{name}.svg](figures/{name}.svg)", ""]
    lines += ["The lines as numbers: " + ", ".join(f"[{name}](curves/{name}.csv)" for name in CURVES) + "; "]
    lines += ["in marl-eval's layout: [marl_eval.json](marl_eval.json).", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    run_cli(main)
