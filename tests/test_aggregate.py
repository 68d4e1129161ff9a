"""From runs on disk to the report, on made-up runs (tests/synthetic_runs.py)."""

import csv
import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.aggregate import main, summary, write_curves, write_report
from benchmarks.claims import presented, verdicts
from benchmarks.report import drawing, figures, tables
from benchmarks.report.gather import gather, paper_name, reference, seed_list
from marl_gre import stats
from marl_gre.config import load_params
from marl_gre.errors import BadInput
from synthetic_runs import write_runs

PARAMS = """
run: {envs: [lumber, traffic], algorithms: [vdn, qmix, simple, gre], seeds: [0, 1, 7]}
envs:
  lumber: {env: lumberjacks_v0, total_steps: 20000, test_interval_steps: 1000, entropy_interval_steps: 1000}
  traffic:
    env: traffic_junction_v0
    kwargs: {n_max: 10}
    total_steps: 20000
    test_interval_steps: 1000
    entropy_interval_steps: 1000
algorithms:
  vdn: {mixer: vdn}
  qmix: {mixer: qmix}
  simple: {mixer: qmix_simple}
  gre: {mixer: qmix_gre, gre_lambda: 1e-3}
report: {bootstrap_resamples: 200, titles: {lumber: Lumberjacks, qmix: QMIX}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "params.yaml").write_text(PARAMS)
    write_runs(load_params(folder / "params.yaml"), folder / "results")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder with params.yaml and all its runs, the current one."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results():
    return gather(load_params("params.yaml"))


def test_gather_reads_what_params_names_and_nothing_else(here):
    Path("params.yaml").write_text(PARAMS.replace("seeds: [0, 1, 7]", "seeds: [7, 0, 9]"))
    found = results()
    assert [run.key for run in found.select("lumber", "vdn")] == [("lumber", "vdn", 7), ("lumber", "vdn", 0)]
    assert found.missing == {
        (env, name, 9): "not trained" for env in ("lumber", "traffic") for name in found.algorithms()
    }
    assert ("lumber", "vdn", 1) not in found.runs


TRAIN, TESTS, ENTROPY = (f"runs/lumber/vdn/0/{name}" for name in ("train.json", "tests.csv", "entropy.csv"))
EVALUATION = "evaluation/lumber/vdn/0.json"


def swap(old: str, new: str):
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (TRAIN, lambda text: text[:-5], "damaged"),
        (TRAIN, swap('"schema": 1', '"schema": 2'), "schema 1 is read"),
        (TRAIN, swap('"seed": 0, "backend"', '"seed": 1, "backend"'), "belongs elsewhere"),
        (TRAIN, swap('"final_return": -', '"final_return": "x", "y": -'), "finite number"),
        (TRAIN, swap('"final_return": -', '"final_return": NaN, "y": -'), "finite number"),
        (TESTS, lambda text: "", "damaged"),
        (TESTS, lambda text: text[:-30], "cut short"),
        (TESTS, swap("due_steps", "steps"), "columns"),
        (TESTS, swap(",100.0,\n", ",nan,\n"), "finite"),
        (TESTS, lambda text: text + text.splitlines()[1] + "\n", "increase"),
        (TESTS, lambda text: text + text.splitlines()[-1] + "\n", "increase"),
        (ENTROPY, swap(",1.0,", ",inf,"), "finite"),
        (ENTROPY, swap(",1.0,", ",one,"), "damaged"),
        (EVALUATION, lambda text: "[1]", "a JSON object is needed"),
        (EVALUATION, swap('"entropy_mean": 0.98', '"entropy_mean": "x"'), "finite number"),
        (EVALUATION, lambda text: "[" * 100_000, "damaged"),
    ],
)
def test_damaged_files_are_refused(here, name, damage, message):
    file = here / "results" / name
    text = file.read_text()
    assert damage(text) != text
    file.write_text(damage(text))
    with pytest.raises(BadInput, match=message) as caught:
        results()
    stage = "evaluate" if "evaluation" in name else "train"
    assert f"dvc repro -f -s {stage}@lumber-vdn-0" in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_of_a_published_run_is_damage(here):
    (here / "results/runs/lumber/vdn/0/tests.csv").unlink()
    with pytest.raises(BadInput, match=r"tests\.csv: damaged"):
        results()


def test_runs_of_another_config_do_not_count(here):
    Path("params.yaml").write_text(PARAMS.replace("gre_lambda: 1e-3", "gre_lambda: 2e-3"))
    found = results()
    reason = "trained with another config or version (algorithm.gre_lambda: 0.001 then, 0.002 now): run dvc repro"
    assert found.missing == {(env, "gre", seed): reason for env in ("lumber", "traffic") for seed in (0, 1, 7)}


def test_runs_of_another_version_do_not_count(here):
    file = here / "results/runs/lumber/qmix/0/train.json"
    file.write_text(file.read_text().replace('"trainer": 1', '"trainer": 0'))
    assert "results versions" in results().missing["lumber", "qmix", 0]


def test_evaluations_of_another_version_do_not_count(here, monkeypatch):
    file = here / "results/evaluation/lumber/qmix/0.json"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 1, "results_version": 2'))
    assert results().missing == {("lumber", "qmix", 0): "evaluated with another results version: run dvc repro"}
    monkeypatch.setattr("benchmarks.report.gather.EVALUATION_RESULTS_VERSION", 2)
    assert list(results().runs) == [("lumber", "qmix", 0)]  # what names no version is of the first


def test_columns_may_be_more_or_fewer_than_today(here):
    file = here / "results/runs/lumber/vdn/0/entropy.csv"
    rows = [line.split(",") for line in file.read_text().splitlines()]
    more = [["later", *rows[0][:25]], *(["1.5", *row[:25]] for row in rows[1:])]  # no released columns
    file.write_text("".join(",".join(row) + "\n" for row in more))
    run = results().runs["lumber", "vdn", 0]
    assert set(run.entropy["later"]) == {1.5}
    assert np.isnan(run.entropy["released_mean"]).all()
    assert np.isfinite(run.entropy["mean"]).all()


def test_a_setting_that_the_recorded_run_did_not_know_is_no_difference(here):
    file = here / "results/runs/lumber/qmix/0/train.json"
    record = json.loads(file.read_text())
    del record["config"]["train"]["device"]
    file.write_text(json.dumps(record))
    assert ("lumber", "qmix", 0) in results().runs


def test_backends_are_named_and_never_mixed(here):
    files = list((here / "results" / "runs" / "lumber").glob("*/*/train.json"))
    for file in files:
        file.write_text(swap('"backend": "native"', '"backend": "embedded"')(file.read_text()))
    assert results().substitutes() == "Played on the embedded engine, a substitute for StarCraft II: Lumberjacks."
    files[0].write_text(swap('"backend": "embedded"', '"backend": "starcraft"')(files[0].read_text()))
    with pytest.raises(BadInput, match="results/runs/lumber: found runs on the backends embedded, starcraft"):
        results().notes()


def test_win_rates_are_the_score_where_there_is_something_to_win(here):
    assert not results().has_wins("lumber")
    for file in (here / "results" / "runs" / "lumber").glob("*/*/tests.csv"):
        file.write_text(file.read_text().replace(",100.0,\n", ",100.0,0.25\n"))
    for file in (here / "results" / "evaluation" / "lumber").glob("*/*.json"):
        file.write_text(swap('"win_rate": null', '"win_rate": 0.5')(file.read_text()))
    found = results()
    assert found.has_wins("lumber")
    assert not found.has_wins("traffic")
    mixed = {**found.runs, ("lumber", "vdn", 0): found.runs["traffic", "vdn", 0]}  # one run without win rates
    assert not replace(found, runs=mixed).has_wins("lumber")
    rows = tables.score_rows(found, score=tables.FINAL_WIN_RATE).rows
    assert {row[0] for row in rows} == {found.title("lumber")}
    assert {row[3] for row in rows} == {0.25}  # the IQM of equal rates
    assert {row[3] for row in tables.score_rows(found, score=tables.EVALUATION_WIN_RATE).rows} == {0.5}


def test_evaluation_must_be_there_and_belong(here):
    (here / "results/evaluation/lumber/qmix/0.json").unlink()
    file = here / "results/evaluation/lumber/qmix/1.json"
    file.write_text(file.read_text().replace('"config_hash": "', '"config_hash": "0'))
    file = here / "results/evaluation/lumber/qmix/7.json"
    file.write_text(file.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    found = results()
    assert found.missing["lumber", "qmix", 0] == "trained, not evaluated"
    assert "another training" in found.missing["lumber", "qmix", 1]
    assert "another training" in found.missing["lumber", "qmix", 7]


def test_table_1_is_measured(here):
    content = tables.TABLES[0].fill(results())
    verdicts = {row[0]: (row[2], row[4]) for row in content.rows}  # equal credits, uses the state
    assert verdicts == {
        "vdn": ("yes", "no"),
        "qmix": ("no", "yes"),
        "qmix_simple": ("yes", "yes"),
        "qmix_gre": ("no", "yes"),
    }


def test_tables_2_3(here):
    found = results()
    content = tables.TABLES[1].fill(found)
    rows = {(row[0], row[1]): row[2:7] for row in content.rows if row[1] != "difference from the paper"}
    for which, choose in (("lowest", np.min), ("highest", np.max)):  # over the seeds, for the first reading
        each = [tables.entropy_percentiles([run], "single steps", "exact", [5, 25, 50, 75, 95])
                for run in found.select("lumber", "qmix")]  # fmt: skip
        assert rows["Lumberjacks", f"{which} seed of these"] == choose(each, axis=0).tolist()
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    runs = found.select("lumber", "qmix")
    means = np.concatenate([run.entropy["mean"] for run in runs])
    assert rows["Lumberjacks", "QMIX, batch means, exact derivative"] == np.quantile(means, levels).tolist()
    # the made-up batches are linear between their lowest value and 1, so all their steps are known: pool fine samples
    low = np.concatenate([run.entropy["q000"] for run in runs])
    steps = np.concatenate([np.linspace(value, 1, 1001) for value in low])
    single = rows["Lumberjacks", "QMIX, single steps, exact derivative"]
    assert np.abs(single - np.quantile(steps, levels)).max() < 1e-4
    assert rows["Lumberjacks", "paper"] == [0.972, 0.992, 0.997, 0.999, 1.0]
    assert rows["MMM2", "ours: not run"] == [None] * 5
    assert rows["traffic", "released code, batch means, exact derivative"][0] == 0.9617
    ours, difference = content.rows[1], content.rows[2]
    assert ours[1] == "QMIX, single steps, exact derivative"  # the reading that matches the paper comes first
    assert difference[2:7] == pytest.approx(np.subtract(ours[2:7], [0.972, 0.992, 0.997, 0.999, 1.0]))


def test_every_paper_row_matches_known_environments():
    paper = reference("paper")
    assert set(paper["entropy_percentiles"]["values"]) == set(paper["environments"])
    for values in paper["entropy_percentiles"]["values"].values():
        assert values == sorted(values)
        assert len(values) == 5
    shipped = load_params(Path(__file__).parents[1] / "params.yaml")
    assert paper_name(shipped, "lumberjacks_v0") == "Lumberjacks"
    assert paper_name(shipped, "traffic_junction10_v1") == "TrafficJunction10"
    assert paper_name(shipped, "traffic_junction4_v0") is None


def test_scores(here):
    found = results()
    values = [run.record["final_return"] for run in found.select("lumber", "vdn")]
    base = [run.record["final_return"] for run in found.select("lumber", "qmix")]
    row = tables.summarise(found, tables.FINAL_RETURN, "lumber", "vdn")
    assert (row.seeds, row.iqm, row.mean) == (3, stats.iqm(values), stats.mean(values))
    assert (row.low, row.high) == stats.bootstrap_interval(values, resamples=200, confidence=0.95, seed=0)
    assert row.better == stats.probability_of_improvement(values, base)
    assert tables.summarise(found, tables.FINAL_RETURN, "lumber", "qmix").better is None
    content = tables.TABLES[2].fill(found)
    assert [r[-1] for r in content.rows[:4]] == [-56.2, -49.8, -49.6, -50.0]  # the released code's, by algorithm
    Path("params.yaml").write_text(PARAMS.replace("qmix_simple}", "qmix_simple, hypernet_dim: as_qmix}"))
    assert [r[-1] for r in tables.TABLES[2].fill(results()).rows[:4]] == [-56.2, -49.8, None, -50.0]


@pytest.mark.parametrize("part", ["loss_weights: ow", "agent: 'lstm_agent:LSTMAgent'"])
def test_the_released_code_has_no_value_of_other_parts(here, part):
    Path("params.yaml").write_text(PARAMS.replace("qmix: {mixer: qmix}", f"qmix: {{mixer: qmix, {part}}}"))
    assert [row[-1] for row in tables.TABLES[2].fill(results()).rows[:4]] == [-56.2, None, -49.6, -50.0]


RESAMPLING = {"resamples": 200, "confidence": 0.95, "seed": 0}


def better(values, base, paired):
    return stats.probability_of_improvement_interval(values, base, paired=paired, **RESAMPLING)


@pytest.mark.parametrize(("name", "read"), [
    ("final_return", lambda run: run.record["final_return"]),
    ("evaluation_return", lambda run: run.evaluation["episode_return_mean"]),
])  # fmt: skip
def test_columns_of_scores_hold_what_their_titles_say(here, name, read):
    found = results()
    (table,) = [one for one in tables.TABLES if one.name == name]
    content = table.fill(found)
    (cells,) = [row for row in content.rows if tuple(row[:2]) == ("Lumberjacks", "vdn")]
    row = dict(zip([column.title for column in content.columns], cells, strict=True))
    values, base = ([read(run) for run in found.select("lumber", algorithm)] for algorithm in ("vdn", "qmix"))
    assert (row["Min"], row["Max"]) == (min(values), max(values))
    assert (row["Mean"], row["IQM"]) == (stats.mean(values), stats.iqm(values))
    assert (row["IQM 95% CI low"], row["IQM 95% CI high"]) == stats.bootstrap_interval(values, **RESAMPLING)
    assert row["P(better than QMIX)"] == stats.probability_of_improvement(values, base)
    ends = (row["P 95% CI low"], row["P 95% CI high"])
    assert ends == better(values, base, paired=True) != better(values, base, paired=False)


@pytest.fixture
def five(tmp_path, monkeypatch):
    """Runs of five seeds whose interquartile mean is another number than their mean."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS.replace("seeds: [0, 1, 7]", "seeds: [0, 1, 2, 3, 30]"))
    write_runs(load_params("params.yaml"), tmp_path / "results")
    return results()


