"""One gradient step, readable top to bottom; the same for every algorithm.

The learner asks its mixer one question: `q_tot, penalty = mixer(chosen_qs, state)`.
"""

import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from marl_gre import losses
from marl_gre.config import TrainConfig
from marl_gre.credit import credit_entropy, credits
from marl_gre.errors import NonFinite
from marl_gre.mixers import QMIX, Mixer


@dataclass(frozen=True)
class Batch:
    """Padded episodes; observations, states and masks have one step more than actions and rewards."""

    obs: Tensor  # [B, T+1, N, O]
    state: Tensor  # [B, T+1, S]
    action_mask: Tensor  # [B, T+1, N, A], 1 = available
    actions: Tensor  # [B, T, N], int64
    reward: Tensor  # [B, T], team reward
    terminated: Tensor  # [B, T], 1 where nothing follows for the TD target
    mask: Tensor  # [B, T], 1 = real step, 0 = padding

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on that device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Update:
    """What one update saw and did; scalars are 0-dim tensors, read them only when needed."""

    loss: Tensor
    td_loss: Tensor
    penalty: Tensor
    grad_norm: Tensor  # before clipping
    td_error_abs: Tensor
    q_tot_mean: Tensor
    target_mean: Tensor


class Learner:
    """Online and target networks, optimiser and the update rule.

    Args:
        agent: the agents' network.
        mixer: any `Mixer`.
        config: the `train` section of params.yaml.
        device: where the networks live.
    """

    def __init__(self, agent: nn.Module, mixer: Mixer, config: TrainConfig, device: torch.device | str = "cpu"):
        self.config = config
        self.agent = agent.to(device)
        self.mixer = mixer.to(device)
        self.target_agent = copy.deepcopy(self.agent)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.parameters = [*self.agent.parameters(), *self.mixer.parameters()]
        self.optimizer = torch.optim.RMSprop(
            self.parameters, lr=config.lr, alpha=config.rmsprop_alpha, eps=config.rmsprop_eps
        )
        self.last_target_update = 0  # in episodes

    def update(self, batch: Batch) -> Update:
        """Take one gradient step on masked_mean(td_error**2) + masked_mean(penalty).

        Raises:
            NonFinite: the loss or the gradient is NaN or infinite; the parameters are left as they were.
        """
        agent_qs = self.agent(batch.obs, batch.actions)  # [B, T+1, N, A]
        chosen_qs = take(agent_qs[:, :-1], batch.actions)  # [B, T, N]
        q_tot, penalty = self.mixer(chosen_qs, batch.state[:, :-1])  # [B, T]

        with torch.no_grad():
            target_qs = self.target_agent(batch.obs, batch.actions)
            next_qs = losses.double_q(agent_qs[:, 1:], target_qs[:, 1:], batch.action_mask[:, 1:])  # [B, T, N]
            next_q_tot, _ = self.target_mixer(next_qs, batch.state[:, 1:])
            target = losses.td_target(batch.reward, batch.terminated, next_q_tot, self.config.gamma)

        td_error = q_tot - target
        td_loss = losses.masked_mean(td_error**2, batch.mask)
        mean_penalty = losses.masked_mean(penalty, batch.mask)
        loss = td_loss + mean_penalty

        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip)
        if not torch.isfinite(loss + grad_norm):
            raise NonFinite(
                f"the update has loss {loss.item():g} and gradient norm {grad_norm.item():g}: lower train.lr, or "
                "look for huge rewards or observations in the environment."
            )
        self.optimizer.step()

        return Update(
            loss=loss.detach(),
            td_loss=td_loss.detach(),
            penalty=mean_penalty.detach(),
            grad_norm=grad_norm.detach(),
            td_error_abs=losses.masked_mean(td_error.detach().abs(), batch.mask),
            q_tot_mean=losses.masked_mean(q_tot.detach(), batch.mask),
            target_mean=losses.masked_mean(target, batch.mask),
        )

    def credit_entropies(self, batch: Batch) -> dict[str, Tensor]:
        """Return the normalised credit entropy [B,T] of every step under the current weights.

        Returns:
            "exact" for every mixer, by automatic differentiation; "released" (the ELU derivative of the paper's
            released code) where the mixer is a QMIX; nothing with one agent, where entropy is undefined.
        """
        if batch.actions.shape[-1] < 2:
            return {}
        state = batch.state[:, :-1]
        chosen_qs = self.chosen_qs(batch)
        entropies = {"exact": credit_entropy(credits(self.mixer, chosen_qs, state))}
        if isinstance(self.mixer, QMIX):
            with torch.no_grad():
                entropies["released"] = credit_entropy(self.mixer.credits(chosen_qs, state, "released"))
        return entropies

    @torch.no_grad()
    def chosen_qs(self, batch: Batch) -> Tensor:
        """Return the values [B,T,N] of the actions taken, under the current weights."""
        return take(self.agent(batch.obs, batch.actions)[:, :-1], batch.actions)

    def maybe_update_targets(self, episode: int) -> None:
        """Copy the online weights to the target networks every `target_update_episodes` episodes.

        Args:
            episode: number of the newest episode, counted from 0 (PyMARL counts this way, so the first copy comes
                after the update that follows episode 200).
        """
        if episode - self.last_target_update >= self.config.target_update_episodes:
            self.target_agent.load_state_dict(self.agent.state_dict())
            self.target_mixer.load_state_dict(self.mixer.state_dict())
            self.last_target_update = episode


def take(agent_qs: Tensor, actions: Tensor) -> Tensor:
    """Return the values [...] of the actions taken [...] out of the values of all actions [...,A]."""
    return agent_qs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
