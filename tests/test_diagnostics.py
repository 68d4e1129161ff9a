"""`marl-gre credits`: numbers and pictures of credit within an episode."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from marl_gre.config import load_params
from marl_gre.data import Episode
from marl_gre.jobs import credits_drawing as credit_drawing
from marl_gre.jobs.credits import phase_rows, step_rows
from marl_gre.jobs.credits_measured import EpisodeCredits, measure
from marl_gre.jobs.train import train
from marl_gre.storage.run_dir import load_run

PARAMS = """
run: {envs: [lumber], algorithms: [qmix, vdn], seeds: [0]}
envs:
  lumber: {env: lumberjacks_v0, kwargs: {max_steps: 12}, total_steps: 60, test_interval_steps: 60, test_episodes: 2}
algorithms: {qmix: {mixer: qmix}, vdn: {mixer: vdn}}
train: {batch_episodes: 2, device: cpu}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "params.yaml").write_text(PARAMS)
    for algorithm in ("qmix", "vdn"):
        config = load_params(folder / "params.yaml").run_config("lumber", algorithm, 0)
        train(config, folder / algorithm, folder / "work")
    return folder


def test_command_writes_numbers_and_pictures(runs, tmp_path, marl_gre):
    out = tmp_path / "out"
    done = marl_gre("credits", runs / "qmix", "--out", out, "--episodes", 3)
    assert done.returncode == 0, done.stderr
    assert "phase 4: entropy" in done.stdout
    rows = list(csv.DictReader((out / "credits.csv").read_text().splitlines()))
    lengths = {seed: sum(row["episode_seed"] == seed for row in rows) for seed in ("0", "1", "2")}
    assert sum(lengths.values()) == len(rows)
    assert max(lengths.values()) <= 12
    for row in rows:
        shares = [float(row["share_0"]), float(row["share_1"])]
        assert sum(shares) == pytest.approx(1)
        expected = -sum(p * np.log(p) for p in shares) / np.log(2)
        assert float(row["entropy"]) == pytest.approx(expected, abs=1e-5)
    with Image.open(out / "credits.gif") as gif:
        assert gif.n_frames == lengths["0"]
        with Image.open(out / "credits.png") as png:
            assert gif.width > png.width  # the environment stands beside
    phases = list(csv.DictReader((out / "phases.csv").read_text().splitlines()))
    assert [row["phase"] for row in phases] == ["1", "2", "3", "4"]
    assert sum(int(row["steps"]) for row in phases) == len(rows)


def test_default_folder_and_mistakes(runs, tmp_path, marl_gre):
    assert marl_gre("credits", runs / "vdn", "--episodes", 1).returncode == 0
    assert (tmp_path / "credits/lumber/vdn/0/credits.gif").is_file()
    done = marl_gre("credits", tmp_path / "nothing")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    (tmp_path / "file").write_text("")
    done = marl_gre("credits", runs / "vdn", "--out", tmp_path / "file")
    assert done.returncode == 2
    assert "found a file; name a folder." in done.stderr
    done = marl_gre("credits", runs / "vdn", "--out", tmp_path / "file" / "below")
    assert done.returncode == 6
    assert "cannot be written" in done.stderr
    assert "free space or fix permissions." in done.stderr


def test_credits_are_those_of_the_mixer(runs):
    (one,) = measure(load_run(runs / "vdn"), [5])
    assert one.credits.tolist() == torch.ones(one.episode.length, 2).tolist()  # dq_tot/dq_i of a sum
    assert one.shares.tolist() == (np.ones_like(one.credits) / 2).tolist()
    assert one.entropy == pytest.approx(np.ones(one.episode.length), abs=1e-6)
    again, other = measure(load_run(runs / "qmix"), [5, 6])
    (single,) = measure(load_run(runs / "qmix"), [6])
    assert np.allclose(single.credits, other.credits)  # an episode does not depend on those beside it
    assert again.episode.seed == 5


def made_up(length: int, agents: int = 2) -> EpisodeCredits:
    reward, actions = np.zeros(length), np.zeros((length, agents), np.int16)
    episode = Episode(7, {}, actions, reward, True, None)
    entropy = np.arange(length) / length if agents > 1 else None
    return EpisodeCredits(episode, np.zeros((length, agents)), entropy)


def test_phases_by_hand():
    # eight steps in four phases: steps 0 1 | 2 3 | 4 5 | 6 7 with entropies k/8
    rows = phase_rows([made_up(8)])
    assert [row["entropy_mean"] for row in rows] == [0.5 / 8, 2.5 / 8, 4.5 / 8, 6.5 / 8]
    # two steps: the first falls in phase 1, the second in phase 3
    assert [row["steps"] for row in phase_rows([made_up(2)])] == [1, 0, 1, 0]
    assert np.isnan(phase_rows([made_up(2)])[1]["entropy_mean"])


def test_one_agent_and_credits_of_zero():
    alone = made_up(3, agents=1)
    assert np.isnan(step_rows([alone])[0]["entropy"])
    assert np.isnan(phase_rows([alone])[0]["entropy_mean"])
    assert alone.shares.tolist() == [[1.0]] * 3
    assert made_up(2).shares.tolist() == [[0.5, 0.5]] * 2  # nothing to share counts as even
    image = credit_drawing.picture("x", alone.shares, None)
    assert image.width > 300


def test_heat_map_shows_who_has_more():
    shares = np.array([[0.9, 0.1]] * 10)
    pixels = np.asarray(credit_drawing.picture("", shares, None))
    x = credit_drawing.LEFT + credit_drawing.PLOT[0] // 2
    first, second = pixels[credit_drawing.TOP + 18, x], pixels[credit_drawing.TOP + 54, x]  # rows of 36 pixels
    assert first.tolist() == list(credit_drawing.HIGH)
    assert second.tolist() == list(credit_drawing.LOW)


def test_environment_without_pictures_gets_the_map_alone():
    shares = np.full((4, 3), 1 / 3)
    images = credit_drawing.animation("", None, shares, np.ones(4))
    assert len(images) == 4
    assert images[0].shape[1] == credit_drawing.picture("", shares, np.ones(4)).width
    assert (images[0] != images[3]).any()  # the mark moves


def test_the_library_does_without_matplotlib():
    code = "import sys, marl_gre.cli, marl_gre.jobs.credits; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
