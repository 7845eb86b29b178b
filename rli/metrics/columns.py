"""Every column of results.csv, once: what it is called, how it is measured, how it is written, where it is shown.

results.csv, the page, its explorer, the experiments' tables, the summary of a tracked run and a data set's manifest are
all made from COLUMNS. A new column is one entry here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from rli.errors import RLIError
from rli.metrics.image import mean_change, mean_known, mean_psnr, psnr, ssim

if TYPE_CHECKING:
    import numpy as np

    from rli.method.recognition import Recognised
    from rli.method.records import EditSettings
    from rli.metrics.lpips import Lpips

# The name of the row that compares the reconstruction with the photograph.
ORIGINAL = "original"
# From an image (H,W,3) uint8 and a defect's name to the probability that the defect is seen; None for an unknown name.
Judge = Callable[["np.ndarray", str], float | None]
Value = str | float | None
# A side in pixels, or height and width.
RESOLUTION = re.compile(r"[1-9][0-9]{0,5}(x[1-9][0-9]{0,5})?")
# Beyond any number that is measured; whole numbers of any length come back from files.
LARGEST = 1e300

# What images are compared with: the groups of the page's table of means, in its order. Other groups follow them.
RECONSTRUCTION, PHOTOGRAPH, BACKGROUND = "To reconstruction", "To photograph", "Background"
GROUPS = (RECONSTRUCTION, PHOTOGRAPH, BACKGROUND)


@dataclass(frozen=True)
class Measurement:
    """One image of a photograph's results, the reconstruction or an edit, and all that its row is measured from."""

    # The photograph's name.
    photo_name: str
    # The edit's name, or ORIGINAL for the reconstruction.
    defect: str
    # The job's side in pixels, or height and width as in 512x768.
    resolution: str
    # The names of the model and of the inverter.
    model: str
    inversion: str
    # RLI's, 0 where it is off.
    alpha: float
    # What the edit was made with.
    settings: EditSettings
    # (H,W,3) uint8, all four; image is what the row is about.
    photo: np.ndarray
    vae_round_trip: np.ndarray
    reconstruction: np.ndarray
    image: np.ndarray
    # (H,W) bool, the edit's blend mask; None for the reconstruction.
    mask: np.ndarray | None = None
    # The class of the edit, which several variants share.
    label: str = ""
    # None where the backbone's weights cannot be had.
    lpips: Lpips | None = None
    # None where the model has no classifier.
    judge: Judge | None = None
    # What the model says of an edit; None where nobody asked.
    recognised: Recognised | None = None
    # What CLIP says of it; None where nobody asked.
    recognised_by_clip: Recognised | None = None
    # Of the photograph's inversion, and of this edit.
    seconds_inversion: float = 0.0
    seconds_edit: float = 0.0
    # GB (2^30 bytes). On CUDA what tensors took at most since this photograph, and those that are inverted together
    # with it, were begun. On a CPU what the process took at most since it began: it never falls between photographs.
    peak_memory_gb: float = 0.0


@dataclass(frozen=True)
class Column:
    """One value of a row."""

    # In results.csv, and in Row.
    name: str
    # text names what was done, setting is a number that it was done with, number is what was measured.
    kind: Literal["text", "setting", "number"]
    # The value; None where it was not, or cannot be, measured.
    measure: Callable[[Measurement], Value]
    # As people read it, and the unit; empty for shares and indices.
    label: str = ""
    unit: str = ""
    # Decimals where people read it, and in results.csv.
    digits: int = 2
    csv_digits: int = 3
    # Whether more of it or less of it is better; None where neither is.
    better: Literal["higher", "lower"] | None = None
    # What a larger value counts as in means and plots, where equal images are infinitely alike.
    cap: float | None = None
    # The group of the page's table of means that shows it, and the heading there; None where it is not shown.
    group: str | None = None
    heading: str = ""
    # Whether the page's explorer shows it at first, or on demand; None where it does not.
    explorer: Literal["first", "on demand"] | None = None
    # In a tracked run's summary: quality for each defect and over all edits, cost over all edits alone.
    tracked: Literal["quality", "cost"] | None = None
    # Whether the manifest of a data set has it.
    manifest: bool = False
    # The number of several windows of a photograph together.
    pool: Callable[[Sequence[float]], float] = mean_known

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def type(self) -> type:
        """str or float."""
        return str if self.kind == "text" else float

    @property
    def higher(self) -> bool:
        """Whether more of it is shown as better, as it is where neither is."""
        return self.better != "lower"


def _published(m: Measurement, reference: np.ndarray) -> float | None:
    return m.lpips.published(m.image, reference) if m.lpips else None


def _standard(m: Measurement, reference: np.ndarray) -> float | None:
    return m.lpips.standard(m.image, reference) if m.lpips else None


