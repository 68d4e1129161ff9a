"""Weighted QMIX: weights of the loss, central networks that give the targets, one clip over everything."""

import copy
import functools
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from marl_gre import losses, trainer
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import EvaluateConfig, TrainConfig, load_params
from marl_gre.errors import BadInput
from marl_gre.jobs.evaluate import evaluate_run
from marl_gre.jobs.train import train
from marl_gre.jobs.verify import verify
from marl_gre.learner import Learner
from marl_gre.mixers import QMIX, VDN, AgentValues, EnvSizes, FeedForward
from marl_gre.networks import Networks, build
from marl_gre.rollout import make_env
from marl_gre.storage.run_dir import load_run
from packing import packed
from test_learner import SIZES, Table, make_batch, make_learner, make_padded, weights
from test_resume import trained_for
from test_train import PARAMS, digest

ALGORITHMS = {
    "ow": "{mixer: qmix, central: feed_forward, loss_weights: {name: ow, alpha: 0.5}}",
    "cw": "{mixer: qmix, central: {mixer: feed_forward, hidden_dim: 8, loss_weight: 0.5}, loss_weights: cw}",
}


def test_weights_of_ow_qmix_by_hand():
    """1 where q_tot is strictly below the target."""
    steps = losses.Steps(torch.tensor([1.0, 3.0, 2.0]).double(), torch.tensor([2.0, 2.0, 2.0]).double(), None, None)
    assert losses.LOSS_WEIGHTS["ow"](steps).tolist() == [1.0, 0.1, 0.1]
    assert losses.LOSS_WEIGHTS["ow"](steps, alpha=0.5).tolist() == [1.0, 0.5, 0.5]


def test_weights_of_cw_qmix_by_hand():
    """Four steps: all actions greedy; one not, and the target above the greedy ones' value of 7, equal to it, below."""
    chosen = torch.tensor([[2.0, 5.0], [2.0, 4.0], [2.0, 4.0], [2.0, 4.0]]).double()
    greedy = torch.tensor([[2.0, 5.0]] * 4).double()
    target = torch.tensor([0.0, 8.0, 7.0, 6.0]).double()
    steps = losses.Steps(
        torch.zeros(4).double(),
        target,
        AgentValues(chosen, greedy, torch.zeros(4, 2, dtype=torch.int64)),
        lambda: torch.full_like(target, 7.0),
    )
    assert losses.LOSS_WEIGHTS["cw"](steps).tolist() == [1.0, 1.0, 0.1, 0.1]


def two_steps(online, central, central_target, action_mask=None, loss_weights=losses.uniform):
    """One agent, two actions, two steps and a true end: rewards 1, 2; actions 0, 1; gamma 0.5; all mixers sums."""
    sizes = EnvSizes(1, 2, 1, 1)
    networks = Networks(Table(online), VDN(sizes, VDN.Config()), Networks(Table(central), VDN(sizes, VDN.Config())))
    learner = Learner(networks, TrainConfig(gamma=0.5), loss_weights=loss_weights)
    learner.target_agent = Table(central_target)
    batch = packed(
        obs=torch.zeros(1, 3, 1, 1, dtype=torch.float64),
        state=torch.zeros(1, 3, 1, dtype=torch.float64),
        action_mask=torch.ones(1, 3, 1, 2) if action_mask is None else torch.tensor([action_mask]),
        actions=torch.tensor([[[0], [1]]]),
        reward=torch.tensor([[1.0, 2.0]], dtype=torch.float64),
        terminated=torch.tensor([[0.0, 1.0]], dtype=torch.float64),
        mask=torch.ones(1, 2, dtype=torch.float64),
    )
    return learner, batch


# the agents prefer action 1 at both steps, the central network action 0, online and target
ONLINE = [[[4.0, 6.0]], [[1.0, 3.0]], [[0.0, 0.0]]]
CENTRAL = [[[5.0, 2.0]], [[9.0, 8.0]], [[0.0, 0.0]]]
CENTRAL_TARGET = [[[9.0, 3.0]], [[20.0, 10.0]], [[0.0, 0.0]]]


def test_targets_are_the_central_networks_values_of_the_agents_greedy_actions():
    """y0 = 1 + 0.5 * 10 (the agents' action 1, not the central network's 0) = 6, y1 = 2.

    TD errors of the agents: 4 - 6 = -2, 3 - 2 = 1; of the central network: 5 - 6 = -1, 8 - 2 = 6.
    """
    learner, batch = two_steps(ONLINE, CENTRAL, CENTRAL_TARGET)
    result = learner.update(batch)
    assert result.target_mean == (6 + 2) / 2
    assert result.td_loss == (4 + 1) / 2
    assert result.central_loss == (1 + 36) / 2
    assert result.loss == (4 + 1) / 2 + (1 + 36) / 2


def test_the_central_loss_is_shown_without_its_weight():
    """The errors are those above."""
    learner, batch = two_steps(ONLINE, CENTRAL, CENTRAL_TARGET)
    learner.central_loss_weight = 0.5
    result = learner.update(batch)
    assert result.central_loss == (1 + 36) / 2
    assert result.loss == (4 + 1) / 2 + 0.5 * (1 + 36) / 2


