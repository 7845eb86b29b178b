"""An edit's label is what it changed: within its blend mask where that held it, anywhere where nothing did."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import box, job, targets, write_surface

from rli.datasets.annotations import change_mask
from rli.images import write_png
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.photos.photo import Photo
from rli.runs.job import Job, Selection
from rli.runs.runner import Runner
from rli.store.records import EditedPhoto, PhotoResult

pytestmark = pytest.mark.integration

STRONG = EditSettings(eq=8.0, cross=0.3, replace=0.2)


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu")


@pytest.fixture
def work(tmp_path) -> Job:
    inversion = InversionSettings(Direct(), steps=3)
    return job(tmp_path / "cache", targets=targets("rust"), inversion=inversion, edit=STRONG, selection=Selection())


def edited(mini: Model, work: Job, photo: Photo) -> tuple[PhotoResult, EditedPhoto]:
    (result,) = Runner(work, mini).results([photo])
    assert isinstance(result, PhotoResult)
    return result, result.edits["rust"]


def change(result: PhotoResult, edit: EditedPhoto, mask: np.ndarray | None) -> np.ndarray:
    return change_mask(edit.image, result.input, mask)  # it is laid back on the photograph


def photograph(folder: Path) -> Photo:
    return Photo("part", write_surface(folder / "part.png", 3), label="crack")


def test_without_local_blend_the_label_is_all_that_changed(mini, work, tmp_path):
    free = replace(work, edit=replace(STRONG, local_blend=False))
    result, edit = edited(mini, free, photograph(tmp_path))
    everything = change(result, edit, None)
    assert np.array_equal(edit.change, everything)
    assert (everything & ~edit.mask).sum() > 100  # it did change more than attention pointed at
    assert edit.scores["share"] == pytest.approx(everything.mean(), abs=0.03)  # scored before it is laid back


def test_with_local_blend_it_lies_within_the_blend_mask(mini, work, tmp_path):
    result, edit = edited(mini, work, photograph(tmp_path))
    assert edit.change.any()
    assert np.array_equal(edit.change, change(result, edit, edit.mask))


@pytest.mark.parametrize("local_blend", [True, False])
def test_a_region_holds_the_label_whatever_the_local_blend(mini, work, tmp_path, local_blend):
    region = box(64, 64, slice(8, 40), slice(16, 48))
    write_png(tmp_path / "region.png", region)
    photo = replace(photograph(tmp_path), region_file=tmp_path / "region.png")
    result, edit = edited(mini, replace(work, edit=replace(STRONG, local_blend=local_blend)), photo)
    assert edit.change.any()
    assert np.array_equal(edit.change, change(result, edit, region))
