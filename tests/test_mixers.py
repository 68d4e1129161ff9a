"""The mixers: equations, credits, entropy."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from marl_gre.credit import differentiate, entropy_statistics, gradient_entropy
from marl_gre.mixers import MIXERS, QMIX, QMIXGRE, AgentValues, EnvSizes, QMIXSimple
from marl_gre.mixers.qmix import exact_elu_derivative, released_elu_derivative

NAMES = list(MIXERS)


def make(name, n_agents=3, state_dim=7, dtype=torch.float64, **keys):
    torch.manual_seed(0)
    mixer_class = MIXERS[name]
    return mixer_class(EnvSizes(n_agents, 4, 6, state_dim), mixer_class.Config(**keys)).to(dtype)


def of(chosen):
    """Return the values of greedy actions."""
    return AgentValues(chosen, chosen.detach(), torch.zeros(chosen.shape, dtype=torch.int64))


def inputs(n_agents=3, state_dim=7, batch=4, steps=5, dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(1)
    qs = scale * torch.randn(batch, steps, n_agents, generator=generator, dtype=dtype)
    return qs, torch.randn(batch, steps, state_dim, generator=generator, dtype=dtype)


@pytest.mark.parametrize("hypernet_layers", [1, 2])
@pytest.mark.parametrize("name", ["qmix", "qmix_gre", "qmix_equal"])
def test_analytic_credits_equal_autograd(name, hypernet_layers):
    mixer = make(name, hypernet_layers=hypernet_layers)
    qs, state = inputs()
    analytic = mixer.analytic_credits(of(qs), state)["exact"]
    torch.testing.assert_close(analytic, differentiate(mixer, of(qs), state), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_credits_are_finite_differences(name):
    mixer = make(name)
    qs, state = inputs()
    step = 1e-6
    for agent in range(3):
        moved = torch.zeros(3, dtype=torch.float64)
        moved[agent] = step
        above, below = (replace(of(qs), chosen=qs + sign * moved) for sign in (1, -1))
        slope = (mixer(above, state) - mixer(below, state)) / (2 * step)
        credits = mixer.analytic_credits(of(qs), state).get("function", differentiate(mixer, of(qs), state))
        # central differences in float64: error about step**2 + 1e-16 / step = 1e-10
        torch.testing.assert_close(credits[..., agent], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "feed_forward"])  # which promises no such thing
def test_greedy_joint_action_is_the_agents_greedy_actions(name):
    """IGM: argmax of q_tot over all joint actions = each agent's own argmax."""
    mixer = make(name)
    _, state = inputs(batch=1, steps=1)
    for seed in range(20):
        table = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)  # 4 actions
        joint = list(itertools.product(range(4), repeat=3))
        qs = torch.stack([table[torch.arange(3), torch.tensor(actions)] for actions in joint])
        values = AgentValues(qs, table.amax(1).expand_as(qs), torch.tensor(joint)).map(lambda rows: rows.unsqueeze(1))
        q_tot = mixer(values, state.expand(len(joint), 1, 7)).squeeze(1)
        assert q_tot.max() <= q_tot[joint.index(tuple(table.argmax(1).tolist()))] + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_agents", [2, 3, 10, 27])
@pytest.mark.parametrize("name", ["vdn", "qmix_simple", "qmix_equal"])
def test_equal_credits_have_entropy_one_through_the_common_path(name, n_agents, dtype):
    mixer = make(name, n_agents=n_agents, dtype=dtype)
    qs, state = inputs(n_agents=n_agents, dtype=dtype)
    entropy = gradient_entropy(differentiate(mixer, of(qs), state))
    assert (entropy - 1).abs().max() <= 4 * torch.finfo(dtype).eps


