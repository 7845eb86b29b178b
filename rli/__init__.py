"""RLI: defect images from real photographs, by Residual Linear Interpolation and null embedding optimization.

import rli
model = rli.load("mini")
photo = rli.read_image("photo.png", 256, 256)
inversion = rli.invert(model, photo, "photo of a crack defect image")
corroded, dented = rli.edit(model, inversion, ["photo of a crack corrosion image", "photo of a crack dent image"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rli.errors import NonFiniteError, RLIError, SettingError
from rli.version import __version__

if TYPE_CHECKING:
    from rli.images import read_image, read_mask, to_uint8, write_png
    from rli.method.editing import edit, edit_batch, reconstruct, vae_round_trip
    from rli.method.inversion import invert, invert_batch
    from rli.method.inversion.settings import InversionSettings
    from rli.method.records import Edit, EditSettings, Inversion, Target
    from rli.models.diffusion import Model
    from rli.models.loading import load

__all__ = [
    "Edit",
    "EditSettings",
    "Inversion",
    "InversionSettings",
    "Model",
    "NonFiniteError",
    "RLIError",
    "SettingError",
    "Target",
    "__version__",
    "edit",
    "edit_batch",
    "invert",
    "invert_batch",
    "load",
    "read_image",
    "read_mask",
    "reconstruct",
    "to_uint8",
    "vae_round_trip",
    "write_png",
]

# Where the names above are defined that need torch: a module is imported when one of its names is first used.
_HOMES = {
    "rli.images": ("read_image", "read_mask", "to_uint8", "write_png"),
    "rli.method.editing": ("edit", "edit_batch", "reconstruct", "vae_round_trip"),
    "rli.method.inversion": ("invert", "invert_batch"),
    "rli.method.inversion.settings": ("InversionSettings",),
    "rli.method.records": ("Edit", "EditSettings", "Inversion", "Target"),
    "rli.models.diffusion": ("Model",),
    "rli.models.loading": ("load",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
