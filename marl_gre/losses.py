"""Pure functions of the loss: TD targets and the masked mean."""

import torch
from torch import Tensor

UNAVAILABLE = -9999999.0
"""Q of an unavailable action, as in PyMARL; finite, so that a padded row, where none is available, has an argmax."""


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
        online_qs, target_qs: [B,T,N,A].
        action_mask: 1 = available [B,T,N,A].

    Returns:
        [B,T,N].
    """
    best = mask_unavailable(online_qs, action_mask).argmax(-1, keepdim=True)
    return mask_unavailable(target_qs, action_mask).gather(-1, best).squeeze(-1)


def td_target(reward: Tensor, terminated: Tensor, next_q_tot: Tensor, gamma: float) -> Tensor:
    """Return r + gamma * (1 - terminated) * Q_tot'(s', u').

    Args:
        reward: team reward [B,T].
        terminated: 1 where nothing follows [B,T].
        next_q_tot: mixed value of the next step [B,T].
        gamma: discount, 0 to 1.
    """
    return reward + gamma * (1 - terminated) * next_q_tot


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values at real steps, a scalar.

    Args:
        values: [B,T], finite at padded steps too.
        mask: 1 = real step, 0 = padding [B,T].
    """
    return (values * mask).sum() / mask.sum()