def test_entropy_of_known_shares():
    # shares (1/2, 1/2, 0): H = ln 2 / ln 3; all credit to one: 0; even: 1
    credit = torch.tensor([[1.0, 1.0, 0.0], [5.0, 0.0, 0.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    expected = torch.tensor([math.log(2) / math.log(3), 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(gradient_entropy(credit), expected, rtol=0, atol=1e-6)  # eps = 1e-8 moves it by ~2e-7


def test_vanishing_credit_counts_as_even():
    assert gradient_entropy(torch.zeros(4, dtype=torch.float64)) == pytest.approx(1.0, abs=1e-12)


def test_entropy_of_one_agent_is_an_error():
    with pytest.raises(ValueError, match="1 agent is undefined"):
        gradient_entropy(torch.ones(2, 1))
    with pytest.raises(ValueError, match="use mixer: qmix"):
        make("qmix_gre", n_agents=1)


def test_entropy_statistics():
    mean, quantiles = entropy_statistics(torch.tensor([0.0, 1.0, 0.25, 0.25]))
    assert mean == 0.375
    assert (quantiles[0], quantiles[10], quantiles[20]) == (0.0, 0.25, 1.0)
    assert quantiles[5] == 0.1875  # 3 * 0.25 = three quarters of the way from 0 to 0.25
    assert len(quantiles) == 21


def test_vdn_is_the_sum():
    qs, state = inputs()
    q_tot, regulariser = make("vdn").mix_and_regularise(of(qs), state)
    assert torch.equal(q_tot, qs.sum(-1))
    assert not regulariser.any()
    assert not list(make("vdn").parameters())


def test_qmix_by_hand():
    """One agent, K = 1, all weights set: w1 = |-2| = 2, b1 = -5, w2 = |3| = 3, v = 0.25."""
    mixer = make("qmix", n_agents=1, state_dim=1, embed_dim=1, hypernet_layers=1)
    for module, bias in ((mixer.hyper_w1, -2.0), (mixer.hyper_b1, -5.0), (mixer.hyper_w2, 3.0)):
        module[0].weight.data.zero_()
        module[0].bias.data.fill_(bias)
    mixer.hyper_v[2].weight.data.zero_()
    mixer.hyper_v[2].bias.data.fill_(0.25)
    state = torch.zeros(1, 2, 1, dtype=torch.float64)
    q_tot = mixer(of(torch.tensor([[[1.0], [4.0]]], dtype=torch.float64)), state)
    # q = 1: x = 2 - 5 = -3, elu = e^-3 - 1; q = 4: x = 3, elu = 3
    expected = torch.tensor([[3 * (math.exp(-3) - 1) + 0.25, 9.25]], dtype=torch.float64)
    torch.testing.assert_close(q_tot, expected)


def test_qmix_equal_by_hand():
    """Two agents, K = 2, no state: w1 = (2, 1), b1 = (-5, 0.5), w2 = (3, 1), v = 0.25; q = (1, -2), sum -1.

    x = -1 * (2, 1) + (-5, 0.5) = (-7, -0.5); q_tot = 3 (e^-7 - 1) + (e^-0.5 - 1) + 0.25; both credits are
    2 * 3 * e^-7 + 1 * 1 * e^-0.5.
    """
    mixer = make("qmix_equal", n_agents=2, state_dim=1, embed_dim=2, hypernet_layers=1)
    for module, bias in ((mixer.hyper_w1, [-2.0, 1.0]), (mixer.hyper_b1, [-5.0, 0.5]), (mixer.hyper_w2, [3.0, -1.0])):
        module[0].weight.data.zero_()
        module[0].bias.data.copy_(torch.tensor(bias))
    mixer.hyper_v[2].weight.data.zero_()
    mixer.hyper_v[2].bias.data.fill_(0.25)
    state, values = torch.zeros(1, 1, 1, dtype=torch.float64), of(torch.tensor([[[1.0, -2.0]]], dtype=torch.float64))
    assert mixer(values, state).item() == pytest.approx(3 * (math.exp(-7) - 1) + math.exp(-0.5) - 1 + 0.25, rel=1e-12)
    credit = 6 * math.exp(-7) + math.exp(-0.5)
    assert differentiate(mixer, values, state).tolist() == [[[pytest.approx(credit, rel=1e-12)] * 2]]


def test_qmix_equal_is_qmix_with_equal_rows():
    """QMIX whose hypernetwork gives every agent the same row of W1 computes the same."""
    equal, qmix = make("qmix_equal"), make("qmix")
    weights = {name: value.clone() for name, value in equal.state_dict().items()}
    for name in ("hyper_w1.2.weight", "hyper_w1.2.bias"):
        weights[name] = torch.cat([weights[name]] * 3)
    qmix.load_state_dict(weights)
    qs, state = inputs()
    torch.testing.assert_close(qmix(of(qs), state), equal(of(qs), state), rtol=1e-12, atol=1e-14)


def test_qatten_by_hand():
    """Two agents with one feature each, two heads, D = 1, queries and keys set; q = (3, -1).

    Queries z = (2, 0), keys k_1 = (u, u), u = (1, 0): logits of head 1 are (2, 0), of head 2 (0, 0), so attention is
    (e^2, 1) / (e^2 + 1) and (1/2, 1/2). Head weights |(-0.5, 3)|, c = 0.25.
    """
    mixer = make("qatten", n_agents=2, state_dim=3, heads=2, attention_dim=1, unit_dim=1)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.queries[0][2].bias.fill_(2.0)
        mixer.keys.weight.fill_(1.0)
        mixer.head_weights[2].bias.copy_(torch.tensor([-0.5, 3.0]))
        mixer.constant[2].bias.fill_(0.25)
    state, values = torch.tensor([[[1.0, 0.0, 7.0]]], dtype=torch.float64), of(torch.tensor([[[3.0, -1.0]]]).double())
    first = math.exp(2) / (math.exp(2) + 1)
    credits = [0.5 * first + 1.5, 0.5 * (1 - first) + 1.5]
    assert mixer.analytic_credits(values, state)["exact"].tolist() == [[pytest.approx(credits, rel=1e-12)]]
    assert mixer(values, state).item() == pytest.approx(3 * credits[0] - credits[1] + 0.25, rel=1e-12)


def test_qatten_divides_by_the_root_of_its_width():
    """D = 4, one head of weight 1, query z = (1, 1, 1, 1), keys k = (u, u, u, u), u = (1, 0): z . k = (4, 0).

    Logits are (4, 0) / sqrt(4) = (2, 0), so attention is (e^2, 1) / (e^2 + 1), and that of the undivided (e^4, 1) not.
    """
    mixer = make("qatten", n_agents=2, state_dim=2, heads=1, attention_dim=4, unit_dim=1, head_weights="none")
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.queries[0][2].bias.fill_(1.0)
        mixer.keys.weight.fill_(1.0)
    weights, _ = mixer.weights(torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    first = math.exp(2) / (math.exp(2) + 1)
    assert weights.tolist() == [[pytest.approx([first, 1 - first], rel=1e-12)]]


@pytest.mark.parametrize("head_weights", ["state", "none"])
def test_qatten_credits_sum_to_its_head_weights(head_weights):
    """Attention sums to 1 over the agents: sum_i dq_tot/dq_i = sum_h w_h(s), or the number of heads."""
    mixer = make("qatten", head_weights=head_weights)
    qs, state = inputs()
    total = differentiate(mixer, of(qs), state).sum(-1)
    expected = mixer.head_weights(state).abs().sum(-1) if head_weights == "state" else torch.full_like(total, 4)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)


def test_qatten_takes_its_units_from_the_start_of_the_state():
    mixer = make("qatten", unit_dim=2)  # three agents of two features, and one number that is no agent's
    assert make("qatten").unit_dim == 7 // 3
    for module in (*mixer.queries, mixer.head_weights, mixer.constant):
        module[0].weight.data.zero_()  # so that the state counts through the keys only
    qs, state = inputs()
    other = state.clone()
    other[..., 6] += 1
    assert torch.equal(mixer(of(qs), state), mixer(of(qs), other))
    other[..., 5] += 1
    credits, moved = differentiate(mixer, of(qs), state), differentiate(mixer, of(qs), other)
    assert not torch.equal(credits[..., 2], moved[..., 2])
    with pytest.raises(ValueError, match="found unit_dim 3 for 3 agents and a state of 7 numbers; 1 to 2 is allowed"):
        make("qatten", unit_dim=3)


def test_every_layer_of_qatten_is_trained_unless_frozen():
    """The published code kept queries and keys in a dict, where nothing trains, copies or saves them."""
    qs, state = inputs()
    for attention in ("trained", "frozen"):
        mixer = make("qatten", attention=attention)
        mixer(of(qs), state).sum().backward()
        trained = {name for name, value in mixer.named_parameters() if value.grad is not None and value.grad.any()}
        kept = {name for name, _ in mixer.named_parameters() if name.startswith(("queries", "keys"))}
        assert trained >= set(mixer.state_dict()) - kept
        # a bias of the keys moves all logits of a head alike, so softmax leaves its gradient at 0 but for rounding
        assert (kept - {"keys.bias"} <= trained) if attention == "trained" else not (kept & trained)


def qplex_of_constants(kernels=1):
    """Two agents and actions, one kernel: w = (2, 0.5), b = (1, -1), key 4, agents 0.5, lambda = 2 sigmoid(action).

    The actions' network gives agent 1 the log-odds ln 3 for action 1 (sigmoid 3/4, lambda 3/2), everything else 0
    (lambda 1). A second kernel has key 2 and the rest alike, and adds 2 * 0.5 * 0.5 = 0.5 to each lambda.
    """
    mixer = make("qplex", n_agents=2, state_dim=1, kernels=kernels)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.hyper_w[2].bias.copy_(torch.tensor([-2.0, 0.5]))
        mixer.hyper_b[2].bias.copy_(torch.tensor([1.0, -1.0]))
        mixer.keys.first.bias.copy_(torch.tensor([-4.0, 2.0][:kernels]))
        mixer.actions.first.weight[0, 1 + 1] = math.log(3)  # after one number of state: agent 0's actions, agent 1's
    return mixer


def test_qplex_by_hand():
    """q = (3, 4), m = (5, 4), actions (1, 0): w q + b = 7, 1; advantages w (q - m) = -4, 0; lambda = 3/2, 1.

    q_tot = 8 + (3/2 - 1) (-4) = 6, the same as sum_i (w m + b) + lambda w (q - m) = 11 + 1 - 6.
    """
    mixer, state = qplex_of_constants(), torch.zeros(1, 1, 1, dtype=torch.float64)
    values = AgentValues(
        torch.tensor([[[3.0, 4.0]]], dtype=torch.float64),
        torch.tensor([[[5.0, 4.0]]], dtype=torch.float64),
        torch.tensor([[[1, 0]]]),
    )
    assert mixer(values, state).item() == pytest.approx(6, abs=1e-8)  # floors of 1e-10
    credits = mixer.analytic_credits(values, state)
    assert credits["exact"].tolist() == [[pytest.approx([2, 0.5])]]
    assert credits["function"].tolist() == [[pytest.approx([3, 0.5])]]  # w lambda
    assert differentiate(mixer, values, state).tolist() == [[pytest.approx([2, 0.5])]]  # past the stopped gradient


def test_qplex_adds_its_kernels_up():
    """The case above with two kernels: lambda = 3/2 + 1/2, 1 + 1/2, so q_tot = 8 + (2 - 1) (-4) = 4."""
    mixer, state = qplex_of_constants(kernels=2), torch.zeros(1, 1, 1, dtype=torch.float64)
    actions = torch.tensor([[[1, 0]]])
    assert mixer.importance(actions, state).tolist() == [[pytest.approx([2, 1.5])]]
    values = AgentValues(torch.tensor([[[3.0, 4.0]]]).double(), torch.tensor([[[5.0, 4.0]]]).double(), actions)
    assert mixer(values, state).item() == pytest.approx(4, abs=1e-8)


def test_qplex_keeps_its_weights_above_0():
    """All parameters 0: w is the floor of 1e-10, lambda that of four keys with both sigmoids 1/2."""
    mixer, state = make("qplex"), torch.zeros(1, 1, 7, dtype=torch.float64)
    for parameter in mixer.parameters():
        parameter.data.zero_()
    assert mixer.transformation(state)[0].tolist() == [[[1e-10] * 3]]
    assert mixer.importance(torch.zeros(1, 1, 3, dtype=torch.int64), state).tolist() == [[[1e-10] * 3]]


def test_qplex_with_lambda_one_is_a_weighted_vdn():
    mixer, state = qplex_of_constants(), torch.zeros(4, 5, 1, dtype=torch.float64)
    mixer.actions.first.weight.data.zero_()
    qs = inputs(n_agents=2)[0]
    values = replace(of(qs), greedy=qs + 2)
    torch.testing.assert_close(mixer(values, state), 2 * qs[..., 0] + 0.5 * qs[..., 1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("layers", [1, 3])
def test_qplex_of_greedy_actions_has_no_advantage_part(layers):
    mixer = make("qplex", kernels=10, kernel_layers=layers)
    qs, state = inputs()
    w, b = mixer.transformation(state)
    torch.testing.assert_close(mixer(of(qs), state), (w * qs + b).sum(-1), rtol=1e-12, atol=1e-12)


def test_qplex_trains_lambda_by_advantages_alone_and_agents_by_values_alone():
    mixer, (qs, state) = make("qplex"), inputs()
    values = replace(of(qs.requires_grad_(True)), greedy=qs.detach() + 1)
    mixer(values, state).sum().backward()
    w, _ = mixer.transformation(state)
    assert torch.equal(qs.grad, w)  # not w lambda
    alone = make("qplex")
    w, b = alone.transformation(state)
    (w * qs.detach() + b).sum().backward()  # the value part without any advantage
    for name, value in alone.named_parameters():
        trained = dict(mixer.named_parameters())[name].grad
        if name.startswith("hyper"):
            torch.testing.assert_close(trained, value.grad, rtol=1e-12, atol=1e-14)
        else:
            assert trained.any(), name


def test_qplex_kernels_as_separate_networks():
    """The parallel networks compute what K separate ones would."""
    networks = make("qplex", kernels=3, kernel_layers=3, kernel_hidden_dim=5).actions
    joint = torch.randn(6, 7 + 3 * 4, dtype=torch.float64)
    outputs = networks(joint)
    for k in range(3):
        first = networks.first.weight[5 * k : 5 * k + 5], networks.first.bias[5 * k : 5 * k + 5]
        hidden = torch.relu(joint @ first[0].T + first[1])
        for weight, bias in zip(networks.weights, networks.biases, strict=True):
            out = hidden @ weight[k] + bias[k]
            hidden = torch.relu(out)
        torch.testing.assert_close(outputs[k], out, rtol=1e-12, atol=1e-14)


def test_gre_is_qmix_plus_a_weighted_entropy():
    plain, regularised = make("qmix"), make("qmix_gre", gre_lambda=0.5)
    regularised.load_state_dict(plain.state_dict())
    qs, state = inputs()
    q_tot, regulariser = regularised.mix_and_regularise(of(qs), state)
    assert torch.equal(q_tot, plain(of(qs), state))
    expected = 0.5 * gradient_entropy(differentiate(plain, of(qs), state))
    torch.testing.assert_close(regulariser, expected, rtol=1e-12, atol=0)
    assert isinstance(regularised, QMIX)
    assert isinstance(make("qmix_simple"), QMIXSimple)


@pytest.mark.parametrize("gradient", ["exact", "released"])
def test_regulariser_moves_the_mixer_and_never_the_agents_values(gradient):
    mixer = make("qmix_gre", gre_gradient=gradient)
    qs, state = inputs()
    qs.requires_grad_(True)
    mixer.mix_and_regularise(of(qs), state)[1].sum().backward()
    assert qs.grad is None
    moved = {name for name, value in mixer.named_parameters() if value.grad is not None and value.grad.any()}
    assert any(name.startswith("hyper_w1") for name in moved)
    assert any(name.startswith("hyper_w2") for name in moved)
    assert not any(name.startswith("hyper_v") for name in moved)  # v does not depend on the agents' values


def test_derivatives_of_elu():
    x = torch.tensor([-20.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(
        exact_elu_derivative(x), torch.tensor([math.exp(-20), math.exp(-1), 1.0, 1.0], dtype=torch.float64)
    )
    # exp(elu(-1)) = exp(e^-1 - 1); far below 0 it tends to 1/e instead of 0
    expected = [math.exp(math.exp(-20) - 1), math.exp(math.exp(-1) - 1), 1.0, 1.0]
    torch.testing.assert_close(released_elu_derivative(x), torch.tensor(expected, dtype=torch.float64))


def test_gre_keeps_working_with_extreme_values():
    mixer = make("qmix_gre", dtype=torch.float32)
    _, state = inputs(dtype=torch.float32)
    for scale in (1e6, -1e6):
        q_tot, regulariser = mixer.mix_and_regularise(of(torch.full((4, 5, 3), scale)), state)
        (q_tot + regulariser).sum().backward()
        assert torch.isfinite(q_tot).all()
        assert all(torch.isfinite(p.grad).all() for p in mixer.parameters() if p.grad is not None)


def test_registry_and_folder_agree():
    from pathlib import Path

    import marl_gre.mixers

    files = {path.stem for path in Path(marl_gre.mixers.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(MIXERS)
    assert MIXERS["qmix_gre"] is QMIXGRE
