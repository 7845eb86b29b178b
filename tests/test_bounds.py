"""Grey photographs have grey results, and nothing is edited or labelled in a letterbox's border."""

import csv
import json

import numpy as np
import pytest
from builders import noise, write_images
from command import QUICK, SMALL, run
from PIL import Image

pytestmark = pytest.mark.integration
OPEN = ("dataset.gate.min_share=0", "dataset.gate.min_difference=0", "dataset.gate.min_strength=0",
        "dataset.gate.min_reconstruction_psnr=0")  # fmt: skip
EDITS = ("task=both", "defect=rust", "edit.cross=0.4", "edit.replace=0", "export=coco")


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def strip():
    """A narrow photograph with a dark piece."""
    photo = np.full((40, 200, 3), 140, np.uint8) + noise(40, 200) // 20
    photo[10:30, 60:120] = 30
    return photo


@pytest.mark.parametrize("paste", ["texture", "none"])
def test_a_grey_photograph_has_grey_results_and_rows_of_them(tmp_path, paste):
    level = noise()[..., 0].repeat(2, 0).repeat(2, 1)
    Image.fromarray(level).save(tmp_path / "grey.png")
    options = ("window=whole", f"window.paste={paste}", f"out={tmp_path / 'out'}")
    folder = run(*QUICK, *SMALL, *EDITS, *OPEN, f"data.path={tmp_path / 'grey.png'}", "data=image", *options).folder
    (made,) = (folder / "images").iterdir()
    for path in made.rglob("*.png"):
        picture = pixels(path)
        assert (np.ptp(picture, axis=2) == 0).all(), path
    assert any(
        (pixels(made / f"{name}.png") != pixels(made / "input.png")).any() for name in ("rust", "reconstruction")
    )
    rows = [*csv.DictReader((folder / "results.csv").open())]
    assert rows and all(float(row["psnr"]) <= float(row["psnr_vae"]) + 3 for row in rows)


def test_a_letterbox_has_no_edit_in_its_border(tmp_path):
    write_images(tmp_path, "strip.png", image=strip())
    options = ("window=whole", "window.paste=none", "data.fit=letterbox", f"out={tmp_path / 'out'}")
    free = "edit.local_blend=false"  # an edit that nothing else holds
    arguments = (*QUICK, *SMALL, *EDITS, *OPEN, "data=image", f"data.path={tmp_path / 'strip.png'}", free)
    folder = run(*arguments, *options).folder
    (made,) = (folder / "images").iterdir()
    told = json.loads((folder / "dataset/coco/annotations/instances_train.json").read_text())
    sizes = {image["id"]: image["height"] for image in told["images"]}
    place = slice(25, 38)  # 64 columns are 200, and 13 rows 40
    edit, back = pixels(made / "rust.png"), pixels(made / "reconstruction.png")
    border = np.ones(64, bool)
    border[place] = False
    assert np.array_equal(edit[border], back[border]) and (edit != back).any()
    assert not pixels(made / "rust_mask.png")[border].any()
    for annotation in told["annotations"]:
        _, top, _, height = annotation["bbox"]
        assert sizes[annotation["image_id"]] == 64 and place.start <= top and top + height <= place.stop
