"""The compiled kernel that plays on the CPU: its functions, the network it computes, and how it chooses."""

import numpy as np
import pytest
import torch

from marl_gre.agents.base import TorchActor, random_available
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.data import EnvSizes
from marl_gre.policy import Policy

O, A, N = 11, 5, 3  # noqa: E741  (the axis letters of all docstrings)


def make_agent(hidden_dim=16, seed=0):
    torch.manual_seed(seed)
    agent = RecurrentAgent(EnvSizes(N, A, O, 1), hidden_dim)
    with torch.no_grad():  # the gates leave their linear range
        for parameter in agent.parameters():
            parameter.mul_(3)
    return agent


def make_steps(copies, steps=6, seed=0):
    """Observations with many zeros, and masks with at least one action."""
    draws = np.random.default_rng(seed)
    obs = draws.standard_normal((steps, copies, N, O)) * (draws.random((steps, copies, N, O)) < 0.4)
    mask = draws.random((steps, copies, N, A)) < 0.5
    np.put_along_axis(mask, draws.integers(A, size=(steps, copies, N, 1)), True, -1)
    return obs.astype(np.float32), mask.astype(np.int8)


def played(agent, obs, mask, epsilon=0.0, noise=None, playing=None):
    """Return actions, values and hidden states of all steps."""
    policy = Policy(agent)
    policy.begin(obs.shape[1])
    results = []
    for step in range(len(obs)):
        actions = policy.act(obs[step], mask[step], epsilon, None if noise is None else noise[step], playing)
        results.append((actions, policy.actor.agent_qs.copy(), policy.actor.hidden.copy()))
    return [np.stack(values) for values in zip(*results, strict=True)]


def torchs(agent, obs, mask, actions):
    """Return values and hidden states of torch in float64 for the same actions."""
    agent = make_agent(agent.hidden_dim).double()
    steps, copies = obs.shape[:2]
    memory = agent.initial_memory(copies)
    previous = torch.zeros(copies, N, A, dtype=torch.float64)
    results = []
    for step in range(steps):
        agent_qs, memory = agent.step(torch.from_numpy(obs[step]).double(), previous, memory)
        results.append((agent_qs.detach().numpy(), memory[0].detach().numpy()))
        previous = torch.nn.functional.one_hot(torch.from_numpy(actions[step]), A).double()
    return [np.stack(values) for values in zip(*results, strict=True)]


@pytest.mark.parametrize("hidden_dim", [16, 6, 1])  # products go four by four; 6 and 1 leave a rest
@pytest.mark.parametrize("copies", [1, 7])  # rows go two by two and 16 by 16: 3 and 16 + 5
def test_kernel_equals_the_network(hidden_dim, copies):
    agent = make_agent(hidden_dim)
    obs, mask = make_steps(copies)
    actions, agent_qs, hidden = played(agent, obs, mask)
    expected_qs, expected_hidden = torchs(agent, obs, mask, actions)
    # float32: about 40 rounded sums of numbers of order 1 to 10 each step
    np.testing.assert_allclose(hidden, expected_hidden, rtol=0, atol=2e-5)
    np.testing.assert_allclose(agent_qs, expected_qs, rtol=0, atol=1e-4)
    assert np.array_equal(actions, np.where(mask, agent_qs, -np.inf).argmax(-1))


def test_torchs_way_of_acting_chooses_the_same():
    agent = make_agent()
    obs, mask = make_steps(7)
    noise = np.random.default_rng(1).random((6, 2, 7, N))
    expected = played(agent, obs, mask, 0.5, noise)[0]

    actor = TorchActor(agent, 7)  # what other agents do
    for step in range(6):
        assert np.array_equal(actor.act(obs[step], mask[step], 0.5, noise[step]), expected[step])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_weights_on_cuda_act_with_the_same_bits():
    obs, mask = make_steps(7)
    for one, other in zip(played(make_agent(), obs, mask), played(make_agent().cuda(), obs, mask), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("together", [1, 7, 100])
def test_bits_do_not_depend_on_the_number_of_copies(together):
    agent = make_agent()
    obs, mask = make_steps(100)
    noise = np.random.default_rng(1).random((6, 2, 100, N))
    everything = played(agent, obs, mask, 0.2, noise)
    for start in range(0, 100, together):
        few = slice(start, start + together)
        alone = played(agent, obs[:, few], mask[:, few], 0.2, noise[:, :, few])
        for one, other in zip(alone, everything, strict=True):
            assert np.array_equal(one, other[:, few])


def test_copies_that_do_not_play_are_left_alone():
    agent = make_agent()
    obs, mask = make_steps(20)
    playing = np.arange(20) % 3 == 0
    some, everybody = played(agent, obs, mask, playing=playing), played(agent, obs, mask)
    for one, all_of_them in zip(some, everybody, strict=True):
        assert np.array_equal(one[:, playing], all_of_them[:, playing])
    assert (some[0][:, ~playing] == -1).all()
    assert (some[2][:, ~playing] == 0).all()


def test_exploration_is_that_of_random_available():
    obs, mask = make_steps(50)
    noise = np.random.default_rng(1).random((6, 2, 50, N))
    actions, agent_qs, _ = played(make_agent(), obs, mask, 0.3, noise)
    explores = noise[:, 0] < 0.3
    greedy = np.where(mask, agent_qs, -np.inf).argmax(-1)
    assert np.array_equal(actions, np.where(explores, random_available(mask, noise[:, 1]), greedy))
    assert 0.2 < explores.mean() < 0.4


def test_the_first_of_equal_values_is_chosen():
    agent = make_agent()
    with torch.no_grad():
        agent.fc2.weight.zero_()
        agent.fc2.bias.zero_()
    obs, mask = make_steps(10)
    assert np.array_equal(played(agent, obs, mask)[0], mask.argmax(-1))


def test_episodes_begin_with_the_present_weights():
    agent, other = make_agent(), make_agent(seed=1)
    obs, mask = make_steps(2)
    before = played(agent, obs, mask)
    agent.load_state_dict(other.state_dict())
    after, expected = played(agent, obs, mask), played(other, obs, mask)
    assert np.array_equal(after[1], expected[1])
    assert not np.array_equal(after[1], before[1])
