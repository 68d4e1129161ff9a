"""Any PettingZoo parallel env as a VectorEnv: the contract, what is decided for third parties, the errors."""

import functools
import sys

import numpy as np
import pytest
from gymnasium.spaces import Box

import corridor
import corridor_variants as variants
import marl_gre_envs
from helpers import random_actions
from marl_gre_envs.from_parallel import FlatObservations, episode_seed, from_parallel_env
from marl_gre_envs.parallel import MaskInObservation

OUTPUTS = ("obs", "state", "action_mask", "reward", "agent_reward", "terminated", "truncated")


def outputs(vec, copy):
    values = {name: getattr(vec, name)[copy].copy() for name in OUTPUTS}
    return values | {f"info {name}": value[copy].copy() for name, value in vec.info.items()}


def assert_equal(found, expected):
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_sizes_names_and_dtypes():
    vec = from_parallel_env(corridor.parallel_env, 4, n_agents=3, length=5)
    assert (vec.num_envs, vec.n_agents, vec.n_actions, vec.obs_dim, vec.state_dim) == (4, 3, 3, 4, 4)
    assert vec.episode_limit == 12
    assert vec.agents == ["agent_0", "agent_1", "agent_2"]
    assert vec.action_names == ["0", "1", "2"]
    vec.reset(seed=0)
    expected = {"obs": (4, 3, 4), "state": (4, 4), "action_mask": (4, 3, 3), "reward": (4,), "agent_reward": (4, 3)}
    assert {name: getattr(vec, name).shape for name in expected} == expected
    assert [getattr(vec, name).dtype for name in OUTPUTS] == [*["float32"] * 2, "int8", *["float64"] * 2, *["bool"] * 2]


def test_an_episode_is_what_the_wrapped_env_plays():
    vec, env = from_parallel_env(corridor.parallel_env, 1, autoreset=False), corridor.parallel_env()
    vec.reset(seed=5)
    observations, infos = env.reset(seed=5)
    rng = np.random.default_rng(0)
    while env.agents:
        np.testing.assert_array_equal(vec.obs[0], list(observations.values()))
        np.testing.assert_array_equal(vec.action_mask[0], [info["action_mask"] for info in infos.values()])
        np.testing.assert_array_equal(vec.state[0], env.state())
        actions = random_actions(vec, rng)
        vec.step(actions)
        observations, rewards, terminated, truncated, infos = env.step(dict(zip(env.agents, actions[0], strict=True)))
        np.testing.assert_array_equal(vec.agent_reward[0], list(rewards.values()))
        assert vec.reward[0] == sum(rewards.values())
        assert (vec.terminated[0], vec.truncated[0]) == (terminated["agent_0"], truncated["agent_0"])
    assert vec.terminated[0] != vec.truncated[0]
    np.testing.assert_array_equal(vec.obs[0], list(observations.values()))  # of the last step, too
    np.testing.assert_array_equal(vec.action_mask[0], [info["action_mask"] for info in infos.values()])


def test_a_copy_of_a_batch_equals_a_single_env_through_many_episodes():
    batch = from_parallel_env(variants.LeavesEarly, 3)
    batch.reset(seed=[7, 2, 7])
    singles = [from_parallel_env(variants.LeavesEarly, 1) for _ in range(3)]
    for single, seed in zip(singles, (7, 2, 7), strict=True):
        single.reset(seed=seed)
    rng = np.random.default_rng(1)
    for _ in range(100):
        for copy, single in enumerate(singles):
            assert_equal(outputs(batch, copy), outputs(single, 0))
        actions = random_actions(batch, rng)
        batch.step(actions)
        for copy, single in enumerate(singles):
            single.step(actions[copy : copy + 1])
    assert sum(copy.episode for copy in batch._members) > 20  # many restarts were compared


def test_an_episode_is_a_function_of_seed_and_counter_only():
    played, fresh = (from_parallel_env(corridor.parallel_env, 2) for _ in range(2))
    played.reset(seed=3)
    rng = np.random.default_rng(2)
    while min(copy.episode for copy in played._members) < 4:
        played.step(random_actions(played, rng))
    played.reset(seed=3)
    fresh.reset(seed=3)
    for _ in range(4):  # episodes 1 to 4 without having played episode 0
        for vec in (played, fresh):
            vec.reset()
        for copy in range(2):
            assert_equal(outputs(fresh, copy), outputs(played, copy))
        actions = random_actions(played, rng)
        played.step(actions)
        fresh.step(actions)
    assert_equal(outputs(fresh, 1), outputs(played, 1))


