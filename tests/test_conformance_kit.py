"""The kit: sound code that is not ours passes; each broken piece fails with the message that names its defect."""

import functools

import pytest

import broken_envs
import broken_mixers
import corridor
from marl_gre.testing import ConformanceError, check_env, check_mixer
from sound_mixer import WeightedSum, WeightedSumConfig


def defective(module):
    """Every class defined in the module, so that one without an expected message fails the test."""
    found = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    assert sorted(found) == sorted(module.DEFECTS)
    return found


def test_a_sound_env_passes():
    check_env(corridor.parallel_env)
    check_env(functools.partial(corridor.parallel_env, n_agents=1, length=40), ends=["truncated"])


@pytest.mark.parametrize("defect", defective(broken_envs))
def test_a_broken_env_fails_with_its_defect(defect):
    with pytest.raises(ConformanceError, match=broken_envs.DEFECTS[defect]) as failure:
        check_env(getattr(broken_envs, defect), max_steps=500)
    assert "\n" not in str(failure.value)


def test_what_the_caller_declares_is_not_checked():
    check_env(broken_envs.RewardNotShared, shared_reward=False)
    check_env(broken_envs.GoalOutOfReach, ends=("truncated",))
    check_env(broken_envs.IgnoredSeed, stochastic=False)


def test_an_unknown_end_is_refused():
    with pytest.raises(ValueError, match=r"ends: found \['done'\]; allowed: 'terminated', 'truncated' or both"):
        check_env(corridor.parallel_env, ends=["done"])


def test_a_sound_mixer_passes():
    check_mixer(WeightedSum)
    check_mixer(WeightedSum, WeightedSumConfig(pull=1.0), max_agents=3)


@pytest.mark.parametrize("defect", defective(broken_mixers))
def test_a_broken_mixer_fails_with_its_defect(defect):
    with pytest.raises(ConformanceError, match=broken_mixers.DEFECTS[defect]) as failure:
        check_mixer(getattr(broken_mixers, defect))
    assert "\n" not in str(failure.value)


def test_a_mixer_may_be_declared_not_monotonic_and_its_regulariser_attached():
    with pytest.raises(ConformanceError, match="the regulariser reaches"):
        check_mixer(broken_mixers.RegulariserReachesAgents)
    check_mixer(broken_mixers.RegulariserReachesAgents, regulariser_detached=False)
