"""The HTML report and the marl-eval export, on made-up runs."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.aggregate import write_report
from benchmarks.claims import verdicts
from benchmarks.claims.declared import CLAIMS
from benchmarks.report import marl_eval, page
from benchmarks.report.gather import gather
from marl_gre.config import load_params
from synthetic_runs import write_json, write_runs

PARAMS = """
run: {envs: [lumber], algorithms: [qmix, simple, gre], seeds: [0, 1]}
envs: {lumber: {env: lumberjacks_v0, total_steps: 200000, test_interval_steps: 20000, entropy_interval_steps: 10000}}
algorithms: {qmix: {mixer: qmix}, simple: {mixer: qmix_simple}, gre: {mixer: qmix_gre, gre_lambda: 1e-3}}
report: {bootstrap_resamples: 100, note: "Made up & <not> real.", titles: {lumber: Lumber <i>jacks</i>}}
"""


VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, links, ids and text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "params.yaml").write_text(PARAMS)
    params = load_params(folder / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_runs(params, folder / "results")
        made = {"commit": "abc123", "cpu": "A <fast> one", "versions": {"torch": "9.9"}, "wall_s": 3600, "dirty": False}
        write_json(folder / "results/runs/lumber/qmix/0/provenance.json", made)
        (folder / "results/runs/lumber/gre/1/train.json").unlink()
        results = gather(params)
        (folder / "report").mkdir()
        write_report(results, folder / "report")
    return results, (folder / "report" / "index.html").read_text()


def test_page_is_well_formed_and_needs_no_other_file(made):
    page = Page(made[1])
    assert "script" not in {tag for tag, _ in page.tags}
    assert "link" not in {tag for tag, _ in page.tags}
    for image in page.attributes("img"):
        assert image["src"].startswith("data:image/")
        assert len(image["alt"]) > 30
    assert "url(" not in made[1]
    assert "@import" not in made[1]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.attributes("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all(link.startswith(("#", "https://")) for link in links)


def test_page_can_be_read_by_everybody(made):
    page = Page(made[1])
    assert page.attributes("html")[0]["lang"] == "en"
    assert any(one.get("name") == "viewport" for one in page.attributes("meta"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for picture in page.attributes("svg"):
        assert "aria-hidden" in picture or picture["aria-label"].startswith("mean ")
    assert all("scope" in head or "style" in head for head in page.attributes("th"))


def test_page_holds_claims_figures_tables_and_commands(made):
    page = Page(made[1])
    untested = {"RQ1a, control 3", "RQ1b, size"}  # no VDN, nothing of QMIX's size
    for claim in CLAIMS:
        assert (claim.says in page.text) == (claim.name not in untested)
    assert "lack the algorithms: RQ1a, control 3; RQ1b, size." in page.text
    assert "missing (" in page.text  # QMIX-GRE's seed 1
    assert "5 of 6 runs are available." in page.text
    assert "Made up & <not> real." in page.text
    assert "Lumber <i>jacks</i>" in page.text  # shown as it is written, not as markup
    assert "dvc repro -f -s train@lumber-gre-1 evaluate@lumber-gre-1" in page.text
    assert "marl-gre verify results/runs/lumber/qmix/0" in page.text
    assert "not trained" in page.text
    assert "abc123" in page.text
    assert "A <fast> one" in page.text
    assert "what the entropy tables hold" in page.text  # deviations
    assert "on MMM2" in page.text  # what the paper's figure 6 shows
    assert ".997" in page.text  # the paper's median, in Tables 2 and 3
    order = [
        "What came out",
        "margin. Each panel has its own axis",
        "The claims and their verdicts",
        "What the paper shows is",
        "Appendix:",
    ]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)


def test_page_answers_first(made):
    page = Page(made[1])
    for question in ("Is credit in QMIX uniform?", "Do equal credits (QMIX-simple) do as well?"):
        assert page.text.index(question) < page.text.index("margin. Each panel has its own axis")
    # QMIX's made-up entropies are 1 - 0.02 / 2 on average, with a tenth of noise
    assert re.search(r"gradient entropy is 0\.9(89|90|91) on average", page.text)
    assert "Claims of the paper" in page.text
    assert "Our own controls" in page.text


def test_figures_that_coincide_are_in_the_appendix(made):
    appendix = made[1].index('id="appendix"')
    assert made[1].index("QMIX-GRE minus QMIX (Figure 5).") < appendix < made[1].index("QMIX and QMIX-GRE (Figure 5).")


def test_forest_shares_an_axis_and_shows_the_margin(made):
    results, _ = made
    panels = page.forest(results, verdicts.judge(results))
    (returns, *_) = panels
    assert returns.note == "final return per episode; band: ±3.8"
    names = [name for name, _, _ in returns.rows]
    assert names[0] == "QMIX-simple - QMIX"
    assert len({re.search(r'<rect x="([\d.]+)%" width="([\d.]+)%"', str(row[1])).groups() for row in returns.rows}) == 1


def test_interval_picture_shows_region_mean_and_interval(made):
    results, _ = made
    judgement = next(one for one in verdicts.judge(results) if one.claim.name == "RQ1b")
    (outcome,) = judgement.outcomes
    picture = str(page.interval_picture(outcome))
    numbers = {name: float(value) for name, value in re.findall(r'(cx|x1|x2|x|width)="([\d.]+)%"', picture)}
    assert 'class="claimed"' in picture
    assert 0 <= numbers["cx"] <= 100
    bar = re.search(r'<line x1="([\d.]+)%" x2="([\d.]+)%" y1="13.0" y2="13.0" class="bar"', picture)
    assert float(bar[1]) <= numbers["cx"] <= float(bar[2])


def test_damaged_provenance_is_no_reason_to_stop(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("{", "[1]", '{"versions": 3, "wall_s": null}', '{"wall_s": "abc"}', "\x00", "[" * 200_000):
        write_json(Path("results/runs/lumber/qmix/0/provenance.json"), {})
        Path("results/runs/lumber/qmix/0/provenance.json").write_text(text)
        rows = {row[0]: row[1] for row in page._made(made[0]).rows}
        assert rows["Training, hours in all"] == "0.0"


def test_hours_of_training_are_those_of_all_runs(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, wall_s in ((0, 3600), (1, 5400)):
        write_json(Path(f"results/runs/lumber/qmix/{seed}/provenance.json"), {"wall_s": wall_s})
    rows = {row[0]: row[1] for row in page._made(made[0]).rows}
    assert rows["Training, hours in all"] == "2.5"


def test_marl_eval_layout(made):
    results, _ = made
    content = marl_eval.as_json(results)
    assert list(content) == ["gridworlds"]
    run = content["gridworlds"]["lumber"]["qmix"]["seed_1"]
    tests = results.runs["lumber", "qmix", 1].tests
    steps = [run[f"step_{k}"] for k in range(len(run) - 1)]
    assert [step["step_count"] for step in steps] == list(range(0, 200_001, 20_000))
    assert np.array_equal([step["return"][0] for step in steps], tests["episode_return_mean"])
    assert set(steps[0]) == {"step_count", "return"}  # nothing to win here
    assert run["absolute_metrics"] == {"return": [results.runs["lumber", "qmix", 1].evaluation["episode_return_mean"]]}
    assert "seed_1" not in content["gridworlds"]["lumber"]["gre"]
