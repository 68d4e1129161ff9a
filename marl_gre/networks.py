"""A run's networks: built with the initial weights of its seed, or restored with its final ones."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from marl_gre import losses
from marl_gre.agents.base import Agent
from marl_gre.config import RunConfig
from marl_gre.data import Batch, EnvSizes
from marl_gre.errors import BadInput, MarlGreError
from marl_gre.mixers import AgentValues, Mixer
from marl_gre.regularisers import Regularise, own
from marl_gre.seeding import Purpose, rng
from marl_gre.storage.run_dir import FinishedRun
from marl_gre.third_party import in_words
from marl_gre_envs.vector import VectorEnv


class Networks(nn.Module):
    """An agent and the mixer of its values, which a run trains and saves.

    Args:
        agent: the agents' shared network.
        mixer: any `Mixer`.
        central: further networks that are trained with these and provide the targets of both; no agent acts on them, so
            their mixer need not be monotonic.
    """

    def __init__(self, agent: Agent, mixer: Mixer, central: "Networks | None" = None):
        super().__init__()
        self.agent = agent
        self.mixer = mixer
        self.central = central

    @torch.no_grad()
    def values(self, batch: Batch) -> tuple[AgentValues, Tensor]:
        """Return the mixer's inputs for the Q steps of a batch: values [1,Q,N] and state [1,Q,S]."""
        agent_qs = self.agent(batch.obs, batch.actions, batch.episodes)
        values = losses.taken(agent_qs[batch.now][None], batch.actions[None], batch.action_mask[batch.now][None])
        return values, batch.state[batch.now][None]


