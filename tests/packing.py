"""From padded episodes, which are easy to write down, to the packed batch that the learner takes."""

import torch

from marl_gre.data import Batch


def packed(obs, state, action_mask, actions, reward, terminated, mask):
    """Pack padded arrays [B,T+1,...] and [B,T,...] with a mask [B,T] of ones and then zeros."""
    lengths = mask.sum(1).long()
    order = torch.argsort(lengths, descending=True, stable=True)
    lengths = lengths[order]
    time = torch.arange(int(lengths[0]) + 1)[:, None]
    has_row, has_action = time <= lengths, (time < lengths)[:-1]

    def rows(values, where):
        return values[order].transpose(0, 1)[: len(where)][where]

    return Batch(
        obs=rows(obs, has_row),
        state=rows(state, has_row),
        action_mask=rows(action_mask, has_row),
        actions=rows(actions, has_action),
        reward=rows(reward, has_action),
        terminated=rows(terminated, has_action),
        now=(time < lengths)[has_row].nonzero().squeeze(1),
        episodes=tuple(has_row.sum(1).tolist()),
    )