def test_runs_of_different_seeds_are_no_pairs(five):
    """As many of each, three seeds of four in common."""
    seeds = {"gre": (1, 2, 3, 30), "qmix": (0, 1, 2, 30)}
    found = replace(five, runs={key: run for key, run in five.runs.items() if key[2] in seeds.get(key[1], ())})
    values, base = ([run.record["final_return"] for run in found.select("lumber", name)] for name in seeds)
    row = tables.summarise(found, tables.FINAL_RETURN, "lumber", "gre")
    assert (row.better_low, row.better_high) == better(values, base, paired=False) != better(values, base, paired=True)


def test_a_final_win_rate_is_the_mean_of_the_last_five_tests():
    run = SimpleNamespace(tests={"win_rate": np.array([1, 0, 0, 0, 0.25, 0.5])})
    assert tables.FINAL_WIN_RATE.read(run) == pytest.approx(0.15)


def test_summary_by_hand(five):
    runs, entry = five.select("lumber", "qmix"), summary(five)["lumber"]["qmix"]
    assert entry["seeds"] == 5
    for name, values in (("final_return", [run.record["final_return"] for run in runs]),
                         ("evaluation_return", [run.evaluation["episode_return_mean"] for run in runs])):  # fmt: skip
        middle = np.mean(sorted(values)[1:-1])
        assert entry[f"{name}_iqm"] == pytest.approx(middle, rel=1e-5) != pytest.approx(np.mean(values), rel=1e-5)
    # the made-up batches are linear between their lowest value and 1
    steps = [np.linspace(low, 1, 1001) for run in runs for low in run.entropy["q000"]]
    assert entry["entropy_median"] == pytest.approx(np.median(steps), abs=1e-4)