def pick_device(name: str) -> torch.device:
    """Return the device of a `train.device` option; auto is the CPU, on which more runs fit at once.

    Raises:
        BadInput: cuda is asked for and not available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("train.device: found cuda, but torch sees no CUDA device here; use auto or cpu.")
    return torch.device("cuda" if name == "cuda" else "cpu")


def build(config: RunConfig, env: VectorEnv, training: bool = True) -> Networks:
    """Return networks with the initial weights of the run's seed, without touching torch's global generator.

    Args:
        config: the run.
        env: its environment.
        training: whether to include the central networks, which acting does not need.

    Raises:
        BadInput: the agent, the mixer or the loss weights cannot work with this environment.
    """
    sizes, algorithm = EnvSizes.of(env), config.algorithm
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng(config.seed, Purpose.INIT, 0).integers(2**63)))
            agent = algorithm.make_agent(sizes, config.train.hidden_dim)
            mixer = algorithm.mixer_class(sizes, algorithm.mixer_config)
            central = None
            if training and algorithm.central is not None:
                central_mixer = algorithm.central.mixer_class(sizes, algorithm.central.mixer_config)
                try_mixer(central_mixer, sizes)
                central = Networks(algorithm.make_agent(sizes, config.train.hidden_dim), central_mixer)
            if algorithm.gradient_entropy is not None and sizes.n_agents < 2:
                raise ValueError(f"gre_lambda: found {sizes.n_agents} agent; it takes 2 or more: remove gre_lambda.")
            try_mixer(mixer, sizes, algorithm.regularise)
            if algorithm.agent is not None:  # ours is tested, and its kernels take a while to load
                try_agent(agent, sizes)
            if training:
                try_loss_weights(algorithm.make_loss_weights(), sizes)
    except Exception as error:  # a third party's constructor can raise anything, and so does the lack of memory
        reason = in_words(error, ValueError, BadInput)
        if isinstance(error, TypeError | AttributeError):
            reason += "; mixers are made as Mixer(sizes, config), agents as Agent(sizes, hidden_dim, **options)."
        raise BadInput(f"algorithms.{config.algorithm_key} on envs.{config.env_key}: {reason}") from error
    return Networks(agent, mixer, central)


def restore(run: FinishedRun, env: VectorEnv) -> Networks:
    """Return a finished run's networks with its final weights, on its device.

    Raises:
        BadInput: the weights are not here or do not fit the run's config, or its device is not here.
    """
    networks = build(run.config, env, training=False)
    run.load_into(networks.agent, networks.mixer)
    return networks.to(pick_device(run.config.train.device))


@torch.no_grad()
def try_agent(agent: Agent, sizes: EnvSizes) -> None:
    """Unroll an agent for one step, act for one step where each agent has one action, and check the results.

    Raises:
        BadInput: values are not [1,N,A] or carry no gradient, actions not integers [1,N] or not available, or the agent
            raised.
    """
    shape = torch.Size((1, sizes.n_agents, sizes.n_actions))
    obs = torch.zeros(1, sizes.n_agents, sizes.obs_dim)
    mask = np.zeros(shape, np.int8)
    mask[..., -1] = 1
    with reported(type(agent).__name__, _kit("agent", agent)):
        with torch.enable_grad():
            agent_qs = agent(obs, torch.zeros(0, sizes.n_agents, dtype=torch.int64), (1,))
        require_shape("agent_qs", agent_qs, shape)
        _require_gradient("agent_qs", agent_qs)
        actions = np.asarray(agent.actor(1).act(obs.numpy(), mask, 0.0, None, np.ones(1, bool)))
        if actions.shape != shape[:2] or not np.issubdtype(actions.dtype, np.integer):
            found = f"{actions.dtype} of shape {list(actions.shape)}"
            raise BadInput(f"found actions {found}; integers of shape {list(shape[:2])} are needed.")
        if (actions != sizes.n_actions - 1).any():
            raise BadInput("acting chose an action that is not available.")


@torch.no_grad()
def try_mixer(mixer: Mixer, sizes: EnvSizes, regularise: Regularise = own) -> None:
    """Mix two episodes of three steps and check the results.

    Raises:
        BadInput: they are not [B,T], q_tot carries no gradient, closed forms of the credits are not [B,T,N], or the
            mixer raised.
    """
    steps = torch.Size((2, 3))
    zeros = torch.zeros(*steps, sizes.n_agents)
    values, state = AgentValues(zeros, zeros, zeros.long()), torch.zeros(*steps, sizes.state_dim)
    with reported(type(mixer).__name__, _kit("mixer", mixer)):
        q_tot, regulariser = regularise(mixer, values, state)
        require_shape("q_tot", q_tot, steps)
        require_shape("regulariser", regulariser, steps)
        with torch.enable_grad():
            q_tot = mixer(replace(values, chosen=zeros.clone().requires_grad_(True)), state)
        require_shape("q_tot", q_tot, steps)
        _require_gradient("q_tot", q_tot)
        credits = mixer.analytic_credits(values, state) if sizes.n_agents > 1 else {}
        if not isinstance(credits, dict):
            raise BadInput(f"found analytic_credits that return a {type(credits).__name__}; a dict is needed.")
        for name, credit in credits.items():
            require_shape(f"analytic credits {name!r}", credit, zeros.shape)


@torch.no_grad()
def try_loss_weights(loss_weights: losses.LossWeights, sizes: EnvSizes) -> None:
    """Weight three steps and check the shape of the result.

    Raises:
        BadInput: it is not [Q], or the function raised.
    """
    zeros, values = torch.zeros(3), torch.zeros(3, sizes.n_agents)
    steps = losses.Steps(zeros, zeros, AgentValues(values, values, values.long()), lambda: zeros)
    require_shape("loss weights", weighted(loss_weights, steps), zeros.shape)


def weighted(loss_weights: losses.LossWeights, steps: losses.Steps) -> Tensor:
    """Return the weights of steps [Q], which are not checked.

    Raises:
        BadInput: the function raised.
    """
    with reported("loss_weights"):
        try:
            return loss_weights(steps)
        except ValueError as error:  # about an option
            raise BadInput(str(error)) from error


@contextlib.contextmanager
def reported(name: str, advice: str = "") -> Iterator[None]:
    """Report in one line whatever a third party's code raises, under the name of its part."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from error
    except Exception as error:
        raise BadInput(f"{name} raised {type(error).__name__}: {error}{advice}.") from error


@contextlib.contextmanager
def blamed_on(parts: Sequence[str]) -> Iterator[None]:
    """Report in one line what training raises where parts of third parties take part in it.

    Args:
        parts: their names; where there are none, the error is a fault of this package and passes unchanged.
    """
    try:
        yield
    except (MarlGreError, MemoryError):
        raise
    except Exception as error:
        if not parts:
            raise
        raise BadInput(
            f"training with {', '.join(parts)} raised {type(error).__name__}: {error}; look for the fault with "
            "`pytest --pyargs marl_gre.conformance` (--mixer, --agent)."
        ) from error


def _kit(kind: str, part: nn.Module) -> str:
    """Return what to do about an agent or a mixer that raises."""
    return f"; run `pytest --pyargs marl_gre.conformance --{kind} {type(part).__module__}:{type(part).__qualname__}`"


def _require_gradient(name: str, value: Tensor) -> None:
    if not value.requires_grad:
        raise BadInput(f"found {name} without a gradient, so nothing could learn; it must not be detached.")


def require_shape(name: str, value: object, shape: torch.Size) -> None:
    """Check that a result is a tensor of this shape.

    Raises:
        BadInput: it is not.
    """
    found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if found != list(shape):
        raise BadInput(f"found {name} of shape {found}; {list(shape)} is needed.")
