"""The generated parts of docs/: tables of environments, maps, options and results, each between two marker lines.

They come from the code and from the published report, so that no page can disagree with either.
"""

import argparse
import csv
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import marl_gre_envs
from benchmarks import launch
from benchmarks.report.readme import put
from marl_gre import cli
from marl_gre.config import (
    AlgorithmConfig,
    CentralConfig,
    EnvConfig,
    EvaluateConfig,
    Params,
    ReportConfig,
    RunSelection,
    TrainConfig,
    load_params,
)
from marl_gre.mixers import MIXERS
from marl_gre.regularisers import GradientEntropy
from marl_gre_envs.lumberjacks import Lumberjacks
from marl_gre_envs.parallel import CoreParallelEnv
from marl_gre_envs.smac.core import OPTIONS, SMAC
from marl_gre_envs.smac.engine import EngineOptions
from marl_gre_envs.smac.interface import Flags, Interface
from marl_gre_envs.smac.maps import MAPS
from marl_gre_envs.smac.rewards import Rewards
from marl_gre_envs.traffic_junction import TrafficJunction

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FINAL_RETURN = "results/report/tables/final_return.csv"

Belongs = Callable[[AlgorithmConfig], bool]

ALGORITHMS: dict[str, Belongs] = {
    **{name: lambda entry, name=name: entry.mixer == name and _plain(entry) for name in MIXERS},  # type: ignore[misc]
    "weighted_qmix": lambda entry: entry.central is not None,
    "gradient_entropy": lambda entry: entry.gradient_entropy is not None,
}
"""Which entries of `algorithms` a page of docs/algorithms shows results of."""

PLURALS = {"colossus": "Colossi", "spine_crawler": "Spine Crawlers"}
NBSP = "\N{NO-BREAK SPACE}"
KEYS = ("key", "type", "default", "meaning")
BATCHED_ONLY = ("num_envs", "autoreset")
"""Arguments of the batched form that the PettingZoo form does not take."""


def fill() -> list[Path]:
    """Write every generated table into its page; return the pages."""
    for path, parts in pages().items():
        for name, text in parts.items():
            put(name, text, path)
    return list(pages())


def pages() -> dict[Path, dict[str, str]]:
    """Return the generated parts by page and marker."""
    options = {
        **{DOCS / f"algorithms/{name}.md": mixer_options(mixer.Config) for name, mixer in MIXERS.items()},
        DOCS / "algorithms/gradient_entropy.md": mixer_options(GradientEntropy),
        DOCS / "algorithms/weighted_qmix.md": central_options(),
    }
    algorithms = {
        path: {"options": options[path], "results": algorithm_results(belongs)}
        for name, belongs in ALGORITHMS.items()
        if (path := DOCS / f"algorithms/{name}.md").is_file()
    }
    return {
        DOCS / "environments/index.md": {"environments": environments()},
        DOCS / "environments/lumberjacks.md": {
            "import": imports("lumberjacks_v0", "lumberjacks_v1"),
            "options": constructor_options(Lumberjacks, "lumberjacks_v0", "lumberjacks_v1"),
        },
        DOCS / "environments/traffic-junction.md": {
            "import": imports("traffic_junction_v0", "traffic_junction_v1", n_max=10),
            "options": constructor_options(TrafficJunction, "traffic_junction_v0", "traffic_junction_v1"),
        },
        DOCS / "environments/smac.md": {
            "import": imports("smac_v0", map_name="3s5z"),
            "maps": maps(),
            "options": constructor_options(SMAC, apart=OPTIONS),
            "observation options": fields_of(Flags),
            "reward options": fields_of(Rewards),
            "engine options": fields_of(EngineOptions),
        },
        DOCS / "reference/params.md": {"params": params_reference()},
        DOCS / "reference/cli.md": {"commands": commands(), "launch": options_of(launch.parser())},
        DOCS / "algorithms/training_options.md": {"options": training_options()},
        **algorithms,
    }


