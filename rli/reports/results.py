"""The rows of a run as results.csv, and the published table's shape: our figures beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from rli.files import write_whole
from rli.metrics.columns import COLUMNS, Row

TEXT = ("image", "defect", "resolution", "model", "inversion")
SETTINGS = ("alpha", "eq", "cross", "replace")


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a frame with exactly COLUMNS; None becomes NaN in the columns of numbers."""
    frame = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
    numbers = {column: "float64" for column in COLUMNS if column not in TEXT}
    return frame.astype({**dict.fromkeys(TEXT, "str"), **numbers})


def write_results(frame: pd.DataFrame, path: Path, knobs: Sequence[str] = ()) -> None:
    """results.csv: COLUMNS, and a sweep's job and knobs; a line for each row, an empty cell for None.

    frame: of `frame_of`, in a sweep with the columns job and `knobs` beside.
    """
    cells = frame.assign(**{c: frame[c].map(lambda v, c=c: _cell(c, v)) for c in COLUMNS if c not in TEXT})
    columns = [*COLUMNS, *(c for c in ("job", *knobs) if c in frame)]
    write_whole(path, cells.to_csv(columns=columns, index=False, lineterminator="\n"))


def read_results(path: Path) -> pd.DataFrame:
    """The frame that `write_results` wrote: names and resolutions as text, empty cells of numbers as NaN."""
    empty = {column: [""] for column in COLUMNS if column not in TEXT}
    # Without this a defect called "none" or a photograph called "NA" would be read as a missing value.
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT, "str"), keep_default_na=False, na_values=empty)


def _cell(column: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return str(value) if column in SETTINGS else f"{value:.{digits_of(column.split('_')[0])}f}"


def digits_of(quantity: str) -> int:
    return {"psnr": 4, "ssim": 5, "lpips": 5}.get(quantity, 3)
