"""One gradient step, readable top to bottom; the same for every algorithm.

The learner asks its mixer one question: `q_tot, penalty = mixer(chosen_qs, state)`.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.rmsprop import rmsprop

from marl_gre import losses
from marl_gre.config import TrainConfig
from marl_gre.credit import credit_entropy, credits
from marl_gre.data import Batch
from marl_gre.errors import NonFinite
from marl_gre.mixers import QMIX, Mixer


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
        self.square_avgs = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.last_target_update = 0  # in episodes

    def update(self, batch: Batch) -> Update:
        """Take one gradient step on mean(td_error**2) + mean(penalty), over all steps of the batch.

        Raises:
            NonFinite: the loss or the gradient is NaN or infinite; the parameters are left as they were.
        """
        first = batch.episodes[0]
        agent_qs = self.agent(batch.obs, batch.actions, batch.episodes)  # [P, N, A]
        q_tot, penalty = mix(self.mixer, take(agent_qs, batch.actions_by_row()), batch.state)  # [P]
        q_tot, penalty = q_tot[batch.now], penalty[batch.now]  # [Q]; cheaper than selecting the states first

        with torch.no_grad():
            target_qs = self.target_agent(batch.obs, batch.actions, batch.episodes)[first:]
            next_qs = losses.double_q(agent_qs[first:], target_qs, batch.action_mask[first:])  # [Q, N]
            next_q_tot, _ = mix(self.target_mixer, next_qs, batch.state[first:])
            target = losses.td_target(batch.reward, batch.terminated, next_q_tot, self.config.gamma)

        td_error = q_tot - target
        td_loss = (td_error**2).mean()
        mean_penalty = penalty.mean()
        loss = td_loss + mean_penalty

        self.agent.zero_grad()
        self.mixer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip)
        if not torch.isfinite(loss + grad_norm):
            raise NonFinite(
                f"the update has loss {loss.item():g} and gradient norm {grad_norm.item():g}: lower train.lr, or "
                "look for huge rewards or observations in the environment."
            )
        self._step()

        return Update(
            loss=loss.detach(),
            td_loss=td_loss.detach(),
            penalty=mean_penalty.detach(),
            grad_norm=grad_norm.detach(),
            td_error_abs=td_error.detach().abs().mean(),
            q_tot_mean=q_tot.detach().mean(),
            target_mean=target.mean(),
        )

    @torch.no_grad()
    def _step(self) -> None:
        """Take RMSprop's step; by torch's function, since its class takes 70 MB and a second of start-up."""
        moved = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        rmsprop(
            params=[self.parameters[index] for index in moved],
            grads=[parameter.grad for parameter in self.parameters if parameter.grad is not None],
            square_avgs=[self.square_avgs[index] for index in moved],
            grad_avgs=[],
            momentum_buffer_list=[],
            state_steps=[torch.zeros(()) for _ in moved],  # asked for, but of no effect
            lr=self.config.lr,
            alpha=self.config.rmsprop_alpha,
            eps=self.config.rmsprop_eps,
            weight_decay=0.0,
            momentum=0.0,
            centered=False,
        )

    def credits(self, batch: Batch) -> Tensor:
        """Return dq_tot/dq_i [Q,N] under the current weights, by automatic differentiation."""
        return credits(self.mixer, *self._mixed(batch)).squeeze(0)

    def credit_entropies(self, batch: Batch) -> dict[str, Tensor]:
        """Return the normalised credit entropy [Q] of every step under the current weights.

        Returns:
            "exact" for every mixer, by automatic differentiation; "released" (the ELU derivative of the paper's
            released code) where the mixer is a QMIX; nothing with one agent, where entropy is undefined.
        """
        if batch.actions.shape[-1] < 2:
            return {}
        chosen_qs, state = self._mixed(batch)
        gradients = {"exact": credits(self.mixer, chosen_qs, state)}
        if isinstance(self.mixer, QMIX):
            with torch.no_grad():
                gradients["released"] = self.mixer.credits(chosen_qs, state, "released")
        return {name: credit_entropy(gradient).squeeze(0) for name, gradient in gradients.items()}

    @torch.no_grad()
    def _mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what the mixer is given for this batch: chosen_qs [1,Q,N] and state [1,Q,S]."""
        agent_qs = self.agent(batch.obs, batch.actions, batch.episodes)
        return take(agent_qs[batch.now], batch.actions).unsqueeze(0), batch.state[batch.now].unsqueeze(0)

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


def mix(mixer: Mixer, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return q_tot [Q] and penalty [Q] for packed steps; a mixer's batch and time axes are [1, Q]."""
    q_tot, penalty = mixer(chosen_qs.unsqueeze(0), state.unsqueeze(0))
    return q_tot.squeeze(0), penalty.squeeze(0)


def take(agent_qs: Tensor, actions: Tensor) -> Tensor:
    """Return the values [...] of the actions taken [...] out of the values of all actions [...,A]."""
    return agent_qs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