def test_episode_seeds_differ_and_the_first_is_the_seed():
    assert episode_seed(11, 0) == 11
    seeds = {episode_seed(seed, episode) for seed in range(50) for episode in range(1, 50)}
    # 2450 draws from 2**31 values: 2450**2 / 2 / 2**31 = 0.0014 equal pairs expected
    assert len(seeds) == 50 * 49
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_first_reset_without_a_seed_uses_seed_0():
    unseeded, seeded = (from_parallel_env(corridor.parallel_env, 2) for _ in range(2))
    unseeded.reset()
    seeded.reset(seed=0)
    assert_equal(outputs(unseeded, 1), outputs(seeded, 1))


def test_finished_copies_freeze_without_autoreset():
    vec = from_parallel_env(corridor.parallel_env, 3, autoreset=False, length=40, max_cycles=4)
    vec.reset(seed=0)
    stay = np.zeros((3, 2), int)
    for _ in range(4):
        vec.step(stay)
    frozen = [outputs(vec, copy) for copy in range(3)]
    assert all(frame["truncated"] and frame["reward"] == -0.2 for frame in frozen)  # two agents pay 0.1
    vec.step(stay + 99)
    for copy in range(3):
        assert_equal(outputs(vec, copy), frozen[copy] | {"reward": 0.0, "agent_reward": [0.0, 0.0]})
    vec.reset()
    assert not vec.truncated.any()


def test_autoreset_keeps_the_last_outputs_and_starts_the_next_episode():
    vec, kept = (from_parallel_env(corridor.parallel_env, 1, autoreset=on, max_cycles=4) for on in (True, False))
    vec.reset(seed=1)
    kept.reset(seed=1)
    rng = np.random.default_rng(3)
    while not (kept.terminated | kept.truncated)[0]:
        actions = random_actions(kept, rng)
        vec.step(actions)
        kept.step(actions)
    for name in ("obs", "state", "action_mask"):
        np.testing.assert_array_equal(getattr(vec, f"final_{name}"), getattr(kept, name))
    for name in ("reward", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(vec, name), getattr(kept, name))
    kept.reset()
    np.testing.assert_array_equal(vec.obs, kept.obs)


def test_the_world_is_the_stored_outputs():
    vec = from_parallel_env(corridor.parallel_env, 2)
    vec.reset(seed=0)
    assert vec.observed == ("obs", "state", "action_mask")
    assert vec.world.keys() == set(vec.observed)
    stored = vec.get_world()
    for found, name in zip(vec.observe(stored), vec.observed, strict=True):
        np.testing.assert_array_equal(found, getattr(vec, name))
        assert not np.shares_memory(found, stored[name])
    replayed = {name: field[None, :, None] for name, field in stored.items()}  # any leading axes
    assert vec.observe(replayed)[0].shape == (1, 2, 1, 2, 3)


def test_an_illegal_action_is_replaced_and_counted_or_raises():
    replaced, stayed = (from_parallel_env(corridor.parallel_env, 2) for _ in range(2))
    for vec in (replaced, stayed):
        vec.reset(seed=0)
    illegal = np.where(replaced.obs[0, 0, 0] == 0, corridor.LEFT, 3)  # a masked action at the wall, or one too large
    replaced.step([[illegal, -1], [0, 0]])
    stayed.step([[0, 0], [0, 0]])
    assert replaced.info["illegal_actions"].tolist() == [2, 0]
    np.testing.assert_array_equal(replaced.obs, stayed.obs)
    strict = from_parallel_env(corridor.parallel_env, 2, strict=True)
    strict.reset(seed=0)
    with pytest.raises(ValueError, match=r"illegal action -1 of agent_1 in environment 1; legal are \[0"):
        strict.step([[0, 0], [0, -1]])


