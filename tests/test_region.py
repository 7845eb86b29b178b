"""What an edit may change: the photograph's own defect with a margin, where it is known and nothing else is said."""

from dataclasses import replace

import numpy as np
import pytest
from builders import box, grey, write_images

from rli.errors import RLIError
from rli.images import write_png
from rli.photos.photo import GOOD, Photo
from rli.photos.region import distance_to, grown
from rli.photos.sources import photos


@pytest.mark.parametrize("margin", [0, 1, 3, 8.5, 100])
def test_a_mask_grows_by_its_margin_on_every_side(margin):
    mask = box(40, 60, slice(3, 5), slice(50, 60)) | box(40, 60, slice(20, 21), slice(10, 11))
    assert np.array_equal(grown(mask, margin), distance_to(mask) <= margin)


def test_a_margin_may_be_a_share_of_the_shorter_side():
    mask = box(40, 60, slice(20, 21), slice(10, 11))
    assert np.array_equal(grown(mask, 0.1), grown(mask, 4))
    assert not grown(np.zeros((4, 4), bool), 2).any()


@pytest.fixture
def known(tmp_path):
    """Photographs with a defect, with a black mask, and without a mask."""
    write_images(tmp_path, "a.png", "b.png", "c.png", image=grey(64, 64))
    write_png(tmp_path / "a_mask.png", box(64, 64, slice(30, 32), slice(20, 40)))
    write_png(tmp_path / "b_mask.png", box(64, 64, slice(0), slice(0)))
    return tmp_path


def regions(folder, **settings):
    return [photo.region(64, 64) for photo in photos("folder", folder, **settings)]


def test_a_known_defect_is_the_region_unless_attention_is_asked(known):
    truth = box(64, 64, slice(30, 32), slice(20, 40))
    marked, black, unknown = regions(known)
    assert np.array_equal(marked, grown(truth, 8)) and black is None and unknown is None
    assert np.array_equal(regions(known, margin=0)[0], truth)
    assert regions(known, region="attention") == [None] * 3
    (marked, *_) = photos("folder", known, region="truth", limit=1)
    assert np.array_equal(marked.region(64, 64), truth)


def test_a_good_photograph_and_a_region_file_are_as_before(known):
    photo = Photo("a", known / "a.png", truth_file=known / "a_mask.png", default_region="auto", margin=8)
    assert replace(photo, label=GOOD).region(64, 64) is None
    own = box(64, 64)
    write_png(known / "region.png", own)
    assert np.array_equal(replace(photo, region_file=known / "region.png").region(64, 64), own)


def test_what_it_cannot_be(known):
    for wrong in ({"region": "defect"}, {"margin": -1}):
        with pytest.raises(RLIError, match=next(iter(wrong))):
            photos("folder", known, **wrong)


def test_a_margin_makes_another_result(known):
    stamps = {next(iter(photos("folder", known, margin=margin))).stamp for margin in (0, 8)}
    assert len(stamps) == 2