def _of_edit(measure: Callable[[Measurement, np.ndarray], Value]) -> Callable[[Measurement], Value]:
    """Measures an edit and its mask; None for the reconstruction, which has no mask and is compared with the
    photograph alone."""
    return lambda m: None if m.mask is None else measure(m, m.mask)


# What columns of the same quantity share.
_text = partial(Column, kind="text")
_setting = partial(Column, kind="setting", manifest=True)
_number = partial(Column, kind="number", manifest=True, explorer="on demand")
_psnr = partial(_number, unit="dB", digits=2, csv_digits=4, better="higher", cap=99.0, heading="PSNR", pool=mean_psnr)
_ssim = partial(_number, digits=3, csv_digits=5, better="higher", heading="SSIM")
_lpips = partial(_number, digits=3, csv_digits=5, better="lower", heading="LPIPS")

COLUMNS = (
    _text("image", measure=lambda m: m.photo_name),
    _text("defect", measure=lambda m: m.defect),
    _text("resolution", measure=lambda m: m.resolution, manifest=True),
    _text("model", measure=lambda m: m.model, manifest=True),
    _text("inversion", measure=lambda m: m.inversion, manifest=True),
    _setting("alpha", measure=lambda m: m.alpha),
    _setting("eq", measure=lambda m: m.settings.eq),
    _setting("cross", measure=lambda m: m.settings.cross),
    _setting("replace", measure=lambda m: m.settings.replace),
    _psnr(
        "psnr",
        label="PSNR to photograph",
        measure=lambda m: psnr(m.image, m.photo),
        group=PHOTOGRAPH,
        tracked="quality",
    ),
    _ssim(
        "ssim",
        label="SSIM to photograph",
        measure=lambda m: ssim(m.image, m.photo),
        group=PHOTOGRAPH,
        tracked="quality",
    ),
    _lpips(  # the published protocol: 256×256, ImageNet-normalised
        "lpips",
        label="LPIPS to photograph",
        measure=lambda m: _published(m, m.photo),
        group=PHOTOGRAPH,
        tracked="quality",
    ),
    _psnr(
        "psnr_recon",
        label="PSNR to reconstruction",
        measure=_of_edit(lambda m, _: psnr(m.image, m.reconstruction)),
        group=RECONSTRUCTION,
        explorer="first",
        tracked="quality",
    ),
    _ssim(
        "ssim_recon",
        label="SSIM to reconstruction",
        measure=_of_edit(lambda m, _: ssim(m.image, m.reconstruction)),
        group=RECONSTRUCTION,
        tracked="quality",
    ),
    _lpips(
        "lpips_recon",
        label="LPIPS to reconstruction",
        measure=_of_edit(lambda m, _: _published(m, m.reconstruction)),
        group=RECONSTRUCTION,
        tracked="quality",
    ),
    _psnr(  # the best that any latent method can give back
        "psnr_vae",
        label="VAE PSNR",
        measure=lambda m: psnr(m.vae_round_trip, m.photo),
        group="VAE alone",
    ),
    _psnr(  # outside the edit's mask, against the photograph
        "psnr_background",
        label="Background PSNR",
        measure=_of_edit(lambda m, mask: psnr(m.image, m.photo, ~mask)),
        group=BACKGROUND,
        explorer="first",
        tracked="quality",
    ),
    _ssim(
        "ssim_background",
        label="Background SSIM",
        measure=_of_edit(lambda m, mask: ssim(m.image, m.photo, ~mask)),
        group=BACKGROUND,
        explorer="first",
        tracked="quality",
    ),
    _number(
        "seconds_inversion",
        label="Inversion time",
        unit="s",
        digits=1,
        better="lower",
        measure=lambda m: m.seconds_inversion,
        tracked="cost",
        pool=sum,
    ),
    _number(
        "seconds_edit",
        label="Edit time",
        unit="s",
        digits=1,
        better="lower",
        measure=lambda m: m.seconds_edit,
        group="Edit",
        heading="s",
        explorer="first",
        tracked="cost",
        pool=sum,
    ),
    _number(
        "peak_memory_gb",
        label="Peak memory",
        unit="GB",
        better="lower",
        measure=lambda m: m.peak_memory_gb,
        tracked="cost",
        pool=max,
        manifest=False,  # of the process that made the image, not of the image
    ),
    _lpips(  # the package's own protocol: full size, [-1,1]
        "lpips_standard",
        label="Standard LPIPS to photograph",
        measure=lambda m: _standard(m, m.photo),
    ),
    _lpips(
        "lpips_standard_recon",
        label="Standard LPIPS to reconstruction",
        measure=_of_edit(lambda m, _: _standard(m, m.reconstruction)),
    ),
    _number(  # mean absolute difference of edit and reconstruction inside the mask, of 255
        "strength",
        label="Strength",
        unit="grey levels",
        digits=1,
        better="higher",
        measure=_of_edit(lambda m, mask: mean_change(m.image, m.reconstruction, mask)),
        explorer="first",
        tracked="quality",
    ),
    _number(  # the mask's share of the image
        "mask_share",
        label="Mask",
        unit="share",
        digits=3,
        better="lower",
        measure=_of_edit(lambda m, mask: float(mask.mean())),
        explorer="first",
        tracked="quality",
    ),
    _number(  # that the miniature's classifier sees the wanted defect
        "named",
        label="Defect named",
        unit="probability",
        better="higher",
        measure=_of_edit(lambda m, _: m.judge and m.judge(m.image, m.label)),
        explorer="first",
        tracked="quality",
    ),
    _number(  # of the edit's own prompt among those that compete to explain it (rli.method.recognition)
        "recognised_rank",
        label="Recognised as wanted, rank",
        digits=0,
        csv_digits=0,
        better="lower",
        measure=lambda m: float(m.recognised.rank) if m.recognised else None,
        group="Recognised as wanted",
        heading="rank",
        pool=max,
    ),
    _number(  # by what share of its error the best other prompt explains the edit worse
        "recognised_margin",
        label="Recognised as wanted, margin",
        unit="share",
        digits=3,
        csv_digits=5,
        better="higher",
        measure=lambda m: m.recognised.margin if m.recognised else None,
        group="Recognised as wanted",
        heading="margin",
        tracked="quality",
    ),
    _number(  # of the edit's own prompt among the same, by CLIP (rli.metrics.clip)
        "clip_rank",
        label="Recognised by CLIP, rank",
        digits=0,
        csv_digits=0,
        better="lower",
        measure=lambda m: float(m.recognised_by_clip.rank) if m.recognised_by_clip else None,
        group="Recognised by CLIP",
        heading="rank",
        pool=max,
    ),
    _number(  # by how much CLIP prefers it to the best other prompt
        "clip_margin",
        label="Recognised by CLIP, margin",
        unit="hundredths of cosine",
        csv_digits=4,
        better="higher",
        measure=lambda m: m.recognised_by_clip.margin if m.recognised_by_clip else None,
        group="Recognised by CLIP",
        heading="margin",
        tracked="quality",
    ),
)
NAMES = tuple(column.name for column in COLUMNS)
BY_NAME = {column.name: column for column in COLUMNS}


