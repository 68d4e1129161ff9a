"""One gradient step, readable top to bottom; the same for every algorithm.

Algorithms differ behind four interfaces: the agent, the mixer with its regulariser, the weights of the loss, and,
optionally, central networks, whose copy then provides the targets.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop

from marl_gre import losses, regularisers
from marl_gre.config import TrainConfig
from marl_gre.data import Batch
from marl_gre.errors import NonFinite
from marl_gre.networks import Networks, require_shape, weighted

ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
"""Adam's constants: torch's defaults, which PyMARL2 uses too."""


@dataclass(frozen=True)
class Update:
    """The inputs and results of one update. Scalars are 0-dim tensors; reading one may wait for the device."""

    loss: Tensor
    td_loss: Tensor
    regulariser: Tensor
    grad_norm: Tensor  # before clipping
    td_error_abs: Tensor
    q_tot_mean: Tensor
    target_mean: Tensor
    central_loss: Tensor  # 0 without central networks


class Learner:
    """Online and target networks, optimiser and the update rule.

    Args:
        networks: the agent, the mixer and, where the algorithm has them, central networks.
        config: the `train` section of params.yaml.
        device: the networks' device.
        loss_weights: returns the weight of each step's squared TD error.
        regularise: returns q_tot and the regulariser of a mixer.
        central_loss_weight: weight of the central networks' own TD loss.
    """

    def __init__(
        self,
        networks: Networks,
        config: TrainConfig,
        device: torch.device | str = "cpu",
        loss_weights: losses.LossWeights = losses.uniform,
        regularise: regularisers.Regularise = regularisers.own,
        central_loss_weight: float = 1.0,
    ):
        self.config = config
        self.loss_weights = loss_weights
        self.regularise = regularise
        self.central_loss_weight = central_loss_weight
        self.networks = networks.to(device)
        self.agent, self.mixer = networks.agent, networks.mixer
        self.target_source = networks.central or networks  # whose copy gives the targets
        # `to` once more: on CUDA it lays the copy's GRU weights in one piece, which cuDNN else does at every call.
        self.target_agent = copy.deepcopy(self.target_source.agent).to(device)
        self.target_mixer = copy.deepcopy(self.target_source.mixer)
        self.parameters = list(self.networks.parameters())
        self.square_avgs = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.avgs = [torch.zeros_like(parameter) for parameter in self.parameters if config.optimizer == "adam"]
        self.steps = 0
        self.last_target_update = 0  # in episodes

    def update(self, batch: Batch) -> Update:
        """Take one gradient step on mean(weight * td_error**2) + mean(regulariser), over all steps of the batch.

        Central networks add central_loss_weight times their own mean(td_error**2) towards the same targets.

        Raises:
            BadInput: the mixer or the loss weights returned a wrong shape, or the loss weights raised.
            NonFinite: the loss or the gradient is NaN or infinite; the parameters are unchanged.
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
            target = self._target(batch, next_q_tot)

            def greedy_target() -> Tensor:
                greedy_values = losses.double_q(agent_qs, target_qs, action_mask)
                return self.target_mixer(greedy_values, state)[0, batch.now]

            online = values.map(lambda rows: rows[0, batch.now].detach())
            steps = losses.Steps(q_tot.detach(), target, online, greedy_target)
            weights = weighted(self.loss_weights, steps)
            require_shape("loss weights", weights, q_tot.shape)

        td_error = q_tot - target
        td_loss = losses.td_loss(td_error, weights)
        mean_regulariser = regulariser.mean()
        loss = td_loss + mean_regulariser
        central_loss = torch.zeros_like(td_loss)
        if self.networks.central is not None:
            central_loss = self._central_loss(self.networks.central, batch, target)
            loss = loss + self.central_loss_weight * central_loss

        self.networks.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip)
        if not torch.isfinite(loss + grad_norm):
            raise NonFinite(
                f"the update has loss {loss.item():g} and gradient norm {grad_norm.item():g}: lower train.lr, or "
                "look for huge rewards or observations in the environment, or for a fault in a mixer, agent or "
                "loss weights of your own."
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
            central_loss=central_loss.detach(),
        )

    def _target(self, batch: Batch, next_q_tot: Tensor) -> Tensor:
        """Return the TD targets [Q]."""
        gamma, td_lambda = self.config.gamma, self.config.td_lambda
        if td_lambda == 0:
            return losses.one_step_target(batch.reward, batch.terminated, next_q_tot, gamma)
        return losses.lambda_target(batch.reward, batch.terminated, next_q_tot, gamma, td_lambda, batch.episodes)

    def _central_loss(self, central: Networks, batch: Batch, target: Tensor) -> Tensor:
        """Return the central networks' mean squared TD error."""
        agent_qs = central.agent(batch.obs, batch.actions, batch.episodes)[None]
        values = losses.taken(agent_qs, batch.actions_by_row()[None], batch.action_mask[None])
        q_tot = central.mixer(values, batch.state[None])[0, batch.now]
        return losses.td_loss(q_tot - target, torch.ones_like(target))

    @torch.no_grad()
    def _step(self) -> None:
        """Take the optimiser's step; by torch's functions, since their classes take 70 MB and a second of start-up."""
        self.steps += 1
        moved = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if self.config.optimizer == "adam":
            adam(
                params=[self.parameters[index] for index in moved],
                grads=[parameter.grad for parameter in self.parameters if parameter.grad is not None],
                exp_avgs=[self.avgs[index] for index in moved],
                exp_avg_sqs=[self.square_avgs[index] for index in moved],
                max_exp_avg_sqs=[],
                state_steps=[torch.tensor(float(self.steps - 1)) for _ in moved],  # raised there, by 1
                amsgrad=False,
                beta1=ADAM_BETAS[0],
                beta2=ADAM_BETAS[1],
                lr=self.config.lr,
                weight_decay=0.0,
                eps=ADAM_EPS,
                maximize=False,
            )
            return
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
            episode: number of the round's first episode, counted from 0 (PyMARL counts this way, so the first copy
                comes after the update that follows episode 200).
        """
        if episode - self.last_target_update >= self.config.target_update_episodes:
            self.target_agent.load_state_dict(self.target_source.agent.state_dict())
            self.target_mixer.load_state_dict(self.target_source.mixer.state_dict())
            self.last_target_update = episode
