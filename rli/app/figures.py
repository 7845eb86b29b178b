"""An edit's figures as a small table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rli.metrics.columns import COLUMNS, ORIGINAL, Column, Row
from rli.reports.format import is_missing, quantity

# What the page says of an edit, by the names of columns.
SHOWN = ("psnr", "psnr_recon", "psnr_background", "seconds_inversion", "seconds_edit")


def figures(rows: Sequence[Row]) -> str:
    """The figures of the one edit as an HTML table; "" where there is none."""
    row = next((row for row in rows if row.defect != ORIGINAL), None)
    if row is None:
        return ""
    columns = {column.name: column for column in COLUMNS}
    lines = [_line(columns[name], getattr(row, name)) for name in SHOWN]
    return f"<table>{''.join(lines)}</table>"


def _line(column: Column, value: float | None) -> str:
    if is_missing(value):
        return ""
    said = quantity(value, column.digits, column.unit)
    return f"<tr><td>{escape(column.label)}</td><td>{escape(said)}</td></tr>"
