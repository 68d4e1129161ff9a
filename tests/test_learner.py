"""The learner: alignment of rewards and ends, what padding and masks may touch, target updates."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from marl_gre import losses
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import TrainConfig
from marl_gre.credit import gradient_entropies
from marl_gre.errors import BadInput, NonFinite
from marl_gre.learner import Learner
from marl_gre.mixers import MIXERS, VDN, EnvSizes
from marl_gre.networks import Networks
from packing import packed

N, A, OBS, S = 3, 4, 6, 5  # agents, actions, sizes of observation and state
SIZES = EnvSizes(N, A, OBS, S)
NAMED_CREDITS = {"qmix": {"released"}, "qmix_gre": {"released"}, "qmix_equal": {"released"}, "qplex": {"function"}}


def make_learner(name="qmix", dtype=torch.float64, **keys):
    torch.manual_seed(3)
    mixer_class = MIXERS[name]
    agent = RecurrentAgent(SIZES, hidden_dim=8)
    mixer = mixer_class(SIZES, mixer_class.Config(**keys))
    return Learner(Networks(agent, mixer).to(dtype), TrainConfig())


def make_padded(lengths=(5, 3), seed=0, dtype=torch.float64):
    g = np.random.default_rng(seed)
    batch, steps = len(lengths), max(lengths)
    mask = np.arange(steps) < np.array(lengths)[:, None]
    action_mask = (g.random((batch, steps + 1, N, A)) < 0.7).astype(np.int8)
    action_mask[..., 0] = 1
    real = np.concatenate([np.ones((batch, 1), bool), mask], 1)
    actions = np.zeros((batch, steps, N), np.int64)
    for index in np.ndindex(batch, steps, N):
        actions[index] = g.choice(np.flatnonzero(action_mask[index]))
    terminated = np.zeros((batch, steps))
    terminated[np.arange(batch), np.array(lengths) - 1] = 1
    return {
        "obs": torch.tensor(g.normal(size=(batch, steps + 1, N, OBS)) * real[..., None, None], dtype=dtype),
        "state": torch.tensor(g.normal(size=(batch, steps + 1, S)) * real[..., None], dtype=dtype),
        "action_mask": torch.tensor(action_mask * real[..., None, None].astype(np.int8)),
        "actions": torch.tensor(actions * mask[..., None]),
        "reward": torch.tensor(g.normal(size=(batch, steps)) * mask, dtype=dtype),
        "terminated": torch.tensor(terminated, dtype=dtype),
        "mask": torch.tensor(mask.astype(float), dtype=dtype),
    }


def make_batch(lengths=(5, 3), seed=0, dtype=torch.float64):
    return packed(**make_padded(lengths, seed, dtype))


def weights(learner):
    return {
        **{f"agent.{k}": v.clone() for k, v in learner.agent.state_dict().items()},
        **{f"mixer.{k}": v.clone() for k, v in learner.mixer.state_dict().items()},
    }


class Table(nn.Module):
    """An agent whose values are a table by time step: q[t, n, a]."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, obs, actions, episodes):
        assert set(episodes) == {1}  # one episode: packed row = time step
        return self.values


def three_steps(terminated_at_end):
    """One agent, two actions, three steps; rewards 1, 2, 4; actions 0, 1, 0; in the second state only action 0 may
    be taken next (action 1 is masked at t = 2).

    Online q:  t0 (10, 0)  t1 (0, 20)  t2 (5, 50)  t3 (7, 6)
    Target q:  t0 (1, 1)   t1 (2, 3)   t2 (4, 99)  t3 (8, 9)
    """
    online = [[[10.0, 0.0]], [[0.0, 20.0]], [[5.0, 50.0]], [[7.0, 6.0]]]
    target = [[[1.0, 1.0]], [[2.0, 3.0]], [[4.0, 99.0]], [[8.0, 9.0]]]
    learner = Learner(Networks(Table(online), VDN(EnvSizes(1, 2, 1, 1), VDN.Config())), TrainConfig(gamma=0.5))
    learner.target_agent = Table(target)
    batch = packed(
        obs=torch.zeros(1, 4, 1, 1, dtype=torch.float64),
        state=torch.zeros(1, 4, 1, dtype=torch.float64),
        action_mask=torch.tensor([[[[1, 1]], [[1, 1]], [[1, 0]], [[1, 1]]]]),
        actions=torch.tensor([[[0], [1], [0]]]),
        reward=torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64),
        terminated=torch.tensor([[0.0, 0.0, float(terminated_at_end)]], dtype=torch.float64),
        mask=torch.ones(1, 3, dtype=torch.float64),
    )
    return learner, batch


