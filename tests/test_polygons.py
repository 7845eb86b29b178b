"""From a polygon every consumer draws exactly the pixels that it was made of: by rules written here, and by the
consumers' own libraries where they are installed."""

from collections.abc import Callable

import numpy as np
import pytest
from export_items import inside
from scipy import ndimage
from skimage.draw import disk, line

from rli.datasets.annotations import pieces
from rli.datasets.polygons import polygon
from rli.models.mini.surfaces import surface

Draw = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def noise(seed: int) -> np.ndarray:
    """Random shapes, from single pixels to smooth ones: with holes, touching at corners and at the border."""
    height, width = 24 + seed % 17, 40 - seed % 13
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), seed % 5 / 2)
    return values > np.quantile(values, 0.3 + 0.1 * (seed % 6))


MASKS = {
    "noise": [noise(seed) for seed in range(20)],
    "surfaces": [surface(k, (("crack", "corrosion", "rust")[k % 3],), 64, 96).mask for k in range(12)],
    "all but the diagonal": [~np.eye(9, 7, dtype=bool), np.eye(9, 7, dtype=bool)[:, ::-1]],
    "chess": [np.indices((8, 9)).sum(0) % 2 == parity for parity in (0, 1)],
    "everything": [np.ones((5, 7), bool), np.ones((1, 1), bool)],
    "nested rings": [np.isin(np.maximum(*abs(np.indices((17, 17)) - 8)), (1, 3, 4, 7))],
}


def in_fifths(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As `inside`, of coordinates as COCO's file has them, rounded to fifths of a pixel."""
    return inside(np.floor(points.round(2) * 5 + 0.5) / 5, shape)


def shares(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The points as ultralytics reads them from a label file."""
    told = " ".join(f"{value:.6f}" for value in (points / shape[::-1]).ravel())
    read = np.array(told.split(), np.float32).reshape(-1, 2)
    assert ((read >= 0) & (read <= 1)).all()
    return read


def with_points_between(points: np.ndarray, count: int = 1000) -> np.ndarray:
    """A closed outline with further points at regular distances between its own."""
    closed = np.concatenate([points, points[:1]])
    own = np.arange(len(closed), dtype=np.float64)
    between = np.linspace(0, len(points), max(2, count - len(closed)))
    at = np.sort(np.concatenate([own, between]))
    return np.stack([np.interp(at, own, closed[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut to whole numbers, the pixels under the line and those whose centres lie inside it."""
    cut = (with_points_between(shares(points, shape)) * np.float32(shape[::-1])).astype(np.int32)
    # Between two pixels that do not differ there is no line.
    cut = cut[(cut != np.roll(cut, -1, axis=0)).any(axis=1)] if (cut != cut[0]).any() else cut[:1]
    # A nudge, for no centre may lie on the line; which way it goes, the line below makes good.
    found = inside(cut + 0.5 + (1e-4, 2e-4), shape) & inside(cut + 0.5 - (1e-4, 2e-4), shape)
    for (x0, y0), (x1, y1) in zip(cut, np.roll(cut, -1, axis=0), strict=True):
        found[line(y0, x0, y1, x1)] = True
    return found


def by_pycocotools(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    masks = pytest.importorskip("pycocotools.mask")
    return masks.decode(masks.frPyObjects([points.round(2).ravel().tolist()], *shape))[..., 0].astype(bool)


def by_opencv(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    fill_poly = pytest.importorskip("cv2").fillPoly
    found = np.zeros(shape, np.uint8)
    fill_poly(found, [(with_points_between(shares(points, shape)) * np.float32(shape[::-1])).astype(np.int32)], 1)
    return found.astype(bool)


@pytest.mark.parametrize("draw", [inside, in_fifths, filled, by_pycocotools, by_opencv])
@pytest.mark.parametrize("kind", MASKS)
def test_a_polygon_tells_exactly_the_pixels_of_its_piece(kind, draw: Draw):
    for mask in MASKS[kind]:
        told = np.zeros_like(mask)
        for top, left, piece in pieces(mask):
            found = draw(polygon(top, left, piece), mask.shape)
            expected = np.zeros_like(mask)
            expected[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
            assert np.array_equal(found, expected)
            told |= found
        assert np.array_equal(told, mask)


def test_a_straight_side_takes_two_points():
    square = np.ones((20, 40), bool)
    assert polygon(10, 5, square).tolist() == [[5.02, 29.98], [5.02, 10.02], [44.98, 10.02], [44.98, 29.98]]
    ring = np.ones((20, 40), bool)
    ring[5:10, 6:9] = False
    assert len(polygon(0, 0, ring)) == 4 + 4 + 4  # both outlines, and both ends of the slit twice


def test_a_round_outline_takes_about_two_points_a_step():
    mask = np.zeros((200, 200), bool)
    mask[disk((100, 100), 80)] = True
    ((top, left, piece),) = pieces(mask)
    edge = mask & ~ndimage.binary_erosion(mask)
    assert len(polygon(top, left, piece)) < edge.sum()
