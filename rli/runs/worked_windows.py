"""What of a photograph is worked on: its windows, cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rli.images import to_tensor
from rli.photos.paste import cut, cut_mask
from rli.photos.windows import Size, View, WindowSettings, views_of
from rli.runs.bounds import place_in


@dataclass(frozen=True)
class WorkedWindow:
    """A window of a photograph, as the model works on it."""

    # Where it lies; None where what is made stays as it was worked on.
    view: View | None
    # (1,3,H,W) in [-1,1].
    image: Tensor
    # The region that may change, of the working size (H,W) and of the window's own (h,w): bool, or None where attention
    # is to find it.
    mask: np.ndarray | None
    own_mask: np.ndarray | None = None
    # Where the picture shows the photograph and no border: (H,W) bool, or None where it does everywhere.
    inside: np.ndarray | None = None


def worked_windows(
    rgb: np.ndarray, size: Size, settings: WindowSettings, known: np.ndarray | None, is_region: bool, fit: str
) -> tuple[WorkedWindow, ...]:
    """The windows of a photograph.

    Args:
        rgb: The photograph, (H,W,3) uint8.
        size: The working height and width.
        settings: Which windows are wanted.
        known: Where its defects are: (H,W) bool; None where nobody knows.
        is_region: Whether edits are held to them.
        fit: How a whole photograph is brought to the size.
    """
    own = (rgb.shape[0], rgb.shape[1])
    return tuple(
        WorkedWindow(
            view,
            to_tensor(cut(rgb, view)),
            cut_mask(mask, view) if is_region else None,
            mask if is_region else None,
            place_in(size, view.place.slices),
        )
        for view, mask in views_of(own, size, settings, known, fit)
    )
