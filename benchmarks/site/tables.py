"""The generated parts of docs/: tables of environments, maps, options and results, each between two marker lines.

They come from the code and from the published report, so that no page can disagree with either.
"""

import csv
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import marl_gre_envs
from benchmarks.report.readme import put
from marl_gre.config import EnvConfig, EvaluateConfig, Params, ReportConfig, RunSelection, TrainConfig, load_params
from marl_gre.mixers import MIXERS
from marl_gre_envs.lumberjacks import Lumberjacks
from marl_gre_envs.parallel import CoreParallelEnv
from marl_gre_envs.smac.core import OPTIONS, SMAC
from marl_gre_envs.smac.engine import Knobs
from marl_gre_envs.smac.interface import Flags, Interface
from marl_gre_envs.smac.maps import MAPS
from marl_gre_envs.smac.rewards import Rewards
from marl_gre_envs.traffic_junction import TrafficJunction

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FINAL_RETURN = ROOT / "results/report/tables/final_return.csv"

PLURALS = {"colossus": "Colossi", "spine_crawler": "Spine Crawlers"}
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
    algorithms = {
        DOCS / f"algorithms/{name}.md": {"options": mixer_options(name), "results": algorithm_results(name)}
        for name in MIXERS
        if (DOCS / f"algorithms/{name}.md").is_file()
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
            "engine options": fields_of(Knobs),
        },
        DOCS / "reference/params.md": {"params": params_reference()},
        **{path: {k: v for k, v in parts.items() if has_markers(path, k)} for path, parts in algorithms.items()},
    }


def has_markers(path: Path, name: str) -> bool:
    """Return whether a page has a place for that part; a page of an algorithm need not have all."""
    return f"<!-- {name}: begin -->" in path.read_text()


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
        sizes = Interface.of_map(found)
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


def mixer_options(name: str) -> str:
    """Return the keys of a mixer in params.yaml."""
    rows = list(_fields(MIXERS[name].Config))
    return table(["key", "type", "default", "meaning"], rows) if rows else "This mixer has no options."


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
    parts = [
        f"## {key}\n\n{about[key].strip()}\n\n{table(['key', 'type', 'default', 'meaning'], _fields(model))}"
        for key, model in sections.items()
    ]
    metrics = Params.model_fields["metrics"].description
    parts.append(f"## metrics\n\nA list of strings: {metrics}.")
    return "\n\n".join(parts)


def _fields(model: type[BaseModel]) -> Iterable[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        yield f"`{name}`", _type(field), default, _sentence(field.description or "")


def _type(field: FieldInfo) -> str:
    """Return a field's type and bounds in words."""
    words = {int: "whole number", float: "number", str: "string", bool: "true or false"}
    kind = words.get(field.annotation) if isinstance(field.annotation, type) else None
    text = str(field.annotation)
    if kind is None and "Literal" in text:
        names = ", ".join(f"`{name}`" for name in re.findall(r"'([^']+)'", text))
        kind = f"whole number or {names}" if "int" in text else names
    kind = kind or ("list" if "list" in text else "mapping")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return ", ".join([kind, *bounds])


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else '""' if value == "" else str(value)


def algorithm_results(name: str) -> str:
    """Return the final returns of the published runs of a mixer, environment by environment."""
    params = load_params(ROOT / "params.yaml")
    keys = [key for key, entry in params.algorithms.items() if entry.mixer == name]
    titles = [params.report.title(key) for key in keys]
    with FINAL_RETURN.open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["Algorithm"] in titles and row["Mean"]]
    rows = [
        (
            row["Environment"],
            row["Algorithm"],
            row["Seeds"],
            f"{float(row['Mean']):.1f}",
            f"{float(row['Min']):.1f} to {float(row['Max']):.1f}",
            f"{float(row['IQM']):.1f} [{float(row['IQM 95% CI low']):.1f}, {float(row['IQM 95% CI high']):.1f}]",
        )
        for row in found
    ]
    if not rows:
        return "No run of this mixer is published yet."
    return table(["environment", "algorithm", "seeds", "mean final return", "least to greatest", "IQM [95 %]"], rows)
