"""A run's networks: which device, and the initial weights of its seed."""

import torch

from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import RunConfig
from marl_gre.errors import BadInput
from marl_gre.mixers import Mixer
from marl_gre.seeding import Purpose, rng
from marl_gre_envs.vector import VectorEnv


def pick_device(name: str) -> torch.device:
    """Return the device of a `train.device` setting; auto means cuda where there is one.

    Raises:
        BadInput: cuda is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("train.device: found cuda, but torch sees no CUDA device here; use auto or cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def build_networks(config: RunConfig, env: VectorEnv) -> tuple[RecurrentAgent, Mixer]:
    """Return agent and mixer with the initial weights of the run's seed; torch's global generator is left alone.

    Raises:
        BadInput: the mixer cannot work with this environment.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng(config.seed, Purpose.INIT, 0).integers(2**63)))
        agent = RecurrentAgent(env.obs_dim, env.n_actions, env.n_agents, config.train.hidden_dim)
        try:
            mixer = config.algorithm.mixer_class(env.n_agents, env.state_dim, config.algorithm.mixer_config)
        except ValueError as error:
            raise BadInput(f"algorithms.{config.algorithm_key} on envs.{config.env_key}: {error}") from error
    return agent, mixer
