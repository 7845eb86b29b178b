"""What do edits look like where their labels lie? `python -m experiments.proof.look --run RUN --sheet sheet.png`.

Edits of a run that are drawn at random, three beside each other: the photograph around the label, the edit, and the
edit with its label outlined in red.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from experiments.proof.makers import OURS, read_manifest
from rli.datasets.annotations import Item
from rli.errors import RLIError
from rli.images import read_mask_full, read_picture, write_png
from rli.photos.paste import bounds

# Edits beside each other, the pixels of a picture's side, and the outline's colour.
ACROSS, SIDE, RED = 3, 130, (255, 0, 0)
# Pixels of the photograph around a label, and the least side of what is shown of it.
AROUND, LEAST = 15, 128


def window(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a square around a mask (H,W) bool that is not empty, as large as the picture allows."""
    box = bounds(mask, AROUND)
    assert box is not None
    side = min(max(LEAST, *(part.stop - part.start for part in box)), *mask.shape)
    starts = (
        min(max(0, (part.start + part.stop - side) // 2), whole - side)
        for part, whole in zip(box, mask.shape, strict=True)
    )
    rows, columns = (slice(start, start + side) for start in starts)
    return rows, columns


def labelled(item: Item) -> np.ndarray:
    """(H,W) bool: the pixels of an item's labels."""
    return np.any([read_mask_full(region.mask) for region in item.regions], 0)


def strip(item: Item) -> np.ndarray:
    """(SIDE,3·SIDE,3) uint8: photograph, edit, and edit with its labels outlined."""
    file, mask = Path(item.image), labelled(item)
    photo, edit = (read_picture(one).rgb for one in (file.with_name("input.png"), file))
    outlined = edit.copy()
    outlined[mask & ~ndimage.binary_erosion(mask)] = RED
    box = window(mask)
    shown = [Image.fromarray(one[box]).resize((SIDE, SIDE)) for one in (photo, edit, outlined)]
    return np.concatenate([np.asarray(one) for one in shown], 1)


def sheet(items: Sequence[Item]) -> np.ndarray:
    """The strips of one item at least, ACROSS beside each other on white."""
    strips = [strip(item) for item in items]
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % ACROSS)
    return np.concatenate([np.concatenate(strips[k : k + ACROSS], 1) for k in range(0, len(strips), ACROSS)])


def chosen(run: Path, count: int, seed: int) -> list[Item]:
    """So many of a run's labelled edits, drawn at random. Raises RLIError where there are none."""
    if not (run / "manifest.csv").is_file():
        raise RLIError(f"--run {run}: there is no manifest.csv")
    edits = [item for item in read_manifest(run, OURS) if item.kind == "edit" and item.regions]
    known = [item for item in edits if labelled(item).any()]
    if not known:
        raise RLIError(f"--run {run}: no edit has a label")
    return [known[k] for k in np.random.default_rng(seed).permutation(len(known))[:count]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="with labels, as the experiments and export= make them")
    parser.add_argument("--sheet", type=Path, required=True, help="the picture that is written")
    parser.add_argument("--count", type=int, default=15, help="edits, one at least")
    parser.add_argument("--seed", type=int, default=0, help="of which are drawn")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        parser.error("--count: expected 1 or more")
    try:
        write_png(asked.sheet, sheet(chosen(asked.run, asked.count, asked.seed)))
    except RLIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
