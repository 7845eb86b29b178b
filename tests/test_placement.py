"""Places of new defects: inside the part, apart from each other, and the same for the same seed and name."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders import box
from scipy import ndimage

from rli.errors import RLIError, SettingError
from rli.images import write_png
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.photo import Photo
from rli.photos.placement import PhotoPlace
from rli.photos.placement_part import found_part
from rli.photos.placement_settings import Pool, Shapes
from rli.photos.placement_shapes import SHAPES, moved
from rli.photos.sources import photos


def disc(size: int = 200, radius: int = 60) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return np.hypot(y - 90, x - 110) < radius


def part_before(background: int, part: int, mask: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, 6, (*mask.shape, 3))
    return (np.where(mask, part, background)[..., None] + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("background", "part"), [(230, 90), (20, 120)])
def test_a_part_is_found_before_its_background(background, part):
    mask = disc()
    found = found_part(part_before(background, part, mask))
    assert (found <= mask).all() and found.sum() > 0.85 * mask.sum()


def test_a_part_that_reaches_the_border_is_found_by_what_lies_in_the_middle():
    mask = box(160, 160, slice(40, None), slice(50, None))
    found = found_part(part_before(200, 80, mask))
    assert (found <= mask).all() and found.sum() > 0.85 * mask.sum()


@pytest.mark.parametrize("material", ["concrete", "cast metal", "brushed metal", "painted steel"])
def test_a_surface_that_fills_the_photograph_is_all_part(material):
    assert found_part(surface(UNSEEN + 1, (), 128, 160, material).image).all()


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_about_as_long_as_asked(name):
    for seed in range(20):
        mask = SHAPES[name](np.random.default_rng(seed), 60.0)
        assert mask.any(0).all() or name == "scatter"
        assert 20 < max(mask.shape) < 110
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()


def test_masks_are_moved_as_they_say():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:50] = True
    mask[10:14, 20] = False
    plain = {"is_flipped": False, "turn": 0.0, "scale": 1.0, "margin": 0.0}
    own = moved(mask, **plain)
    assert np.array_equal(own, mask[10:20, 20:50])
    assert np.array_equal(moved(mask, **{**plain, "is_flipped": True}), own[:, ::-1])
    assert np.array_equal(moved(mask, **{**plain, "turn": 90.0}), np.rot90(own))
    assert moved(mask, **{**plain, "scale": 2.0}).shape == (20, 60)
    assert moved(mask, **{**plain, "margin": 3.0}).shape == (16, 36)


def test_a_thin_crack_stays_in_one_piece_however_it_is_turned():
    crack = np.zeros((60, 60), bool)
    crack[np.arange(50) + 5, (np.arange(50) // 3) + 10] = True
    for turn in range(0, 360, 15):
        turned = moved(crack, is_flipped=False, turn=float(turn), scale=0.7, margin=0.0)
        assert ndimage.label(turned, np.ones((3, 3)))[1] == 1


def test_regions_lie_in_the_part_and_apart_from_each_other():
    mask = disc()
    rgb = part_before(220, 80, mask)
    place = PhotoPlace(Shapes(count=(4, 4), size=(0.1, 0.2)), 7)
    for k in range(6):
        placed = place.at(Photo(f"p{k}"), rgb)
        spots = json.loads(placed.told)
        assert len(spots) == 4 and (placed.mask <= mask).all()
        boxes = [box(*mask.shape, *slices(spot)) for spot in spots]
        assert (placed.mask <= np.logical_or.reduce(boxes)).all()
        # No two touch.
        assert ndimage.label(placed.mask, np.ones((3, 3)))[1] >= 4


def slices(spot: dict[str, int]) -> tuple[slice, slice]:
    return slice(spot["top"], spot["top"] + spot["height"]), slice(spot["left"], spot["left"] + spot["width"])


def test_a_place_follows_from_seed_and_name_alone():
    rgb = part_before(220, 80, disc())
    place = PhotoPlace(Shapes(), 7)
    masks = {name: place.at(Photo(name), rgb).mask for name in ("a", "b")}
    assert np.array_equal(place.at(Photo("a", label="good"), rgb).mask, masks["a"])
    assert not np.array_equal(masks["a"], masks["b"])
    assert not np.array_equal(replace(place, seed=8).at(Photo("a"), rgb).mask, masks["a"])


def test_where_there_is_no_room_regions_are_smaller_and_then_refused():
    tiny = np.zeros((200, 200), bool)
    tiny[80:120, 80:120] = True
    rgb = part_before(220, 40, tiny)
    assert (PhotoPlace(Shapes(shapes=["blob"], size=(0.9, 0.9)), 0).at(Photo("a"), rgb).mask <= tiny).all()
    with pytest.raises(RLIError, match="a: there is no room for a further region"):
        PhotoPlace(Shapes(shapes=["blob"], size=(0.9, 0.9), count=(20, 20)), 0).at(Photo("a"), rgb)
    many = PhotoPlace(Shapes(shapes=["blob"], size=(0.9, 0.9), count=(20, 20), overlap=True), 0)
    assert (many.at(Photo("a"), rgb).mask <= tiny).all()


def test_an_edge_lies_at_the_edge():
    mask = disc()
    placed = PhotoPlace(Shapes(shapes=["edge"]), 1).at(Photo("a"), part_before(220, 80, mask))
    near = ndimage.binary_dilation(~found_part(part_before(220, 80, mask)))
    assert (placed.mask & near).any() and (placed.mask <= mask).all()


# --- in a data set ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """MVTec AD's layout: two categories, a defective and a good photograph each, one mask long, one high."""
    for category, rows, columns in (("bolt", 6, 40), ("nut", 40, 6)):
        mask = box(100, 100, slice(30, 30 + rows), slice(30, 30 + columns))
        write_png(tmp_path / category / "test" / "scratch" / "0.png", part_before(90, 160, mask))
        write_png(tmp_path / category / "ground_truth" / "scratch" / "0_mask.png", mask)
        write_png(tmp_path / category / "test" / "good" / "1.png", part_before(90, 90, mask))
    return tmp_path


