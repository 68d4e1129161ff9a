"""An unrestricted mixer: q_tot = MLP([s, q]) + V(s), the joint value Q* of Weighted QMIX.

https://arxiv.org/abs/2006.10800. It is not monotonic, so agents cannot act on it: `central: feed_forward` puts it over
a second set of agents, whose value provides the targets of the acting networks. Constants are the published ones.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, MixerConfig, hypernetwork
from marl_gre.section import MAX_PARTS, MAX_WIDTH


class FeedForwardConfig(MixerConfig):
    """Keys of the unrestricted mixer in params.yaml."""

    hidden_dim: int = Field(256, ge=1, le=MAX_WIDTH, description="width of all hidden layers")
    hidden_layers: int = Field(
        3, ge=1, le=MAX_PARTS, description="hidden layers of the network of state and values; V has one"
    )


class FeedForward(Mixer):
    """A network of the state and the agents' values, monotonic in neither."""

    Config = FeedForwardConfig

    def __init__(self, sizes: EnvSizes, config: FeedForwardConfig):
        super().__init__(sizes, config)
        width = config.hidden_dim
        layers: list[nn.Module] = [nn.Linear(sizes.state_dim + sizes.n_agents, width), nn.ReLU()]
        for _ in range(config.hidden_layers - 1):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.joint = nn.Sequential(*layers, nn.Linear(width, 1))
        self.value = hypernetwork(sizes.state_dim, 1, 2, width)

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """See `Mixer.forward`."""
        return (self.joint(torch.cat((state, values.chosen), -1)) + self.value(state)).squeeze(-1)
