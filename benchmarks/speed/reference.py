"""The baselines: a learner and a training loop that do the work of PyMARL (arXiv:1902.04043), padding and all, and a
learner on torch's own GRU.

Dense episodes as long as the time limit, one GRUCell call per time step for each network, a mixer that also mixes the
padded steps, and one environment that is stepped in Python. Loss and gradients equal those of marl_gre.learner.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from pettingzoo import ParallelEnv
from torch import Tensor, nn
from torch.distributions import Categorical

from marl_gre.config import TrainConfig
from marl_gre.data import Episode
from marl_gre.policy import epsilon_at
from marl_gre_envs.vector import VectorEnv

UNAVAILABLE = -9999999.0

Dense = dict[str, Tensor]
"""Padded episodes: each field [B,T+1,...]; the row after the last action holds what followed it."""


def dense_episodes(env: VectorEnv, count: int) -> Dense:
    """Return room for episodes of an environment, all zeros."""
    lead, agents, actions = (count, env.episode_limit + 1), env.n_agents, env.n_actions
    return {
        "obs": torch.zeros(*lead, agents, env.obs_dim),
        "state": torch.zeros(*lead, env.state_dim),
        "action_mask": torch.zeros(*lead, agents, actions, dtype=torch.int32),
        "actions": torch.zeros(*lead, agents, dtype=torch.int64),
        "one_hot": torch.zeros(*lead, agents, actions),
        "reward": torch.zeros(*lead),
        "terminated": torch.zeros(*lead, dtype=torch.uint8),
        "filled": torch.zeros(*lead, dtype=torch.int64),  # 1 where an action was taken
    }


def write(dense: Dense, time: int, **values: object) -> None:
    """Write fields of one step of the first episode."""
    for name, value in values.items():
        place = dense[name][0, time]
        place.copy_(torch.as_tensor(value, dtype=place.dtype))
    if "actions" in values:
        dense["one_hot"][0, time] = F.one_hot(dense["actions"][0, time], dense["one_hot"].shape[-1]).float()


def dense_episode(episode: Episode, env: VectorEnv, timeout_is_terminal: bool) -> Dense:
    """Return a played episode as one padded episode."""
    dense, length = dense_episodes(env, 1), episode.length
    rows = dict(zip(("obs", "state", "action_mask"), env.observe(episode.world), strict=True))
    steps = {"actions": episode.actions, "reward": episode.reward, "filled": np.ones(length)}
    for name, values in (rows | steps).items():
        dense[name][0, : len(values)] = torch.from_numpy(values)
    dense["terminated"][0, length - 1] = episode.terminated or timeout_is_terminal
    dense["one_hot"][0, :length] = F.one_hot(dense["actions"][0, :length], env.n_actions).float()
    return dense


class DenseReplay:
    """Room for `capacity` padded episodes, reserved at once."""

    def __init__(self, env: VectorEnv, capacity: int):
        self.fields = dense_episodes(env, capacity)
        self.capacity = capacity
        self.added = 0

    def add(self, episode: Dense) -> None:
        """Keep an episode in place of the oldest one if full."""
        for name, values in episode.items():
            self.fields[name][self.added % self.capacity] = values[0]
        self.added += 1

    def sample(self, count: int, generator: np.random.Generator) -> Dense:
        """Return `count` different episodes, cut to the longest one."""
        chosen = torch.from_numpy(generator.choice(min(self.added, self.capacity), count, replace=False))
        batch = {name: values[chosen] for name, values in self.fields.items()}
        longest = int(batch["filled"].sum(1).max())
        return {name: values[:, : longest + 1] for name, values in batch.items()}


class CellAgent(nn.Module):
    """The agents' network with one GRUCell call per time step."""

    def __init__(self, obs_dim: int, n_actions: int, n_agents: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(obs_dim + n_actions + n_agents, hidden_dim)
        self.rnn = nn.GRUCell(hidden_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, n_actions)
        self.hidden_dim = hidden_dim

    def step(self, dense: Dense, time: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values [B,N,A] at one time and the next hidden state [B*N,H]."""
        obs, one_hot = dense["obs"][:, time], dense["one_hot"]
        copies, agents, _ = obs.shape
        previous = one_hot[:, time - 1] if time > 0 else torch.zeros_like(one_hot[:, 0])
        ids = torch.eye(agents, dtype=obs.dtype).expand(copies, agents, agents)
        inputs = torch.cat([part.reshape(copies * agents, -1) for part in (obs, previous, ids)], dim=1)
        hidden = self.rnn(F.relu(self.fc1(inputs)), hidden)
        return self.fc2(hidden).view(copies, agents, -1), hidden

    def begin(self, copies: int, agents: int) -> Tensor:
        """Return the hidden state of new episodes [B*N,H]."""
        return self.fc1.weight.new_zeros(copies * agents, self.hidden_dim)

    def forward(self, dense: Dense) -> Tensor:
        """Return the values of all steps [B,T+1,N,A]."""
        copies, steps, agents, _ = dense["obs"].shape
        hidden, values = self.begin(copies, agents), []
        for time in range(steps):
            agent_qs, hidden = self.step(dense, time, hidden)
            values.append(agent_qs)
        return torch.stack(values, dim=1)


class GRUAgent(nn.Module):
    """The agents' network with torch.nn.GRU over all time steps."""

    def __init__(self, obs_dim: int, n_actions: int, n_agents: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(obs_dim + n_actions + n_agents, hidden_dim)
        self.rnn = nn.GRU(hidden_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, n_actions)

    def forward(self, dense: Dense) -> Tensor:
        """Return the values of all steps [B,T+1,N,A]."""
        obs, one_hot = dense["obs"], dense["one_hot"]
        copies, steps, agents, _ = obs.shape
        previous = torch.cat((torch.zeros_like(one_hot[:, :1]), one_hot[:, :-1]), dim=1)
        ids = torch.eye(agents, dtype=obs.dtype).expand(copies, steps, agents, agents)
        x = F.relu(self.fc1(torch.cat((obs, previous, ids), dim=-1)))  # [B, T+1, N, H]
        hidden, _ = self.rnn(x.transpose(0, 1).reshape(steps, copies * agents, -1))
        return self.fc2(hidden).view(steps, copies, agents, -1).transpose(0, 1)


class DenseQMIX(nn.Module):
    """QMIX (arXiv:1803.11485) with two-layer hypernetworks, on padded steps."""

    def __init__(self, n_agents: int, state_dim: int, embed_dim: int = 32, hypernet_dim: int = 64):
        super().__init__()
        self.n_agents, self.embed_dim = n_agents, embed_dim

        def two_layers(hidden: int, out: int) -> nn.Module:
            return nn.Sequential(nn.Linear(state_dim, hidden), nn.ReLU(), nn.Linear(hidden, out))

        self.hyper_w1 = two_layers(hypernet_dim, n_agents * embed_dim)
        self.hyper_w2 = two_layers(hypernet_dim, embed_dim)
        self.hyper_b1 = nn.Sequential(nn.Linear(state_dim, embed_dim))
        self.hyper_v = two_layers(embed_dim, 1)

    def forward(self, chosen_qs: Tensor, state: Tensor) -> Tensor:
        """Return q_tot [B,T] for chosen_qs [B,T,N] and state [B,T,S]."""
        flat = state.reshape(-1, state.shape[-1])
        w1 = self.hyper_w1(flat).abs().view(-1, self.n_agents, self.embed_dim)
        b1 = self.hyper_b1(flat).view(-1, 1, self.embed_dim)
        hidden = F.elu(torch.bmm(chosen_qs.reshape(-1, 1, self.n_agents), w1) + b1)
        w2 = self.hyper_w2(flat).abs().view(-1, self.embed_dim, 1)
        q_tot = torch.bmm(hidden, w2) + self.hyper_v(flat).view(-1, 1, 1)
        return q_tot.view(chosen_qs.shape[:2])


class DenseLearner:
    """One gradient step of QMIX on padded episodes; the equations are those of marl_gre.learner.

    Args:
        agent: a CellAgent (as PyMARL computes) or a GRUAgent.
        mixer: the mixing network.
        config: the `train` section of params.yaml.
    """

    def __init__(self, agent: nn.Module, mixer: DenseQMIX, config: TrainConfig):
        self.agent, self.mixer, self.config = agent, mixer, config
        self.target_agent, self.target_mixer = copy.deepcopy(agent), copy.deepcopy(mixer)
        self.parameters = [*agent.parameters(), *mixer.parameters()]
        self.optimizer = torch.optim.RMSprop(
            self.parameters, lr=config.lr, alpha=config.rmsprop_alpha, eps=config.rmsprop_eps
        )

    def update(self, batch: Dense) -> Tensor:
        """Take one gradient step; return the loss."""
        mask = batch["filled"][:, :-1].to(batch["reward"].dtype)  # [B, T]
        available = batch["action_mask"][:, 1:] > 0
        agent_qs = self.agent(batch)
        chosen_qs = agent_qs[:, :-1].gather(-1, batch["actions"][:, :-1].unsqueeze(-1)).squeeze(-1)
        # PyMARL records the target networks for a backward pass that never comes; so does this.
        target_qs = self.target_agent(batch)[:, 1:].masked_fill(~available, UNAVAILABLE)
        best = agent_qs[:, 1:].detach().masked_fill(~available, UNAVAILABLE).argmax(-1, keepdim=True)
        next_qs = target_qs.gather(-1, best).squeeze(-1)
        next_q_tot = self.target_mixer(next_qs, batch["state"][:, 1:])
        going_on = 1 - batch["terminated"][:, :-1].to(next_q_tot.dtype)
        target = batch["reward"][:, :-1] + self.config.gamma * going_on * next_q_tot
        td_error = (self.mixer(chosen_qs, batch["state"][:, :-1]) - target.detach()) * mask
        loss = (td_error**2).sum() / mask.sum()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip)
        self.optimizer.step()
        return loss.detach()

    def update_targets(self) -> None:
        """Copy the online weights to the target networks."""
        self.target_agent.load_state_dict(self.agent.state_dict())
        self.target_mixer.load_state_dict(self.mixer.state_dict())


class DenseTrainer:
    """One episode in one environment stepped in Python, then one update, again and again.

    Args:
        env: a PettingZoo parallel environment of this package.
        config: the `train` section of params.yaml.
        capacity: episodes of the replay.
    """

    def __init__(self, env: ParallelEnv, config: TrainConfig, capacity: int):
        self.env, self.config, self.core = env, config, env.core
        core = self.core
        self.agent = CellAgent(core.obs_dim, core.n_actions, core.n_agents, config.hidden_dim)
        self.learner = DenseLearner(self.agent, DenseQMIX(core.n_agents, core.state_dim), config)
        self.replay = DenseReplay(core, capacity)
        self.generator = np.random.default_rng(0)
        self.env_steps = self.episodes = 0

    def train_episode(self) -> int:
        """Play one episode into the replay, then update; return its steps."""
        episode, steps = self.play(epsilon_at(self.env_steps, self.config))
        self.replay.add(episode)
        if self.replay.added >= self.config.batch_episodes:
            self.learner.update(self.replay.sample(self.config.batch_episodes, self.generator))
        if (self.episodes + 1) % self.config.target_update_episodes == 0:
            self.learner.update_targets()
        self.env_steps += steps
        self.episodes += 1
        return steps

    @torch.no_grad()
    def play(self, epsilon: float) -> tuple[Dense, int]:
        """Return one episode and its steps."""
        env, agents = self.env, self.env.possible_agents
        episode, hidden, time = dense_episodes(self.core, 1), self.agent.begin(1, len(agents)), 0
        observations, infos = env.reset(seed=self.episodes)
        while True:
            write(
                episode,
                time,
                state=env.state(),
                obs=np.stack([observations[agent] for agent in agents]),
                action_mask=np.stack([infos[agent]["action_mask"] for agent in agents]),
            )
            if not env.agents:
                return episode, time
            agent_qs, hidden = self.agent.step(episode, time, hidden)
            actions = choose(agent_qs, episode["action_mask"][:, time], epsilon)[0]
            chosen = dict(zip(agents, actions.tolist(), strict=True))
            observations, rewards, terminations, truncations, infos = env.step(chosen)
            write(
                episode,
                time,
                actions=actions,
                reward=rewards[agents[0]],
                terminated=terminations[agents[0]] or truncations[agents[0]],
                filled=1,
            )
            time += 1


def choose(agent_qs: Tensor, action_mask: Tensor, epsilon: float) -> Tensor:
    """Return epsilon-greedy actions [B,N], each agent exploring on its own."""
    best = agent_qs.masked_fill(action_mask == 0, -torch.inf).argmax(-1)
    explore = torch.rand(best.shape) < epsilon
    return torch.where(explore, Categorical(action_mask.float()).sample(), best)
