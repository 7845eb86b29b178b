"""Where a photograph shows its part, and where the background."""

from __future__ import annotations

import numpy as np

# The longer side in pixels at which a part is looked for.
SIDE = 256
# The share of the colours' variance that part and background must explain: two that stand apart explain nearly all,
# two halves of one texture about two thirds.
APART = 0.85
# How much of a photograph its part and its background must each fill.
LEAST = 0.01


def found_part(rgb: np.ndarray) -> np.ndarray:
    """The part that a photograph shows before a background.

    Colours are compared with the border's median colour; Otsu's threshold divides them, and the largest connected piece
    of the side that lies further inside is the part, its holes filled.

    Args:
        rgb: (H,W,3) uint8.

    Returns:
        (H,W) bool, a little smaller than the part; everywhere where no background stands out.
    """

    from scipy import ndimage  # here, because SciPy takes a while to load

    # Here, because most runs need none of it.
    from skimage.color import rgb2lab
    from skimage.filters import threshold_otsu
    from skimage.transform import resize

    height, width = rgb.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = resize(rgb, (*size, 3), order=1, anti_aliasing=scale < 1)  # becomes 0…1
    colours = ndimage.median_filter(rgb2lab(small), size=(5, 5, 1))
    border = _border(size)
    distance = np.linalg.norm(colours - np.median(colours[border], axis=0), axis=-1)
    other = distance > threshold_otsu(distance)
    if not _stand_apart(distance, other):
        return np.ones((height, width), bool)
    is_part = other if other[~border].mean() >= other[border].mean() else ~other
    part = ndimage.binary_fill_holes(_largest(ndimage.binary_opening(is_part, iterations=2)))
    inner = ndimage.binary_erosion(part, iterations=2, border_value=1)
    if inner.mean() < LEAST:
        return np.ones((height, width), bool)
    rows, columns = (np.arange(n) * m // n for n, m in ((height, size[0]), (width, size[1])))
    return inner[rows[:, None], columns]


def _border(size: tuple[int, int]) -> np.ndarray:
    """(h,w) bool: the outermost pixels."""
    thick = max(1, round(0.02 * min(size)))
    border = np.ones(size, bool)
    border[thick:-thick, thick:-thick] = False
    return border


def _stand_apart(values: np.ndarray, above: np.ndarray) -> bool:
    """Whether the values on both sides of a threshold are two kinds, and not one that was cut in two."""
    share = float(above.mean())
    if not LEAST < share < 1 - LEAST:
        return False
    between = share * (1 - share) * float(values[above].mean() - values[~above].mean()) ** 2
    return between >= APART * float(values.var())


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of (H,W) bool; nothing where there is none."""

    from scipy import ndimage  # here, as above

    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask
