"""What the tests of data sets share: the commands that make small ones, and what lies in a run's folder afterwards."""

from pathlib import Path

import command
import pandas as pd

from rli.datasets.formats import FORMATS

QUICK = [*command.QUICK, *command.SMALL, "dataset.max_retries=0"]
# Two steps make no good edits.
OPEN = ["dataset.gate.min_background_psnr=0", "dataset.gate.min_background_ssim=-1", "dataset.gate.min_share=0"]
OPEN += ["dataset.gate.min_reconstruction_psnr=0", "dataset.gate.min_strength=0", "dataset.gate.min_difference=0"]
OPEN += ["dataset.gate.max_share=1"]
DENT = '+defect.all.dent="photo of a crack dent image"'
MADE = [
    *QUICK, *OPEN, "data=mvtec_ad", "data.path=photos/mvtec_ad", "data.good=true", "task=both", "defect=rust", DENT,
    "dataset.threshold=1", "dataset.smallest=1", "inversion.batch_size=3",
    "inversion.guidance=1.5", "edit.fresh=0",  # so timid that the old defects stay beside the new ones
]  # fmt: skip
WRITTEN = ["dataset.split=0.5/0.2/0.3", f"export=[{','.join(FORMATS)}]"]
TWO = [*QUICK, *OPEN, "data=sample", "data.samples=[surface,surface-1]", "defect=rust", "export=[coco]"]


def made_by(*arguments: str) -> Path:
    """The one folder of a command that ends well."""
    return command.run(*arguments).folder


def refused(*arguments: str) -> str:
    """The one line that a bad command ends in."""
    return command.run(*arguments).error


def rows_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("name")


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}
