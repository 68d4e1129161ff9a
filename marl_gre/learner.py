"""One gradient step, readable top to bottom; the same for every algorithm.

What differs between algorithms is behind an interface each: the agent, the mixer with its regulariser, the weights of
the loss.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.rmsprop import rmsprop

from marl_gre import losses, regularisers
from marl_gre.config import TrainConfig
from marl_gre.data import Batch
from marl_gre.errors import NonFinite
from marl_gre.networks import Networks, require_shape


@dataclass(frozen=True)
class Update:
    """What one update saw and did; scalars are 0-dim tensors, read them only when needed."""

    loss: Tensor
    td_loss: Tensor
    regulariser: Tensor
    grad_norm: Tensor  # before clipping
    td_error_abs: Tensor
    q_tot_mean: Tensor
    target_mean: Tensor


class Learner:
    """Online and target networks, optimiser and the update rule.

    Args:
        networks: the agent and the mixer.
        config: the `train` section of params.yaml.
        device: where the networks live.
        loss_weights: the weight of each step's squared TD error.
        regularise: what makes q_tot and the regulariser of a mixer.
    """

    def __init__(
        self,
        networks: Networks,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        loss_weights: losses.LossWeights = losses.uniform,
        regularise: regularisers.Regularise = regularisers.own,
    ):
        self.config = config
        self.loss_weights = loss_weights
        self.regularise = regularise
        self.networks = networks.to(device)
        self.agent, self.mixer = networks.agent, networks.mixer
        self.target_agent = copy.deepcopy(self.agent)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.parameters = list(self.networks.parameters())
        self.square_avgs = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.last_target_update = 0  # in episodes

    def update(self, batch: Batch) -> Update:
        """Take one gradient step on mean(weight * td_error**2) + mean(regulariser), over all steps of the batch.

        Raises:
            BadInput: the mixer or the loss weights return a wrong shape.
            NonFinite: the loss or the gradient is NaN or infinite; the parameters are left as they were.
        """
        # A mixer's axes [B, T] are [1, P] here, so that padding costs nothing: every step is mixed on its own.
        state, action_mask, first = batch.state[None], batch.action_mask[None], batch.episodes[0]

        agent_qs = self.agent(batch.obs, batch.actions, batch.episodes)[None]  # [1, P, N, A]
        values = losses.taken(agent_qs, batch.actions_by_row()[None], action_mask)  # [1, P, N]
        q_tot, regulariser = self.regularise(self.mixer, values, state)  # [1, P]
        require_shape("the mixer's q_tot", q_tot, state.shape[:2])
        require_shape("the mixer's regulariser", regulariser, state.shape[:2])
        q_tot, regulariser = q_tot[0, batch.now], regulariser[0, batch.now]  # [Q]; cheaper than selecting states first

        with torch.no_grad():
            target_qs = self.target_agent(batch.obs, batch.actions, batch.episodes)[None]
            next_values = losses.double_q(agent_qs[:, first:], target_qs[:, first:], action_mask[:, first:])
            next_q_tot = self.target_mixer(next_values, state[:, first:]).squeeze(0)  # [Q]
            require_shape("the target mixer's q_tot", next_q_tot, q_tot.shape)
            target = losses.one_step_target(batch.reward, batch.terminated, next_q_tot, self.config.gamma)
            steps = losses.Steps(q_tot.detach(), target, values.map(lambda rows: rows[0, batch.now].detach()))
            weights = self.loss_weights(steps)
            require_shape("loss weights", weights, q_tot.shape)

        td_error = q_tot - target
        td_loss = losses.td_loss(td_error, weights)
        mean_regulariser = regulariser.mean()
        loss = td_loss + mean_regulariser

        self.networks.zero_grad()
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
            regulariser=mean_regulariser.detach(),
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
