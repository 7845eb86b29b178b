"""What an edit looks like that is laid back on a real photograph: `python -m experiments.paste_back.run --folder REAL`.

Twenty photographs of magnetic tiles, commutators (KolektorSDD) and concrete, edited within their own defects' masks
grown by five pixels. Each way of laying an edit back is measured: whether pixels outside the mask stay the file's own,
how much noise there is inside the mask against a ring around it, and how steep the mask's edge is.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from experiments.harness import ROOT, command, markdown, options, record
from rli.datasets.annotations import STILL_THERE, remains
from rli.images import Picture, read_picture, write_png
from rli.photos.paste import LAPLACIANS, WAYS, Patch, difference, pasted
from rli.photos.windows import View
from rli.store.records import read_photo
from rli.store.results import PhotoResult

DEFECTS = {"rust": "photo of a crack rust image", "corrosion": "photo of a crack corrosion image"}
# How far a mask is grown, and where the ring around it lies, in pixels.
MARGIN, RING = 5, (2, 12)
# What the noise inside may be of the noise in the ring.
BOUNDS = (0.8, 1.25)
# Of `mixed`: the change in grey levels below which the photograph's texture stays, and above which none of it does.
LITTLE, MUCH = 16.0, 48.0
# What the summary counts.
COUNTS = ("kept", "same_kind", "within", "within_own", "soft", "old_gone")
# Photographs of the picture, and the side of its tiles.
SHOWN, TILE = (0, 4, 7, 8, 12, 17), 240


def mixed(photo: np.ndarray, edit: np.ndarray, back: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The difference where the edit changes little, and its own pixels where it changes much."""
    change = ndimage.gaussian_filter(np.abs(edit - back).max(-1), 2.0)
    share = np.clip((change - LITTLE) / (MUCH - LITTLE), 0, 1)[..., None]
    return share * edit + (1 - share) * difference(photo, edit, back, inside)


def real_photographs(folder: Path) -> Iterator[tuple[str, Path, np.ndarray]]:
    """Name, file and mask (H,W) bool of eight magnetic tiles, eight commutators and four concrete surfaces."""
    kinds = ("Crack", "Blowhole", "Break", "Fray")
    tiles = [p for kind in kinds for p in sorted((folder / f"magnetic_tile/MT_{kind}/Imgs").glob("*.jpg"))[3:9:3]]
    parts = sorted((folder / "kolektor_sdd").glob("*/*.jpg"))
    concrete = sorted((folder / "concrete_cracks/image").glob("*.png"))
    files = [("tile", p, p.with_suffix(".png")) for p in tiles]
    files += [("commutator", p, p.with_name(f"{p.stem}_label.bmp")) for p in parts]
    files += [("concrete", p, folder / "concrete_cracks/label" / p.name) for p in concrete]
    left = {"tile": 8, "commutator": 8, "concrete": 4}
    for kind, file, label in files:
        size = Image.open(file).size
        mask = np.asarray(Image.open(label).convert("L").resize(size, Image.Resampling.BILINEAR)) > 127
        if mask.any() and left[kind]:
            left[kind] -= 1
            yield f"{kind} {file.parent.name} {file.stem}".replace(" Imgs", "").replace(" image", ""), file, mask


def edited(folder: Path, files: Sequence[tuple[str, Path, np.ndarray]], steps: int, *more: str) -> Path:
    """A run's folder, in which the photographs are edited to every defect within their grown masks."""
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "region", "label"))
        for k, (_, photo, mask) in enumerate(files):
            write_png(folder / f"{k}.png", ndimage.binary_dilation(mask, np.ones((3, 3)), MARGIN))
            table.writerow((photo.resolve(), folder / f"{k}.png", "crack"))
    prompts = (f"+defect.all.{name}={prompt}" for name, prompt in DEFECTS.items())
    settings = ("model=mini", "runtime=cpu", "tracking=off", "defect=original", *prompts)
    out = folder / "-".join(("run", *more)).replace("=", "-").replace(".", "-")
    asked = (
        *settings,
        f"inversion.steps={steps}",
        "edit.cross=0.4",
        "edit.replace=0",
        "edit.fresh=0.5",
        *more,
        f"out={out}",
    )
    subprocess.run(command("data=list", f"data.path={folder / 'list.csv'}", *asked), cwd=ROOT, check=True)
    return out


def results(run: Path, count: int) -> list[PhotoResult]:
    """The photographs' results in the list's order."""
    records = run / "records"
    names = [p.relative_to(records).with_suffix("").as_posix() for p in records.rglob("*.safetensors")]
    by_row = sorted(names, key=lambda name: int(name.rpartition("~")[2]))
    assert len(by_row) == count, f"{run} holds {len(by_row)} of {count} photographs"
    return [read_photo(run, name) for name in by_row]


# --- what is measured -------------------------------------------------------------------------------------------------


def noise(grey: np.ndarray, where: np.ndarray) -> float:
    """What changes from pixel to pixel, edges and slopes left out (Immerkær 1996); at least a grey level's rounding."""
    found = np.abs(ndimage.convolve(grey.astype(float), LAPLACIANS))[where]
    return max(0.2, float(found.mean() * np.sqrt(np.pi / 2) / 6))


def gradient(grey: np.ndarray) -> np.ndarray:
    """(H,W): Sobel's magnitude, in grey levels a pixel."""
    return np.hypot(*(ndimage.sobel(grey.astype(float), axis) for axis in (0, 1))) / 8