def test_good_photographs_get_masks_of_their_category(folder):
    source = photos("mvtec_ad", folder, good=True)
    pool = Pool(turn=False, scale=(1, 1), margin=0)
    places = {photo.name: photo for photo in source.placing(pool, 3)}
    assert {name for name, photo in places.items() if photo.place} == {"bolt/good/1", "nut/good/1"}
    for category, shape in (("bolt", (6, 40)), ("nut", (40, 6))):
        (spot,) = json.loads(places[f"{category}/good/1"].placed(100, 100).told)
        assert spot["from"] == f"{category}/scratch/0" and (spot["height"], spot["width"]) == shape
        region = places[f"{category}/good/1"].region(100, 100)
        assert region.sum() == 240 and region[spot["top"], spot["left"]]
        half = places[f"{category}/good/1"].region(50, 50)
        assert half.shape == (50, 50) and half.any()


def test_good_photographs_alone_take_masks_of_all(folder):
    source = photos("mvtec_ad", folder / "bolt", good=True, classes=["good"]).placing(Pool(), 3)
    assert [photo.name for photo in source] == ["good/1"] and source.count() == 1
    assert all(photo.region(100, 100).any() for photo in source)


def test_what_cannot_be_placed_is_refused(folder):
    with pytest.raises(SettingError, match="no photograph has the mask of a defect to take"):
        photos("mvtec_ad", folder, good=True).placing(Pool(classes=["rust"]), 0)
    with pytest.raises(SettingError, match="of one of these classes; there are good, scratch"):
        photos("mvtec_ad", folder, good=True, classes=["rust"])
    for kind, values in ((Shapes, {"size": (2, 3)}), (Shapes, {"shapes": ["star"]}), (Shapes, {"count": (0, 1)})):
        with pytest.raises(SettingError):
            kind(**values)
    for values in ({"scale": (2, 1)}, {"part": "nowhere"}, {"turn": 1}):
        with pytest.raises(SettingError):
            Pool(**values)


def test_a_part_s_mask_may_be_given(folder, tmp_path):
    part = box(100, 100, slice(60, 100), slice(0, 50))
    write_png(tmp_path / "parts" / "test" / "good" / "1.png", part)
    settings = Shapes(part=str(tmp_path / "parts"), size=(0.1, 0.3))
    good = [p for p in photos("mvtec_ad", folder / "bolt", good=True).placing(settings, 0) if p.label == "good"]
    assert all((photo.region(100, 100) <= part).all() for photo in good) and good
    (tmp_path / "parts" / "test" / "good" / "1.png").unlink()
    again = [p for p in photos("mvtec_ad", folder / "bolt", good=True).placing(settings, 0) if p.label == "good"]
    with pytest.raises(RLIError, match="holds no mask of its part"):
        again[0].region(100, 100)