def test_cw_compares_with_the_target_networks_value_of_the_greedy_action_in_the_same_step():
    """Step 0: action 0, greedy is 1, whose target value is 3 < y0 = 6: weight 1. Step 1: action 1 is greedy: weight 1.

    With a target value of 7 for action 1 at step 0, y0 = 6 is below it: weight 0.1.
    """
    learner, batch = two_steps(ONLINE, CENTRAL, CENTRAL_TARGET, loss_weights=losses.central)
    assert learner.update(batch).td_loss == (4 + 1) / 2
    higher = [[[9.0, 7.0]], *CENTRAL_TARGET[1:]]
    learner, batch = two_steps(ONLINE, CENTRAL, higher, loss_weights=losses.central)
    assert learner.update(batch).td_loss.item() == pytest.approx((0.1 * 4 + 1) / 2, rel=1e-14)


def central_learner(dtype=torch.float64, loss_weights=losses.uniform, **keys):
    """QMIX exactly as `make_learner` makes it, with central networks."""
    plain = make_learner("qmix", dtype)
    agent = RecurrentAgent(SIZES, hidden_dim=8)
    mixer = FeedForward(SIZES, FeedForward.Config(hidden_dim=16))
    networks = Networks(plain.agent, plain.mixer, Networks(agent, mixer).to(dtype))
    return Learner(networks, TrainConfig(), "cpu", loss_weights, **keys)


def test_with_alpha_one_and_no_central_loss_it_is_qmix_up_to_where_targets_come_from():
    plain = make_learner("qmix", torch.float32)
    even = functools.partial(losses.optimistic, alpha=1.0)
    weighted = central_learner(torch.float32, even, central_loss_weight=0.0)
    weighted.target_agent, weighted.target_mixer = copy.deepcopy(plain.target_agent), copy.deepcopy(plain.target_mixer)
    for update in range(5):
        batch = make_batch(seed=update, dtype=torch.float32)
        one, two = plain.update(batch), weighted.update(batch)
        assert one.loss.equal(two.loss)
    for key, value in weights(plain).items():
        assert torch.equal(value, weights(weighted)[key]), key


