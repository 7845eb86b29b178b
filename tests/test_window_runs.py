"""Commands on photographs that are larger than the working size: what leaves them is the photograph's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import QUICK, SMALL, run
from PIL import Image
from scipy import ndimage

from rli.datasets.annotations import change_mask
from rli.images import read_picture, write_png
from rli.store.records import read_photo

pytestmark = pytest.mark.integration

EDITS = ("edit.cross=0.4", "edit.replace=0", "defect=rust")
OPEN_GATE = tuple(f"dataset.gate.{name}=null" for name in ("min_strength", "min_share", "min_difference"))
OPEN_GATE += ("dataset.gate.min_reconstruction_psnr=null", "dataset.max_retries=0", "dataset.smallest=0")


def surface(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H,W) float in [0,1]: grey, with slow changes and noise."""
    rng = np.random.default_rng(seed)
    slow = ndimage.gaussian_filter(rng.normal(size=(height, width)), 20) * 8
    return (0.5 + slow + rng.normal(0, 0.02, (height, width))).clip(0, 1)


def marked(size: tuple[int, int], *places: tuple[int, int]) -> np.ndarray:
    """(H,W) bool with a defect of 10×14 pixels at each place."""
    mask = np.zeros(size, bool)
    for top, left in places:
        mask[top : top + 10, left : left + 14] = True
    return mask


def write_photo(folder: Path, name: str, samples: np.ndarray, mask: np.ndarray) -> Path:
    """A PNG of the samples with the mask beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(folder / f"{name}.png")
    write_png(folder / f"{name}_mask.png", mask)
    return folder / f"{name}.png"


def ask(photos: Path, out: Path, *more: str) -> Path:
    settings = (*QUICK, *SMALL, *EDITS, "data=folder", f"data.path={photos}", "data.region=truth", f"out={out}")
    return run(*settings, f"runtime.cache={out.parent / 'cache'}", *more).folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, pd.DataFrame]:
    """The photographs' folder and the run's, and the manifest: 16 bits of grey with two defects, and RGB with alpha."""
    place = tmp_path_factory.mktemp("windows")
    grey = (surface(180, 300) * 60000).astype(np.uint16)
    write_photo(place / "d" / "pit", "deep", grey, marked((180, 300), (20, 30), (150, 260)))
    colours = (np.dstack([surface(90, 70, k) for k in range(4)]) * 255).astype(np.uint8)
    write_photo(place / "d" / "pit", "clear", colours, marked((90, 70), (40, 30)))
    folder = ask(place / "d", place / "run", "task=both", "export=[coco,yolo]", *OPEN_GATE)
    return place / "d", folder, pd.read_csv(folder / "manifest.csv").set_index("name")


@pytest.mark.parametrize(("name", "places"), [("deep", 2), ("clear", 1)])
def test_outside_the_mask_an_edit_is_its_photograph_to_the_bit_and_of_the_same_kind(made, name, places):
    photos, folder, _ = made
    own, edit = (read_picture(p) for p in (photos / f"pit/{name}.png", folder / f"images/pit/{name}/rust.png"))
    mask = np.asarray(Image.open(folder / f"images/pit/{name}/rust_mask.png")) > 0
    assert edit.samples.dtype == own.samples.dtype and edit.samples.shape == own.samples.shape
    changed = (edit.samples != own.samples).any(-1)
    assert not changed[~mask].any() and changed.any()
    assert np.array_equal(mask, np.asarray(Image.open(photos / f"pit/{name}_mask.png")) > 0)
    result = read_photo(folder, f"pit/{name}")
    assert len(result.windows) == places
    assert {window.input.shape for window in result.windows} == {(64, 64, 3)}
    made_here = result.edits["rust"]
    assert np.array_equal(made_here.image, edit.rgb) and np.array_equal(result.input, own.rgb)
    assert np.array_equal(made_here.change, change_mask(edit.rgb, own.rgb, mask, smallest=0)) and made_here.change.any()


def test_every_image_of_a_data_set_has_its_photographs_size_and_so_have_its_boxes(made):
    _, folder, manifest = made
    told = json.loads((folder / "dataset/coco/annotations/instances_train.json").read_text())
    sizes = {(image["width"], image["height"]) for image in told["images"] if "deep" in image["file_name"]}
    assert sizes == {(300, 180)} and len(told["images"]) == 6
    for image in told["images"]:
        boxes = [a["bbox"] for a in told["annotations"] if a["image_id"] == image["id"]]
        assert boxes and all(x + w <= image["width"] and y + h <= image["height"] for x, y, w, h in boxes)
    windows = json.loads(manifest.loc["pit/deep/rust", "windows"])
    assert len(windows) == 2 and all(top + tall <= 180 and left + wide <= 300 for top, left, tall, wide in windows)
    for path in [manifest.loc["pit/deep/rust", "image"], json.loads(manifest.loc["pit/deep/rust", "regions"])[0][1]]:
        assert Image.open(folder / path).size == (300, 180)


def test_windows_are_inverted_together_and_kept(tmp_path, inversions):
    grey = (surface(180, 300) * 255).astype(np.uint8)
    write_photo(tmp_path / "d", "two", grey, marked((180, 300), (20, 30), (150, 260)))
    folder = ask(tmp_path / "d", tmp_path / "run")
    assert inversions == [2]
    row = pd.read_csv(folder / "results.csv").iloc[0]
    assert row["mask_share"] == pytest.approx(2 * 4 * 140 / (2 * 64 * 64), rel=0.6)  # enlarged by two, or a little more
    ask(tmp_path / "d", tmp_path / "run")
    ask(tmp_path / "d", tmp_path / "again", "edit.eq=3")
    assert inversions == [2]


def test_tiles_give_a_photograph_back_at_full_size_without_seams(tmp_path):
    photo = write_photo(tmp_path / "d", "wide", (surface(80, 150) * 255).astype(np.uint8), marked((80, 150), (10, 10)))
    folder = ask(tmp_path / "d", tmp_path / "run", "task=reconstruct", "window=tiles")
    own, back = read_picture(photo), read_picture(folder / "images/wide/reconstruction.png")
    assert back.rgb.shape == own.rgb.shape and back.is_grey
    result = read_photo(folder, "wide")
    steps = np.abs(np.diff(back.rgb[..., 0].astype(float), axis=1)).mean(0)
    borders = [x for w in result.windows for x in (w.view.window.left, w.view.window.left + 64) if 0 < x < 150]
    assert borders and max(steps[x - 1] for x in borders) < np.percentile(steps, 90) + 1


def test_a_whole_photograph_can_stay_as_it_was_worked_on(tmp_path):
    write_photo(tmp_path / "d", "part", (surface(80, 150) * 255).astype(np.uint8), marked((80, 150), (10, 10)))
    folder = ask(tmp_path / "d", tmp_path / "run", "window=whole", "window.paste=none")
    assert {Image.open(p).size for p in (folder / "images/part").rglob("*.png")} == {(64, 64)}
    assert not read_photo(folder, "part").windows


@pytest.mark.parametrize("wrong", ["window.paste=none", "window.kind=crop", "window.enlarge=0"])
def test_windows_that_cannot_be_are_refused_before_a_model_is_loaded(wrong, no_model):
    assert run(*QUICK, wrong).error.startswith(f"error: {wrong}: ")
