"""P4: nothing in the packages can run code from a file, use a global generator, or let the clock into a result.

A walk over the syntax tree; ruff's S301 and S506 see some of it too, but can be silenced line by line.
"""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for package in ("marl_gre", "envs", "benchmarks") for path in (ROOT / package).rglob("*.py"))

LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "torch.package"}
CLOCKS = {"time.time", "time.time_ns", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"}
RANDOM_OBJECTS = {"default_rng", "Generator", "PCG64", "SeedSequence", "BitGenerator", "Philox"}

ALLOWED = {
    ("marl_gre/conformance/env_checks.py", "pickle"): "loads only what it dumped one line above: does an env pickle?",
    (
        "envs/marl_gre_envs/starcraft_worker.py",
        "pickle",
    ): "messages between a game's process and its parent",
    ("marl_gre/conformance/kit.py", "numpy.random"): "watches the global generators: does an env move them?",
    ("marl_gre/conformance/kit.py", "random"): "watches the global generators: does an env move them?",
    (
        "envs/marl_gre_envs/starcraft_worker.py",
        "random",
    ): "seeds the game's own packages, in the game's own process",
    ("benchmarks/reliability.py", "clock"): "the date of a measurement, which is provenance",
}


def names_of(tree):
    """Local name -> full dotted name of what the module imports."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node, names):
    """The full name of an expression like np.random.seed, "" for others."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value, names)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def findings(source):
    """What a module does that it must not: (line, kind) pairs."""
    tree = ast.parse(source)
    names = names_of(tree)
    found = set()
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                top = module.partition(".")[0]
                if top in LOADERS:
                    found.add((line, "pickle"))
                if top == "random" and not getattr(node, "level", 0):
                    found.add((line, "random"))
        name = dotted(node, names) if isinstance(node, ast.Attribute | ast.Name) else ""
        if name in ("eval", "exec", "compile", "__import__"):
            found.add((line, name))
        if name in CALLS:
            found.add((line, name))
        if name in CLOCKS:
            found.add((line, "clock"))
        if name.startswith("numpy.random.") and name.split(".")[2] not in RANDOM_OBJECTS:
            found.add((line, "numpy.random"))
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                given = keyword.value.value if isinstance(keyword.value, ast.Constant) else "not known here"
                if keyword.arg == "allow_pickle" and given is not False:
                    found.add((line, "allow_pickle"))
                if keyword.arg == "shell" and given is not False:
                    found.add((line, "shell"))
                if keyword.arg == "typ" and dotted(node.func, names).endswith("YAML") and given == "unsafe":
                    found.add((line, "unsafe yaml"))
    return found


def test_the_packages_keep_to_it():
    assert len(FILES) > 60
    used, wrong = set(), []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        for line, kind in sorted(findings(path.read_text())):
            if (name, kind) in ALLOWED:
                used.add((name, kind))
            else:
                wrong.append(f"{name}:{line}: {kind}")
    assert wrong == []
    assert used == set(ALLOWED), "an exception that nothing needs any more"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("import torch\ntorch.load(x)", "torch.load"),
        ("from torch import load as get\nget(x)", "torch.load"),
        ("import yaml\nyaml.load(x)", "yaml.load"),
        ("import numpy as np\nnp.load(x, allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load(x, allow_pickle=y)", "allow_pickle"),
        ("eval('1')", "eval"),
        ("run = exec", "exec"),
        ("import numpy as np\nnp.random.seed(0)", "numpy.random"),
        ("from numpy.random import rand\nrand()", "numpy.random"),
        ("from numpy import random\nrandom.shuffle(x)", "numpy.random"),
        ("import random", "random"),
        ("import time\ntime.time()", "clock"),
        ("from time import time\ntime()", "clock"),
        ("from ruamel.yaml import YAML\nYAML(typ='unsafe')", "unsafe yaml"),
        ("import subprocess\nsubprocess.run(x, shell=True)", "shell"),
    ],
)
def test_the_walk_finds(source, kind):
    assert kind in {found for _, found in findings(source)}


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import numpy as np\nnp.random.default_rng(0)",
        "import numpy as np\ndef f(generator: np.random.Generator): ...",
        "import safetensors.torch\nsafetensors.torch.load(x)",
        "import time\ntime.monotonic()",
        "import json\njson.load(x)",
        "from marl_gre_envs.smac import random",
    ],
)
def test_the_walk_leaves_alone(source):
    assert findings(source) == set()


def test_ruff_looks_too():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in rules["select"]
    silenced = [*rules["ignore"], *(rule for path, own in rules["per-file-ignores"].items() if "tests" not in path
                                    for rule in own)]  # fmt: skip
    assert not {"S", "S3", "S301", "S302", "S506", "S5", "S307", "S102"} & set(silenced)