def commands() -> str:
    """Return a section for each command of `marl-gre`."""
    (subparsers,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return "\n\n".join(
        f"## marl-gre {name}\n\n{parser.description}\n\n{options_of(parser)}"
        for name, parser in subparsers.choices.items()
    )


def options_of(parser: argparse.ArgumentParser) -> str:
    """Return the table of a parser's arguments and options; "" where it has none."""
    formatter = argparse.HelpFormatter(parser.prog)
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        name = f"{action.option_strings[-1]} {value}".strip() if action.option_strings else value
        about = formatter._expand_help(action).replace("|", "\\|")
        rows.append((f"`{name}`", f"{about}; required" if action.required and action.option_strings else about))
    return table(["option", "meaning"], rows) if rows else ""


def _plain(entry: AlgorithmConfig) -> bool:
    """Return whether an entry of `algorithms` names a mixer and nothing beside it."""
    return entry.central is None and entry.gradient_entropy is None


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    return "\n".join(lines + [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows])


def environments() -> str:
    """Return the table of all environments with their default sizes."""
    rows = []
    for name in marl_gre_envs.ENVS:
        with marl_gre_envs.make_vec(name) as env:
            about = f"[{_class_title(name)}]({_page(name)})"
            sizes = (env.n_agents, env.n_actions, env.obs_dim, env.state_dim, env.episode_limit)
            rows.append((f"`{name}`", about, *sizes))
    return table(["id", "page", "agents", "actions", "observation", "state", "time limit"], rows)


def _page(name: str) -> str:
    return f"{name.rpartition('_v')[0].replace('_', '-')}.md"


def _class_title(name: str) -> str:
    return {"lumberjacks": "Lumberjacks", "traffic": "TrafficJunction", "smac": "SMAC"}[name.split("_")[0]]


def imports(*names: str, **kwargs: Any) -> str:
    """Return PettingZoo's table of an environment: import, agents, spaces, ids."""
    env: Any = marl_gre_envs.make(names[0], **kwargs)
    agents = env.possible_agents
    given = f" with `{', '.join(f'{key}={value!r}' for key, value in kwargs.items())}`" if kwargs else ""
    ids = [f"`marl_gre/{name.replace('_v', '-v')}`" for name in names]
    rows = [
        ("Actions", f"discrete, `{env.action_space(agents[0])}`{given}"),
        ("Agents", f"{len(agents)}{given}: `{agents[0]}` to `{agents[-1]}`"),
        ("Observation", f"`{env.observation_space(agents[0])}`"),
        ("State", f"`{env.state_space}`"),
        ("Time limit", f"{env.max_cycles} steps"),
        ("Forms", "PettingZoo parallel and AEC, batched, Gymnasium (joint)"),
        ("Gymnasium and PettingZoo ids", ", ".join(ids)),
    ]
    env.close()
    return table(["Import", f"`from marl_gre_envs import {', '.join(names)}`"], rows)


def maps() -> str:
    """Return the table of the SMAC maps."""
    columns = ["`map_name`", "agents", "enemies", "number of agents", "actions", "observation", "state", "time limit"]
    rows = []
    for found in MAPS.values():
        sizes = Interface(found)
        rows.append(
            (
                f"`{found.name}`",
                _team(found.ally_types),
                _team(found.enemy_types),
                found.n_agents,
                found.n_actions,
                sizes.obs_dim,
                sizes.state_dim,
                found.episode_limit,
            )
        )
    return table(columns, rows)


def _team(types: Sequence[str]) -> str:
    """Return a team in words, as "2 Stalkers, 3 Zealots"."""
    return ", ".join(
        f"{count} {name.replace('_', ' ').title() if count == 1 else PLURALS.get(name, name.title() + 's')}"
        for name, count in Counter(types).items()
    )


def constructor_options(cls: Any, *names: str, apart: Iterable[str] = ()) -> str:
    """Return the keywords of an environment's constructor with defaults and meaning.

    Args:
        cls: the compiled environment.
        names: its ids, whose modules may fix a keyword's default.
        apart: keywords that are described elsewhere.
    """
    fixed = {name: importlib.import_module(marl_gre_envs.ENVS[name]).vector_env.keywords for name in names}

    def default(key: str, common: object) -> str:
        own = {name.rpartition("_")[2]: keywords[key] for name, keywords in fixed.items() if key in keywords}
        return ", ".join(f"{version}: `{value!r}`" for version, value in own.items()) or f"`{common!r}`"

    about = documented(cls.__init__.__doc__ or "", "Args")
    parallel = documented(CoreParallelEnv.__init__.__doc__ or "", "Args")
    rows = [
        (f"`{name}`", default(name, parameter.default), about[name])
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in (*BATCHED_ONLY, *apart)
    ]
    rows += [
        (f"`{name}`", "`None`", f"{parallel[name]} PettingZoo form only.") for name in ("render_mode", "max_cycles")
    ]
    return table(["option", "default", "meaning"], rows)


def fields_of(settings: Any) -> str:
    """Return the fields of a NamedTuple of options with defaults and meaning."""
    about = documented(settings.__doc__ or "", "Attributes")
    rows = [(f"`{name}`", f"`{default!r}`", about[name]) for name, default in settings._field_defaults.items()]
    return table(["option", "default", "meaning"], rows)


def documented(docstring: str, section: str) -> dict[str, str]:
    """Return what a docstring's section says of each name; "a, b: both" describes two.

    Args:
        docstring: in Google's style.
        section: "Args" or "Attributes".
    """
    lines = inspect.cleandoc(docstring).splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index(f"{section}:") + 1 :]:
        if line and not line.startswith("    "):
            break
        start = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if start:
            names = start[1].split(", ")
            found.update(dict.fromkeys(names, start[2]))
        elif line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return {name: _sentence(text) for name, text in found.items()}


def _sentence(text: str) -> str:
    """Return a description as a sentence for a table's cell."""
    text = text.replace("|", "\\|")
    return text[:1].upper() + text[1:] if not re.match(r"\w+_\w+", text) else text


def mixer_options(model: type[BaseModel]) -> str:
    """Return the keys of a mixer or regulariser in params.yaml."""
    rows = list(_fields(model))
    return table(KEYS, rows) if rows else "This mixer has no options."


