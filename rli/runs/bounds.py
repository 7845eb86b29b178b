"""What a photograph stays whatever the model makes of it: grey, where it has no colour, and itself, where a picture of
the working size shows a border and no photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rli.images import LUMINANCE
from rli.method.records import Edit


def as_grey_as(photo: Tensor, made: Tensor) -> Tensor:
    """What was made of a photograph, without colours where the photograph has none.

    Args:
        photo: (1,3,H,W).
        made: (1,3,H,W).

    Returns:
        `made`, or its luminance in all three channels.
    """
    if not ((photo[:, 0] == photo[:, 1]).all() and (photo[:, 1] == photo[:, 2]).all()):
        return made
    weights = torch.from_numpy(LUMINANCE).to(made).view(1, 3, 1, 1)
    return (made * weights).sum(1, keepdim=True).expand_as(made).contiguous()


def within_photo(edit: Edit, photo: Tensor, reconstruction: Tensor, inside: np.ndarray | None) -> Edit:
    """An edit that changes the photograph alone, and brings no colour into one that has none.

    Args:
        edit: As it was sampled.
        photo: (1,3,H,W), what was worked on.
        reconstruction: (1,3,H,W), of the photograph, and as grey as it is.
        inside: (H,W) bool, where the photograph lies in the picture; None where it fills it.
    """
    image = as_grey_as(photo, edit.image)
    if inside is None:
        return replace(edit, image=image)
    place = torch.from_numpy(inside).to(image.device)
    return replace(edit, image=torch.where(place, image, reconstruction.to(image)), mask=edit.mask & inside)


def place_in(shape: tuple[int, int], place: tuple[slice, slice]) -> np.ndarray | None:
    """A place in a picture of a shape as (H,W) bool; None where it fills it."""
    inside = np.zeros(shape, bool)
    inside[place] = True
    return None if inside.all() else inside
