"""Our environments in other people's tools, and other people's environments in ours."""

import functools
import importlib
import warnings

import gymnasium
import numpy as np
import pytest

import corridor_variants as variants
import marl_gre_envs
from marl_gre.testing import check_env
from marl_gre_envs.from_parallel import from_parallel_env

with warnings.catch_warnings():  # PettingZoo's tests import one of its own envs by a deprecated name
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import parallel_api_test

pytestmark = pytest.mark.interop


@pytest.fixture(params=marl_gre_envs.ENVS)
def module(request):
    return importlib.import_module(marl_gre_envs.ENVS[request.param])


@pytest.fixture(scope="module")
def simple_spread():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame asks after its own packaging
        from mpe2 import simple_spread_v3
    return simple_spread_v3


def test_supersuit_chain(module):
    import supersuit

    env = module.parallel_env()
    observed, state = env.observation_space("agent_0").shape[0], env.state_space
    env = supersuit.pad_observations_v0(env)
    env = supersuit.pad_action_space_v0(env)
    env = supersuit.agent_indicator_v0(env)
    env = supersuit.frame_stack_v1(env, 3)
    parallel_api_test(env, num_cycles=250)
    env.reset(seed=0)
    n_agents = len(env.possible_agents)
    assert env.observation_space("agent_0").shape == (3 * (observed + n_agents),)
    assert env.state_space == state
    assert env.state() in state


# TorchRL says once that it is tested with PettingZoo 1.24.3.
@pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested using version")
def test_torchrl_env_specs(module):
    from torchrl.envs import PettingZooWrapper
    from torchrl.envs.utils import check_env_specs

    env = PettingZooWrapper(module.parallel_env(), use_mask=True, group_map=None, return_state=True, seed=0)
    check_env_specs(env)
    rollout = env.rollout(20)
    assert "state" in rollout


# Gymnasium takes versions for successors; here v0 is ma-gym's behaviour and v1 the corrected one.
@pytest.mark.filterwarnings("ignore:.*The environment marl_gre/lumberjacks-v0 is out of date")
def test_epymarl_reads_the_joint_form():
    """What an EPyMARL-style wrapper does: it knows Gymnasium, Tuple spaces and nothing of this package."""
    env = gymnasium.make("marl_gre/lumberjacks-v0")
    n_agents = env.unwrapped.n_agents
    assert isinstance(env.action_space, gymnasium.spaces.Tuple)
    assert isinstance(env.observation_space, gymnasium.spaces.Tuple)
    longest = max(env.action_space, key=lambda space: space.n).n
    obs_dim = gymnasium.spaces.flatdim(max(env.observation_space, key=gymnasium.spaces.flatdim))
    observations, _ = env.reset(seed=1)
    total, steps, ended = 0.0, 0, False
    rng = np.random.default_rng(0)
    while not ended:
        flat = [gymnasium.spaces.flatten(s, o) for s, o in zip(env.observation_space, observations, strict=True)]
        assert np.concatenate(flat).shape == (n_agents * obs_dim,)
        actions = [int(action) for action in rng.integers(longest, size=n_agents)]
        observations, rewards, terminated, truncated, _ = env.step(actions)
        total += float(sum(rewards))
        steps += 1
        ended = terminated or truncated
    assert steps == 100
    # 100 steps cost each of two agents 1; each of at most 12 trees pays each 10
    assert -200 <= total <= -200 + 2 * 10 * 12
    env.close()


def test_simple_spread_keeps_its_promises(simple_spread):
    factory = functools.partial(simple_spread.parallel_env, max_cycles=10)
    check_env(factory, ends=["truncated"], shared_reward=False, seeds=2, episodes=2)


def test_simple_spread_as_a_vector_env(simple_spread):
    vec = marl_gre_envs.make_vec("mpe2.simple_spread_v3:parallel_env", 3, autoreset=False, N=2, max_cycles=7)
    env = simple_spread.parallel_env(N=2, max_cycles=7)
    # own velocity 2, position 2, two landmarks 4, the other agent 2, its message 2; still, four directions
    assert (vec.n_agents, vec.obs_dim, vec.n_actions, vec.state_dim) == (2, 12, 5, 24)
    assert vec.episode_limit == 7
    vec.reset(seed=10)
    observations, _ = env.reset(seed=12)
    rng = np.random.default_rng(0)
    for step in range(7):
        np.testing.assert_array_equal(vec.obs[2], list(observations.values()))
        np.testing.assert_array_equal(vec.state[2], env.state())
        actions = rng.integers(5, size=(3, 2))
        vec.step(actions)
        observations, rewards, _, truncated, _ = env.step(dict(zip(env.agents, actions[2], strict=True)))
        assert vec.reward[2] == sum(rewards.values())
        assert vec.truncated.all() == (step == 6) == all(truncated.values())
    assert vec.action_mask.all()
    vec.close()


def test_agents_of_different_sizes(simple_spread):
    """simple_speaker_listener: the speaker sees 3 numbers and has 3 actions, the listener 11 and 5."""
    vec = marl_gre_envs.make_vec("mpe2.simple_speaker_listener_v4:parallel_env", 2, max_cycles=5)
    vec.reset(seed=0)
    assert (vec.agents, vec.obs_dim, vec.n_actions) == (["speaker_0", "listener_0"], 11, 5)
    assert vec.action_mask[0].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert not vec.obs[:, 0, 3:].any()
    first = vec.obs.copy()
    for _ in range(5):
        vec.step([[4, 4], [2, 0]])  # action 4 of the speaker is padding
        assert vec.info["illegal_actions"].tolist() == [1, 0]
    assert vec.truncated.all()
    assert (vec.obs != first).any()  # the next episode


def test_padding_with_masks_and_agents_that_leave():
    vec = from_parallel_env(variants.DifferentSizes, 2, autoreset=False, n_agents=3, length=4)
    assert (vec.obs_dim, vec.n_actions) == (4, 3)
    left_alone = 0
    for seed in range(10):
        vec.reset(seed=seed)
        while not (vec.terminated | vec.truncated).all():
            assert not vec.obs[:, 2, 1:].any()
            here = ~vec.info["agent_done"][:, 2]
            assert (vec.action_mask[here, 2] == [[1, 1, 0]]).all()  # not at the end yet: it may stay or go right
            assert (vec.action_mask[~here, 2] == [[1, 0, 0]]).all()
            gone = vec.info["agent_done"]
            left_alone += (gone.any(-1) & ~gone.all(-1)).sum()
            vec.step(2 - vec.action_mask[..., ::-1].argmax(-1))  # the highest legal action
            assert not vec.info["illegal_actions"].any()
    assert left_alone > 10