def test_everything_learns_under_one_clip():
    learner = central_learner()
    learner.config = TrainConfig(grad_norm_clip=1e-3)
    parameters = dict(learner.networks.named_parameters())
    before = {name: value.detach().clone() for name, value in parameters.items()}
    assert learner.update(make_batch()).grad_norm > 1e-3
    norm = torch.cat([value.grad.flatten() for value in parameters.values()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)  # torch adds 1e-6 to the norm
    assert {name.split(".")[0] for name in parameters} == {"agent", "mixer", "central"}
    for name, value in before.items():
        assert not torch.equal(value, parameters[name]), name


@pytest.mark.parametrize("loss_weights", [losses.optimistic, losses.central])
@pytest.mark.parametrize("td_lambda", [0.0, 0.6])
def test_a_batch_is_its_episodes(loss_weights, td_lambda):
    """Nothing is padded, nothing leaks between episodes: the loss is the mean over the steps of all of them."""
    padded = make_padded((5, 3, 3, 1))

    def loss(which):
        learner = central_learner(loss_weights=loss_weights)
        learner.config = TrainConfig(td_lambda=td_lambda)
        return learner.update(packed(**{name: values[which] for name, values in padded.items()})).loss

    alone = sum(length * loss(slice(i, i + 1)) for i, length in enumerate((5, 3, 3, 1)))
    torch.testing.assert_close(loss(slice(None)), alone / 12, rtol=1e-12, atol=0)  # 5 + 3 + 3 + 1 = 12 steps


def test_targets_follow_the_central_networks():
    learner = central_learner()
    learner.update(make_batch())
    learner.maybe_update_targets(200)
    for target, online in (
        (learner.target_agent, learner.networks.central.agent),
        (learner.target_mixer, learner.networks.central.mixer),
    ):
        for one, two in zip(target.parameters(), online.parameters(), strict=True):
            assert torch.equal(one, two)


def test_feed_forward_by_hand():
    """One agent, one hidden layer of one unit: relu(2 s - 3 q + 1) * 5 - 1 + V, V = relu(s) * 4 + 0.5; s = 1."""
    mixer = FeedForward(EnvSizes(1, 2, 1, 1), FeedForward.Config(hidden_dim=1, hidden_layers=1)).double()
    values = {(mixer.joint, 0): ([[2.0, -3.0]], 1.0), (mixer.joint, 2): ([[5.0]], -1.0)}
    values |= {(mixer.value, 0): ([[1.0]], 0.0), (mixer.value, 2): ([[4.0]], 0.5)}
    with torch.no_grad():
        for (network, index), (weight, bias) in values.items():
            network[index].weight.copy_(torch.tensor(weight))
            network[index].bias.fill_(bias)
    chosen = torch.tensor([[[-2.0], [2.0]]], dtype=torch.float64)
    q_tot = mixer(AgentValues(chosen, chosen, chosen.long()), torch.ones(1, 2, 1, dtype=torch.float64))
    # q = -2: relu(2 + 6 + 1) = 9, 45 - 1 + 4.5; q = 2: relu(-3) = 0, -1 + 4.5
    assert q_tot.tolist() == [[48.5, 3.5]]
    linear = [layer for layer in FeedForward(SIZES, FeedForward.Config()).joint if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [256, 256, 256, 1]


@pytest.fixture(scope="module", params=[*ALGORITHMS, "adam"])
def config(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    train_keys = "optimizer: adam, td_lambda: 0.6, " if request.param == "adam" else ""
    text = PARAMS.replace("train: {", f"train: {{{train_keys}replay_episodes: 12, target_update_episodes: 5, ")
    entries = {**ALGORITHMS, "adam": "{mixer: qplex, gre_lambda: 1e-3, gre_gradient: function}"}
    text = text.replace("\nalgorithms:\n", "\nalgorithms:\n" + "".join(f"  {k}: {v}\n" for k, v in entries.items()), 1)
    path.write_text(text)
    return load_params(path).run_config("lumberjacks", request.param, 0)


def test_a_stopped_run_goes_on_to_the_same_bits_and_plays_without_its_central_networks(config, tmp_path):
    train(config, tmp_path / "whole", tmp_path / "work")
    trained_for(config, tmp_path / "work" / config.identity()[:12], 13, save_every=1)
    train(config, tmp_path / "resumed", tmp_path / "work")
    assert digest(tmp_path / "resumed") == digest(tmp_path / "whole")
    names = {name.split(".")[0] for name in safetensors.torch.load_file(tmp_path / "whole" / "weights.safetensors")}
    assert names == {"agent", "mixer"} | ({"central"} if config.algorithm.central else set())
    assert load_run(tmp_path / "whole").config == config
    evaluate_run(load_run(tmp_path / "whole"), EvaluateConfig(episodes=2))
    assert any("trained again" in line for line in verify(tmp_path / "whole", retrain=True, work=tmp_path / "again"))
    header = (tmp_path / "whole" / "training.csv").read_text().splitlines()[0].split(",")
    assert ("central_loss" in header) == (config.algorithm.central is not None)
    entropy = (tmp_path / "whole" / "entropy.csv").read_text().splitlines()[0].split(",")
    assert ("function_mean" in entropy) == (config.algorithm.mixer == "qplex")


def entry(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(
        "run: {envs: [e], algorithms: [a], seeds: [0]}\n"
        "envs: {e: {env: lumberjacks_v0, total_steps: 10, test_interval_steps: 10}}\n"
        f"algorithms: {{a: {text}}}\n"
    )
    return load_params(path).run_config("e", "a", 0)


def test_what_is_recorded(tmp_path):
    config = entry(tmp_path, ALGORITHMS["ow"])
    assert config.algorithm.resolved()["central"] == {
        "mixer": "feed_forward", "loss_weight": 1.0, "hidden_dim": 256, "hidden_layers": 3
    }  # fmt: skip
    assert config.algorithm.resolved()["loss_weights"] == {"name": "ow", "alpha": 0.5}
    assert config.results_versions() == {"trainer": 1, "env": 1, "mixer": 1, "loss_weights": 1, "central": 1}
    record = {"env": "e", "algorithm": "a", "seed": 0, "config": json.loads(json.dumps(config.resolved()))}
    assert type(config).from_record(record, Path("run")) == config
    plain = entry(tmp_path, "{mixer: qmix}")
    assert set(plain.algorithm.resolved()) == {"mixer", *QMIX.Config.model_fields}
    assert not {"optimizer", "td_lambda"} & set(plain.resolved()["train"])


def learner_of(config):
    env = make_env(config.env_key, config.env, 1)
    return trainer.make_learner(config, build(config, env), torch.device("cpu"))


def test_a_runs_learner_has_what_its_entry_says(tmp_path):
    assert learner_of(entry(tmp_path, ALGORITHMS["cw"])).central_loss_weight == 0.5
    assert learner_of(entry(tmp_path, "{mixer: qmix}")).central_loss_weight == 1.0
    steps = losses.Steps(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]), None, None)
    assert learner_of(entry(tmp_path, ALGORITHMS["ow"])).loss_weights(steps).tolist() == [1.0, 0.5]  # alpha
    assert learner_of(entry(tmp_path, "{mixer: qmix}")).loss_weights(steps).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{mixer: qmix, central: feedforward}", r"a\.central\.mixer: unknown mixer 'feedforward'; did you mean"),
        ("{mixer: qmix, central: 3}", r"a\.central: found 3; a mixer's name is needed, or a mapping with mixer"),
        ("{mixer: qmix, central: {mixer: feed_forward, width: 3}}", r"a\.central\.width: unknown key 'width'"),
        ("{mixer: qmix, central: {mixer: feed_forward, loss_weight: -1}}", r"a\.central\.loss_weight: found -1;"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(BadInput, match=message) as caught:
        entry(tmp_path, text)
    assert "\n" not in str(caught.value)