def test_masks_of_dict_observations_and_a_state_made_of_observations():
    dicts, infos = from_parallel_env(variants.DictObservations, 2), from_parallel_env(corridor.parallel_env, 2)
    rng = np.random.default_rng(4)
    for vec in (dicts, infos):
        vec.reset(seed=0)
    for _ in range(30):
        np.testing.assert_array_equal(dicts.obs, infos.obs)
        np.testing.assert_array_equal(dicts.action_mask, infos.action_mask)
        np.testing.assert_array_equal(dicts.state, dicts.obs.reshape(2, 6))
        actions = random_actions(infos, rng)
        dicts.step(actions)
        infos.step(actions)


def test_pictures_are_flattened():
    vec = from_parallel_env(variants.Pictures)
    vec.reset(seed=0)
    assert vec.obs.shape == (1, 2, 6)
    assert vec.obs[0].sum(-1).tolist() == [2 * 255.0] * 2  # one white dot for each of two agents


def test_actions_may_count_from_one_and_masks_may_be_absent():
    vec = from_parallel_env(variants.NoMasks, 1, episode_limit=12, length=10)
    vec.reset(seed=0)
    assert vec.action_mask.all()
    cells = vec.obs[0, :, 0].copy()
    vec.step([[corridor.RIGHT, corridor.RIGHT]])
    assert (vec.obs[0, :, 0] >= cells).all()  # one to the right, at most one blown back
    assert vec.info["illegal_actions"][0] == 0


def test_an_agent_that_leaves_early_keeps_an_empty_place():
    vec = from_parallel_env(variants.LeavesEarly, 1, autoreset=False, n_agents=3, length=4)
    alone = 0
    for seed in range(20):
        vec.reset(seed=seed)
        while not (vec.terminated | vec.truncated)[0]:
            vec.step(vec.action_mask.shape[-1] - 1 - vec.action_mask[..., ::-1].argmax(-1))  # right where possible
            gone = vec.info["agent_done"][0]
            if (vec.terminated | vec.truncated)[0]:
                assert gone.all() or vec.truncated[0]
                continue
            alone += gone.any()
            assert not vec.obs[0, gone].any()
            assert vec.obs[0, ~gone].any(-1).all()
            assert (vec.action_mask[0, gone] == [1, 0, 0]).all()
            paid = vec.agent_reward[0]
            assert set(paid[~gone]) == {-1.0}
        assert vec.reward[0] == vec.agent_reward[0].sum()
    assert alone > 20


def test_the_end_is_a_truncation_if_the_limit_cut_anybody():
    vec = from_parallel_env(variants.LeavesEarly, 1, autoreset=False, n_agents=2, length=4, max_cycles=8)
    seen = set()
    for seed in range(40):
        vec.reset(seed=seed)
        env = vec._members[0].env.unwrapped
        while not (vec.terminated | vec.truncated)[0]:
            vec.step([[corridor.RIGHT, 0]] if seed % 2 else [[corridor.RIGHT, corridor.RIGHT]])
        assert vec.truncated[0] == (len(env.gone) < 2)
        assert vec.terminated[0] == (len(env.gone) == 2)
        seen.add(bool(vec.truncated[0]))
    assert seen == {True, False}


def test_team_rewards():
    factory, kwargs = variants.NoMasks, {"episode_limit": 12, "n_agents": 2}  # agents are paid 1 and 2
    for team_reward, expected in (("sum", 3.0), ("mean", 1.5)):
        vec = from_parallel_env(factory, team_reward=team_reward, **kwargs)
        vec.reset(seed=0)
        vec.step([[0, 0]])
        assert vec.reward[0] == expected
        assert vec.agent_reward[0].tolist() == [1.0, 2.0]
    # -1 for each who is there; the mean is over the whole team, whoever has left.
    vec = from_parallel_env(variants.LeavesEarly, team_reward="mean", autoreset=False, n_agents=3, length=4)
    vec.reset(seed=0)
    while not vec.info["agent_done"].any():
        vec.step([[corridor.RIGHT, 0, 0]])
    vec.step([[0, 0, 0]])
    assert vec.reward[0] == -2 / 3
    vec = from_parallel_env(corridor.parallel_env, team_reward="shared", length=9)
    vec.reset(seed=0)
    vec.step([[0, 0]])
    assert vec.reward[0] == -0.1
    vec = from_parallel_env(factory, team_reward="shared", **kwargs)
    vec.reset(seed=0)
    with pytest.raises(ValueError, match=r'team_reward="shared", but the agents received different rewards \[1.0'):
        vec.step([[0, 0]])
    with pytest.raises(ValueError, match=r"unknown team_reward 'summ'; did you mean 'sum'\?"):
        from_parallel_env(factory, team_reward="summ", **kwargs)


