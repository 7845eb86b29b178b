"""The rows of a run, or of a sweep of runs, as results.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from rli.cells import as_written, harmless
from rli.files import write_whole
from rli.metrics.columns import COLUMNS, Column, Row, of_kind


def frame_of(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> pd.DataFrame:
    """The rows as a frame with exactly these columns; None becomes NaN in the columns of numbers."""
    frame = pd.DataFrame([asdict(row) for row in rows], columns=[column.name for column in columns])
    return frame.astype({c.name: "str" if c.kind == "text" else "float64" for c in columns})


def write_results(
    frame: pd.DataFrame, path: Path, knobs: Sequence[str] = (), columns: Sequence[Column] = COLUMNS
) -> None:
    """Writes results.csv: a line for each row, an empty cell for what was not measured.

    Args:
        frame: `frame_of`'s; in a sweep with the columns job and `knobs` beside.
        path: the file; it is written whole or not at all.
        knobs: the settings that differ between a sweep's jobs.
        columns: the frame's, in the file's order.
    """
    texts = {c: frame[c].map(harmless) for c in frame if not is_numeric_dtype(frame[c])}
    cells = {c.name: frame[c.name].map(lambda value, c=c: _cell(c, value)) for c in columns if c.kind != "text"}
    names = [*(c.name for c in columns), *(name for name in ("job", *knobs) if name in frame)]
    write_whole(path, frame.assign(**texts, **cells).to_csv(columns=names, index=False, lineterminator="\n"))


def read_results(path: Path, columns: Sequence[Column] = COLUMNS) -> pd.DataFrame:
    """Reads the frame that `write_results` wrote: names and resolutions as text, empty cells of numbers as NaN."""
    # Without this a defect called "none" or a photograph called "NA" would be read as a missing value.
    text = {column.name: "str" for column in of_kind("text", columns=columns)}
    empty = {column.name: [""] for column in of_kind("setting", "number", columns=columns)}
    frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)
    return frame.assign(**{c: frame[c].map(as_written) for c in frame if not is_numeric_dtype(frame[c])})


def _cell(column: Column, value: float) -> str:
    if np.isnan(value):
        return ""
    return str(value) if column.kind == "setting" else f"{value:.{column.csv_digits}f}"
