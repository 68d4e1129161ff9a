"""The parts of the loss as pure functions: the agents' values, TD targets, weights of the steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marl_gre.data import mask_unavailable
from marl_gre.mixers.base import AgentValues
from marl_gre_envs.checks import number


def taken(agent_qs: Tensor, actions: Tensor, action_mask: Tensor) -> AgentValues:
    """Return the values of the actions taken and of the greedy actions.

    Args:
        agent_qs: values of all actions [...,N,A].
        actions: int64 [...,N].
        action_mask: 1 = available [...,N,A].

    Returns:
        AgentValues, each [...,N].
    """
    chosen = agent_qs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return AgentValues(chosen, mask_unavailable(agent_qs.detach(), action_mask).amax(-1), actions)


def double_q(online_qs: Tensor, target_qs: Tensor, action_mask: Tensor) -> AgentValues:
    """Return the target network's values of the online network's best actions.

    Double Q-learning, https://arxiv.org/abs/1509.06461, per agent; both networks see only available actions.

    Args:
        online_qs: the online network's values of all actions [...,N,A].
        target_qs: the target network's [...,N,A].
        action_mask: 1 = available [...,N,A].

    Returns:
        AgentValues of the target network, each [...,N].
    """
    best = mask_unavailable(online_qs, action_mask).argmax(-1, keepdim=True)
    available_qs = mask_unavailable(target_qs, action_mask)
    return AgentValues(available_qs.gather(-1, best).squeeze(-1), available_qs.amax(-1), best.squeeze(-1))


def one_step_target(reward: Tensor, terminated: Tensor, next_q_tot: Tensor, gamma: float) -> Tensor:
    """Return r + gamma * (1 - terminated) * Q_tot'(s', u').

    Args:
        reward: team reward [...].
        terminated: 1 where the episode ends and nothing is bootstrapped [...].
        next_q_tot: mixed value of the next step [...].
        gamma: discount, 0 to 1.
    """
    return reward + gamma * (1 - terminated) * next_q_tot


def lambda_target(
    reward: Tensor,
    terminated: Tensor,
    next_q_tot: Tensor,
    gamma: float,
    td_lambda: float,
    episodes: Sequence[int],
) -> Tensor:
    """Return r + gamma * (1 - terminated) * ((1 - lambda) * Q_tot'(s', u') + lambda * y'), y' being the next target.

    TD(lambda) without correcting for exploration, as in PyMARL; y' is Q_tot'(s', u') at an episode's last step. With
    lambda = 0 it is `one_step_target`.

    Args:
        reward: team reward, packed as in `data.Batch` [Q].
        terminated: 1 where the episode ends and nothing is bootstrapped [Q].
        next_q_tot: mixed value of the next step [Q].
        gamma: discount, 0 to 1.
        td_lambda: 0 to 1.
        episodes: number of episodes that reach each time step [T+1].
    """
    counts = list(episodes[1:])  # of actions at each time
    targets: list[Tensor] = []
    following = reward.new_empty(0)  # y' of the episodes that go on, which are the first ones
    blocks = (values.split(counts) for values in (reward, terminated, next_q_tot))
    for r, end, value in reversed(list(zip(*blocks, strict=True))):
        beyond = torch.cat((following, value[len(following) :]))
        following = r + gamma * (1 - end) * ((1 - td_lambda) * value + td_lambda * beyond)
        targets.append(following)
    return torch.cat(targets[::-1])


@dataclass(frozen=True)
class Steps:
    """The steps of a batch, the argument of a function of loss weights; every tensor is detached."""

    q_tot: Tensor  # [Q]
    target: Tensor  # [Q]
    values: AgentValues  # of the online network, each [Q, N]; chosen == greedy where the action is a greedy one
    greedy_target: Callable[[], Tensor]  # what the target networks give for the agents' greedy actions [Q]; on demand


LossWeights = Callable[[Steps], Tensor]
"""A function from the steps of a batch to the weights of their squared TD errors [Q]."""


def uniform(steps: Steps) -> Tensor:
    """Return weights of 1 [Q]."""
    return torch.ones_like(steps.q_tot)


def optimistic(steps: Steps, alpha: float = 0.1) -> Tensor:
    """Return OW-QMIX's weights [Q]: 1 where q_tot is below its target, else alpha (https://arxiv.org/abs/2006.10800).

    Raises:
        ValueError: alpha is not a number from 0 to 1.
    """
    number("alpha", alpha, 0, 1)
    return torch.where(steps.q_tot < steps.target, torch.ones_like(steps.q_tot), alpha)


def central(steps: Steps, alpha: float = 0.1) -> Tensor:
    """Return CW-QMIX's weights [Q] (https://arxiv.org/abs/2006.10800).

    The weight is 1 where all actions are greedy or the target exceeds the target networks' value of the greedy actions,
    and alpha elsewhere. An action whose value ties with the greedy one's counts as greedy.

    Raises:
        ValueError: alpha is not a number from 0 to 1.
    """
    number("alpha", alpha, 0, 1)
    greedy = (steps.values.chosen == steps.values.greedy).all(-1)
    return torch.where(greedy | (steps.target > steps.greedy_target()), torch.ones_like(steps.q_tot), alpha)


LOSS_WEIGHTS: dict[str, Callable[..., Tensor]] = {"uniform": uniform, "ow": optimistic, "cw": central}
"""Names that `loss_weights` in params.yaml accepts besides package.module:function."""


def td_loss(td_error: Tensor, weights: Tensor) -> Tensor:
    """Return mean(weights * td_error**2), the mean over steps: it is not divided by the sum of the weights.

    Args:
        td_error: q_tot - target [Q].
        weights: [Q].
    """
    return (weights * td_error**2).mean()