def test_an_env_is_truncated_at_a_given_limit():
    vec = from_parallel_env(corridor.parallel_env, autoreset=False, episode_limit=3, length=40, max_cycles=10)
    vec.reset(seed=0)
    for expected in (False, False, True):
        vec.step([[0, 0]])
        assert vec.truncated[0] == expected
        assert vec.info["agent_done"][0].tolist() == [expected] * 2


class ArrivesLate(corridor.parallel_env):
    """Everybody arrives in the third step; with `cut` the env says that this was its time limit, too."""

    def __init__(self, cut):
        super().__init__(max_cycles=40)
        self.cut = cut

    def step(self, actions):
        observations, rewards, _, _, infos = super().step(actions)
        arrived = self.steps == 3
        self.agents = [] if arrived else list(self.possible_agents)
        ends = (dict.fromkeys(self.possible_agents, flag) for flag in (arrived, arrived and self.cut))
        return observations, rewards, *ends, infos


@pytest.mark.parametrize(("limit", "cut"), [(3, False), (None, True), (3, True)])
def test_who_arrives_in_the_last_step_has_terminated(limit, cut):
    vec = from_parallel_env(ArrivesLate, autoreset=False, episode_limit=limit, cut=cut)
    vec.reset(seed=0)
    for expected in (False, False, True):
        vec.step([[0, 0]])
        assert (vec.terminated[0], vec.truncated[0]) == (expected, False)


def test_make_vec_takes_a_third_party_factory():
    vec = marl_gre_envs.make_vec("corridor:parallel_env", 2, length=6, team_reward="shared")
    vec.reset(seed=0)
    vec.step(np.zeros((2, 2), int))
    assert marl_gre_envs.results_version("corridor:parallel_env") == 0


def test_our_own_envs_pass_through_the_adapter_unchanged():
    ours, wrapped = (
        marl_gre_envs.make_vec("lumberjacks_v0"),
        marl_gre_envs.make_vec("marl_gre_envs.lumberjacks_v0:parallel_env", team_reward="shared"),
    )
    rng = np.random.default_rng(5)
    for vec in (ours, wrapped):
        vec.reset(seed=4)
    for _ in range(99):  # the first episode; later ones get other seeds
        actions = rng.integers(ours.n_actions, size=(1, 2))
        for vec in (ours, wrapped):
            vec.step(actions)
        for name in ("obs", "state", "action_mask", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(wrapped, name), getattr(ours, name), err_msg=name)


class Continuous(corridor.parallel_env):
    def action_space(self, agent):
        return self.state_space


class Nobody(corridor.parallel_env):
    possible_agents = property(lambda self: [], lambda self, value: None)


class Vanishing(corridor.parallel_env):
    def step(self, actions):
        outputs = super().step(actions)
        self.agents = self.agents[:1]
        return outputs


class Spoiled(corridor.parallel_env):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        if self.what == "observation":
            observations["agent_0"][0] = np.nan
        if self.what == "reward":
            rewards["agent_1"] = np.inf
        if self.what == "mask":
            rest[-1]["agent_0"]["action_mask"][:] = 0
        return observations, rewards, *rest

    def state(self):
        state = super().state()
        return state + np.inf if self.what == "state" and self.steps else state


class TakesStrict(corridor.parallel_env):
    def __init__(self, strict=True, episode_limit=7):
        super().__init__(max_cycles=episode_limit)
        self.strict = strict


def test_a_factorys_own_keywords_can_be_bound():
    factory = functools.partial(TakesStrict, strict=False, episode_limit=5)
    vec = from_parallel_env(factory)
    assert vec.episode_limit == 5
    assert not vec._members[0].env.unwrapped.strict


def test_a_time_limit_is_the_factorys_too():
    vec = from_parallel_env(TakesStrict, 2, episode_limit=9)
    assert vec.episode_limit == 9
    assert [member.env.unwrapped.max_cycles for member in vec._members] == [9, 9]


