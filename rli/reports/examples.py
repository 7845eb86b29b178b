"""A few photographs and their masks side by side, as they were read, for a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rli.photos.look import Look, Mask, drawn, look
from rli.photos.photo import Photo
from rli.reports.pixels import inlined, inlined_mask, outline

# Photographs that are shown, and the longer side of each in pixels.
MOST, SIDE = 4, 384


def examples_of(photos: Iterable[Photo], otherwise: tuple[int, int]) -> tuple[Look, ...]:
    """A few of the photographs that have a mask of their defect, or of what edits may change, looked at.

    Args:
        photos: All of them.
        otherwise: Height and width of those that are no files, in pixels.
    """
    masked = (p for p in photos if p.markings or p.region_file or p.place is not None or p.file is None)
    looks = (look(photo, otherwise) for photo in drawn(masked, MOST))
    return tuple(seen for seen in looks if seen.truth or seen.region)


def shown_example(seen: Look) -> dict[str, Any]:
    """What the page's template shows of a look: the photograph, and each mask, whose outline lies on it too."""
    assert seen.picture is not None  # it has been read where it has a mask
    kinds = (("own defect", seen.truth), ("where edits may change it", seen.region))
    return {
        "name": seen.photo.name,
        "label": seen.photo.label,
        "size": "×".join(str(side) for side in reversed(seen.size or ())),
        "picture": inlined(seen.picture, SIDE, 90),
        "shape": seen.picture.shape,
        "masks": [_shown_mask(what, mask) for what, mask in kinds if mask],
    }


def _shown_mask(what: str, mask: Mask) -> dict[str, Any]:
    picture = inlined_mask(mask.inside, SIDE)
    return {"what": what, "percent": f"{100 * mask.share:.2g}", "picture": picture, "outline": outline(mask.inside)}