def central_options() -> str:
    """Return the keys of the weights and the central networks of Weighted QMIX."""
    about = "`ow` or `cw`: weights of the squared TD errors; its option `alpha` is 0.1 by default"
    own = [*_fields(CentralConfig, ["loss_weight"]), *_fields(MIXERS["feed_forward"].Config)]
    rows = [
        ("`loss_weights`", "string or mapping with `name` and options", "`uniform`", about),
        ("`central.mixer`", "string", "required", "`feed_forward`, the paper's unrestricted network, or any mixer"),
        *((f"`central.{row[0].strip('`')}`", *row[1:]) for row in own),
    ]
    return table(KEYS, rows)


def training_options() -> str:
    """Return the keys of `train` that go beyond the paper's protocol."""
    names = ["optimizer", "td_lambda", "batch_episodes", "episodes_per_round", "updates_per_round"]
    return table(KEYS, _fields(TrainConfig, names))


def params_reference() -> str:
    """Return every key of params.yaml, section by section."""
    sections: dict[str, type[BaseModel]] = {
        "run": RunSelection,
        "envs.NAME": EnvConfig,
        "train": TrainConfig,
        "evaluate": EvaluateConfig,
        "report": ReportConfig,
    }
    about = {key: model.__doc__ or "" for key, model in sections.items()}
    parts = [f"## {key}\n\n{about[key].strip()}\n\n{table(KEYS, _fields(model))}" for key, model in sections.items()]
    metrics = Params.model_fields["metrics"].description
    parts.append(f"## metrics\n\nA list of strings: {metrics}.")
    return "\n\n".join(parts)


def _fields(model: type[BaseModel], names: Iterable[str] | None = None) -> Iterable[tuple[str, str, str, str]]:
    """Yield the cells of each field of a model, or of the named ones."""
    for name in names or model.model_fields:
        field = model.model_fields[name]
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        yield f"`{name}`", _type(field), default, _sentence(field.description or "")


def _type(field: FieldInfo) -> str:
    """Return a field's type and bounds in words."""
    kind = _kind(field.annotation)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign}{NBSP}{getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return ", ".join([kind, *bounds])


def _kind(annotation: Any) -> str:
    """Return a type in words."""
    words = {int: "whole number", float: "number", str: "string", bool: "true or false", type(None): "null"}
    plurals = {int: "whole numbers", str: "strings"}
    form, inner = get_origin(annotation), get_args(annotation)
    if form is Annotated:
        return _kind(inner[0])
    if form is Literal:
        return ", ".join(f"`{name}`" for name in inner)
    if form in (Union, UnionType):
        return " or ".join(_kind(part) for part in inner)
    if form is list:
        element = get_args(inner[0])[0] if get_origin(inner[0]) is Annotated else inner[0]
        return f"list of {plurals[element]}"
    return words.get(annotation, "mapping")


def _yaml(value: Any) -> str:
    words = {True: "true", False: "false", None: "null", "": '""'}
    return words[value] if value is None or isinstance(value, bool) or value == "" else str(value)


def algorithm_results(belongs: Belongs) -> str:
    """Return the final returns of the published runs of an algorithm, environment by environment, studies last.

    Args:
        belongs: whether an entry of `algorithms` is shown.
    """
    rows: list[tuple[str, ...]] = []
    declared_in: list[str] = []
    main: list[tuple[AlgorithmConfig, TrainConfig]] = []
    for folder in (ROOT, *sorted(path.parent for path in (ROOT / "studies").glob("*/params.yaml"))):
        params = load_params(folder / "params.yaml")
        # A study with the main results' algorithms varies environments: that is for the study's own report.
        entries = {key: params.algorithms[key] for key in params.run.algorithms if belongs(params.algorithms[key])}
        titles = [params.report.title(key) for key, entry in entries.items() if (entry, params.train) not in main]
        if folder == ROOT:
            main = [(entry, params.train) for entry in entries.values()]
        where = "main results" if folder == ROOT else f"`studies/{folder.name}`"
        declared_in += [where] * bool(entries)
        if (folder / FINAL_RETURN).is_file():
            with (folder / FINAL_RETURN).open(newline="") as file:
                found = [row for row in csv.DictReader(file) if row["Algorithm"] in titles and row["Mean"]]
            rows += [(where, *_result(row)) for row in found]
    if not rows:
        return f"No runs of this algorithm are published yet. They are declared in {', '.join(declared_in)}."
    columns = [
        "where",
        "environment",
        "algorithm",
        "seeds",
        "mean final return",
        "lowest to highest",
        f"IQM [95{NBSP}%]",
    ]
    return table(columns, rows)


def _result(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the cells of a row of the report's table of final returns."""
    low_key, high_key = (next(key for key in row if key.endswith(end)) for end in ("CI low", "CI high"))
    mean, least, greatest, iqm, low, high = (
        f"{float(row[key]):.1f}" if row[key] else ""  # a single seed has no interval
        for key in ("Mean", "Min", "Max", "IQM", low_key, high_key)
    )
    interval = f" [{low},{NBSP}{high}]" if low else ""
    return row["Environment"], row["Algorithm"], row["Seeds"], mean, f"{least} to {greatest}", f"{iqm}{interval}"