class Enormous(corridor.parallel_env):
    """Numbers that float32 cannot hold, in float64 spaces."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self._observation_spaces = {agent: Box(-np.inf, np.inf, (3,), np.float64) for agent in self.possible_agents}

    def observations(self):
        factor = 1e200 if self.what == "observation" and self.steps else 1.0
        return {
            agent: observation * np.float64(factor) + factor for agent, observation in super().observations().items()
        }

    def state(self):
        return np.array([1e200 if self.what == "state" and self.steps else 1.0])


@pytest.mark.parametrize("what", ["observation", "state"])
def test_numbers_beyond_float32_are_not_finite_and_nothing_is_warned(what, recwarn):
    vec = from_parallel_env(Enormous, what=what)
    vec.reset(seed=0)
    with pytest.raises(FloatingPointError, match="an observation or state that is not finite"):
        vec.step([[0, 0]])
    assert not recwarn.list


class OtherStart(variants.DifferentSizes):
    def __init__(self):
        super().__init__()
        self._action_spaces["agent_0"] = type(self._action_spaces["agent_0"])(3, start=1)


@pytest.mark.parametrize(
    ("factory", "kwargs", "message"),
    [
        (Continuous, {}, "the action space of agent_0 is Box.*; allowed: Discrete"),
        (Nobody, {}, "the env has no possible_agents"),
        (variants.NoMasks, {}, "longest episode is unknown .*: give the keyword episode_limit"),
        (corridor.parallel_env, {"episode_limit": 0}, "episode_limit must be a whole number from 1 .*, found 0"),
        (corridor.parallel_env, {"num_envs": 0}, "num_envs must be a whole number from 1 .*, found 0"),
        (
            TakesStrict,
            {"strict": True},
            "strict: the environment has a keyword of this name too, which it would not rec",
        ),
        (OtherStart, {}, r"must start at 0 to be padded; found .*Discrete\(3, start=1\)"),
    ],
)
def test_an_env_that_cannot_be_used_is_refused_in_one_line(factory, kwargs, message):
    with pytest.raises(ValueError, match=message) as failure:
        from_parallel_env(factory, **kwargs)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("observation", FloatingPointError, r"an observation or state that is not finite \(number 1\)"),
        ("state", FloatingPointError, r"an observation or state that is not finite \(number 1\)"),
        ("reward", FloatingPointError, r"rewards that are not finite: \[-0.1, inf\]"),
        ("mask", ValueError, "action_mask leaves agent_0 no legal action"),
    ],
)
def test_unusable_outputs_raise_in_one_line(what, error, message):
    made = iter(["nothing", what])
    vec = from_parallel_env(lambda: Spoiled(next(made)), 2)
    vec.reset(seed=0)
    with pytest.raises(error, match=message):
        vec.step(np.zeros((2, 2), int))


def test_an_agent_that_vanishes_is_an_error():
    vec = from_parallel_env(Vanishing, length=40)
    vec.reset(seed=0)
    with pytest.raises(RuntimeError, match="agent_1 left the env's agents without being terminated or truncated"):
        vec.step([[0, 0]])


class Forgetful(corridor.parallel_env):
    """Leaves agent_1 out of what step() returns; with `gone` it also leaves the agents then."""

    def __init__(self, what, gone=False):
        super().__init__(length=40)
        self.what, self.gone = what, gone

    def step(self, actions):
        outputs = super().step(actions)
        outputs[self.what].pop("agent_1")
        if self.gone:
            outputs[2]["agent_1"] = True
            self.agents = self.agents[:1]
        return outputs


def test_missing_outputs_name_the_agent():
    for what, name in enumerate(("observation", "reward")):
        vec = from_parallel_env(Forgetful, what=what)
        vec.reset(seed=0)
        with pytest.raises(RuntimeError, match=f"returned no {name} for agent_1, which is"):
            vec.step([[0, 0]])


class Misshapen(corridor.parallel_env):
    """Returns something of another shape than it says, from the second step on."""

    def __init__(self, what):
        super().__init__(length=40)
        self.what = what

    def spoils(self, what):
        return self.what == what and self.steps > 1

    def observations(self):
        observations = super().observations()
        if self.spoils("stranger"):
            observations["agent_7"] = observations["agent_0"]
        return {agent: one[:1] if self.spoils("observation") else one for agent, one in observations.items()}

    def step(self, actions):
        outputs = super().step(actions)
        observations = self.observations() if self.what == "stranger" else outputs[0]
        return observations, *outputs[1:]

    def rewards(self, agents, arrived):
        rewards = super().rewards(agents, arrived)
        return {agent: np.array([one]) if self.spoils("reward") else one for agent, one in rewards.items()}

    def state(self):
        if self.spoils("no state"):
            return None
        return super().state()[:1] if self.spoils("state") else super().state()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("observation", r"observation of agent_0 has 1 numbers; its space Box\(.*\) has 3\."),
        ("stranger", r"an observation for 'agent_7', which is not in possible_agents"),
        ("reward", r"rewards must be one number for each agent, found {'agent_0': array\(\[-0.1\]\)"),
        ("state", r"state\(\) returned array\(\[.*\], dtype=float32\); 3 numbers are expected"),
        ("no state", r"state\(\) returned None; 3 numbers are expected"),
    ],
)
def test_outputs_of_another_shape_are_never_broadcast(what, message):
    vec = from_parallel_env(Misshapen, what=what)
    vec.reset(seed=0)
    vec.step([[0, 0]])
    with pytest.raises(RuntimeError, match=message) as failure:
        vec.step([[0, 0]])
    assert "\n" not in str(failure.value)


class OldForm(corridor.parallel_env):
    """Returns what environments returned before PettingZoo 1.23 and Gym 0.26."""

    def __init__(self, old_reset):
        super().__init__()
        self.old_reset = old_reset

    def reset(self, seed=None, options=None):
        output = super().reset(seed, options)
        return output[0] if self.old_reset else output

    def step(self, actions):
        observations, rewards, _, _, infos = super().step(actions)
        return observations, rewards, dict.fromkeys(rewards, False), infos


def test_the_old_forms_of_reset_and_step_are_refused():
    with pytest.raises(RuntimeError, match=r"reset\(\) must return a tuple of 2 dicts by agent, found dict\."):
        from_parallel_env(OldForm, old_reset=True)
    vec = from_parallel_env(OldForm, old_reset=False)
    vec.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"step\(\) must return a tuple of 5 dicts by agent, found \['dict', 'dict'"):
        vec.step([[0, 0]])


class StateIsNone(corridor.parallel_env):
    def state(self):
        return None


class StateIsAnAttribute(corridor.parallel_env):
    """As in PettingZoo's rps."""

    state = {"agent_0": 0}  # noqa: RUF012


