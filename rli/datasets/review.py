"""The decisions of a person who reviewed edits: review.csv, as a results page saves it, or another tool's selection."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rli.cells import as_written
from rli.datasets.selection import Selection, read_selection
from rli.errors import RLIError
from rli.files import look_at

COLUMNS = ("image", "defect", "job", "decision")
# A line of a review has a few hundred bytes.
MOST_BYTES = 2**30
KEEP = {"keep": True, "reject": False}


@dataclass(frozen=True)
class Decision:
    """Whether an edit is kept."""

    # The photograph's name.
    image: str
    defect: str
    # The sweep's job; "" in a run of its own.
    job: str
    keep: bool

    @property
    def key(self) -> tuple[str, str, str]:
        return self.job, self.image, self.defect


def read_review(path: str | Path) -> Mapping[tuple[str, str, str], bool] | Selection:
    """Reads a review; other columns than COLUMNS are passed over.

    Returns:
        For each edit that was decided, (job, image, defect), whether it is kept; in the file's order. Of a .json what
        another tool selected.

    Raises:
        RLIError: The file is missing or no CSV, a column is missing, a decision is unknown, or an edit is both kept and
            rejected.
    """
    if Path(path).suffix.lower() == ".json":
        try:
            return read_selection(Path(path))
        except OSError as error:
            raise RLIError(f"{path}: not a readable file ({error.strerror})") from None
    kept: dict[tuple[str, str, str], bool] = {}
    try:
        look_at(path, MOST_BYTES)
        for decision in _decisions(Path(path)):
            if kept.setdefault(decision.key, decision.keep) != decision.keep:
                raise RLIError(f"{path}: {_named(decision)} is both kept and rejected; delete one of the two lines")
    except FileNotFoundError:
        raise RLIError(f"{path}: there is no such file; “Save choices” on a results page writes it") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RLIError(f"{path}: not a readable CSV file ({error})") from None
    return kept


def _decisions(path: Path) -> Iterator[Decision]:
    # Spreadsheets put a byte order mark before what they save.
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file, strict=True)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise RLIError(f"{path}: the column {missing[0]} is missing; a review has {', '.join(COLUMNS)}")
        for record in table:
            image, defect, job, decision = (as_written(record[name] or "") for name in COLUMNS)
            if decision not in KEEP:
                raise RLIError(
                    f"{path}: unknown decision “{decision}” in line {table.line_num}; expected keep or reject"
                )
            yield Decision(image, defect, job, KEEP[decision])


def _named(decision: Decision) -> str:
    return " / ".join(filter(None, decision.key))
