"""Cells of CSV files: texts that a spreadsheet would take for formulas are marked, and read back as they were.

A spreadsheet computes a cell that begins with = + - or @. Such a text gets an apostrophe before it, as does one that
has apostrophes before such a beginning; reading takes one away.
"""

from __future__ import annotations

import re
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")


def harmless(value: Any) -> Any:
    """A text that no spreadsheet computes; anything but a text as it is."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def as_written(cell: Any) -> Any:
    """What `harmless` was given; anything but a text as it is."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell) else cell