@pytest.mark.parametrize("factory", [StateIsNone, StateIsAnAttribute])
def test_without_a_state_it_is_the_observations(factory):
    vec = from_parallel_env(factory)
    vec.reset(seed=0)
    np.testing.assert_array_equal(vec.state[0], vec.obs[0].ravel())


class WideBounds(corridor.parallel_env):
    def observation_space(self, agent):
        return Box(-1e300, 1e300, (3,), np.float64)


def test_bounds_beyond_float32_are_none():
    vec = from_parallel_env(WideBounds)  # without a warning
    vec.reset(seed=0)
    assert np.isfinite(vec.obs).all()
    assert np.isinf(vec._members[0].env.observation_space("agent_0").high).all()


@pytest.mark.parametrize("team_reward", ["sum", "shared"])
def test_who_has_left_need_not_be_paid(team_reward):
    vec = from_parallel_env(Forgetful, what=1, gone=True, team_reward=team_reward)
    vec.reset(seed=0)
    vec.step([[0, 0]])
    assert vec.agent_reward[0].tolist() == [-0.1, 0.0]
    assert vec.reward[0] == -0.1
    assert vec.info["agent_done"][0].tolist() == [False, True]


def test_a_factory_that_returns_one_env_twice_is_refused():
    env = corridor.parallel_env()
    with pytest.raises(RuntimeError, match="the factory returned one env twice"):
        from_parallel_env(lambda: env, 2)


@pytest.mark.parametrize("seed", ["7", -1, [1], [1, -1], 1.5, 2**32])
def test_wrong_seeds_are_refused(seed):
    vec = from_parallel_env(corridor.parallel_env, 2)
    with pytest.raises(ValueError, match="seed"):
        vec.reset(seed=seed)


