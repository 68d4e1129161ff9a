"""Side studies beside the main results: tables, figures and the decisive test's table, on made-up runs."""

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from benchmarks.aggregate import write_report
from benchmarks.claims import decisive
from benchmarks.claims.answers import QUESTIONS
from benchmarks.report import readme
from benchmarks.report.compared import (
    BESIDE,
    WEIGHT_0,
    against_weight,
    gre_lambda,
    missing,
    new_beside_pilot,
    side_by_side,
)
from benchmarks.report.gather import Results, gather
from benchmarks.report.tables import FINAL_RETURN
from marl_gre.config import load_params
from synthetic_runs import write_runs

ROOT = Path(__file__).parents[1]
NEW = ("mixers", "lambda_sweep", "equal_credit", "decisive")


def made_up(folder: Path, source: Path, **run) -> Results:
    """Made-up runs of a params file with another selection, without those whose seed is in `without`."""
    without = run.pop("without", ())
    params = load_params(source / "params.yaml")
    report = params.report.model_copy(update={"bootstrap_resamples": 100})
    params = params.model_copy(update={"run": params.run.model_copy(update=run), "report": report})
    write_runs(params, folder / "results")
    for seed in without:
        for file in folder.glob(f"results/evaluation/*/*/{seed}.json"):
            file.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return gather(params)


