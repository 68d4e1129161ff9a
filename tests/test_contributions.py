"""What agents contribute beside their credit, in the report: on made-up games, and the committed ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import shapley
from benchmarks.aggregate import write_report
from benchmarks.claims import verdicts
from benchmarks.claims.answers import answers
from benchmarks.layout import shapley_file
from benchmarks.report import contributions
from benchmarks.report.gather import gather
from marl_gre import stats
from marl_gre.config import load_params
from marl_gre.errors import BadInput
from marl_gre.storage.run_dir import load_run
from synthetic_runs import write_games, write_runs

ROOT = Path(__file__).parents[1]
PARAMS = """
run: {envs: [even, uneven], algorithms: [vdn, qmix], seeds: [0, 1]}
envs:
  even: &lumber {env: lumberjacks_v0, total_steps: 40000, test_interval_steps: 20000, entropy_interval_steps: 10000}
  uneven: {<<: *lumber, env: lumberjacks_v1}
algorithms: {vdn: {mixer: vdn}, qmix: {mixer: qmix}}
report: {bootstrap_resamples: 100}
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A project whose agents contribute evenly in one environment and 3 to 1 in the other; QMIX's credit is .52 to .48.

    In the second quarter nothing is at stake, the others have no game.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    params = load_params(Path("params.yaml"))
    write_runs(params, Path("results"))
    for env, values in (("even", [2.0, 2.0]), ("uneven", [3.0, -1.0])):
        games = [{"phase": 0, "shares": [0.52, 0.48], "shapley": [value + 0.01 * place for value in values]}
                 for place in range(6)]  # fmt: skip
        write_games(
            Path("results"), env, "qmix", 0, [*games, {"phase": 1, "shares": [0.9, 0.1], "shapley": [0.0, 0.0]}]
        )
    return params


def test_table_by_hand(made):
    rows = {(row[0], row[1], row[2]): row for row in contributions.rows(gather(made)).rows}
    assert rows["even", "vdn", "not measured: make shapley"][4] is None
    *_, games, idle, credit, worth, sampling, credit_mean, worth_mean, related, low, high, negative = rows[
        "even", "qmix", "1"
    ]
    assert (games, idle, sampling, negative) == (6, 0, 0.0, 0.0)
    assert (credit, credit_mean) == pytest.approx((0.04, 0.04))  # 2 * .02
    assert (worth, worth_mean) == pytest.approx((0, 0), abs=1e-9)
    assert related is low is high is None  # one side is even
    row = rows["uneven", "qmix", "1"]
    assert row[7] == pytest.approx(np.mean([2 * abs((3 + d) / (4) - 0.5) for d in 0.01 * np.arange(6)]))
    assert row[-1] == 0.5  # one of two is negative
    assert row[11] == pytest.approx(1, abs=1e-3)  # the same agent has more, always
    assert rows["uneven", "qmix", "2"][4:6] == [0, 1]
    assert rows["uneven", "qmix", "4"][3] is None


def test_premise_and_answer(made):
    results = gather(made)
    holds = {one.env: one.holds for one in contributions.premises(results)}
    assert holds == {"even": False, "uneven": True}
    (answer,) = [one for one in answers(results, verdicts.judge(results)) if one.name == "Premise"]
    assert answer.short == "In places"
    assert (
        "less even than credits on uneven (0.51; credits 0.04); more even on even (0.00; credits 0.04)." in answer.text
    )


@pytest.mark.parametrize(("low", "high", "mean_shapley", "holds"), [
    *((0.2, 0.6, 0.3, True), (0.2, 0.6, 0.1, None)),
    *((-0.6, -0.2, 0.1, False), (-0.6, -0.2, 0.3, None)),
])  # fmt: skip
def test_a_premise_needs_the_mean_over_games_too(low, high, mean_shapley, holds):
    """Chance makes single games uneven."""
    premise = contributions.Premise("env", 0.1, 0.5, 0, low, high, None, mean_credit=0.2, mean_shapley=mean_shapley)
    assert premise.holds is holds


def test_the_interval_of_a_premise_is_over_episodes(made):
    """Two games of the first episode are less even than credit by .2 and .4, the others' single games by .5."""
    values = [(0, 0, [0.62, 0.38]), (0, 1, [0.72, 0.28]), (1, 0, [0.77, 0.23]), (2, 0, [0.77, 0.23])]
    games = [{"episode_seed": seed, "phase": phase, "shares": [0.52, 0.48], "shapley": shapley}
             for seed, phase, shapley in values]  # fmt: skip
    write_games(Path("results"), "uneven", "qmix", 0, games)
    (premise,) = [one for one in contributions.premises(gather(made)) if one.env == "uneven"]
    assert (premise.low, premise.high) == pytest.approx(stats.mean_interval([0.3, 0.5, 0.5]))


