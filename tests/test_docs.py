"""The documentation: it builds without a warning, links hold, code runs, and tables are what the code says."""

import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import marl_gre_envs
from benchmarks.site import tables
from marl_gre.mixers import MIXERS
from marl_gre_envs.smac.interface import Interface
from marl_gre_envs.smac.maps import MAPS, TYPE_BITS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
BLOCK = re.compile(r"(?:<!-- (?P<mark>(?:not )?run[^>]*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.S | re.M)
"""A fenced block, with the comment above it that says whether and where it runs."""

IN_REPOSITORY = "run in the repository"


def blocks(path):
    """The fenced blocks of a page: (mark, language, code)."""
    return [(found["mark"] or "", found["language"], found["code"]) for found in BLOCK.finditer(path.read_text())]


def runs(path):
    """Whether a page has anything to run."""
    return any(language == "python" and not mark.startswith("not run") for mark, language, _ in blocks(path))


RUNNABLE = [ROOT / "README.md", *PAGES]


# Gymnasium takes versions for successors; TorchRL says which PettingZoo it is tested with; mpe2 imports an old pygame.
@pytest.mark.filterwarnings(
    "ignore:.*is out of date",
    "ignore:PettingZoo in TorchRL is tested using version",
    "ignore::DeprecationWarning:pygame",
    "ignore:.*pkg_resources",
)
@pytest.mark.parametrize("path", [p for p in RUNNABLE if runs(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_code_on_a_page_runs(path, tmp_path, monkeypatch):
    """Blocks run in order, in an empty folder or in the repository; one that begins with a file's name is written."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    namespace = {"__name__": "docs"}
    for mark, language, code in blocks(path):
        needed = re.fullmatch(r"run with (\w+)", mark)
        if mark.startswith("not run") or (needed and importlib.util.find_spec(needed[1]) is None):
            continue
        folder = ROOT if mark == IN_REPOSITORY else tmp_path
        monkeypatch.chdir(folder)
        name = re.match(r"# ([\w/]+\.(?:py|yaml))\n", code)
        if name:
            file = tmp_path / name[1]
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(code)
        elif language == "python":
            exec(compile(code, str(path), "exec"), namespace)  # noqa: S102
        elif language == "sh" and mark.startswith("run"):
            for line in code.splitlines():
                shell(line.replace("OUT", str(tmp_path / "out")), folder, monkeypatch)
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def test_scripts_for_other_libraries_are_short():
    lengths = [
        len(code.splitlines()) for _, language, code in blocks(DOCS / "how-to/interop.md") if language == "python"
    ]
    assert len(lengths) == 5  # SuperSuit, TorchRL, third parties, EPyMARL, BenchMARL
    assert max(lengths) <= 40


def shell(line, folder, monkeypatch):
    """Run a command of this package or pytest as a user does; anything else cannot be marked to run."""
    program, *arguments = shlex.split(line)
    options = {"marl-gre": [], "pytest": ["-q", "-p", "no:cacheprovider"]}[program]
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [Path(sys.executable).parent / program, *options, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.interop
def test_benchmarl_trains_in_an_environment_of_its_own(tmp_path):
    """Its TorchRL is another than ours: the versions on the page are installed beside the rest, which is borrowed."""
    page = DOCS / "how-to/interop.md"
    (command,) = re.findall(r"^pip install marl-gre (.*benchmarl.*)$", page.read_text(), re.MULTILINE)
    (code,) = (code for _, _, code in blocks(page) if "from benchmarl" in code)
    run = functools.partial(subprocess.run, check=True, cwd=tmp_path, capture_output=True, text=True)
    run([sys.executable, "-m", "venv", "--without-pip", "own"])
    python = tmp_path / "own/bin/python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", *shlex.split(command)])
    packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.strip()
    borrowed = [ROOT, ROOT / "envs", *(path for path in sys.path if Path(path).name == "site-packages")]
    (Path(packages) / "zz_borrowed.pth").write_text("\n".join(map(str, borrowed)))
    (tmp_path / "train.py").write_text(code)
    assert run([python, "train.py"]).stderr.count("mean return") >= 4  # two tasks, two iterations each


GENERATED = tables.pages()


@pytest.mark.parametrize("path", GENERATED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_generated_tables_are_current(path):
    text = path.read_text()
    for name, content in GENERATED[path].items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        assert text.split(begin)[1].split(end)[0].strip() == content.strip(), "run: python -m benchmarks.site"


def test_an_algorithms_runs_are_shown_wherever_they_are(tmp_path, monkeypatch):
    """Main results, and each study's algorithms that the main results lack; a study without runs hides none."""
    params = """
run: {{envs: [lumber], algorithms: [{names}], seeds: [0]}}
envs: {{lumber: {{env: lumberjacks_v0, total_steps: 1000, test_interval_steps: 1000}}}}
algorithms: {{vdn: {{mixer: vdn}}, qmix_equal: {{mixer: qmix_equal}}}}
"""
    folders = {"": "vdn", "studies/a_planned": "qmix_equal", "studies/b": "vdn, qmix_equal"}
    for folder, names in folders.items():
        tables_of = tmp_path / folder / "results/report/tables"
        tables_of.mkdir(parents=True)
        (tmp_path / folder / "params.yaml").write_text(params.format(names=names))
        if folder != "studies/a_planned":
            rows = [f"lumber,{name},1 of 1,{len(name)},,,{len(name)},1,2" for name in names.split(", ")]
            header = "Environment,Algorithm,Seeds,IQM,IQM 95% CI low,IQM 95% CI high,Mean,Min,Max"
            (tables_of / "final_return.csv").write_text("\n".join([header, *rows]))
    monkeypatch.setattr(tables, "ROOT", tmp_path)

    def shown(mixer: str) -> str:
        return tables.algorithm_results(lambda entry: entry.mixer == mixer)

    assert "| main results | lumber | vdn | 1 of 1 | 3.0 |" in shown("vdn")
    assert "studies/b" not in shown("vdn")
    assert "| `studies/b` | lumber | qmix_equal | 1 of 1 | 10.0 |" in shown("qmix_equal")
    (tmp_path / "studies/b/results/report/tables/final_return.csv").unlink()
    planned = "No runs of this algorithm are published yet. They are declared in `studies/a_planned`, `studies/b`."
    assert shown("qmix_equal") == planned


def column(path, heading, name):
    """The cells of a column of the table below a heading."""
    section = path.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [row.strip("|").split("|") for row in section.splitlines() if row.startswith("|")]
    at = next(i for i, cell in enumerate(rows[0]) if cell.strip() == name)
    return [row[at].strip().strip("`") for row in rows[2:]]


def sizes(path, heading, names):
    """The values of the expressions in the column of numbers."""
    return [eval(size, {}, names) for size in column(path, heading, "numbers")]  # noqa: S307


def total(path, heading, names):
    """What they add up to."""
    return sum(sizes(path, heading, names))


def first_indices(path, heading, names):
    """Where each row of the table begins."""
    return [str(sum(sizes(path, heading, names)[:i])) for i in range(len(sizes(path, heading, names)))]


@pytest.mark.parametrize("view", [(1, 1), (2, 1)])
def test_the_entries_of_lumberjacks_observation_add_up(view):
    with marl_gre_envs.make_vec("lumberjacks_v1", agent_view=view) as env:
        names = {"view_cells": (2 * view[0] + 1) * (2 * view[1] + 1)}
        page = DOCS / "environments/lumberjacks.md"
        assert total(page, "Observation", names) == env.obs_dim
        assert column(page, "Observation", "first index") == first_indices(page, "Observation", names)


def test_the_entries_of_traffic_junctions_observation_add_up():
    with marl_gre_envs.make_vec("traffic_junction_v1", n_max=7) as env:
        assert total(DOCS / "environments/traffic-junction.md", "Observation", {"n_agents": 7}) == env.obs_dim


@pytest.mark.parametrize("name", MAPS)
def test_the_entries_of_smacs_observation_and_state_add_up(name):
    found = MAPS[name]
    names = {
        "n_agents": found.n_agents,
        "n_enemies": found.n_enemies,
        "n_actions": found.n_actions,
        "ally_shields": int(found.ally_race == "P"),
        "enemy_shields": int(found.enemy_race == "P"),
        "T": len(TYPE_BITS[found.map_type]),
    }
    interface = Interface(found)
    page = DOCS / "environments/smac.md"
    assert total(page, "Observation", names) == interface.obs_dim
    assert total(page, "State", names) == interface.state_dim
    if name == "3s5z":
        for heading in ("Observation", "State"):
            assert column(page, heading, "first index on 3s5z") == first_indices(page, heading, names)


def test_every_environment_and_mixer_is_on_a_page():
    written = "".join(path.read_text() for path in (DOCS / "environments").glob("*.md"))
    assert [name for name in marl_gre_envs.ENVS if f"| `{name}` |" not in written] == []
    pages = {path.stem: path.read_text() for path in (DOCS / "algorithms").glob("*.md") if path.stem != "index"}
    lacking = [name for name in MIXERS if name not in pages and not any(f"`{name}`" in text for text in pages.values())]
    assert lacking == []


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_pictures_are_there_and_say_what_they_show(path):
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", path.read_text()):
        assert (path.parent / target).is_file(), target
        assert len(alt.split()) >= 6, f"{target}: an alt text says what the picture shows"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_readme_counts_the_published_runs_with_uncommitted_changes():
    """Those of the commit: runs that a user adds without committing them are not published."""

    def changed(folder):
        command = ["git", "grep", "-l", '"dirty": true', "HEAD", "--", f":(glob){folder}/*/*/*/provenance.json"]
        return len(subprocess.run(command, cwd=ROOT, text=True, capture_output=True).stdout.splitlines())

    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    main, studies = changed("results/runs"), changed("studies/*/results/runs")
    numbers = f"{main + studies} ({main} main runs and {studies} in side studies) record uncommitted changes"
    assert numbers in (ROOT / "README.md").read_text()


class Links(HTMLParser):
    """What a page refers to, and its anchors."""

    def __init__(self):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "link", "iframe", "source"):
            kept = given.get("rel") != "canonical"
            self.loaded += [given[key] for key in ("src", "href") if given.get(key) and kept]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {}
    for path in folder.rglob("*.html"):
        pages[path] = Links()
        pages[path].feed(path.read_text())
    return pages


def test_the_site_loads_nothing_from_elsewhere(site):
    for path, page in site.items():
        assert [address for address in page.loaded if urlsplit(address).netloc] == [], path


def test_no_markdown_is_left_on_the_site(site):
    for path in site:
        text = re.sub(r"<(code|script|annotation)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"\]\([\w./]|\*\*[A-Za-z[]|\$\$|<!-- included", text), path


def test_the_sites_links_hold(site):
    broken = []
    for path, page in site.items():
        if path.name == "404.html":
            continue  # its links are absolute
        for link in [*page.links, *page.loaded]:
            scheme, netloc, target, _, anchor = urlsplit(link)
            if scheme or netloc:
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            if not file.is_file():
                broken.append(f"{path.name}: {link}")
            elif anchor and file in site and unquote(anchor) not in site[file].anchors:
                broken.append(f"{path.name}: {link} has no such anchor")
    assert broken == []


def test_an_index_of_an_accented_letter_is_beside_it():
    from benchmarks.site.hooks import on_page_content

    found = on_page_content(r'<span class="arithmatex">\(\tilde q_i\)</span>', page=None, config=None, files=None)
    assert "<msub><mover" in found
    assert "munderover" not in found
