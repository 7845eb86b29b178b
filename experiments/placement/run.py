"""Good photographs become cracked: `python -m experiments.placement.run --folder MAGNETIC_TILE --out FOLDER`.

A hundred good magnetic tiles get the masks of the cracked ones, sixty drawn surfaces drawn shapes. Looked at are
whether regions and changes lie in the part, what the miniature's classifier names, and what every format's consumers
read back.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from experiments import harness
from experiments.datasets.runs import environment
from experiments.placement.read_back import READ_BACK, is_read_back
from rli.images import read_mask_full, write_png
from rli.models.mini import SIDE
from rli.models.mini.classifier import judge_of, load_classifier
from rli.models.mini.drawing import layer_generator, pixel_grid
from rli.models.mini.materials import PAINTERS
from rli.models.mini.surfaces import MATERIALS, UNSEEN, random_place, surface
from rli.photos.placement_part import found_part

HERE = Path(__file__).parent
FORMATS = "[mvtec_ad,anomalib_folder,imagefolder,segmentation,yolo,coco]"
SETTINGS = (
    *("model=mini", "runtime=cpu", "tracking=off", "defect=custom", "defect.name=crack"),
    *("defect.target=photo of a crack image", f"defect.prompts={HERE / 'prompts.yaml'}"),
    *("inversion=direct", "inversion.batch_size=8"),
    *("data=list", "data.path=list.csv", "data.classes=[good]", f"export={FORMATS}", "out=run"),
)
OWN = {
    "tiles": ("placement=pool", "placement.classes=[crack]"),
    "surfaces": ("placement=shapes", "placement.shapes=[line,blob]", "placement.size=[0.3,0.6]"),
}
# Pixels a side of a drawn surface.
DRAWN = 384
FIRST = UNSEEN + 900_000
# Of the sheet: pictures of each set, beside each other, and the side of one.
SHOWN, ACROSS, TILE = 12, 4, 160


def main() -> None:
    parser = harness.options(__doc__, folder=None, surfaces=60, steps=20, out=HERE)
    parser.add_argument("--tiles", type=int, default=100, help="good magnetic tiles")
    parser.add_argument("--work", type=Path, required=True, help="where photographs and runs go")
    args = parser.parse_args()
    counts = {"tiles": args.tiles if args.folder else 0, "surfaces": args.surfaces}
    rows, sheets = [], []
    for name, count in counts.items():
        if not count:
            continue
        place = args.work / name
        prepare(name, place, count, args.folder)
        subprocess.run(
            harness.command(*SETTINGS, *OWN[name], f"inversion.steps={args.steps}"),
            cwd=place,
            env=environment(),
            check=True,
        )
        rows.append({"set": name, **measured(name, place)})
        sheets.append(sheet(place / "run"))
    table = pd.DataFrame(rows)
    harness.record(args.out, "results", table, harness.markdown([*table], [[*map(str, row)] for row in table.values]))
    write_png(args.out / "sheet.png", np.concatenate(sheets))


def prepare(name: str, place: Path, count: int, folder: Path | None) -> None:
    """The photographs, as the rows of list.csv."""
    place.mkdir(parents=True, exist_ok=True)
    listed = drawn(place, count) if name == "surfaces" else tiles(folder.resolve(), count)
    with (place / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "mask"), *listed])


def tiles(folder: Path, count: int) -> Iterator[tuple[str, str, str]]:
    """Good tiles, and the cracked ones that the masks come from."""
    good = sorted(folder.glob("MT_Free/Imgs/*.jpg"))
    yield from ((str(file), "good", "") for file in good[:: max(1, len(good) // count)][:count])
    for file in sorted(folder.glob("MT_Crack/Imgs/*.jpg")):
        yield str(file), "crack", str(file.with_suffix(".png"))


def drawn(place: Path, count: int) -> Iterator[tuple[str, str, str]]:
    """Clean surfaces, the materials in turn."""
    for k in range(count):
        if not (file := place / f"{k:03d}.png").exists():  # a photograph that is written anew is worked on anew
            write_png(file, surface(FIRST + k, (), DRAWN, DRAWN, MATERIALS[k % len(MATERIALS)]).image)
        yield f"{k:03d}.png", "good", ""


def part_of(name: str, photo: str, image: np.ndarray) -> np.ndarray:
    """(H,W) bool: where the part is; of drawn surfaces as they were drawn, of tiles as it is found."""
    if name == "tiles":
        return found_part(image)
    k, grid = int(Path(photo).name.partition("~")[0]), pixel_grid(DRAWN, DRAWN)
    material = MATERIALS[k % len(MATERIALS)]
    where = random_place(layer_generator(FIRST + k, "place"), grid)
    return PAINTERS[material](layer_generator(FIRST + k, material), grid, where)[1] > 0.5


def measured(name: str, place: Path) -> dict[str, object]:
    """What came of one set."""
    run, judge = place / "run", judge_of(load_classifier())
    manifest = pd.read_csv(run / "manifest.csv", keep_default_na=False)
    edits = manifest[manifest["kind"] == "edit"]
    before, after, inside, changed = [], [], [], []
    for edit in edits.itertuples():
        folder = run / "images" / edit.photo
        image, region, change = (
            _picture(folder / "input.png"),
            *(read_mask_full(folder / f"crack_{kind}.png") for kind in ("mask", "change")),
        )
        part = part_of(name, edit.photo, image)
        inside.append(region[part].sum() / region.sum())
        changed.append(not (change & ~region).any())
        for picture, named in ((image, before), (_picture(folder / "crack.png"), after)):
            named.append(judge(_around(picture, region), "crack") > 0.5)
    kept = edits[edits["kept"].astype(str) == "True"]
    return {
        "photographs": len(edits),
        "wholly in the part": sum(share == 1 for share in inside),
        "least share in the part": round(min(inside), 4),
        "changed in the region alone": sum(changed),
        "named cracked before": sum(before),
        "named cracked": sum(after),
        "kept by the gate": len(kept),
        "read back": ", ".join(format for format in READ_BACK if is_read_back(format, run, manifest)),
    }


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _around(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """A window of SIDE pixels around a region, as the classifier was trained on; smaller pictures are whole."""
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    starts = [
        int(np.clip((lines[0] + lines[-1]) // 2 - SIDE // 2, 0, max(0, side - SIDE)))
        for lines, side in zip((rows, columns), region.shape, strict=True)
    ]
    return picture[starts[0] : starts[0] + SIDE, starts[1] : starts[1] + SIDE]


def sheet(run: Path) -> np.ndarray:
    """Pairs of photographs, the region outlined, and what was made of them."""
    manifest = pd.read_csv(run / "manifest.csv", keep_default_na=False)
    pairs = []
    for edit in manifest[manifest["kind"] == "edit"][:SHOWN].itertuples():
        folder = run / "images" / edit.photo
        photo, made = (_picture(folder / f"{name}.png").copy() for name in ("input", "crack"))
        mask = read_mask_full(folder / "crack_mask.png")
        photo[ndimage.binary_dilation(mask) & ~mask] = (255, 60, 0)
        pairs.append(np.concatenate([_thumbnail(photo), _thumbnail(made)], 1))
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % ACROSS)
    return np.concatenate([np.concatenate(pairs[k : k + ACROSS], 1) for k in range(0, len(pairs), ACROSS)])


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    scale = (TILE - 4) / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    canvas = Image.new("RGB", (TILE, TILE), "white")
    canvas.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return np.asarray(canvas)


if __name__ == "__main__":
    sys.exit(main())
