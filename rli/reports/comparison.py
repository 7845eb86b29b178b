"""The published table's shape: our figures beside the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from rli import markdown
from rli.cells import harmless
from rli.files import write_whole
from rli.metrics.columns import BY_NAME, ORIGINAL, of_kind
from rli.reports.format import number

# What is published.
METRICS = ("psnr", "ssim", "lpips")
_READING = """\
`original` compares the reconstruction with the photograph. Every other row compares the edit with the reconstruction,
the reading that the published figures fit; the edit against the photograph stands beside it. PSNR is in dB. Higher is
better for PSNR and SSIM, lower for LPIPS (published protocol: 256×256, ImageNet-normalised, comparable with the
published values and with nothing else). ± is the standard deviation over photographs; a difference is ours − published.
"""


def comparison(rows: pd.DataFrame, published: Path) -> pd.DataFrame:
    """The published table's shape: a row for each defect, and for each resolution R, measured or published, the columns

    psnr_R, ssim_R, lpips_R      the mean over photographs in the published reading: `original` is the reconstruction
                                 against the photograph, a defect is its edit against the reconstruction
    photo_psnr_R, …              the mean against the photograph
    published_psnr_R, …          the published figure
    difference_psnr_R, …         ours - published, NaN where either is missing
    spread_psnr_R, …             standard deviation of psnr_R, … over photographs, NaN for fewer than two
    photos_R                     number of photographs, 0 where none was measured

    A photograph that was edited several times (a sweep) is first averaged over its own rows, so each counts once.

    Args:
        rows: `results.frame_of`'s, or `results.read_results`'s.
        published: a CSV file with the columns defect, psnr_512, ssim_512, lpips_512, psnr_1024, …
    """
    table = pd.read_csv(published, dtype={"defect": "str"}).set_index("defect")
    ours = _by_photo(rows)
    defects = list(dict.fromkeys([*table.index, *ours["defect"]]))
    measured = {str(resolution): group for resolution, group in ours.groupby("resolution", sort=False)}
    columns = [_columns(r, measured.get(r, ours.iloc[:0]), table, defects) for r in _sizes(table, measured)]
    return pd.concat([pd.DataFrame({"defect": defects}), *columns], axis=1)


def heading(rows: pd.DataFrame) -> dict[str, str]:
    """What the heading of a comparison says about the rows: model, inversion, number of photographs, settings.

    A setting with several values lists them all, for the comparison is an average over them.
    """
    edits = rows[rows["defect"] != ORIGINAL]
    settings = {c.name: _values((edits if len(edits) else rows)[c.name]) for c in of_kind("setting")}
    return {
        "model": _values(rows["model"]),
        "inversion": _values(rows["inversion"]),
        "photographs": str(rows["image"].nunique()),
        **settings,
    }


def write_comparison(frame: pd.DataFrame, folder: Path, info: Mapping[str, str]) -> None:
    """Writes comparison.csv and comparison.md.

    Args:
        frame: `comparison`'s.
        folder: where the two files go.
        info: what the heading says, by name; `heading`'s.
    """
    counts = {column: "int64" for column in frame if column.startswith("photos_")}
    digits = {c: BY_NAME[c.split("_")[-2]].csv_digits for c in frame if c != "defect" and c not in counts}
    text = frame.round(digits).astype(counts).map(harmless).to_csv(index=False, lineterminator="\n")
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
    facts = "; ".join(f"{name}: {markdown.escaped(value)}" for name, value in info.items())
    return "\n".join(["# Comparison with the published figures\n", f"{facts}.\n", _READING, *tables, *note])


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
    theirs = {m: table.get(f"{m}_{size}", pd.Series(dtype="float64")).reindex(defects) for m in METRICS}
    columns = {
        **{f"{m}_{size}": means[m] for m in METRICS},
        **{f"photo_{m}_{size}": means[f"photo_{m}"] for m in METRICS},
        **{f"published_{m}_{size}": theirs[m] for m in METRICS},
        **{f"difference_{m}_{size}": means[m] - theirs[m] for m in METRICS},
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
            markdown.escaped(row["defect"]),
            *chain.from_iterable(
                (
                    _ours(row, m, size),
                    _shown(m, row[f"published_{m}_{size}"]),
                    _shown(m, row[f"difference_{m}_{size}"], sign=True),
                )
                for m in METRICS
            ),
            *_photo_cells(row, size),
        ]
        for _, row in frame.iterrows()
        if row[f"photos_{size}"]
    ]
    return f"## {_name(size)}\n\n{markdown.table(head, rows)}\n"


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
            markdown.escaped(row["defect"]),
            *(_ours(row, m, size) for m in METRICS),
            *_photo_cells(row, size)[:-1],
            *(_shown(m, row[f"published_{m}_{r}"]) for r in published for m in METRICS),
            _photo_cells(row, size)[-1],
        ]
        for _, row in frame.iterrows()
        if row[f"photos_{size}"]
    ]
    note = f"Nothing is published at {_name(size)}, so no difference is computed."
    return f"## {_name(size)}\n\n{note}\n\n{markdown.table(head, rows)}\n"


def _photo_head() -> list[str]:
    return [f"{m.upper()} to photo" for m in METRICS]


def _photo_cells(row: pd.Series, size: str) -> list[str]:
    return [*(_shown(m, row[f"photo_{m}_{size}"]) for m in METRICS), str(int(row[f"photos_{size}"]))]


def _ours(row: pd.Series, metric: str, size: str) -> str:
    spread = row[f"spread_{metric}_{size}"]
    return _shown(metric, row[f"{metric}_{size}"]) + (f" ± {_shown(metric, spread)}" if np.isfinite(spread) else "")


def _shown(metric: str, value: float, sign: bool = False) -> str:
    return number(value, BY_NAME[metric].digits, sign=sign, missing="")


def _values(column: pd.Series) -> str:
    return " / ".join(str(value) for value in dict.fromkeys(column))


def _name(size: str) -> str:
    return size.replace("x", "×") if "x" in size else f"{size}×{size}"
