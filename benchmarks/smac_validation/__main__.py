"""Compare the embedded SMAC engine with StarCraft II itself: the table "engine beside game".

    python -m benchmarks.smac_validation [--only MAP] [--seeds N] [--recordings FOLDER] [--learning [FOLDER]] ...

The game's figures are in benchmarks/reference/real_game.yaml, with their sources. Near-random play and the scripted
policy need nothing else (minutes). One step ahead, played on and the replays need recordings, which are not part of
this repository: benchmarks/smac_validation/recordings.py says where they come from and in which format. The learning
curves need runs. A section that is not measured keeps its last rows in results/smac_validation.json as long as the
engine's results version is the same. `make validate-smac` does all that, ARGS="..." passes options.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import marl_gre_envs
from benchmarks.layout import RESULTS, WORK
from benchmarks.report.readme import README, put
from benchmarks.smac_validation import battles, criteria, learning, near_random, replays, scripted
from benchmarks.smac_validation.checks import Check, Section
from benchmarks.smac_validation.game import real_game
from marl_gre.config import load_params
from marl_gre.errors import BadInput, Parser, run_cli
from marl_gre.storage.files import publish_json
from marl_gre.storage.provenance import provenance

FILE = RESULTS / "smac_validation.json"
DOCUMENT = Path("docs/smac-engine.md")
NEED_RECORDINGS = ("one_step", "played_on", "replays", "swarm")
SECTIONS = ("near_random", "scripted", "attacked", *NEED_RECORDINGS, "learning")
"""In the order of the table."""

HOW_TO = "benchmarks/smac_validation/recordings.py says where recordings come from; then --recordings FOLDER."


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write.

    Raises:
        BadInput: an argument cannot be used.
    """
    asked = parsed(arguments)
    options = options_of(asked.set)
    torch.set_num_threads(1)
    out = asked.out or (None if options else FILE)
    kept = read(out or FILE)
    sections = {} if options else {section.name: section for section in kept}
    for name, measure in tasks(asked, options).items():
        print(f"{name} ...", flush=True)
        section = measure()
        if asked.only and name in sections and name in ("near_random", "scripted"):
            section = replace(section, checks=merged(sections[name].checks, section.checks))
        sections[name] = section
        print(section.markdown(), flush=True)
        if out is not None:
            write(out, [sections[key] for key in SECTIONS if key in sections])
    found = [sections[key] for key in SECTIONS if key in sections]
    print(criteria.markdown(criteria.judge(found)))
    missing = [key for key in SECTIONS if key not in sections]
    if missing:
        print(f"Not measured: {', '.join(missing)}. {HOW_TO if set(missing) & {*NEED_RECORDINGS} else ''}")
    if out == FILE:
        put("smac validation", document(found), DOCUMENT)
        put("smac validation", criteria.summary(criteria.judge(found), str(DOCUMENT)), README)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        BadInput: a map, section or folder is not there.
    """
    parser = Parser(
        prog="python -m benchmarks.smac_validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--section", action="append", choices=SECTIONS, help="one section; repeatable")
    parser.add_argument(
        "--only", action="append", metavar="MAP", help="one map of near-random and scripted play; repeatable"
    )
    parser.add_argument("--seeds", type=int, default=10, help="of near-random play (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="recordings of the real game")
    parser.add_argument("--episodes", type=int, metavar="N", help="the first N episodes of 3m only (default: all)")
    parser.add_argument(
        "--learning",
        type=Path,
        metavar="FOLDER",
        nargs="?",
        const=RESULTS / "runs",
        help="published runs (default: results/runs); the unfinished ones of params.yaml are read as well",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the engine, as retaliation=false"
    )
    parser.add_argument("--again", action="store_true", help="measure again what is kept in the work folder")
    parser.add_argument("--table", action="store_true", help="only print and write the table from what was measured")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"results (default: {FILE}; none with --set)")
    asked = parser.parse_args(arguments)
    known = {**real_game()["near_random"], **real_game()["scripted"]}
    if unknown := [name for name in asked.only or () if name not in known]:
        raise BadInput(f"--only: found {unknown[0]!r}; one of {', '.join(known)} is allowed.")
    for option in ("seeds", "jobs", "episodes"):
        if (number := getattr(asked, option)) is not None and number < 1:
            raise BadInput(f"--{option}: found {number}; 1 or more is allowed.")
    for option in ("recordings", "learning"):
        if (folder := getattr(asked, option)) is not None and not folder.is_dir():
            raise BadInput(f"--{option}: {folder} is not a folder; name an existing one.")
    if asked.section and asked.recordings is None and (needing := {*asked.section} & {*NEED_RECORDINGS}):
        raise BadInput(f"--section {min(needing)} needs recordings: {HOW_TO}")
    return asked


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the engine's options from NAME=VALUE.

    Raises:
        BadInput: one is not of that form, or the engine does not take it.
    """
    options = {}
    for word in words:
        name, sign, value = word.partition("=")
        try:
            options[name] = YAML(typ="safe", pure=True).load(value)
        except YAMLError as error:
            raise BadInput(f"--set: found {word!r}; NAME=VALUE is needed, as retaliation=false.") from error
        if not sign or not name:
            raise BadInput(f"--set: found {word!r}; NAME=VALUE is needed, as retaliation=false.")
    try:
        marl_gre_envs.make_vec("smac_v0", 1, map_name="3m", **options).close()
    except (ValueError, TypeError, ImportError) as error:
        raise BadInput(f"--set: {error}") from error
    return options


