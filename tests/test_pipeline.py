"""The DVC pipeline and its launcher: what reruns after an edit, what a mistake, a failure or Ctrl-C leaves behind.

Most tests use the real dvc.yaml with stub stages (tests/stub_stages); one trains for real.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from benchmarks.launch import Task
from benchmarks.layout import evaluation_file
from benchmarks.results_versions import HEADER, results_versions
from marl_gre.config import load_params
from marl_gre.progress import Progress

ROOT = Path(__file__).parents[1]
PARAMS = """
run: {envs: [lumber], algorithms: [vdn, gre], seeds: [0]}
envs:
  lumber: {env: lumberjacks_v0, total_steps: 4000, test_interval_steps: 1000}
algorithms:
  vdn: {mixer: vdn}
  gre: {mixer: qmix_gre, gre_lambda: 1e-3}
train: {lr: 5e-4}
evaluate: {episodes: 10}
report: {bootstrap_resamples: 100}
"""


class Project:
    """A DVC project in a temporary folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command, cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, timeout=300
        )

    def ok(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def launch(self, **env: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "benchmarks.launch", "--jobs", "2", **env)

    def edit(self, old: str, new: str) -> None:
        text = (self.folder / "params.yaml").read_text()
        assert old in text
        (self.folder / "params.yaml").write_text(text.replace(old, new))

    def trained(self) -> list[str]:
        """Return the cells trained since the last call."""
        file = self.folder / "trained.txt"
        cells = sorted(file.read_text().splitlines()) if file.exists() else []
        file.unlink(missing_ok=True)
        return cells

    def commit(self) -> None:
        self.ok("git", "add", "-A")
        self.ok("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "state")


def make_project(folder: Path) -> Project:
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    stubs = folder / "benchmarks"
    shutil.copytree(ROOT / "tests" / "stub_stages", stubs, ignore=shutil.ignore_patterns("__pycache__"))
    deps = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["aggregate"]["deps"]
    for dep in (dep for dep in deps if dep.startswith("benchmarks/") and not (folder / dep).exists()):
        (folder / dep).parent.mkdir(exist_ok=True)
        (folder / dep).symlink_to(ROOT / dep)
    (folder / "params.yaml").write_text(PARAMS)
    project = Project(folder)
    project.ok("git", "init", "-q")
    return project


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("finished"))
    done = project.launch()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs: 0 up to date, 2 to do" in done.stdout
    assert project.trained() == ["lumber gre 0", "lumber vdn 0"]
    assert "up to date" in project.ok("dvc", "status")
    project.commit()
    return project


@pytest.fixture
def finished(finished_once, tmp_path):
    """A committed project whose two runs are done."""
    shutil.copytree(finished_once.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Project(tmp_path)


def test_an_edit_reruns_only_what_it_concerns(finished):
    finished.edit("1e-3", "2e-3")  # one lambda, by DVC alone
    finished.ok("dvc", "repro")
    assert finished.trained() == ["lumber gre 0"]
    finished.edit("seeds: [0]", "seeds: [0, 1]")  # one seed more
    assert finished.launch().returncode == 0
    assert finished.trained() == ["lumber gre 1", "lumber vdn 1"]
    finished.edit("gre: {", "gre2: {mixer: qmix_gre, gre_lambda: 5e-4}\n  gre: {")  # declared, not selected
    finished.ok("dvc", "repro")
    assert finished.trained() == []
    assert "gre2: 1" in (finished.folder / "results_versions.yaml").read_text()
    finished.edit("[vdn, gre]", "[vdn, gre2]")  # selected; gre leaves and its files stay
    finished.ok("dvc", "repro")
    assert finished.trained() == ["lumber gre2 0", "lumber gre2 1"]
    assert json.loads((finished.folder / "results/report/summary.json").read_text()) == {"runs": 4}
    assert "up to date" in finished.ok("dvc", "status")


def test_dvcs_own_tools(finished):
    finished.ok("dvc", "exp", "run", "-q", "-S", "algorithms.gre.gre_lambda=0.002", "-S", "run.seeds=[0,1]")
    assert finished.trained() == ["lumber gre 0", "lumber gre 1", "lumber vdn 1"]
    assert "0.002" in finished.ok("dvc", "exp", "show", "--csv")
    assert "gre_lambda" in finished.ok("dvc", "params", "diff")
    assert "runs" in finished.ok("dvc", "metrics", "diff")
    finished.ok("dvc", "plots", "diff", "HEAD", "-o", "plots")
    page = (finished.folder / "plots" / "index.html").read_text()
    assert "vegaEmbed('#Test_return'" in page
    assert not re.search(r"<script[^>]+src=", page)  # nothing is loaded from the network


def test_fresh_clone_is_up_to_date(finished):
    finished.ok("git", "clone", "-q", ".", "clone")
    clone = Project(finished.folder / "clone")
    assert "up to date" in clone.ok("dvc", "status")
    assert "Running stage" not in clone.ok("dvc", "repro", "--allow-missing")


def test_raised_results_version_reruns_its_users(finished):
    # as if the code of QMIX-GRE had got a new number; the launcher looks, DVC alone would not
    (finished.folder / "benchmarks" / "results_versions.py").write_text(
        "from importlib.util import module_from_spec, spec_from_file_location\n"
        "from marl_gre.mixers import QMIXGRE\n"
        "QMIXGRE.results_version = 2\n"
        f"spec = spec_from_file_location('real', {str(ROOT / 'benchmarks' / 'results_versions.py')!r})\n"
        "real = module_from_spec(spec)\n"
        "spec.loader.exec_module(real)\n"
        "real.main()\n"
    )
    done = finished.launch()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs: 1 up to date, 1 to do" in done.stdout
    assert finished.trained() == ["lumber gre 0"]


def test_a_raised_version_of_the_evaluation_makes_evaluations_stale_and_no_run(finished):
    path = finished.folder / "results_versions.yaml"
    path.write_text(path.read_text().replace("evaluation: 1", "evaluation: 2"))
    stale = set(json.loads(finished.ok("dvc", "status", "--json"))) - {"versions"}  # which wrote the file
    assert stale == {"evaluate@lumber-vdn-0", "evaluate@lumber-gre-0"}
    path.write_text(path.read_text().replace("evaluation: 2", "evaluation: 1").replace("testing: 1", "testing: 2"))
    stale = set(json.loads(finished.ok("dvc", "status", "--json"))) - {"versions"}
    assert stale == {"train@lumber-vdn-0", "train@lumber-gre-0"}


def test_a_mistake_costs_nothing(finished):
    before = finished.ok("git", "status", "--porcelain")
    finished.edit("gre_lambda: 1e-3", "gre_lambda: lots")
    done = finished.run("dvc", "repro", "train@lumber-gre-0")
    assert done.returncode != 0
    assert "gre_lambda" in done.stdout + done.stderr
    done = finished.launch()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "gre_lambda" in done.stderr
    assert finished.trained() == []
    finished.ok("git", "checkout", "-q", "params.yaml")
    assert finished.ok("git", "status", "--porcelain") == before  # no result was touched


def test_stopped_and_failed_runs_go_on(tmp_path):
    project = make_project(tmp_path)
    command = [sys.executable, "-m", "benchmarks.launch", "--jobs", "2"]
    launcher = subprocess.Popen(
        command, cwd=tmp_path, env={**project.env, "STUB_SLEEPS": "1"}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(pids := [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]) < 2:
        assert time.monotonic() < deadline
        assert launcher.poll() is None
        time.sleep(0.1)
    launcher.send_signal(signal.SIGINT)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGINT
    assert errors.count("\n") == 1, errors
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # no orphans
            os.kill(pid, 0)
    project.trained()

    done = project.launch(STUB_FAILS="lumber vdn 0")
    assert done.returncode == 1
    assert "failed: lumber vdn seed 0 (log: work/logs/lumber-vdn-0.log)" in done.stderr
    assert "error: the stub was told to fail." in done.stderr
    assert "lumber gre seed 0: done" in done.stdout
    assert project.trained() == ["lumber gre 0", "lumber vdn 0"]  # DVC's locks were given back

    assert project.launch().returncode == 0
    assert project.trained() == ["lumber vdn 0"]


def test_the_demo_for_real(tmp_path):
    # a clone's demo folder on a budget of seconds: 2 environments, 1 algorithm, 1 seed = 2 * 2 + 2 DVC stages
    shutil.copytree(ROOT / "demo", tmp_path / "demo", symlinks=True, ignore=ignored_in_demo)
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    for name in ("dvc.yaml", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    params = YAML(typ="safe").load(tmp_path / "demo" / "params.yaml")
    params["run"] |= {"envs": ["lumberjacks_v0", "3m"], "algorithms": ["qmix"], "seeds": [0]}
    for env in params["envs"].values():
        env |= {"total_steps": 600, "test_interval_steps": 300, "test_episodes": 2, "entropy_interval_steps": 100}
    params["train"]["batch_episodes"] = 2
    params["evaluate"]["episodes"] = 2
    YAML(typ="safe").dump(params, tmp_path / "demo" / "params.yaml")
    demo, whole = Project(tmp_path / "demo"), Project(tmp_path)
    whole.ok("git", "init", "-q")
    whole.commit()
    done = demo.launch()
    assert done.returncode == 0, done.stdout + done.stderr
    for path in re.findall(r"^  (/.*)$", done.stdout, re.MULTILINE):
        assert Path(path).is_file()
    assert str(demo.folder / "results/report/figures/figure_8.png") in done.stdout
    assert whole.ok("git", "status", "--porcelain") == ""
    assert "up to date" in demo.ok("dvc", "status")
    report = (demo.folder / "results/report/README.md").read_text()
    assert "2 of 2 runs." in report
    assert "600 of 200,000 environment steps, 1 of 5 seeds" in report
    assert "embedded engine, a substitute for StarCraft II: 3m." in report


def ignored_in_demo(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in ("results", "work", "dvc.lock", "results_versions.yaml", "tmp")]


STUDIES = sorted(file.parent for file in ROOT.glob("studies/*/params.yaml"))


@pytest.mark.parametrize("folder", [ROOT, ROOT / "demo", *STUDIES], ids=lambda folder: folder.name)
def test_every_stage_resolves(folder):
    run = load_params(folder / "params.yaml").run
    items = ["-".join(map(str, item)) for item in itertools.product(run.envs, run.algorithms, run.seeds)]
    expected = ["versions", *(f"train@{item}" for item in items), *(f"evaluate@{item}" for item in items), "aggregate"]
    with Repo(folder) as repo:
        assert [stage.name for stage in repo.stage.collect()] == expected
    sections = YAML(typ="safe").load(folder / "params.yaml")
    assert {"run", "envs", "algorithms", "train", "evaluate", "report"} <= sections.keys()  # DVC knows no defaults


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_studies_are_the_same_pipeline_and_say_that_they_are_studies(folder):
    assert (folder / "dvc.yaml").resolve() == ROOT / "dvc.yaml"
    assert (folder / "benchmarks").resolve() == ROOT / "benchmarks"
    assert load_params(folder / "params.yaml").report.note.startswith("Side study")
    assert folder.name in (ROOT / "studies" / "README.md").read_text()


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """What is committed, in a clone: 200 MB of results, so that the tests below share it."""
    folder = tmp_path_factory.mktemp("committed")
    Project(ROOT).ok("git", "clone", "-q", str(ROOT), str(folder))
    return Project(folder)


@pytest.mark.parametrize("folder", [ROOT, *STUDIES], ids=lambda folder: folder.name)
def test_committed_results_are_up_to_date(folder, committed):
    """The lock in git matches params.yaml, results versions, runs and the report's sources in git.

    Runs that are selected and not there yet are all that DVC would run.
    """
    clone = committed.folder / folder.relative_to(ROOT)
    if not (clone / "dvc.lock").is_file():
        pytest.skip("no results are committed yet")
    run = load_params(clone / "params.yaml").run
    items = list(itertools.product(run.envs, run.algorithms, run.seeds))
    lacking = [item for item in items if not (clone / evaluation_file(*item)).is_file()]
    allowed = {f"{stage}@{'-'.join(map(str, item))}" for item in lacking for stage in ("train", "evaluate")}
    stale = set(json.loads(Project(clone).ok("dvc", "status", "--json")))
    assert stale <= allowed, f"stale in git, run `make repro` and commit: {sorted(stale - allowed)}"
    assert len(lacking) < len(items)


def test_readmes_hold_the_committed_results(committed):
    committed.ok(sys.executable, "-m", "benchmarks.report.readme")
    assert not committed.ok("git", "status", "--porcelain"), "run: make report"


@pytest.mark.parametrize("folder", [ROOT, *STUDIES], ids=lambda folder: folder.name)
def test_results_versions_are_current(folder):
    text = (folder / "results_versions.yaml").read_text()
    assert text.startswith(HEADER)
    expected = results_versions(load_params(folder / "params.yaml"))
    assert YAML(typ="safe").load(text) == expected, "run: python -m benchmarks.results_versions"


def test_every_dependency_is_pinned():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in wanted} - {"marl-gre"}
    assert names - {pin.lower() for pin in pins} == set()
    assert not any("+" in version for version in pins.values())  # a local build would be found on one machine only


def test_progress_is_read_from_the_log(tmp_path):
    log = tmp_path / "log"
    task = Task("x", (), log)
    assert task.fraction() == 0
    log.write_text("train a b seed 0: 250/1000 env steps, 90/s, test return -5.0\n")
    assert task.fraction() == 0.25
    with log.open("a") as file:
        file.write("more\n" * 3 + "train a b seed 0: 1050/1000 env steps, 90/s, test return -5.0\n")
    assert task.fraction() == 1


def test_the_rate_of_a_resumed_run_leaves_out_what_was_done_before(capsys, monkeypatch):
    clock = iter((100.0, 110.0, 120.0))
    monkeypatch.setattr("marl_gre.progress.time.monotonic", lambda: next(clock))
    Progress(1000, "train a b seed 0", "env steps", done=600).update(700, "")
    assert "700/1000 env steps, 5/s" in capsys.readouterr().err
