"""What a small defect in a large photograph costs: `python -m experiments.paste_back.full_size`.

A photograph of 4096×3000 pixels with a defect of 30, and a photograph that is the window around it alone: processor
seconds and peak memory of a run on each, and of reading and writing the large one.
"""

from __future__ import annotations

import resource
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy import ndimage

from experiments.harness import ROOT, apart, command, markdown, options, record
from rli.images import png, read_mask_full, read_picture, write_png
from rli.models.mini import SIDE

SIZE, PLACE, DEFECT = (3000, 4096), (1505, 2005), 30
# Pictures and masks that a run writes of a photograph with one edit.
PICTURES, MASKS = 3, 2


def write_photographs(folder: Path, side: int) -> tuple[Path, Path]:
    """The large photograph and what its window shows, each with its mask beside it."""
    rng = np.random.default_rng(0)
    grey = 130 + 12 * ndimage.zoom(rng.standard_normal((300, 410)), 10, order=1)[: SIZE[0], : SIZE[1]]
    grey += rng.normal(0, 3, grey.shape)
    mask = np.zeros(SIZE, bool)
    mask[PLACE[0] : PLACE[0] + DEFECT, PLACE[1] : PLACE[1] + DEFECT] = True
    grey[mask] -= 90
    photo = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    around = tuple(slice(at + DEFECT // 2 - side // 2, at + DEFECT // 2 + side // 2) for at in PLACE)
    for name, part in (("large", (slice(None), slice(None))), ("window", around)):
        write_png(folder / name / "part.png", np.ascontiguousarray(photo[part]))
        write_png(folder / name / "part_mask.png", mask[part])
    return folder / "large", folder / "window"


def spent(*arguments: str) -> tuple[float, float]:
    """Processor seconds and peak memory in GB (2^30 bytes) of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 2**20


def read_and_written(photo: Path) -> float:
    """Processor seconds of reading a photograph and its mask twice, and of writing what a run writes of it."""
    began = time.process_time()
    for _ in range(2):
        picture, mask = read_picture(photo), read_mask_full(photo.with_name(f"{photo.stem}_mask.png"))
    for _ in range(PICTURES):
        png(picture.samples)
    for _ in range(MASKS):
        png(mask)
    return time.process_time() - began


def main() -> None:
    asked = options(__doc__, side=SIDE, steps=50, out=Path(__file__).parent).parse_args()
    settings = ("model=mini", "runtime=cpu", "tracking=off", "defect=rust", "data=folder", "data.region=truth")
    settings = (*settings, f"inversion.steps={asked.steps}")
    with TemporaryDirectory() as place:
        large, window = write_photographs(Path(place), asked.side)
        lines = []
        for name, photos in (("its window alone", window), ("4096×3000", large)):
            out = (f"out={place}/{name[:3]}", f"runtime.cache={place}/cache-{name[:3]}")
            seconds, memory = apart(spent, *command(*settings, f"data.path={photos}", *out))
            lines.append({"photograph": name, "seconds": seconds, "peak_memory_gb": memory})
        files = apart(read_and_written, large / "part.png")
        lines.append({"photograph": "reading and writing 4096×3000", "seconds": files, "peak_memory_gb": np.nan})
    rows = pd.DataFrame(lines)
    shown = [
        [r["photograph"], *(f"{r[k]:.2f}".replace("nan", "") for k in ("seconds", "peak_memory_gb"))]
        for _, r in rows.iterrows()
    ]
    record(asked.out, "full_size", rows, markdown(["photograph", "processor seconds", "peak memory, GB"], shown))


if __name__ == "__main__":
    main()
