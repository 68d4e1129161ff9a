"""docs/algorithms: a page for every mixer, with every option that it has and no other."""

import re
from pathlib import Path

import pytest

from marl_gre.config import CentralConfig, TrainConfig, load_params
from marl_gre.losses import LOSS_WEIGHTS
from marl_gre.mixers import MIXERS
from marl_gre.regularisers import GradientEntropy

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "algorithms"
PAGE_OF = {"feed_forward": "weighted_qmix"}
SAME_OPTIONS = {"qmix_equal": "qmix"}


def page(name):
    return (PAGES / f"{PAGE_OF.get(name, name)}.md").read_text()


def options(text):
    """The names in the first column of the page's tables."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {name.removeprefix("central.") for cell in cells for name in re.findall(r"`([\w.]+)`", cell)}


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_has_a_page_with_its_options(name):
    fields = set(MIXERS[name].Config.model_fields)
    if name in SAME_OPTIONS:
        assert f"]({SAME_OPTIONS[name]}.md)" in page(name)
        fields -= set(MIXERS[SAME_OPTIONS[name]].Config.model_fields)
    if name == "feed_forward":
        fields |= {"loss_weights", "mixer", "loss_weight"}
        assert set(CentralConfig.model_fields) == {"mixer", "mixer_config", "loss_weight"}
    assert options(page(name)) == fields


def test_the_other_options_have_theirs():
    assert options(page("gradient_entropy")) == set(GradientEntropy.model_fields)
    training = options(page("training_options"))
    assert {*TrainConfig.since_later} < training
    assert training < set(TrainConfig.model_fields)
    assert all(f"`{name}`" in page("weighted_qmix") for name in LOSS_WEIGHTS if name != "uniform")


def test_every_page_is_listed_and_every_link_leads_somewhere():
    index = (PAGES / "index.md").read_text()
    for path in PAGES.glob("*.md"):
        assert path.name == "index.md" or f"({path.name})" in index
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
            assert (PAGES / link).exists(), f"{path}: {link}"


def test_pymarl2s_settings_are_labelled():
    params = load_params(ROOT / "studies" / "pymarl2" / "params.yaml")
    assert params.report.note.endswith("not the paper's protocol.")
    train = params.train
    assert (train.optimizer, train.lr, train.td_lambda, train.batch_episodes) == ("adam", 1e-3, 0.6, 128)
    assert (train.episodes_per_round, train.updates_per_round, train.epsilon_anneal_steps) == (8, 1, 100_000)