def tasks(asked: argparse.Namespace, options: dict[str, Any]) -> dict[str, Callable[[], Section]]:
    """Return what to measure, by section."""
    if asked.table:
        return {}

    def maps_of(name: str) -> list[str]:
        return [key for key in real_game()[name] if not asked.only or key in asked.only]

    possible: dict[str, Callable[[], Section]] = {
        "near_random": lambda: near_random.section(
            maps_of("near_random"), asked.seeds, asked.jobs, options, again=asked.again
        ),
        "scripted": lambda: scripted.section(maps_of("scripted"), options),
        "attacked": lambda: scripted.attacked_section(options),
    }
    if asked.recordings is not None:
        possible |= {
            "one_step": lambda: battles.one_step_section(asked.recordings, options, asked.episodes),
            "played_on": lambda: battles.played_on_section(asked.recordings, options, asked.episodes),
            "replays": lambda: replays.section(asked.recordings, options),
            "swarm": lambda: replays.swarm_section(asked.recordings, options),
        }
    if asked.learning is not None:
        possible["learning"] = lambda: learning.section(curves_below(asked.learning))
    return {name: task for name, task in possible.items() if not asked.section or name in asked.section}


def curves_below(folder: Path) -> list[learning.Curve]:
    """Return the curves of published runs below a folder, and of params.yaml's unfinished ones.

    Raises:
        BadInput: there is none.
    """
    curves = [*learning.read_curves(folder), *learning.read_unfinished(load_params("params.yaml"), WORK)]
    if not curves:
        raise BadInput(f"--learning: no run on a SMAC map lies below {folder} or at a checkpoint; train one first.")
    return curves


def merged(before: Sequence[Check], new: Sequence[Check]) -> list[Check]:
    """Return the earlier checks with the new ones of the same map and quantity in their places."""
    places = {(check.where, check.quantity): check for check in (*before, *new)}
    return list(places.values())


def read(path: Path, any_version: bool = False) -> list[Section]:
    """Return the sections that were measured, on this version of the engine unless any will do.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        content = json.loads(path.read_text())
        if not any_version and content["results_version"] != marl_gre_envs.results_version("smac_v0"):
            return []
        return [
            Section(
                name=name,
                title=part["title"],
                note=part["note"],
                checks=[Check.from_row(row) for row in part["checks"]],
                by_map=part["by_map"],
            )
            for name, part in sorted(content["sections"].items(), key=lambda item: SECTIONS.index(item[0]))
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: cannot be read ({error!r}); delete it to measure from the beginning.") from error


def write(path: Path, sections: Sequence[Section]) -> None:
    """Write what was measured, all at once."""
    made = provenance(torch.device("cpu"), time.monotonic())
    content = {
        "results_version": marl_gre_envs.results_version("smac_v0"),
        **{name: made[name] for name in ("commit", "dirty", "cpu", "versions")},
        "sections": {
            section.name: {
                "title": section.title,
                "note": section.note,
                "by_map": section.by_map,
                "checks": [check.as_row() for check in section.checks],
            }
            for section in sections
        },
    }
    publish_json(path, content)


def document(sections: Sequence[Section]) -> str:
    """Return the whole table as Markdown."""
    missing = [name for name in SECTIONS if name not in {section.name for section in sections}]
    parts = [criteria.markdown(criteria.judge(sections)), *(section.markdown() for section in sections)]
    if missing:
        parts.append(f"Not measured: {', '.join(missing)}.")
    return "\n".join(parts)


if __name__ == "__main__":
    run_cli(main)