@pytest.fixture(scope="module")
def main(tmp_path_factory):
    algorithms = load_params(ROOT / "params.yaml").run.algorithms
    envs = ["lumberjacks_v0", "lumberjacks_v1", "traffic_junction10_v1"]
    return made_up(tmp_path_factory.mktemp("main"), ROOT, envs=envs, algorithms=algorithms, seeds=[0, 1])


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Each new study with three of its seeds, of which the last is missing."""
    found = {}
    for name in NEW:
        source = ROOT / "studies" / name
        seeds = load_params(source / "params.yaml").run.seeds[:3]
        found[name] = made_up(tmp_path_factory.mktemp(name), source, seeds=seeds, without=seeds[2:])
    return found


@pytest.mark.parametrize("name", [*BESIDE])
def test_what_stands_beside_a_study_exists(name):
    shipped, study = load_params(ROOT / "params.yaml"), load_params(ROOT / "studies" / name / "params.yaml")
    assert {*BESIDE[name].envs} <= {*shipped.run.envs}
    assert {*BESIDE[name].algorithms} <= {*shipped.run.algorithms}
    for env in {*BESIDE[name].envs} & {*study.run.envs}:
        assert study.envs[env] == shipped.envs[env]  # the same environment, protocol included
    assert study.train == shipped.train


@pytest.mark.parametrize("name", ["mixers", "lambda_sweep", "equal_credit"])
def test_table_and_figure_with_missing_runs(name, main, studies, tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "STUDIES", tmp_path)
    monkeypatch.setattr(readme, "FIGURES", tmp_path / "figures")
    study = studies[name]
    text = readme.study_text(name, BESIDE[name], main, study)
    assert f"![{BESIDE[name].alt}](figures/{name}.png)" in text
    image = matplotlib.image.imread(tmp_path / f"figures/{name}.png")
    assert np.ptp(image[..., :3]) > 0.9
    total = len(study.runs) + len(study.missing)
    assert f"**{len(study.missing)} of {total} runs are missing: " in text
    for algorithm in (*BESIDE[name].algorithms, *study.params.run.algorithms):
        title = main.title(algorithm) if algorithm in BESIDE[name].algorithms else study.title(algorithm)
        assert f"| {title} |" in text


def test_a_study_without_runs_says_so(main, studies):
    empty = Results(studies["mixers"].params, {}, dict.fromkeys(studies["mixers"].runs, "not trained"))
    assert readme.study_text("mixers", BESIDE["mixers"], main, empty) == "No runs of this study yet."
    assert readme.decided(main, Results(studies["decisive"].params, {}, {})) == "No runs of this study yet."


def test_missing_runs_are_named(studies):
    params = studies["mixers"].params
    there, other = params.run.envs
    first, *others = params.run.algorithms

    def of(lacking: set) -> str:
        cells = {(env, name, seed) for env in (there, other) for name in (first, *others) for seed in range(5)}
        runs = dict.fromkeys(cells - lacking)
        (text,) = missing(Results(params, runs, dict.fromkeys(lacking, "not trained")))
        return text

    few = {(there, first, 3), (there, first, 1), *((there, name, seed) for name in others for seed in (2, 3, 4))}
    assert of(few) == (
        "**23 of 80 runs are missing: seeds 1, 3 of QMIX-equal on Lumberjacks (border fixed); seeds 2 to 4 of Qatten, "
        "QPLEX, QPLEX (10 kernels), OW-QMIX, CW-QMIX, Qatten-GRE 1e-3, QPLEX-GRE 1e-3 on Lumberjacks (border fixed).**"
    )
    last = {(there, name, 4) for name in (first, *others)}
    none = {(other, name, seed) for name in (first, *others) for seed in range(5)}
    assert of(last | none) == (
        "**48 of 80 runs are missing: seed 4 of every algorithm on Lumberjacks (border fixed); "
        "all on TrafficJunction10 (paper's text).**"
    )
    assert of({(there, first, 3)}) == (
        "**1 of 80 runs is missing: seed 3 of QMIX-equal on Lumberjacks (border fixed).**"
    )
    assert "missing: seeds 0, 2, 4 of QMIX-equal on" in of({(there, first, seed) for seed in (0, 2, 4)})


def test_credits_of_the_function_have_a_row_of_their_own(main, studies):
    """The made-up function's entropies are 0.1 below the gradient's."""
    rows = {(row[0], row[1]): row for row in readme.study_rows(BESIDE["mixers"], main, studies["mixers"]).rows}
    env = "Lumberjacks (border fixed)"
    gradient, function = rows[env, "QPLEX"][7:], rows[env, "QPLEX: credits of the function"][7:]
    assert np.subtract(gradient, function) == pytest.approx(np.full(5, 0.1), abs=1e-3)
    assert (env, "QMIX: credits of the function") not in rows


def test_weights_of_the_sweep(main, studies):
    beside, study = BESIDE["lambda_sweep"], studies["lambda_sweep"]
    lines = beside.lines(main, study, "lumberjacks_v1")
    assert [gre_lambda(results, name) for results, name in lines] == [0, 1e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1, 10]
    assert gre_lambda(studies["mixers"], "qplex_gre_1e-3") == 1e-3
    figure = against_weight(beside, main, study)
    assert len(figure.axes) == 4
    returns = figure.axes[2]
    assert returns.get_xscale() == "log"
    line = returns.lines[-1]  # the means
    assert line.get_xdata().tolist() == [WEIGHT_0, 1e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1, 10]
    expected = [np.mean([FINAL_RETURN.read(run) for run in results.select("lumberjacks_v1", name)])
                for results, name in lines]  # fmt: skip
    assert line.get_ydata().tolist() == pytest.approx(expected)


def test_algorithms_stand_side_by_side(main, studies):
    beside, study = BESIDE["mixers"], studies["mixers"]
    figure = side_by_side(beside, main, study)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["VDN", "QMIX", "QMIX-simple", "QMIX-GRE 1e-3", *map(study.title, study.params.run.algorithms)]
    nothing = Results(study.params, {}, study.missing)
    assert sum(text.get_text() == "not run" for text in side_by_side(beside, main, nothing).axes[0].texts) == 8


@pytest.mark.parametrize("name", NEW)
def test_reports_of_studies_with_missing_runs(name, studies, tmp_path, only_figures):
    only_figures("figure_8")
    (tmp_path / "report").mkdir()
    write_report(studies[name], tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    total = len(studies[name].runs) + len(studies[name].missing)
    assert f"{len(studies[name].runs)} of {total} runs are available" in page
    assert "not evaluated" in page


def test_decisive_report_and_table(tmp_path, only_figures, monkeypatch):
    monkeypatch.setattr(readme, "STUDIES", tmp_path)
    monkeypatch.setattr(readme, "FIGURES", tmp_path / "figures")
    only_figures("figure_8")
    new = made_up(tmp_path, ROOT / "studies" / "decisive")
    assert decisive.is_planned(new.params)
    (tmp_path / "report").mkdir()
    write_report(new, tmp_path / "report")
    claims = (tmp_path / "report" / "claims.md").read_text()
    assert "The decisive test: seeds 5 to 24, tested once." in claims
    assert "Not tested" not in claims
    assert "steps to half-way (never: one test past the end)" in claims
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Seeds 5 to 24." in page
    assert "three lambdas" not in page  # nothing is chosen, so no interval is widened for it
    algorithms = ["qmix", "qmix_simple", "qmix_gre_1e-3"]
    seeds = [*decisive.PILOT]
    main = made_up(tmp_path / "main", ROOT, envs=[*decisive.ENVS], algorithms=algorithms, seeds=seeds)
    text = readme.decided(main, new)
    assert text.startswith(f"![{readme.DECISIVE_ALT}](figures/decisive.png)\n\n| Claim |")
    assert np.ptp(matplotlib.image.imread(tmp_path / "figures" / "decisive.png")[..., :3]) > 0.9
    figure = new_beside_pilot(new, decisive.judge(new), decisive.pilot(main))
    assert len(figure.axes) == 8
    for axes, one, before in zip(figure.axes, decisive.judge(new), decisive.pilot(main), strict=True):
        assert axes.get_title().startswith(f"{one.claim.name}, {new.title(one.env)}: ")
        outcome, earlier = one.outcomes[0], before.outcomes[0]
        drawn = [x for line in axes.lines[:4] for x in line.get_xdata()]
        ends = [outcome.low, outcome.high, outcome.mean, earlier.low, earlier.high, earlier.mean]
        assert drawn == [end for end in ends if end is not None]  # no interval where all seeds differ alike
        (claimed,) = axes.patches  # shaded, to the panel's edge where the claim has no bound
        edges = claimed.get_extents().transformed(axes.transData.inverted()).intervalx
        assert edges == pytest.approx(np.clip(outcome.region, *axes.get_xlim()))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| RQ")]
    assert len(rows) == 12
    assert [row[0] for row in rows[8:]] == ["| RQ1b, units"] * 2 + ["| RQ1b, credit"] * 2
    assert {row[-3] for row in rows[8:]} == {"-"}  # beside the family: no p-value of Holm's
    assert {row[2] for row in rows} <= {"supported", "contradicted", "undecided", "not judged"}
    line = readme.decisive_line(new)
    assert [line.count(QUESTIONS[name]) for name in ("RQ1b", "RQ2a", "RQ2b", "RQ3")] == [1] * 4
    assert " per episode [" not in line
    assert " per episode [" in readme.decisive_line(new, effects=True)
    assert readme.decisive_line(new, effects=True) in readme.answered(main, new)
    assert line in readme.in_short(main, new)
    gone = ("lumberjacks_v1", "qmix", 9)
    few = replace(new, runs={key: run for key, run in new.runs.items() if key != gone}, missing={gone: "not trained"})
    (tmp_path / "figures" / "decisive.png").unlink()
    assert "decisive.png" not in readme.decided(main, few)  # nothing is shown before all runs are there
    assert not [*(tmp_path / "figures").iterdir()]
    rows = [line.split(" | ") for line in readme.decided(main, few).splitlines() if line.startswith("| RQ")]
    assert {row[2] for row in rows} == {"missing"}
    assert readme.decisive_line(few).endswith("until every run that the tests read is available; 199 of 200 are.")
    assert "decisive" not in readme.in_short(main, few)