def test_wrong_actions_are_refused():
    vec = from_parallel_env(corridor.parallel_env, 2)
    with pytest.raises(RuntimeError, match="call reset"):
        vec.step(np.zeros((2, 2), int))
    vec.reset(seed=0)
    for actions in (np.zeros((2, 3), int), np.zeros((2, 2))):
        with pytest.raises(ValueError, match=r"actions must be whole numbers \(2, 2\), found"):
            vec.step(actions)


def test_different_sizes_without_supersuit_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supersuit", None)
    with pytest.raises(ImportError, match=r'needs SuperSuit: pip install "marl-gre\[interop\]"'):
        from_parallel_env(variants.DifferentSizes)


def test_rendering_and_closing():
    vec = from_parallel_env(corridor.parallel_env)
    vec.reset(seed=0)
    with pytest.raises(NotImplementedError):
        vec.render()
    vec.close()
    vec.close()
    for call in (vec.reset, lambda: vec.reset(seed=0), lambda: vec.step([[0, 0]]), vec.render):
        with pytest.raises(RuntimeError, match="closed: make it anew"):
            call()


class Drawing(corridor.parallel_env):
    picture = np.zeros((4, 6, 3), np.uint8)

    def render(self):
        return self.picture


def test_a_picture_is_the_envs_own():
    vec = from_parallel_env(Drawing)
    vec.reset(seed=0)
    env = vec._members[0].env.unwrapped
    for env.picture in (Drawing.picture, np.zeros((4, 6, 4), np.uint8)):  # with transparency, which is left out
        assert np.shares_memory(vec.render(), env.picture)
        assert vec.render().shape == (4, 6, 3)
    env.picture = None
    with pytest.raises(RuntimeError, match='draws no picture: make it with render_mode="rgb_array"'):
        vec.render()
    for env.picture in (np.zeros((4, 6, 3)), np.zeros((4, 6), np.uint8), np.zeros((4, 0, 3), np.uint8)):
        with pytest.raises(RuntimeError, match=r"found a picture \w+ \(4, [06].*\); \[height, width, 3\] uint8 is"):
            vec.render()


class Collecting(corridor.parallel_env):
    def __init__(self, collected):
        super().__init__()
        collected.append(len(collected))


def test_an_env_that_writes_into_its_arguments_changes_nobody_elses():
    collected = []
    vec = from_parallel_env(Collecting, 3, collected=collected)
    assert vec.num_envs == 3
    assert collected == []


class LimitAsProperty(corridor.parallel_env):
    @property
    def max_cycles(self):
        return 9

    @max_cycles.setter
    def max_cycles(self, value):
        pass


def test_a_time_limit_may_be_a_property():
    assert from_parallel_env(LimitAsProperty).episode_limit == 9


def test_both_ways_to_the_observation_space_agree():
    env = FlatObservations(corridor.parallel_env())
    assert env.observation_spaces == {agent: env.observation_space(agent) for agent in env.possible_agents}
    nested = FlatObservations(MaskInObservation(marl_gre_envs.make("lumberjacks_v1")))
    assert nested.observation_spaces["agent_0"] == nested.env.env.observation_space("agent_0")


def test_observe_names_what_is_missing():
    vec = from_parallel_env(corridor.parallel_env)
    with pytest.raises(ValueError, match="the world lacks 'obs'; it needs obs, state, action_mask"):
        vec.observe({})
    vec.reset(seed=0)
    world = vec.get_world()
    for name, changed in (("obs", world["obs"][..., :1]), ("state", world["state"].astype(float)),
                          ("action_mask", world["action_mask"].tolist())):  # fmt: skip
        with pytest.raises(ValueError, match=rf"world\['{name}'\] must be (float32|int8) of shape \(1, .*, found"):
            vec.observe(world | {name: changed})


@pytest.mark.parametrize(("change", "error"), [
    ({"max_cycles": None}, "the env's longest episode is unknown"),
    ({"reset": lambda *_, **__: 1 / 0}, "division by zero"),
])  # fmt: skip
def test_environments_that_cannot_be_used_are_closed(change, error):
    closed = []

    def factory():
        env = corridor.parallel_env()
        env.close = lambda: closed.append(env)
        for name, value in change.items():
            setattr(env, name, value)
        return env

    with pytest.raises((ValueError, ZeroDivisionError), match=error):
        from_parallel_env(factory, 2)
    assert len(closed) == (1 if "max_cycles" in change else 2)