def test_three_step_episode_by_hand_true_end():
    learner, batch = three_steps(terminated_at_end=True)
    # y0 = 1 + 0.5 * target[1, argmax online(0, 20) = 1] = 1 + 0.5 * 3 = 2.5      error 10 - 2.5 = 7.5
    # y1 = 2 + 0.5 * target[2, 0 (action 1 is masked)]   = 2 + 0.5 * 4 = 4.0      error 20 - 4 = 16
    # y2 = 4 (the end)                                                             error 5 - 4 = 1
    result = learner.update(batch)
    assert result.loss.item() == pytest.approx((7.5**2 + 16**2 + 1**2) / 3, rel=1e-14)
    assert result.target_mean.item() == pytest.approx((2.5 + 4.0 + 4.0) / 3, rel=1e-14)


def test_three_step_episode_by_hand_time_limit_that_is_no_end():
    learner, batch = three_steps(terminated_at_end=False)
    # y2 = 4 + 0.5 * target[3, argmax online(7, 6) = 0] = 4 + 0.5 * 8 = 8         error 5 - 8 = -3
    assert learner.update(batch).loss.item() == pytest.approx((7.5**2 + 16**2 + 3**2) / 3, rel=1e-14)


def test_only_the_values_of_taken_actions_move():
    learner, batch = three_steps(terminated_at_end=True)
    before = learner.agent.values.detach().clone()
    learner.update(batch)
    moved = (learner.agent.values.detach() != before).squeeze(1)
    assert moved.tolist() == [[True, False], [False, True], [True, False], [False, False]]


def test_a_batch_is_its_episodes():
    """Loss and values of a batch are those of its episodes alone; nothing is padded, nothing leaks between them."""
    padded = make_padded((5, 3, 3, 1))
    whole = make_learner().update(packed(**padded)).loss
    alone = []
    for i, length in enumerate((5, 3, 3, 1)):
        one = packed(**{name: values[i : i + 1] for name, values in padded.items()})
        assert len(one.reward) == length
        assert len(one.obs) == length + 1
        alone.append(length * make_learner().update(one).loss)
    torch.testing.assert_close(whole, sum(alone) / 12, rtol=1e-12, atol=0)  # 5 + 3 + 3 + 1 = 12 steps


