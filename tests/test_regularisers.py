"""Gradient entropy regularisation as a part of its own, on any mixer."""

import math
from pathlib import Path

import pytest
import torch

from marl_gre.config import TrainConfig, load_params
from marl_gre.credit import differentiate, gradient_entropy
from marl_gre.errors import BadInput
from marl_gre.mixers import MIXERS, QMIX
from marl_gre.networks import build
from marl_gre.regularisers import GradientEntropy, own
from marl_gre.rollout import make_env
from sound_mixer import WeightedSum
from test_learner import SIZES, make_batch, make_learner, weights
from test_mixers import inputs, make, of

PLAIN = [name for name in MIXERS if name != "qmix_gre"]  # which regularises by itself


class ByInterface(QMIX):
    """QMIX with the interface's own way to credits, which depend on the agents' values."""

    mix_with_credits = WeightedSum.mix_with_credits


class WithoutClosedForm(ByInterface):
    """QMIX whose credits have to be differentiated twice."""

    def analytic_credits(self, values, state):
        return {}


@pytest.mark.parametrize("gradient", ["exact", "released"])
def test_on_qmix_it_is_qmix_gre_bit_for_bit(gradient):
    regularise = GradientEntropy(gre_lambda=0.5, gre_gradient=gradient)
    part = make_learner("qmix", torch.float32)
    part.regularise = regularise
    mixer = make_learner("qmix_gre", torch.float32, gre_lambda=0.5, gre_gradient=gradient)
    for update in range(10):
        batch = make_batch(seed=update, dtype=torch.float32)
        one, two = part.update(batch), mixer.update(batch)
        assert one.regulariser.equal(two.regulariser)
        assert one.grad_norm.equal(two.grad_norm)
    for key, value in weights(part).items():
        assert torch.equal(value, weights(mixer)[key]), key