def measured(
    own: Picture, made: Picture, truth: np.ndarray, mask: np.ndarray, weights: np.ndarray
) -> dict[str, float | None]:
    """The figures of one edit.

    Args:
        own: The photograph.
        made: The edit, laid back.
        truth: Where the photograph's own defect is, (H,W) bool.
        mask: Where it may differ, (H,W) bool.
        weights: How much of it was taken, (H,W).
    """
    before, after = own.rgb.mean(-1), made.rgb.mean(-1)
    ring = ndimage.binary_dilation(mask, iterations=RING[1]) & ~ndimage.binary_dilation(mask, iterations=RING[0])
    core = weights > (0.99 if (weights > 0.99).sum() >= 30 else 0.5)
    edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, iterations=2)
    steep = np.percentile(gradient(before), 95)
    return {
        "differ_outside": int((own.samples != made.samples).any(-1)[~mask].sum()),
        "same_kind": float(own.samples.dtype == made.samples.dtype and own.samples.shape == made.samples.shape),
        "noise": noise(after, core) / noise(before, ring),
        "noise_of_photo": noise(before, core) / noise(before, ring),
        "edge": float(gradient(after)[edge].mean() / steep),
        "edge_of_photo": float(gradient(before)[edge].mean() / steep),
        "change": float(np.abs(after - before)[mask].mean()),
        "old_remains": remains(made.rgb, own.rgb, truth),
    }


def rows_of(name: str, file: Path, truth: np.ndarray, photo: PhotoResult) -> Iterator[dict[str, object]]:
    """A row for each defect and way of laying it back."""
    own = read_picture(file)
    for defect in DEFECTS:
        mask = photo.edits[defect].mask
        for way, values in {**WAYS, "mixed": mixed}.items():
            patches = [
                Patch(view, window.edits[defect].image, window.reconstruction, mask[view.window.slices])
                for window in photo.windows
                if isinstance(view := window.view, View)
            ]
            edit, weights = pasted(own.rgb, patches, values)
            figures = measured(own, own.pasted(edit, weights), truth, mask, weights)
            yield {"photo": name, "defect": defect, "way": way, **figures}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """What was found of each way, of the photographs' means over the defects."""
    figures = [
        "differ_outside",
        "same_kind",
        "noise",
        "noise_of_photo",
        "edge",
        "edge_of_photo",
        "change",
        "old_remains",
    ]
    each = rows.groupby(["way", "photo"], sort=False)[figures].mean().reset_index()
    each["kept"] = each["differ_outside"] == 0
    each["within"] = each["noise"].between(*BOUNDS)
    each["within_own"] = (each["noise"] / each["noise_of_photo"]).between(*BOUNDS)
    each["soft"] = each["edge"] <= 1
    each["old_gone"] = each["old_remains"] < STILL_THERE
    found = each.groupby("way", sort=False)
    counts = found[[*COUNTS]].sum().astype(int)
    medians = found[["noise", "edge", "change"]].median()
    return counts.join(medians).assign(photos=found.size()).reset_index()


def text(table: pd.DataFrame) -> str:
    """The summary as Markdown."""
    head = (
        "way|outside kept|same depth and channels|noise within 0.8–1.25 of the ring|of the photograph's own ratio|"
        "edge below the 95th percentile|old defect gone|noise, median|edge, median|change, grey levels"
    )
    lines = [
        [row["way"]]
        + [f"{row[name]} of {row['photos']}" for name in COUNTS]
        + [f"{row['noise']:.2f}", f"{row['edge']:.2f}", f"{row['change']:.1f}"]
        for row in table.to_dict("records")
    ]
    return markdown(head.split("|"), lines)


def picture(photos: Sequence[PhotoResult], before: Sequence[PhotoResult]) -> np.ndarray:
    """For some photographs what lies in their first window: the photograph, the edits as they were without windows, and
    as they are laid back."""
    lines = []
    for now, old in zip(photos, before, strict=True):
        view = now.windows[0].view
        assert view is not None
        tiles = [now.input]
        for defect in DEFECTS:
            stretched = Image.fromarray(old.edits[defect].image).resize(
                now.input.shape[1::-1], Image.Resampling.BICUBIC
            )
            tiles += [np.asarray(stretched), now.edits[defect].image]
        shown = [
            Image.fromarray(tile[view.window.slices]).resize((TILE, TILE), Image.Resampling.LANCZOS) for tile in tiles
        ]
        lines.append(np.hstack([np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in shown]))
    return np.vstack(lines)


def main() -> None:
    asked = options(__doc__, folder=Path("real"), steps=20, out=Path(__file__).parent).parse_args()
    files = [*real_photographs(asked.folder)]
    with TemporaryDirectory() as place:
        now = results(edited(Path(place), files, asked.steps), len(files))
        whole = ("window=whole", "window.paste=none")
        chosen = [files[k] for k in SHOWN if k < len(files)]
        before = results(edited(Path(place), chosen, asked.steps, *whole), len(chosen))
    rows = pd.DataFrame(
        row for (name, file, truth), photo in zip(files, now, strict=True) for row in rows_of(name, file, truth, photo)
    )
    record(asked.out, "results", rows, text(summary(rows)))
    write_png(asked.out / "before_after.png", picture([now[k] for k in SHOWN if k < len(files)], before))


if __name__ == "__main__":
    main()
