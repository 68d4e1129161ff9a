"""SMAC's reward as a function of the units before and after a step.

It follows SMAC's own code (https://github.com/oxwhirl/smac, version 1): the hit points and shields that enemies lost
plus a bonus for each death, as an absolute value, so that regenerating enemies reward the agents.
"""

from typing import Any, NamedTuple

from marl_gre_envs.checks import settings
from marl_gre_envs.compiling import kernel


class Rewards(NamedTuple):
    """Options of the team's reward, with SMAC's names and defaults.

    Attributes:
        reward_sparse: 1 for a victory, -1 for a defeat, 0 otherwise; the other options then have no effect.
        reward_only_positive: the team's own losses cost nothing, and the reward is the absolute value of the sum, so
            regenerating enemies are rewarded, too.
        reward_death_value: reward for each enemy killed (and, scaled, penalty for each agent killed).
        reward_win: reward of a victory.
        reward_defeat: reward of a defeat.
        reward_negative_scale: weight of the team's own losses.
        reward_scale: whether rewards are divided by (greatest return of an episode / reward_scale_rate).
        reward_scale_rate: greatest return of an episode after scaling.
        reward_clamp: with reward_only_positive, the reward is max(sum, 0) instead of the absolute value.
    """

    reward_sparse: bool = False
    reward_only_positive: bool = True
    reward_death_value: float = 10.0
    reward_win: float = 200.0
    reward_defeat: float = 0.0
    reward_negative_scale: float = 0.5
    reward_scale: bool = True
    reward_scale_rate: float = 20.0
    reward_clamp: bool = False


def make_rewards(**given: Any) -> Rewards:
    """Return Rewards after checking them.

    Raises:
        ValueError: a value cannot be used.
    """
    rewards: Rewards = settings(Rewards, given)
    if rewards.reward_scale_rate <= 0:
        raise ValueError(f"reward_scale_rate must be greater than 0, found {rewards.reward_scale_rate:g}.")
    if rewards.reward_clamp and not rewards.reward_only_positive:
        raise ValueError("reward_clamp replaces the absolute value of reward_only_positive: set that to true.")
    return rewards


def scale_of(rewards: Rewards, n_enemies: int, enemy_points: float) -> float:
    """Return the divisor of rewards.

    Args:
        rewards: the options.
        n_enemies: number of enemies.
        enemy_points: sum of their maximal hp and shields.

    Raises:
        ValueError: the greatest return is not above 0, so that nothing can be divided by it.
    """
    if not rewards.reward_scale or rewards.reward_sparse:
        return 1.0
    greatest = n_enemies * rewards.reward_death_value + rewards.reward_win + enemy_points
    if greatest <= 0:
        raise ValueError(
            f"reward_win and reward_death_value make the greatest return {greatest:g}; with reward_scale it must be "
            "greater than 0."
        )
    return greatest / rewards.reward_scale_rate


@kernel
def battle_reward_of(prev_hp, prev_shield, hp, shield, n_agents, rewards):
    """Return the reward of a step of fighting, before the bonus of a victory and before scaling; 0 with reward_sparse.

    Args:
        prev_hp, prev_shield: of all units before the step, agents first, float64 [U]; the dead among them were counted
            when they died.
        hp, shield: after the step.
        n_agents: number of agents.
        rewards: the options.
    """
    if rewards.reward_sparse:
        return 0.0
    ally_loss, enemy_loss, deaths = 0.0, 0.0, 0.0
    for u in range(prev_hp.size):
        if prev_hp[u] <= 0.0:
            continue
        died = hp[u] <= 0.0
        loss = prev_hp[u] + prev_shield[u]
        if not died:
            loss -= hp[u] + shield[u]
        if u >= n_agents:
            enemy_loss += loss
            deaths += rewards.reward_death_value * died
        else:
            ally_loss += rewards.reward_negative_scale * loss
            if not rewards.reward_only_positive:
                deaths -= rewards.reward_death_value * rewards.reward_negative_scale * died
    worth = enemy_loss + deaths
    if not rewards.reward_only_positive:
        return worth - ally_loss
    return max(worth, 0.0) if rewards.reward_clamp else abs(worth)


@kernel
def step_reward(battle, outcome, scale, rewards):
    """Return the team's reward of one step.

    Args:
        battle: returned by battle_reward_of.
        outcome: 1 if the battle was won in this step, -1 if it was lost, else 0 (it goes on, a draw, the time limit).
        scale: returned by scale_of.
        rewards: the options.
    """
    if rewards.reward_sparse:
        return float(outcome)
    if outcome > 0:
        battle += rewards.reward_win
    elif outcome < 0:
        battle += rewards.reward_defeat
    return battle / scale
