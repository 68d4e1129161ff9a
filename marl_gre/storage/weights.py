"""A run's weights as a safetensors file, and tensors by name."""

from collections.abc import Mapping

import safetensors.torch
import torch
from torch import nn

from marl_gre.errors import BadInput

WEIGHTS = "weights.safetensors"


def weights_bytes(networks: nn.Module) -> bytes:
    """Return a run's weights as a safetensors file, names prefixed with `agent.`, `mixer.` or `central.`."""
    return safetensors.torch.save(on_cpu(networks.state_dict()))


def tensors_of(parts: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tensors of all parts as "part.name", ready for safetensors."""
    return on_cpu({f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()})


def on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors on the CPU, contiguous and each in memory of its own, as safetensors needs them.

    Those of a module that has two names are copied, and stored under both.
    """
    found: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if place in places else plain
        places.add(place)
    return found


def read_weights(data: bytes) -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file.

    Raises:
        ValueError: a tensor is not finite.
        SafetensorError: the file is not a safetensors file.
    """
    weights = safetensors.torch.load(data)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise ValueError("its weights are not finite")
    return weights


def load_weights(weights: Mapping[str, torch.Tensor], agent: nn.Module, mixer: nn.Module) -> None:
    """Load weights into the agent and the mixer; central networks are for training only.

    Raises:
        BadInput: the weights do not fit, for example because the environment's sizes have changed.
    """
    for prefix, module in (("agent.", agent), ("mixer.", mixer)):
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise BadInput(f"the run's weights do not fit its config: {str(error).splitlines()[-1]}") from error
