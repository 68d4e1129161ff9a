"""The base of everything that params.yaml sets."""

from pydantic import BaseModel, ConfigDict

MAX_WIDTH = 65536
"""Greatest width of a layer: a layer between two of these takes 17 GB, so larger ones are mistakes."""

MAX_PARTS = 1024
"""Greatest number of layers, heads or kernels."""


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent conversions, only finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