def test_differentiating_twice_gives_the_closed_forms_gradient():
    torch.manual_seed(0)
    analytic = make("qmix")
    twice = WithoutClosedForm(analytic.sizes, analytic.config).double()
    twice.load_state_dict(analytic.state_dict())
    qs, state = inputs()
    regularise = GradientEntropy(gre_lambda=2.0)
    for mixer in (analytic, twice):
        q_tot, regulariser = regularise(mixer, of(qs), state)
        (q_tot + regulariser).sum().backward()
        expected = 2 * gradient_entropy(differentiate(analytic, of(qs), state))
        torch.testing.assert_close(regulariser, expected, rtol=1e-12, atol=0)
    for one, two in zip(analytic.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("mixer_class", [QMIX, ByInterface, WithoutClosedForm])
def test_credits_are_attached_to_the_mixer_alone(mixer_class):
    mixer, (qs, state) = mixer_class(make("qmix").sizes, QMIX.Config()).double(), inputs()
    mixer.mix_with_credits(of(qs.requires_grad_(True)), state)[2].sum().backward()
    assert qs.grad is None
    assert mixer.hyper_w1[0].weight.grad.any()


@pytest.mark.parametrize("name", PLAIN)
def test_it_moves_mixers_and_never_agents(name):
    plain, regularised = make_learner(name), make_learner(name)
    regularised.regularise = GradientEntropy(gre_lambda=10.0)
    plain.config = regularised.config = TrainConfig(grad_norm_clip=1e9)  # clipping would couple the two
    batch = make_batch()
    plain.update(batch)
    update = regularised.update(batch)
    assert 0 < update.regulariser <= 10 * (1 + 1e-12)
    for one, two in zip(plain.agent.parameters(), regularised.agent.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    moved = any(
        not torch.equal(one.grad, two.grad)
        for one, two in zip(plain.mixer.parameters(), regularised.mixer.parameters(), strict=True)
    )
    # credits that are even whatever the parameters have no gradient: H = 1
    assert moved or name in ("vdn", "qmix_simple", "qmix_equal")


def test_a_mixers_own_regulariser_stays():
    torch.manual_seed(0)
    mixer = WeightedSum(SIZES, WeightedSum.Config(pull=1.0)).double()
    qs, state = inputs(state_dim=SIZES.state_dim)
    _, alone = own(mixer, of(qs), state)
    _, both = GradientEntropy(gre_lambda=1.0)(mixer, of(qs), state)
    entropy = gradient_entropy(mixer.weights(state))
    torch.testing.assert_close(both, alone + entropy)


def test_the_entropy_of_credits_of_either_sign_is_that_of_their_sizes():
    """A mixer that is not monotonic: shares (1/4, 3/4) of credits (1, -3), H = -(ln(1/4)/4 + 3 ln(3/4)/4) / ln 2."""
    credits = torch.tensor([1.0, -3.0], dtype=torch.float64, requires_grad=True)
    entropy = gradient_entropy(credits)
    expected = -(math.log(0.25) / 4 + 3 * math.log(0.75) / 4) / math.log(2)
    assert entropy.item() == pytest.approx(expected, abs=1e-7)  # eps = 1e-8 moves it by less
    entropy.backward()
    # dH/dp_i = -(ln p_i + H ln 2) / (ln 2 * 4), p's sum being 4; the sign of the second credit turns its gradient
    slope = [-(math.log(share) + expected * math.log(2)) / (4 * math.log(2)) for share in (0.25, 0.75)]
    assert credits.grad.tolist() == pytest.approx([slope[0], -slope[1]], abs=1e-6)


def test_its_eps_counts():
    """Credits (1, 3) and eps 1: shares (1 + 1) / 6 and (3 + 1) / 6, H = -(ln(1/3)/3 + 2 ln(2/3)/3) / ln 2."""
    regularise = GradientEntropy(gre_lambda=2.0, gre_eps=1.0)
    expected = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3) / math.log(2)
    found = regularise.of(torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert found.item() == pytest.approx(2 * expected, rel=1e-12)


def test_a_credit_of_zero_is_pushed_up():
    credits = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    gradient_entropy(credits).backward()
    assert credits.grad[0] > 0


PARAMS = """
run: {envs: [probe], algorithms: [a], seeds: [0]}
envs: {probe: {env: "probe_envs:ENV", kwargs: {episode_limit: 2}, total_steps: 10, test_interval_steps: 10}}
algorithms: {a: {ENTRY}}
"""


def params(tmp_path, entry, env="Choice"):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("{ENTRY}", f"{{{entry}}}").replace("ENV", env))
    return load_params(path)


def config(tmp_path, entry):
    return params(tmp_path, entry).run_config("probe", "a", 0)


def test_an_entry_with_gre_lambda_is_recorded_and_one_without_stays_as_it_was(tmp_path):
    plain = config(tmp_path, "mixer: vdn")
    assert plain.algorithm.resolved() == {"mixer": "vdn"}
    assert plain.results_versions() == {"trainer": 1, "env": 0, "mixer": 1}  # 0: a third party's environment
    regularised = config(tmp_path, "mixer: vdn, gre_lambda: 1e-3")
    assert regularised.algorithm.resolved() == {
        "mixer": "vdn", "gre_lambda": 1e-3, "gre_gradient": "exact", "gre_eps": 1e-8
    }  # fmt: skip
    assert regularised.results_versions()["gradient_entropy"] == 1
    record = {"env": "probe", "algorithm": "a", "seed": 0, "config": regularised.resolved()}
    assert type(regularised).from_record(record, Path("run")) == regularised
    assert config(tmp_path, "mixer: qmix_gre").algorithm.gradient_entropy is None  # its own keys


def test_mistakes_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"a\.gre_lambda: missing"):
        config(tmp_path, "mixer: qmix, gre_eps: 1e-8")
    with pytest.raises(BadInput, match=r"a\.gre_lambda: found -1.0; input should be greater than or equal to 0"):
        config(tmp_path, "mixer: qmix, gre_lambda: -1.0")
    with pytest.raises(BadInput, match="did you mean 'gre_lambda'"):
        config(tmp_path, "mixer: qmix, gre_lamda: 1.0")
    wrong = config(tmp_path, "mixer: qmix, gre_lambda: 1.0, gre_gradient: function")
    env = make_env("probe", wrong.env, 1)
    with pytest.raises(BadInput, match=r"algorithms\.a on envs\.probe: QMIX: gre_gradient: unknown .*exact, released"):
        build(wrong, env)


def test_one_agent_is_refused(tmp_path):
    right = config(tmp_path, "mixer: vdn, gre_lambda: 1.0")
    env = make_env("probe", right.env, 1)
    env.n_agents = 1
    with pytest.raises(BadInput, match="gre_lambda: found 1 agent; it takes 2 or more: remove gre_lambda"):
        build(right, env)
