"""The published table's shape: our figures beside the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from rli.files import write_whole
from rli.metrics.columns import ORIGINAL, Row
from rli.reports.results import SETTINGS, digits_of, frame_of

METRICS = ("psnr", "ssim", "lpips")


def comparison(rows: Sequence[Row] | pd.DataFrame, published: Path) -> pd.DataFrame:
    """The published table's shape: a row for each defect, and for each resolution R, measured or published, the columns

    psnr_R, ssim_R, lpips_R      the mean over photographs in the published reading: `original` is the reconstruction
                                 against the photograph, a defect is its edit against the reconstruction
    photo_psnr_R, …              the mean against the photograph
    published_psnr_R, …          the published figure
    difference_psnr_R, …         ours - published, NaN where either is missing
    spread_psnr_R, …             standard deviation of psnr_R, … over photographs, NaN for fewer than two
    photos_R                     number of photographs, 0 where none was measured

    A photograph that was edited several times (a sweep) is first averaged over its own rows, so each counts once.
    `published` is a CSV file with the columns defect, psnr_512, ssim_512, lpips_512, psnr_1024, …
    """
    table = pd.read_csv(published, dtype={"defect": "str"}).set_index("defect")
    ours = _by_photo(rows if isinstance(rows, pd.DataFrame) else frame_of(rows))
    defects = list(dict.fromkeys([*table.index, *ours["defect"]]))
    measured = {str(resolution): group for resolution, group in ours.groupby("resolution", sort=False)}
    columns = [_columns(r, measured.get(r, ours.iloc[:0]), table, defects) for r in _sizes(table, measured)]
    return pd.concat([pd.DataFrame({"defect": defects}), *columns], axis=1)


def heading(rows: Sequence[Row] | pd.DataFrame) -> dict[str, str]:
    """What the heading of a comparison says about the rows: model, inversion, number of photographs, settings.

    A setting with several values lists them all, for the comparison is an average over them.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else frame_of(rows)
    edits = frame[frame["defect"] != ORIGINAL]
    settings = {name: _values((edits if len(edits) else frame)[name]) for name in SETTINGS}
    return {
        "model": _values(frame["model"]),
        "inversion": _values(frame["inversion"]),
        "photographs": str(frame["image"].nunique()),
        **settings,
    }


def write_comparison(frame: pd.DataFrame, folder: Path, info: Mapping[str, str]) -> None:
    """comparison.csv and comparison.md in `folder`, from `comparison`'s frame and `heading`'s (or any) facts."""
    digits = {column: digits_of(column.split("_")[-2]) for column in frame if column != "defect"}
    counts = {column: "int64" for column in frame if column.startswith("photos_")}
    text = frame.round(digits).astype(counts).to_csv(index=False, lineterminator="\n")
    write_whole(Path(folder) / "comparison.csv", text)
    write_whole(Path(folder) / "comparison.md", comparison_markdown(frame, info))


def comparison_markdown(frame: pd.DataFrame, info: Mapping[str, str]) -> str:
    """The comparison as readable Markdown: which reference is compared with what, then one table per resolution."""
    sizes = [column.removeprefix("photos_") for column in frame if column.startswith("photos_")]
    measured = [r for r in sizes if frame[f"photos_{r}"].sum() > 0]
    published = [r for r in sizes if frame[f"published_psnr_{r}"].notna().any()]
    tables = [_beside(frame, r) if r in published else _apart(frame, r, published) for r in measured]
    missing = [r for r in published if r not in measured and any(m in published for m in measured)]
    note = [f"Also published, and not measured here: {', '.join(missing)}.\n"] if missing else []
    facts = "; ".join(f"{name}: {_escaped(value)}" for name, value in info.items())
    return "\n".join(["# Comparison with the published figures\n", f"{facts}.\n", _READING, *tables, *note])


_READING = """\
`original` compares the reconstruction with the photograph. Every other row compares the edit with the reconstruction,
the reading that the published figures fit; the edit against the photograph stands beside it. PSNR is in dB. Higher is
better for PSNR and SSIM, lower for LPIPS (published protocol: 256×256, ImageNet-normalised, comparable with the
published values and with nothing else). ± is the standard deviation over photographs; a difference is ours − published.
"""