def of_kind(*kinds: str, columns: Sequence[Column] = COLUMNS) -> tuple[Column, ...]:
    """The columns of these kinds, in their order."""
    return tuple(column for column in columns if column.kind in kinds)


def row_type(columns: Sequence[Column]) -> type:
    """A frozen dataclass with a field for each column; numbers may be left out, and are None then."""
    required = [(c.name, c.type) for c in columns if c.kind != "number"]
    numbers = [(c.name, float | None, field(default=None)) for c in columns if c.kind == "number"]
    return make_dataclass("Row", [*required, *numbers], frozen=True)


# Its fields follow from COLUMNS: a type checker takes them as they come.
_Fields: Any = row_type(COLUMNS)


class Row(_Fields):
    """One row of results.csv: a field for each of COLUMNS, given by position or by name. None is an empty cell."""


def row_read(values: Mapping[str, object]) -> Row:
    """A row from values that come back from a file; those of no column are passed over, and NaN is an empty cell.

    Raises:
        RLIError: A value is missing or of another type than its column, or the resolution is none.
    """
    known: dict[str, Value] = {}
    for column in COLUMNS:
        value = values.get(column.name)
        if isinstance(value, float) and value != value:
            value = None
        if not _fits(value, column):
            raise RLIError(f"the column {column.name} cannot be {str(value)[:40]!r}")
        known[column.name] = value
    return Row(**known)


def _fits(value: object, column: Column) -> TypeGuard[Value]:
    if column.name == "resolution":
        return isinstance(value, str) and RESOLUTION.fullmatch(value) is not None
    if column.kind == "text":
        return isinstance(value, str)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST
    return is_number or (value is None and column.kind == "number") or value in (math.inf, -math.inf)


def row_of(measurement: Measurement, columns: Sequence[Column] = COLUMNS) -> Row:
    """Measures one row.

    Args:
        measurement: the image that the row is about, and what it is compared with.
        columns: what is measured.

    Returns:
        A row with a field for each of the columns.
    """
    kind = Row if columns is COLUMNS else row_type(columns)
    return kind(**{column.name: column.measure(measurement) for column in columns})


def pooled(rows: Sequence[Row]) -> Row:
    """The row of an image from those of its windows, which say the same of what was done."""
    if len(rows) == 1:
        return rows[0]
    numbers = {}
    for column in of_kind("number"):
        known = [value for row in rows if (value := getattr(row, column.name)) is not None]
        numbers[column.name] = column.pool(known) if known else None
    return replace(rows[0], **numbers)