def test_written_curves_by_hand(five):
    write_curves(five, figures.RETURN, Path("returns.csv"))
    with Path("returns.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["env"], row["algorithm"]) == ("lumber", "qmix")]
    values = np.array([run.tests["episode_return_mean"][-1] for run in five.select("lumber", "qmix")])
    low, high = stats.bootstrap_interval(values, **RESAMPLING)
    expected = {"due_steps": 20_000, "seeds": 5, "mean": values.mean(), "min": values.min(), "max": values.max(),
                "iqm": np.mean(sorted(values)[1:-1]), "iqm_low": low, "iqm_high": high}  # fmt: skip
    assert {name: float(rows[-1][name]) for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([], ""), ([4], "4"), ([1, 0], "0, 1"), ([3, 1, 2], "1 to 3"), ([0, 2, 3, 5, 6, 7, 9], "0, 2, 3, 5 to 7, 9")],
)
def test_seeds_in_a_row_are_a_range(seeds, text):
    assert seed_list(seeds) == text


def test_missing_runs_are_shown_everywhere(here, only_figures):
    only_figures("figure_8")
    shutil.rmtree(here / "results/runs/lumber/qmix/7")
    shutil.rmtree(here / "results/runs/traffic/vdn")
    found = results()
    report = here / "report"
    report.mkdir()
    write_report(found, report)
    index = (report / "README.md").read_text()
    assert "20 of 24 runs." in index
    assert "| lumber | qmix | 7 | not trained |" in index
    final = (report / "tables/final_return.md").read_text()
    assert "| Lumberjacks | QMIX | 2 of 3, missing 7 |" in final
    assert "| traffic | vdn | 0 of 3, missing 0, 1, 7 | missing |" in final
    assert "vdn" not in summary(found)["traffic"]
    assert "Missing runs: 4" in svg_text(report / "figures/figure_8.svg")
    assert "QMIX (n = 2/3)" in svg_text(report / "figures/figure_8.svg")


