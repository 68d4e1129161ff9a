"""docs/algorithms: a page of the same form for every mixer. The tables of options and results are generated."""

import re
from pathlib import Path

import pytest

from marl_gre.config import load_params
from marl_gre.losses import LOSS_WEIGHTS
from marl_gre.mixers import MIXERS

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "algorithms"
PAGE_OF = {"feed_forward": "weighted_qmix"}


def page(name):
    return (PAGES / f"{PAGE_OF.get(name, name)}.md").read_text()


@pytest.mark.parametrize("name", [*MIXERS, "gradient_entropy"])
def test_every_page_has_an_equation_and_the_same_sections(name):
    text = page(name)
    assert "$$" in text
    assert "](https://arxiv.org/" in text or "control of this project" in text
    found = re.findall(r"^## (.*)$", text, re.MULTILINE)
    asked = ["Options", "Differences between published versions", "Results"]
    assert [heading for heading in found if heading in asked] == asked


def test_every_weight_of_the_loss_is_named():
    assert all(f"`{name}`" in page("weighted_qmix") for name in LOSS_WEIGHTS)


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
