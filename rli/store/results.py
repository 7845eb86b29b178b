"""What a run has of one photograph: rows, and pictures as they were worked on and as they are laid back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rli.images import Picture
from rli.method.records import EditSettings, TokenMap
from rli.metrics.columns import Row
from rli.photos.windows import View, parts_of


@dataclass(frozen=True)
class ExampleUsed:
    """Which photograph's defect an edit was to look like."""

    # The photograph's name.
    name: str
    # Of its file; of what was worked on where it is no file.
    sha256: str


@dataclass(frozen=True)
class ExamplePicture:
    """An example as it was worked on."""

    # (h,w,3) uint8.
    image: np.ndarray
    # (h,w) bool: its defect.
    mask: np.ndarray


@dataclass(frozen=True, kw_only=True)
class EditRecord:
    """What is known of an edit without its pictures."""

    # The defect's class, which several variants may share.
    label: str = ""
    # What it was made with.
    settings: EditSettings = field(default_factory=EditSettings)
    # For a data set: what the quality gate measured, by name.
    scores: dict[str, float] = field(default_factory=dict)
    # For a data set: why the quality gate rejected it; None where it is kept.
    reason: str | None = None
    # For a data set: how much of the photograph's own defect is still there (`annotations.remains`); None where none is
    # known.
    remains: float | None = None
    # Its example; None where words alone said what was wanted.
    example: ExampleUsed | None = None


@dataclass(frozen=True)
class EditedPhoto(EditRecord):
    """An edit with its pictures."""

    # (H,W,3) uint8.
    image: np.ndarray
    # (H,W) bool: where it may differ from the reconstruction.
    mask: np.ndarray
    # Token maps of the target prompt, and of the source prompt.
    maps: tuple[TokenMap, ...] = ()
    source_maps: tuple[TokenMap, ...] = ()
    # For a data set: (H,W) bool, the pixels that visibly changed.
    change: np.ndarray | None = None
    # Of its example.
    example_picture: ExamplePicture | None = None


@dataclass(frozen=True)
class EditedWindow:
    """An edit of a window, as it was worked on."""

    # (h,w,3) uint8 of the working size.
    image: np.ndarray
    # (h,w) bool: where it may differ from the reconstruction.
    mask: np.ndarray


@dataclass(frozen=True)
class WindowResult:
    """A window of a photograph, as it was worked on."""

    # Where it lies; None where it is all that there is.
    view: View | None
    # (h,w,3) uint8 of the working size.
    input: np.ndarray
    reconstruction: np.ndarray
    # By the edit's name.
    edits: dict[str, EditedWindow]


@dataclass(frozen=True)
class PhotoResult:
    """One photograph's results with their pictures."""

    name: str
    # (H,W,3) uint8, of the photograph's own size where windows are laid back on it, else of the working size: the
    # photograph, and as the inversion gives it back.
    input: np.ndarray
    reconstruction: np.ndarray
    # By the defect's name, in the order of the rows.
    edits: dict[str, EditedPhoto]
    rows: tuple[Row, ...]
    # Of the null embedding optimization: for each move at its start and after each iteration. Of several windows the
    # losses, and the edits' token maps, are the first one's.
    losses: tuple[tuple[float, ...], ...] = ()
    # The source prompt as `original`, the target prompts by the defect's name.
    prompts: dict[str, str] = field(default_factory=dict)
    # The sweep's job that made it; "" in a run of its own.
    job: str = ""
    # Hash of everything that it depends on.
    key: str = ""
    # The model, its hash and the version that made it.
    made: dict[str, str] = field(default_factory=dict)
    # As the photograph's own (see `Photo`); sha256 is "" where no data set is wanted.
    source: str = ""
    sha256: str = ""
    # For a data set: (H,W) bool, where the photograph's own defect is; None where nothing says it.
    truth: np.ndarray | None = None
    # What was laid back on the photograph, the window with the largest defect first; none where the pictures above are
    # as they were worked on.
    windows: tuple[WindowResult, ...] = ()
    # Those of the pictures above that are written in the photograph's own mode, by the stems of their files.
    own: dict[str, Picture] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[View, ...]:
        """Its windows where they show a part of the photograph; see `parts_of`."""
        return parts_of([window.view for window in self.windows if window.view is not None], self.input.shape[:2])