def test_a_note_is_shown_with_every_number(here, only_figures):
    only_figures("figure_4")
    Path("params.yaml").write_text(PARAMS.replace("report: {", "report: {note: 'Side study.', "))
    found = results()
    assert found.notes()[0] == "Side study."
    assert "Side study." in tables.to_markdown("", tables.TABLES[2].fill(found))
    assert "Side study." in presented.to_markdown(found, verdicts.judge(found))
    figures.write(found, here)
    assert "Side study." in svg_text(here / "figure_4.svg")


def test_report_without_any_run(tmp_path, monkeypatch, only_figures):
    only_figures("figure_4")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    write_report(results(), tmp_path)
    assert "0 of 24 runs." in Path("README.md").read_text()
    assert json.loads(Path("summary.json").read_text()) == {"runs": {"done": 0, "missing": 24}}
    assert "no runs" in svg_text(Path("figures/figure_4.svg"))


def test_report_is_complete_and_repeats_byte_for_byte(here, monkeypatch):
    monkeypatch.setattr("sys.argv", ["aggregate"])
    main()
    report = here / "results/report"
    first = {path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    names = {str(name) for name in first}
    assert {"README.md", "summary.json", "curves/returns.csv", "curves/entropy.csv"} < names
    for stem in ("table_1", "tables_2_3", "final_return", "evaluation_return"):
        assert {f"tables/{stem}.csv", f"tables/{stem}.md"} < names
    for stem in (
        "figure_1",
        "figures_3_7",
        "figure_4",
        "figure_4_iqm",
        "figure_5",
        "figure_6",
        "figure_8",
        "figure_8_iqm",
    ):
        assert {f"figures/{stem}.png", f"figures/{stem}.svg"} < names
    index = first[Path("README.md")].decode()
    assert all(name in index for name in names - {"README.md", "summary.json"})  # everything is linked
    assert "20,000 of 200,000 environment steps, 3 of 5 seeds" in index
    main()
    assert {path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()} == first


def test_tables_hold_the_same_in_csv_and_markdown(here):
    for table in tables.TABLES:
        content = table.fill(results())
        rows = list(csv.reader(tables.to_csv(content).splitlines()))
        lines = [line for line in tables.to_markdown(table.title, content).splitlines() if line.startswith("|")]
        assert len(rows) == len(lines) - 1 == len(content.rows) + 1
        assert {line.count("|") for line in lines} == {len(content.columns) + 1}


def test_curves_align_on_common_steps(here):
    found = results()
    runs = found.select("lumber", "qmix")
    short = {name: values[:-2] for name, values in runs[1].tests.items()}
    cut = replace(runs[1], tests=short)
    steps, curves = figures.aligned([runs[0], cut], figures.RETURN)
    assert steps.tolist() == list(range(0, 19000, 1000))  # 0 to 20,000 by 1,000 without the last two
    assert curves.shape == (2, 19)
    assert curves[0].tolist() == runs[0].tests["episode_return_mean"][:-2].tolist()
    empty, _ = figures.aligned([], figures.RETURN)
    assert len(empty) == 0


def test_differences_are_of_runs_of_one_seed(here):
    found = results()
    (declared,) = [one for one in figures.FIGURES if one.name == "figure_5_differences"]
    steps, curves = declared._curves(found, "lumber", "gre", figures.RETURN)
    of = {name: {run.key[2]: run.tests["episode_return_mean"] for run in found.select("lumber", name)}
          for name in ("gre", "qmix")}  # fmt: skip
    assert steps.tolist() == list(range(0, 20_001, 1000))
    for row, seed in zip(curves, (0, 1, 7), strict=True):
        assert row == pytest.approx(of["gre"][seed] - of["qmix"][seed])
    shutil.rmtree(here / "results/runs/lumber/qmix/1")
    assert len(declared._curves(results(), "lumber", "gre", figures.RETURN)[1]) == 2
    assert [label for label, _ in declared.legend(found)] == ["gre (n = 3)"]


def test_bands_by_hand(here):
    curves = np.array([[0.0], [0.0], [3.0], [9.0], [100.0]])
    assert [line.tolist() for line in figures.MEAN.band(results())(curves)] == [[22.4], [0], [100]]
    middle, low, high = figures.IQM.band(results())(curves)
    assert middle.tolist() == [4]  # (0 + 3 + 9) / 3
    assert (low[0], high[0]) == stats.bootstrap_interval(curves[:, 0], **RESAMPLING)


def test_axes_leave_out_a_start_that_would_hide_the_rest():
    steps = np.array([0.0, 4.0, 5.0, 50.0, 100.0])
    low, high = np.array([-900.0, -300, -100, -60, -50]), np.array([-10.0, -20, -20, -20, -30])
    # from 5 of 100 steps on: -100 to -20, and the highest of all is -10; 900 is more than twice those 90; 3% margins
    assert figures.without_start([(steps, low, high)], 100) == (-100 - 0.03 * 90, -10 + 0.03 * 90)
    tame = np.maximum(low, -190)  # 180 high: the start takes no more than half
    assert figures.without_start([(steps, tame, high)], 100) is None
    assert figures.without_start([(steps, tame, high), (steps, low, high)], 100) is not None  # the worst curve counts
    assert figures.without_start([(steps[:2], low[:2], high[:2])], 100) is None  # nothing but a start


def test_environment_without_pictures_keeps_the_report(here):
    Path("params.yaml").write_text(PARAMS.replace("env: lumberjacks_v0", "env: 'third_party.corridor:parallel_env'"))
    assert figures.picture(results(), "lumber", steps=2) is None


def test_every_algorithm_has_a_colour_and_line_of_its_own():
    count = len(drawing.COLOURS) * len(drawing.STYLES)
    assert len({tuple(drawing.line(place).values()) for place in range(count)}) == count
    shipped = load_params(Path(__file__).parents[1] / "params.yaml").run.algorithms
    assert len({drawing.line(place)["color"] for place in range(len(shipped))}) == len(shipped)


def test_legend_stays_inside_the_figure(here):
    note = "A side study with a note that is far longer than a line below the panels can be. " * 3
    titles = ", ".join(f"{name}: '{name}, and how it differs from all the others'" for name in ("vdn", "simple", "gre"))
    text = PARAMS.replace("report: {", f"report: {{note: '{note}', ").replace("titles: {", f"titles: {{{titles}, ")
    Path("params.yaml").write_text(text)
    for declared in figures.FIGURES:
        for name, figure in declared.draw(results()):
            for legend in figure.legends:
                assert legend.get_window_extent().width <= figure.bbox.width, name


def svg_text(path: Path) -> str:
    """Return the comments of an SVG, where matplotlib leaves the text that it draws as shapes."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))  # noqa: S314
    root = ElementTree.parse(path, parser).getroot()  # noqa: S314
    return "\n".join(node.text or "" for node in root.iter() if node.tag is ElementTree.Comment)
