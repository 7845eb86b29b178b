"""The project's own photographs: drawn surfaces with a crack, and three real ones that scikit-image ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from rli.errors import SettingError
from rli.images import fitted, fitted_mask, image_size, to_tensor
from rli.photos.photo import Photo

if TYPE_CHECKING:
    from rli.models.mini.surfaces import Surface

SHIPPED = ("brick", "gravel")
# A photograph in colour and larger than the miniature works at, and where it may change: on the saucer.
COFFEE = "coffee"
DRAWN = ("surface", *(f"surface-{k}" for k in range(1, 100)))


@dataclass(frozen=True)
class SampleReader:
    """Samples by name.

    Raises:
        SettingError: There is no such sample, it is named twice, or none is named.
    """

    expects: ClassVar[str] = "brick, gravel, coffee, surface, surface-1 to surface-99"

    samples: Sequence[str] = ("surface",)

    def __post_init__(self) -> None:
        if isinstance(self.samples, str):
            raise SettingError("samples", self.samples, f"expected a list, such as [{self.samples}]")
        if not self.samples:
            raise SettingError("samples", self.samples, f"the list is empty; expected some of {self.expects}")
        for name in self.samples:
            if name not in (*SHIPPED, COFFEE, *DRAWN):
                raise SettingError("samples", name, f"unknown value; expected some of {self.expects}")
            if [*self.samples].count(name) > 1:
                raise SettingError("samples", name, "named twice; expected each once")

    def __iter__(self) -> Iterator[Photo]:
        for name in self.samples:
            if name in SHIPPED:
                yield ShippedPhoto(name, source=name)
            elif name == COFFEE:
                yield _coffee()
            else:
                yield DrawnPhoto(name, source=name, label="crack")


@dataclass(frozen=True)
class ShippedPhoto(Photo):
    """A photograph that scikit-image ships, by its name there, which is its source."""

    def read(self, height: int, width: int) -> Tensor:
        import skimage.data

        image = Image.fromarray(getattr(skimage.data, self.source)()).convert("RGB")
        return to_tensor(fitted(np.asarray(image), height, width, self.fit))


@dataclass(frozen=True)
class SpotPhoto(Photo):
    """A photograph of which an ellipse alone may change."""

    # The ellipse's middle and half axes, down and across, as shares of height and width.
    spot: tuple[float, float, float, float] = (0.5, 0.5, 0.1, 0.1)

    def region(self, height: int, width: int) -> np.ndarray:
        assert self.file is not None
        w, h = image_size(self.file)
        y, x, high, wide = self.spot
        rows, columns = (np.arange(h)[:, None] + 0.5) / h, (np.arange(w) + 0.5) / w
        inside = ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 <= 1
        return fitted_mask(inside, height, width, self.fit)


def _coffee() -> SpotPhoto:
    import skimage.data

    file = Path(skimage.data.__file__).with_name(f"{COFFEE}.png")
    return SpotPhoto(COFFEE, file, COFFEE, spot=(0.64, 0.23, 0.13, 0.055))


@dataclass(frozen=True)
class DrawnPhoto(Photo):
    """A surface with a crack, drawn at any size; the number in its source chooses it."""

    def read(self, height: int, width: int) -> Tensor:
        return to_tensor(self._drawn(height, width).image)

    def truth(self, height: int, width: int, label: str | None = None) -> np.ndarray:
        return self._drawn(height, width).mask

    def _drawn(self, height: int, width: int) -> Surface:
        from rli.models.mini.surfaces import UNSEEN, surface

        number = int(self.source.removeprefix("surface").removeprefix("-") or 0)
        return surface(UNSEEN + 1003 + 1000 * number, ("crack",), height, width)