@pytest.mark.parametrize(("count", "shown"), [(5, True), (4, False)])
def test_a_correlation_takes_five_games(made, count, shown):
    games = [{"phase": 0, "shares": [0.52, 0.48], "shapley": [3.0 + place / 100, -1.0]} for place in range(count)]
    write_games(Path("results"), "uneven", "qmix", 0, games)
    rows = {(row[0], row[1], row[2]): row for row in contributions.rows(gather(made)).rows}
    assert (rows["uneven", "qmix", "1"][11] is not None) == shown


def test_a_resample_of_even_games_has_no_correlation(made):
    """Of two games one is even, so that a quarter of the resamples hold nothing uneven."""
    games = [{"phase": 0, "shares": [0.6, 0.4], "shapley": [3.0, 1.0]},
             {"phase": 0, "shares": [0.5, 0.5], "shapley": [1.0, 1.0]}]  # fmt: skip
    write_games(Path("results"), "uneven", "qmix", 0, games)
    results = gather(made)
    (found,) = [games for key, games in contributions.measured(results).items() if key[0] == "uneven"]
    assert contributions.correlation_interval(found, results) == pytest.approx((1, 1))


def test_games_are_of_gridworlds_only():
    assert contributions.cells(load_params(ROOT / "studies" / "smac" / "params.yaml")) == []


def test_report_shows_table_figure_and_reading(made, tmp_path, only_figures):
    only_figures("contributions")
    (tmp_path / "report").mkdir()
    write_report(gather(made), tmp_path / "report")
    assert contributions.READING in (tmp_path / "report/tables/contributions.md").read_text()
    assert (tmp_path / "report/figures/contributions.png").stat().st_size > 10_000
    assert "Do agents contribute less evenly" in (tmp_path / "report/index.html").read_text()


def test_quarters_with_few_games_have_no_point(made):
    (games,) = [games for key, games in contributions.measured(gather(made)).items() if key[0] == "uneven"]
    assert [*contributions.by_quarter(games, "shares")] == [0]
    assert contributions.by_quarter(games[2:], "shares") == {}


def test_games_of_other_weights_do_not_count(made):
    games = [{"phase": 0, "shares": [0.52, 0.48], "shapley": [2.0, 1.0]}]
    write_games(Path("results"), "even", "qmix", 0, games, weights="another training's")
    assert {key[0] for key in contributions.measured(gather(made))} == {"uneven"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content["games"][0].pop("shares"),
        lambda content: content["games"][0].update(shapley=[1.0]),
        lambda content: content["games"][0].update(shapley=[1.0, float("nan")]),
        lambda content: content.update(seed=3),
        lambda content: content.pop("schema"),
    ],
)
def test_damaged_files_are_refused_in_one_line(made, damage):
    path = shapley_file("even", "qmix", 0)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="make it again: rm .*; make shapley") as caught:
        gather(made)
    assert "\n" not in str(caught.value)


def test_nothing_measured_shows_nothing(made, tmp_path, only_figures):
    only_figures("contributions")
    for path in tmp_path.glob("results/evaluation/*/*/*.shapley.json"):
        path.unlink()
    results = gather(made)
    assert contributions.rows(results).rows == []
    assert contributions.premises(results) == []
    (tmp_path / "report").mkdir()
    write_report(results, tmp_path / "report")
    assert not (tmp_path / "report/figures/contributions.png").exists()


def test_committed_games_are_those_of_the_published_weights(monkeypatch):
    """And the first game of one of them, played again here."""
    monkeypatch.chdir(ROOT)
    cells = contributions.cells(load_params(Path("params.yaml")))
    assert len(cells) == 12
    for key in cells:
        assert shapley.up_to_date(shapley_file(*key), load_run(Path("results/runs", *map(str, key))))
    key = ("lumberjacks_v1", "qmix", 0)
    monkeypatch.setattr(shapley, "EPISODES", 1)
    again = shapley.content(load_run(Path("results/runs", *map(str, key))))["games"]
    for game, published in zip(again, json.loads(shapley_file(*key).read_text())["games"], strict=False):
        assert game["shapley"] == pytest.approx(published["shapley"], rel=1e-4)
        assert game["shares"] == pytest.approx(published["shares"], rel=1e-3)
