"""Lists of photographs for tests, and what a source's photographs come to."""

import tracemalloc

import pandas as pd


def write_list(path, rows):
    """A list of photographs as CSV or Parquet, by the path's suffix; returns the path as text."""
    frame = pd.DataFrame(rows)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    else:
        frame.replace("", None).to_parquet(path, row_group_size=2)
    return str(path)


def table(source, *fields):
    """These fields of each photograph."""
    return [tuple(getattr(photo, field) for field in fields) for photo in source]


def names(source):
    return [photo.name for photo in source]


def peak(source) -> int:
    """Bytes allocated at once, at most, while all photographs are gone through: the lesser of two rounds, for now and
    then the interpreter's own table of names is made anew, and that takes megabytes."""
    tops = []
    for _ in range(2):
        tracemalloc.start()
        for _ in source:
            pass
        tops.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(tops)
