"""RLI: defect images from real photographs, by Residual Linear Interpolation and null embedding optimization.

import rli
model = rli.load("mini")
photo = rli.read_image("photo.png", 128, 128)
inversion = rli.invert(model, photo, "photo of a crack defect image")
corroded, dented = rli.edit(model, inversion, ["photo of a crack corrosion image", "photo of a crack dent image"])
"""

from rli.errors import NonFiniteError, RLIError
from rli.images import read_image, read_mask, to_uint8, write_png
from rli.method.editing import edit, edit_batch, reconstruct, vae_round_trip
from rli.method.inversion import invert, invert_batch
from rli.method.inversion.settings import InversionSettings
from rli.method.records import Edit, EditSettings, Inversion, Target
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.version import __version__

__all__ = [
    "Edit",
    "EditSettings",
    "Inversion",
    "InversionSettings",
    "Model",
    "NonFiniteError",
    "RLIError",
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