def _by_photo(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each resolution × defect × photograph, in the order of their first appearance."""
    known = frame["defect"] == ORIGINAL
    reading = {m: frame[m].where(known, frame[f"{m}_recon"]).astype("float64") for m in METRICS}
    photo = {f"photo_{m}": frame[m].astype("float64") for m in METRICS}
    keys = frame[["resolution", "defect", "image"]].astype("str")
    values = pd.DataFrame({**reading, **photo})
    return pd.concat([keys, values], axis=1).groupby(list(keys), sort=False, as_index=False).mean()


def _columns(size: str, group: pd.DataFrame, table: pd.DataFrame, defects: list[str]) -> pd.DataFrame:
    """The columns of one resolution, a row for each of `defects`."""
    by_defect = group.drop(columns=["resolution", "image"]).groupby("defect")
    means, spreads = by_defect.mean().reindex(defects), by_defect.std().reindex(defects)
    photos = by_defect.size().reindex(defects, fill_value=0)
    told = {m: table.get(f"{m}_{size}", pd.Series(dtype="float64")).reindex(defects) for m in METRICS}
    columns = {
        **{f"{m}_{size}": means[m] for m in METRICS},
        **{f"photo_{m}_{size}": means[f"photo_{m}"] for m in METRICS},
        **{f"published_{m}_{size}": told[m] for m in METRICS},
        **{f"difference_{m}_{size}": means[m] - told[m] for m in METRICS},
        **{f"spread_{m}_{size}": spreads[m] for m in METRICS},
        f"photos_{size}": photos,
    }
    return pd.DataFrame(columns).reset_index(drop=True)


def _sizes(table: pd.DataFrame, measured: Iterable[str]) -> list[str]:
    """Every resolution that is published or measured, smallest first; "512x768" stands after "512"."""
    published = (column.split("_", 1)[1] for column in table if column.startswith("psnr_"))
    return sorted(set(chain(published, measured)), key=lambda size: ([int(n) for n in size.split("x")], size))


def _beside(frame: pd.DataFrame, size: str) -> str:
    """Ours, published and their difference at one resolution."""
    head = [
        "Defect",
        *(f"{m.upper()} {what}" for m in METRICS for what in ("ours", "published", "difference")),
        *_photo_head(),
        "Photos",
    ]
    rows = [
        [
            _escaped(row["defect"]),
            *chain.from_iterable(
                (
                    _ours(row, m, size),
                    _figure(m, row[f"published_{m}_{size}"]),
                    _figure(m, row[f"difference_{m}_{size}"], sign=True),
                )
                for m in METRICS
            ),
            *_photo_cells(row, size),
        ]
        for _, row in frame.iterrows()
        if row[f"photos_{size}"]
    ]
    return f"## {_name(size)}\n\n{_markdown(head, rows)}\n"


def _apart(frame: pd.DataFrame, size: str, published: list[str]) -> str:
    """Ours at a resolution for which nothing is published, the published figures of other resolutions beside it."""
    head = [
        "Defect",
        *(f"{m.upper()} ours" for m in METRICS),
        *_photo_head(),
        *(f"{m.upper()} published at {r}" for r in published for m in METRICS),
        "Photos",
    ]
    rows = [
        [
            _escaped(row["defect"]),
            *(_ours(row, m, size) for m in METRICS),
            *_photo_cells(row, size)[:-1],
            *(_figure(m, row[f"published_{m}_{r}"]) for r in published for m in METRICS),
            _photo_cells(row, size)[-1],
        ]
        for _, row in frame.iterrows()
        if row[f"photos_{size}"]
    ]
    note = f"Nothing is published at {_name(size)}, so no difference is computed."
    return f"## {_name(size)}\n\n{note}\n\n{_markdown(head, rows)}\n"


def _photo_head() -> list[str]:
    return [f"{m.upper()} to photo" for m in METRICS]


def _photo_cells(row: pd.Series, size: str) -> list[str]:
    return [*(_figure(m, row[f"photo_{m}_{size}"]) for m in METRICS), str(int(row[f"photos_{size}"]))]


def _ours(row: pd.Series, metric: str, size: str) -> str:
    spread = row[f"spread_{metric}_{size}"]
    return _figure(metric, row[f"{metric}_{size}"]) + (f" ± {_figure(metric, spread)}" if np.isfinite(spread) else "")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def _figure(metric: str, value: float, sign: bool = False) -> str:
    """A figure as it is read: two decimals for dB, three for SSIM and LPIPS; nothing for NaN."""
    return "" if np.isnan(value) else f"{value:{'+' if sign else ''}.{2 if metric == 'psnr' else 3}f}"


def _values(column: pd.Series) -> str:
    return " / ".join(str(value) for value in dict.fromkeys(column))


def _name(size: str) -> str:
    return size.replace("x", "×") if "x" in size else f"{size}×{size}"


def _escaped(text: str) -> str:
    """Text of a user inside a Markdown table: neither a cell's end, nor a line's, nor HTML."""
    return " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