def test_order_of_episodes_changes_only_the_order_of_sums():
    padded = make_padded((4, 4, 2))
    turned = {name: values.flip(0) for name, values in padded.items()}
    one, two = make_learner().update(packed(**padded)), make_learner().update(packed(**turned))
    torch.testing.assert_close(one.loss, two.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.grad_norm, two.grad_norm, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", list(MIXERS))
def test_values_of_unavailable_actions_change_nothing(name):
    batch = make_batch()
    batch.action_mask[..., A - 1] = 0
    batch.actions.clamp_(max=A - 2)
    clean = make_learner(name)
    other = copy.deepcopy(clean)
    for agent in (other.agent, other.target_agent):
        agent.fc2.bias.data[A - 1] += 1e6
    one, two = clean.update(batch), other.update(batch)
    assert one.loss.equal(two.loss)
    assert one.grad_norm.equal(two.grad_norm)


def test_lambda_zero_is_qmix_bit_for_bit():
    plain, regularised = make_learner("qmix", torch.float32), make_learner("qmix_gre", torch.float32, gre_lambda=0.0)
    for update in range(10):
        batch = make_batch(seed=update, dtype=torch.float32)
        plain.update(batch)
        regularised.update(batch)
    for key, value in weights(plain).items():
        assert torch.equal(value, weights(regularised)[key]), key


def test_regulariser_leaves_the_agents_gradient_alone():
    plain, regularised = make_learner("qmix"), make_learner("qmix_gre", gre_lambda=10.0)
    plain.config = regularised.config = TrainConfig(grad_norm_clip=1e9)  # clipping would couple the two
    batch = make_batch()
    plain.update(batch)
    regularised.update(batch)
    for one, two in zip(plain.agent.parameters(), regularised.agent.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    assert any(
        not torch.equal(one.grad, two.grad)
        for one, two in zip(plain.mixer.parameters(), regularised.mixer.parameters(), strict=True)
    )


def test_entropies_of_every_algorithm_come_through_one_path():
    batch = make_batch()
    for name in MIXERS:
        learner = make_learner(name)
        entropies = gradient_entropies(learner.networks, batch)
        assert set(entropies) == {"exact"} | NAMED_CREDITS.get(name, set())
        values = entropies["exact"]
        assert values.shape == batch.reward.shape
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
        if name in ("vdn", "qmix_simple", "qmix_equal"):
            assert (values - 1).abs().max() <= 4 * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("where", "what"), [("reward", math.inf), ("obs", math.nan), ("state", math.nan)])
def test_numbers_that_are_not_finite_stop_before_the_step(where, what, dtype):
    learner, batch = make_learner(dtype=dtype), make_batch(dtype=dtype)
    getattr(batch, where)[0] = what
    before = weights(learner)
    with pytest.raises(NonFinite, match="lower train.lr"):
        learner.update(batch)
    assert all(torch.equal(value, before[key]) for key, value in weights(learner).items())


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    class Root(VDN):
        """0 everywhere, with the slope 0 * inf = NaN."""

        def forward(self, values, state):
            return (0 * super().forward(values, state)).sqrt()

    learner = make_learner("vdn")
    learner.mixer = Root(SIZES, VDN.Config())
    before = weights(learner)
    with pytest.raises(NonFinite, match=r"has loss [\d.]+ and gradient norm nan"):
        learner.update(make_batch())
    assert all(torch.equal(value, before[key]) for key, value in weights(learner).items())


def test_targets_follow_every_200_episodes():
    learner = make_learner()
    learner.update(make_batch())

    def in_step():
        return all(
            torch.equal(a, b)
            for a, b in zip(learner.agent.parameters(), learner.target_agent.parameters(), strict=True)
        )

    for episode in range(200):
        learner.maybe_update_targets(episode)
        assert not in_step()
    learner.maybe_update_targets(200)
    assert in_step()
    learner.update(make_batch())
    learner.maybe_update_targets(399)
    assert not in_step()
    learner.maybe_update_targets(400)
    assert in_step()
    learner.update(make_batch())
    learner.maybe_update_targets(603)  # rounds of several episodes can pass 600 by
    assert in_step()
    learner.update(make_batch())
    learner.maybe_update_targets(802)  # PyMARL counts from the last copy, 603, not from the multiple of 200
    assert not in_step()
    learner.maybe_update_targets(803)
    assert in_step()


def test_one_step_of_acting_equals_the_unroll():
    torch.manual_seed(5)
    agent = RecurrentAgent(SIZES, hidden_dim=8).double()
    padded = make_padded((4, 4))
    batch = packed(**padded)
    unrolled = agent(batch.obs, batch.actions, batch.episodes).view(5, 2, N, A)
    memory = agent.initial_memory(2)
    previous = torch.zeros(2, N, A, dtype=torch.float64)
    for step in range(5):
        agent_qs, memory = agent.step(padded["obs"][:, step], previous, memory)
        torch.testing.assert_close(agent_qs, unrolled[step], rtol=1e-12, atol=1e-14)
        if step < 4:
            previous = nn.functional.one_hot(padded["actions"][:, step], A).double()


def by_modules(agent, obs, actions, episodes):
    """What RecurrentAgent.forward says, in torch's own modules."""
    previous = torch.cat((obs.new_zeros(episodes[0], N, A), nn.functional.one_hot(actions, A).to(obs.dtype)))
    x = torch.cat((obs, previous, torch.eye(N, dtype=obs.dtype).expand(len(obs), N, N)), dim=-1)
    x = torch.relu(agent.fc1(x)).flatten(0, 1)
    rows = torch.tensor(episodes) * N
    return agent.fc2(agent.rnn(PackedSequence(x, rows))[0].data).unflatten(0, obs.shape[:2])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("episodes", [[6, 6, 5, 3, 1], [2], [1, 1, 1], [4, 4], [150] * 4 + [90] * 9 + [1] * 4])
def test_unroll_equals_torchs_modules_and_so_do_its_gradients(episodes, dtype, tolerance):
    """The last case has blocks of one and of many time steps, and one that ends as episodes do."""
    torch.manual_seed(0)
    agent = RecurrentAgent(SIZES, hidden_dim=8).to(dtype)
    obs = torch.randn(sum(episodes), N, OBS, dtype=dtype)
    actions = torch.randint(A, (sum(episodes[1:]), N))
    weight = torch.randn(sum(episodes), N, A, dtype=dtype)
    results = []
    for unroll in (agent, lambda *batch: by_modules(agent, *batch)):
        agent_qs = unroll(obs, actions, episodes)
        results.append((agent_qs, *torch.autograd.grad((agent_qs * weight).sum(), list(agent.parameters()))))
        with torch.no_grad():
            torch.testing.assert_close(unroll(obs, actions, episodes), agent_qs, rtol=0, atol=tolerance)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("action", [-1, A])
def test_an_action_that_does_not_exist_is_refused(action):
    learner, batch = make_learner(), make_batch()
    batch.actions[2, 1] = action
    with pytest.raises(IndexError, match=f"but there are {A}"):
        learner.agent(batch.obs, batch.actions, batch.episodes)


def test_double_q_and_td_target_by_hand():
    online = torch.tensor([1.0, 3.0, 2.0])
    target = torch.tensor([10.0, 20.0, 30.0])
    values = losses.double_q(online, target, torch.tensor([1, 1, 1]))
    assert (values.chosen, values.greedy, values.actions) == (20.0, 30.0, 1)  # best online is action 1
    values = losses.double_q(online, target, torch.tensor([1, 0, 1]))
    assert (values.chosen, values.greedy, values.actions) == (30.0, 30.0, 2)  # without it action 2
    values = losses.double_q(online, target, torch.tensor([1, 1, 0]))
    assert (values.chosen, values.greedy, values.actions) == (20.0, 20.0, 1)
    values = losses.double_q(online - 1000, target - 1000, torch.tensor([1, 0, 1]))  # however low the values are
    assert (values.chosen, values.greedy, values.actions) == (-970.0, -970.0, 2)
    assert losses.one_step_target(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(10.0), 0.9) == 10.0  # 1 + 0.9 * 10
    assert losses.one_step_target(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(10.0), 0.9) == 1.0


def test_lambda_target_by_hand():
    """Two episodes of three and one steps, gamma = 0.5, lambda = 0.5; the first ends truly, the second does not.

    First: rewards 1, 2, 4, values that follow 10, 20, 30: y2 = 4; y1 = 2 + 0.5 (0.5 * 20 + 0.5 * 4) = 8;
    y0 = 1 + 0.5 (0.5 * 10 + 0.5 * 8) = 5.5. Second: reward 3, value 8: y0 = 3 + 0.5 * 8 = 7.
    """
    reward, value = torch.tensor([1.0, 3.0, 2.0, 4.0]), torch.tensor([10.0, 8.0, 20.0, 30.0])  # packed by time
    terminated = torch.tensor([0.0, 0.0, 0.0, 1.0])
    episodes = (2, 2, 1, 1)
    target = losses.lambda_target(reward, terminated, value, 0.5, 0.5, episodes)
    assert target.tolist() == [5.5, 7.0, 8.0, 4.0]
    one_step = losses.lambda_target(reward, terminated, value, 0.5, 0.0, episodes)
    assert one_step.equal(losses.one_step_target(reward, terminated, value, 0.5))
    monte_carlo = losses.lambda_target(reward, terminated, value, 0.5, 1.0, episodes)
    assert monte_carlo.tolist() == [1 + 0.5 * (2 + 0.5 * 4), 7.0, 2 + 0.5 * 4, 4.0]


def test_the_learner_takes_lambda_targets():
    """The three steps above with lambda = 1/4.

    y2 = 4, y1 = 2 + 0.5 (0.75 * 4 + 0.25 * 4) = 4, y0 = 1 + 0.5 (0.75 * 3 + 0.25 * 4) = 2.625.
    """
    learner, batch = three_steps(terminated_at_end=True)
    learner.config = TrainConfig(gamma=0.5, td_lambda=0.25)
    assert learner.update(batch).target_mean.item() == pytest.approx((4 + 4 + 2.625) / 3, rel=1e-14)


def test_adam_is_torchs():
    ours, theirs = make_learner(), make_learner()
    ours = Learner(ours.networks, TrainConfig(optimizer="adam", lr=1e-3))
    optimizer = torch.optim.Adam(theirs.parameters, lr=1e-3)
    theirs._step = optimizer.step
    for update in range(5):
        batch = make_batch(seed=update)
        ours.update(batch)
        theirs.update(batch)
    for key, value in weights(ours).items():
        torch.testing.assert_close(value, weights(theirs)[key], rtol=1e-12, atol=1e-14)


def test_weighted_loss_by_hand():
    # (1 * 2**2 + 0.5 * 4**2 + 0 * 1**2) / 3 steps, not / 1.5
    loss = losses.td_loss(torch.tensor([2.0, -4.0, 1.0]), torch.tensor([1.0, 0.5, 0.0]))
    assert loss == 4.0


def test_taken_values_by_hand():
    agent_qs = torch.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 9.0]], requires_grad=True)  # [N, A]
    values = losses.taken(agent_qs, torch.tensor([2, 0]), torch.tensor([[1, 0, 1], [1, 1, 0]]))
    assert values.chosen.tolist() == [3.0, 4.0]
    assert values.greedy.tolist() == [3.0, 4.0]  # 5 and 9 are not available
    assert values.chosen.requires_grad
    assert not values.greedy.requires_grad


