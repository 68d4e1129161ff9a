"""Recorded metrics: their declaration and page, training.csv by hand, third parties' columns up to the report."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch

from benchmarks import metrics_page
from benchmarks.aggregate import write_report
from benchmarks.report.gather import gather
from marl_gre import metrics
from marl_gre.config import EvaluateConfig, load_params
from marl_gre.errors import BadInput
from marl_gre.jobs.check import check_params
from marl_gre.jobs.evaluate import evaluate
from marl_gre.jobs.train import train
from marl_gre.metrics import Means
from marl_gre.policy import epsilon_at
from marl_gre.storage.files import csv_text
from marl_gre.storage.resume import Keeper
from marl_gre.trainer import Trainer, entropy_row

PARAMS = """
run: {envs: [lumber], algorithms: [vdn, qmix, gre], seeds: [0]}
envs:
  lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 200, test_interval_steps: 60, test_episodes: 2,
    entropy_interval_steps: 50}
algorithms: {vdn: {mixer: vdn}, qmix: {mixer: qmix}, gre: {mixer: qmix_gre, gre_lambda: 1e-3}}
train: {hidden_dim: 8, batch_episodes: 4, epsilon_anneal_steps: 100, device: cpu}
evaluate: {episodes: 2}
report: {bootstrap_resamples: 100}
"""
OWN = ["update_metrics:reward_per_step", "update_metrics:steps", "update_metrics:undefined"]


def params(folder, own=()):
    (folder / "params.yaml").write_text(PARAMS + (f"metrics: {json.dumps(list(own))}\n" if own else ""))
    return load_params(folder / "params.yaml")


def trained(config):
    trainer = Trainer(config)
    for _ in trainer.run():
        pass
    return trainer


def test_the_page_is_current():
    assert metrics_page.PATH.read_text() == metrics_page.page(), "run: python -m benchmarks.metrics_page"


def test_every_column_is_declared_once_and_no_other_is_written(tmp_path):
    names = [(metric.file, metric.name) for metric in metrics.METRICS]
    assert len(names) == len(set(names))
    trainer = trained(params(tmp_path).run_config("lumber", "gre", 0))
    for file, rows in (
        ("tests.csv", trainer.tests),
        ("entropy.csv", trainer.entropies),
        ("training.csv", trainer.training),
    ):
        header, *_ = csv_text(rows).splitlines()
        absent = {name for name in metrics.columns(file) if name.startswith("function_")} | {metrics.CENTRAL_LOSS}
        assert header.split(",") == [name for name in metrics.columns(file) if name not in absent]


def test_floats_in_tables_have_9_digits():
    # 1/3, the float32 next to it (0.33333334327), a whole number and nothing
    row = {"a": 1 / 3, "b": float(torch.tensor(1 / 3)), "c": 2, "d": float("nan")}
    assert csv_text([row]) == "a,b,c,d\n0.333333333,0.333333343,2,\n"


def test_algorithms_without_a_released_gradient_have_no_columns_of_it(tmp_path):
    rows = trained(params(tmp_path).run_config("lumber", "vdn", 0)).entropies
    assert not any(name.startswith("released") for row in rows for name in row)
    # 3 counters, the mean and 21 quantiles
    assert len(csv_text(rows).splitlines()[0].split(",")) == 25


def test_credits_that_a_mixer_names_have_columns_of_their_own():
    statistics = {"mine": (0.25, [0.0] * 21), "exact": (0.5, [1.0] * 21)}
    row = entropy_row(100, 110, 3, statistics)
    assert (row["mean"], row["q000"], row["mine_mean"], row["mine_q100"]) == (0.5, 1.0, 0.25, 0.0)
    assert list(row)[:4] == ["due_steps", "env_steps", "updates", "mean"]


def test_means_by_hand():
    means = Means()
    means.add({"a": 1.0, "b": torch.tensor(2.0)})
    means.add({"a": 4.0, "b": torch.tensor(3.0), "c": math.inf})
    state = means.state_dict()
    assert means.take() == {"a": 2.5, "b": 2.5, "c": pytest.approx(math.nan, nan_ok=True)}
    assert means.take() == {}
    means.load_state_dict(state, state["totals"])
    means.add({"b": torch.tensor(7.0)})
    assert means.take()["b"] == 4.0  # (2 + 3 + 7) / 3


def test_means_leave_what_they_are_given_alone():
    value = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    means = Means()
    means.add({"a": value})
    means.add({"a": value})
    assert value.item() == 1.0
    assert not means.totals["a"].requires_grad


def test_training_rows_are_means_since_the_row_before(tmp_path):
    """20 episodes of 10 steps, tests due every 60: rows after episodes 6, 12, 18 and 20, updates from episode 4 on."""
    config = params(tmp_path, OWN[:1]).run_config("lumber", "gre", 0)
    trainer = Trainer(config)
    seen, update = [], trainer.learner.update

    def noting(batch):
        result = update(batch)
        measured = {**vars(result), "reward_per_step": batch.reward.mean()}
        seen.append({name: value.item() for name, value in measured.items()})
        return result

    trainer.learner.update = noting
    for _ in trainer.run():
        pass
    rows = trainer.training
    assert [row["due_steps"] for row in rows] == [60, 120, 180, 200]
    assert [row["episodes"] for row in rows] == [6, 12, 18, 20]
    assert [row["updates"] for row in rows] == [3, 9, 15, 17]  # the first with the fourth episode
    played = list(trainer.replay.kept.values())
    for row, episodes, updates in zip(
        rows, ((0, 6), (6, 12), (12, 18), (18, 20)), ((0, 3), (3, 9), (9, 15), (15, 17)), strict=True
    ):
        own = played[slice(*episodes)]
        assert row["episode_return_mean"] == pytest.approx(np.mean([episode.episode_return for episode in own]))
        assert row["episode_length_mean"] == 10
        assert row["epsilon"] == pytest.approx(np.mean([epsilon_at(10 * i, config.train) for i in range(*episodes)]))
        assert math.isnan(row["win_rate"])
        names = ("td_loss", "regulariser", "grad_norm", "td_error_abs", "q_tot_mean", "target_mean", "reward_per_step")
        for name in names:
            assert row[name] == pytest.approx(np.mean([one[name] for one in seen[slice(*updates)]])), name
    assert rows[0]["regulariser"] != 0


def test_before_the_first_update_its_means_are_empty(tmp_path):
    text = PARAMS.replace("test_interval_steps: 60", "test_interval_steps: 20")
    (tmp_path / "params.yaml").write_text(text)
    first, *_ = trained(load_params(tmp_path / "params.yaml").run_config("lumber", "qmix", 0)).training
    assert (first["due_steps"], first["updates"]) == (20, 0)
    assert math.isnan(first["td_loss"])
    assert not math.isnan(first["episode_return_mean"])


def test_a_stopped_run_goes_on_to_the_same_training_rows(tmp_path):
    config = params(tmp_path, OWN).run_config("lumber", "qmix", 0)
    whole = trained(config).training
    trainer = Trainer(config)
    for _ in trainer.run():
        if trainer.episodes == 8:  # between two rows
            break
    Keeper(tmp_path, "run").save(trainer)
    resumed = Trainer(config)
    assert Keeper(tmp_path, "run").resume(resumed)
    for _ in resumed.run():
        pass
    assert csv_text(resumed.training) == csv_text(whole)


def test_third_parties_metrics_reach_training_csv_and_the_report(tmp_path, monkeypatch, only_figures):
    only_figures()
    monkeypatch.chdir(tmp_path)
    plain, own = params(tmp_path), params(tmp_path, OWN)
    for name in ("vdn", "qmix", "gre"):
        config = own.run_config("lumber", name, 0)
        assert config.identity() == plain.run_config("lumber", name, 0).identity()
        out = tmp_path / "results/runs/lumber" / name / "0"
        train(config if name != "vdn" else plain.run_config("lumber", name, 0), out, tmp_path / "work")
        evaluate(out, tmp_path / f"results/evaluation/lumber/{name}/0.json", EvaluateConfig(episodes=2))
    with (tmp_path / "results/runs/lumber/qmix/0/training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["steps"]) for row in rows] == [40, 40, 40, 40]  # 4 episodes of 10 steps in a batch
    assert all(-10 < float(row["reward_per_step"]) < 10 for row in rows)
    assert {row["undefined"] for row in rows} == {""}
    (tmp_path / "report").mkdir()
    results = gather(plain)
    write_report(results, tmp_path / "report")
    drawn = {path.stem for path in (tmp_path / "report/figures").glob("training_*.svg")}
    recorded = {name for name in metrics.columns("training.csv") if name not in (*metrics.COUNTERS, "win_rate")}
    recorded.remove(metrics.CENTRAL_LOSS)  # QMIX has no central networks
    assert drawn == {f"training_{name}" for name in (*recorded, "steps", "reward_per_step")}
    index = (tmp_path / "report/README.md").read_text()
    assert "training_reward_per_step.svg" in index
    assert "reward_per_step" not in results.runs["lumber", "vdn", 0].training


def test_the_report_does_without_training_csv(tmp_path, monkeypatch, only_figures):
    only_figures()
    monkeypatch.chdir(tmp_path)
    config = params(tmp_path)
    out = tmp_path / "results/runs/lumber/qmix/0"
    train(config.run_config("lumber", "qmix", 0), out, tmp_path / "work")
    evaluate(out, tmp_path / "results/evaluation/lumber/qmix/0.json", EvaluateConfig(episodes=2))
    (out / "training.csv").unlink()
    assert gather(config).runs["lumber", "qmix", 0].training == {}
    (tmp_path / "report").mkdir()
    write_report(gather(config), tmp_path / "report")
    assert not list((tmp_path / "report/figures").glob("training_*"))
    shutil.rmtree(tmp_path / "report")


def test_a_metric_may_return_numpys_numbers_and_write_into_its_batch(tmp_path):
    plain = trained(params(tmp_path).run_config("lumber", "gre", 0))
    names = ["writes_into_its_batch", "of_numpy"]
    own = trained(params(tmp_path, [f"update_metrics:{name}" for name in names]).run_config("lumber", "gre", 0))
    assert [row.pop("of_numpy") for row in own.training] == [40.5] * len(own.training)
    assert [row.pop("writes_into_its_batch") for row in own.training] == [0.0] * len(own.training)
    for file, rows in own.rows().items():
        assert csv_text(rows) == csv_text(plain.rows()[file])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_module_of_that_name:f", "metrics: found 'no_module_of_that_name:f', which cannot be imported"),
        ("update_metrics:absent", "which cannot be imported"),
        ("update_metrics:number", "which is not a function of an update and its batch"),
        ("update_metrics:td_loss", "but there is a column td_loss already; rename the function"),
        ("update_metrics", "package.module:name of a function is needed"),
    ],
)
def test_a_metric_that_cannot_be_used_is_named_before_training(tmp_path, name, message):
    (tmp_path / "params.yaml").write_text(PARAMS + f"metrics: {json.dumps([name])}\n")
    with pytest.raises(BadInput, match=message) as caught:
        check_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shaped", r"metrics: shaped returned a torch.float32 tensor of shape \[40\]; a real number or a 0-dim tensor"),
        ("worded", "metrics: worded returned a str"),
        ("complex_number", "metrics: complex_number returned a complex"),
        ("complex_tensor", r"returned a torch.complex64 tensor of shape \[\]"),
        ("huge", "metrics: huge returned an integer beyond the range of a float"),
        ("broken", "metrics: broken failed: RuntimeError: oops"),
    ],
)
def test_a_metric_that_fails_ends_the_run_in_one_line(tmp_path, name, message):
    with pytest.raises(BadInput, match=message):
        trained(params(tmp_path, [f"update_metrics:{name}"]).run_config("lumber", "qmix", 0))
