"""The sdist and the wheel: what they hold, and that an installed wheel works beside a project's own `envs` package."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import marl_gre

ROOT = Path(__file__).parents[1]

PARAMS = """
run: {envs: [lumber], algorithms: [vdn], seeds: [0]}
envs: {lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 60, test_interval_steps: 60}}
algorithms: {vdn: {mixer: vdn}}
train: {hidden_dim: 8, batch_episodes: 2, replay_episodes: 4, device: cpu}
"""

MAKE_ALL = """
import warnings
import gymnasium
warnings.simplefilter("ignore")
import envs
assert envs.WHOSE == "the project's own", envs
lumber = gymnasium.make("marl_gre_envs:marl_gre/lumberjacks-v0")  # the first import of the package
import marl_gre_envs, pettingzoo
assert "site-packages" in marl_gre_envs.__file__, marl_gre_envs.__file__
for name in marl_gre_envs.ENVS:
    public_id = "marl_gre/" + name.replace("_v", "-v")
    joint = gymnasium.make("marl_gre_envs:" + public_id)
    parallel = pettingzoo.make("parallel", public_id)
    if name == "lumberjacks_v0":  # each compiles anew
        joint.reset(seed=0)
        parallel.reset(seed=0)
    print(name, len(parallel.possible_agents))
"""


def run(*command, cwd):
    """Run a command; return what it printed, or fail with it."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist):
    """The wheel built from the unpacked sdist, as package indexes' users get it."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    folder = sdist.parent / "wheel"
    source = sdist.parent / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    (path,) = folder.iterdir()
    return path


def test_both_are_small_and_well_described(sdist, wheel):
    assert wheel.stat().st_size < 1e6
    assert sdist.stat().st_size < 5e6
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=ROOT)
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        description = Parser().parsestr(archive.read(name).decode()).get_payload()
    links = re.findall(r"\]\(([^)]*)\)", description)
    assert links
    assert all(link.startswith("https://") for link in links)  # an index has none of the repository's files


def test_the_wheel_holds_all_files_of_the_two_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {"marl_gre": ROOT / "marl_gre", "marl_gre_envs": ROOT / "envs/marl_gre_envs"}
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in ours.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected
    assert {"marl_gre/py.typed", "marl_gre_envs/py.typed"} <= packed


def test_the_tests_in_the_sdist_find_their_files_there(sdist):
    top = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.removeprefix(f"{top}/") for name in archive.getnames()}
        tests = [name for name in packed if re.fullmatch(r"tests/(.*/)?test_\w+\.py", name)]
        texts = {name: archive.extractfile(f"{top}/{name}").read().decode() for name in tests}
    assert len(texts) > 30
    there = packed | {parent.as_posix() for name in packed for parent in Path(name).parents}
    for name, text in texts.items():
        asked = re.findall(r'(?:ROOT|parents\[\d\]\)?) / "([^"]+)"', text)
        assert not [path for path in asked if path not in there | {"data"}], name
        assert not re.search(r"chdir\(ROOT\)", text), name
        modules = re.findall(r"^(?:from|import) (test_\w+)", text, re.MULTILINE)
        assert not [module for module in modules if f"tests/{module}.py" not in packed], name


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The interpreter of a new virtual environment that holds the wheel, and borrows this one's dependencies."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=ROOT)
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=ROOT)
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # A .pth file found through a .pth file is not read, so an editable install of this project stays invisible.
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site_packages / "dependencies.pth").write_text("\n".join(borrowed))
    return python


def test_it_works_beside_a_project_with_a_package_of_its_own_called_envs(installed, tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/__init__.py").write_text('WHOSE = "the project\'s own"\n')
    (tmp_path / "params.yaml").write_text(PARAMS)
    made = run(installed, "-c", MAKE_ALL, cwd=tmp_path)
    assert made.splitlines()[0] == "lumberjacks_v0 2"
    assert len(made.splitlines()) == 5
    item = ("--env", "lumber", "--algorithm", "vdn", "--seed", 0)
    run(installed, "-m", "marl_gre", "train", *item, cwd=tmp_path)


def test_it_does_not_own_the_name_envs(installed, tmp_path):
    code = "import importlib.util; print(importlib.util.find_spec('envs'))"
    assert run(installed, "-c", code, cwd=tmp_path) == "None\n"


def test_version_and_date_are_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert version == marl_gre.__version__ == citation["version"]
    assert f"\n## {version} ({citation['date-released']})\n" in (ROOT / "CHANGELOG.md").read_text()