def test_loss_weights_see_the_steps_and_scale_the_loss():
    seen = []

    def half_where_greedy(steps):
        seen.append(steps)
        greedy = (steps.values.chosen == steps.values.greedy).all(-1)
        return torch.where(greedy, 0.5, 1.0).to(steps.q_tot.dtype)

    plain, weighted, batch = make_learner(), make_learner(), make_batch()
    weighted.loss_weights = half_where_greedy
    plain.update(batch)
    loss = weighted.update(batch).td_loss
    (steps,) = seen
    assert steps.q_tot.shape == steps.target.shape == batch.reward.shape
    assert steps.values.actions.equal(batch.actions)
    assert not any(value.requires_grad for value in (steps.q_tot, steps.target, steps.values.chosen))
    error = (steps.q_tot - steps.target) ** 2
    torch.testing.assert_close(loss, (half_where_greedy(steps) * error).mean())


@pytest.mark.parametrize("where", ["mixer", "target_mixer"])
def test_a_mixer_that_keeps_an_axis_is_refused(where):
    class KeepsAxis(VDN):
        def forward(self, values, state):
            return super().forward(values, state).unsqueeze(-1)

    learner, batch = make_learner("vdn"), make_batch()
    setattr(learner, where, KeepsAxis(SIZES, VDN.Config()))
    with pytest.raises(BadInput, match=r"mixer's q_tot of shape \[.*1\]; \["):
        learner.update(batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", list(MIXERS))
def test_cuda_agrees_with_cpu(name):
    cpu = make_learner(name, torch.float32)
    cuda = Learner(copy.deepcopy(cpu.networks), TrainConfig(), "cuda")
    batch = make_batch(dtype=torch.float32)
    one, two = cpu.update(batch), cuda.update(batch.to(torch.device("cuda")))
    torch.testing.assert_close(one.loss, two.loss.cpu(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.grad_norm, two.grad_norm.cpu(), rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", list(MIXERS))
def test_cuda_gives_the_same_bits_again(name):
    """With as many rows as in training: sums in no fixed order seldom show in a few."""
    batch = make_batch(lengths=(150,) * 32, dtype=torch.float32).to(torch.device("cuda"))
    one = make_learner(name, torch.float32)
    learners = [Learner(copy.deepcopy(one.networks), TrainConfig(), "cuda") for _ in range(3)]
    for _ in range(3):
        losses = {learner.update(batch).loss.item() for learner in learners}
        assert len(losses) == 1
    first, *others = (weights(learner) for learner in learners)
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)
