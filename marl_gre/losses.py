"""Pure functions of the loss: masked values and TD targets."""

import torch
from torch import Tensor

UNAVAILABLE = -9999999.0
"""Q of an unavailable action, as in PyMARL."""


def mask_unavailable(agent_qs: Tensor, action_mask: Tensor) -> Tensor:
    """Replace the Q values of unavailable actions by `UNAVAILABLE`.

    Args:
        agent_qs: [...,A].
        action_mask: 1 = available [...,A].
    """
    return torch.where(action_mask.bool(), agent_qs, UNAVAILABLE)


def double_q(online_qs: Tensor, target_qs: Tensor, action_mask: Tensor) -> Tensor:
    """Return the target network's Q of the action that the online network finds best.

    Double Q-learning, https://arxiv.org/abs/1509.06461, per agent; both networks see only available actions.

    Args:
        online_qs, target_qs: [...,N,A].
        action_mask: 1 = available [...,N,A].

    Returns:
        [...,N].
    """
    best = mask_unavailable(online_qs, action_mask).argmax(-1, keepdim=True)
    return mask_unavailable(target_qs.gather(-1, best), action_mask.gather(-1, best)).squeeze(-1)


def td_target(reward: Tensor, terminated: Tensor, next_q_tot: Tensor, gamma: float) -> Tensor:
    """Return r + gamma * (1 - terminated) * Q_tot'(s', u').

    Args:
        reward: team reward [...].
        terminated: 1 where nothing follows [...].
        next_q_tot: mixed value of the next step [...].
        gamma: discount, 0 to 1.
    """
    return reward + gamma * (1 - terminated) * next_q_tot
