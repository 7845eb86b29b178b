"""The protocol by which training with generated images is measured: what may be learned from, and what is counted."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import box, grey, noise, write_images
from torch import nn
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from experiments import harness
from experiments.classification import task as classification
from experiments.evaluate.__main__ import further_answers
from experiments.evaluate.page import Seen, precision_and_recall
from experiments.proof.answer import answer
from experiments.proof.generation import dinov2_features, frechet_distance, mask_fidelity
from experiments.proof.makers import COPIES, INPAINTED, OURS, PASTED, Making, copied, pasted
from experiments.proof.networks import SEGMENTERS, SMP, segmenter
from experiments.proof.photographs import drawn, listed, original, real, rewritten
from experiments.proof.pie import Judges, background, last_keys, measured, structure_distance
from experiments.proof.protocol import divided, refuse_leaks
from experiments.proof.rows import BOTH, REAL, chosen, rows, write_training_set
from experiments.proof.run import Asked, name_of, photographs, place_of, sides_of
from experiments.proof.scores import best_threshold, classified, curves, intersection_over_union, miou, pro
from experiments.proof.sizes import SIZES
from experiments.proof.training import Epoch, judged
from experiments.segmentation import task as segmentation
from rli.datasets.annotations import Item, Region
from rli.errors import RLIError
from rli.images import read_picture, write_png
from rli.photos.photo import GOOD, Photo
from rli.photos.sources import photos


def tiles(folder, counts, first=0):
    """Photographs of classes, each of another picture, with their masks: <class>/<number>.png."""
    for k, (label, count) in enumerate(counts.items()):
        for number in range(count):
            name = folder / f"MT_{label.title()}" / "Imgs" / f"exp{number % 2}_num_{first + number // 2:03d}"
            write_png(name.with_suffix(".jpg"), noise(seed=1000 * k + number))
            write_png(name.with_suffix(".png"), box(32, 48) & (label != "free"))
    return real("magnetic_tile", folder)


@pytest.fixture
def alone(tmp_path):
    """Eleven photographs of a crack, seven of a hole and nine good ones, each for itself."""
    for first, (label, count) in enumerate({"crack": 11, "hole": 7, "good": 9}.items()):
        for k in range(count):
            write_png(tmp_path / label / f"{k:02d}.png", noise(seed=k + 100 * first))
    return [
        Photo(f"{label}/{file.stem}", file, label=label)
        for label in ("crack", "hole", "good")
        for file in sorted((tmp_path / label).iterdir())
    ]


def test_the_first_third_of_each_class_is_learned_from_and_a_quarter_of_it_is_held_out(alone):
    sides = divided(alone)
    learned = sorted((*sides.train, *sides.held_out), key=lambda photo: photo.name)
    for label, count in {"crack": 11, "hole": 7, "good": 9}.items():
        own = [photo for photo in alone if photo.label == label]
        assert [photo for photo in learned if photo.label == label] == own[: count // 3]
        assert sum(photo.label == label for photo in sides.held_out) == 1
    assert sorted(photo.name for _, side in sides.sides() for photo in side) == sorted(photo.name for photo in alone)


def test_photographs_that_belong_together_are_on_one_side(tmp_path):
    found = tiles(tmp_path, {"crack": 14, "free": 12})
    sides = divided(found, r"num_(\d+)")
    numbers = [{(photo.label, photo.name[-3:]) for photo in side} for _, side in sides.sides()]
    assert not numbers[0] & numbers[2] and not numbers[0] & numbers[1] and not numbers[1] & numbers[2]
    assert all(numbers)


def test_equal_files_and_photographs_that_look_alike_are_on_one_side(tmp_path):
    picture = np.kron(np.random.default_rng(3).integers(40, 200, (8, 9, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    for k in range(9):
        write_images(tmp_path, f"{k}.png", image=noise(seed=k))
    write_images(tmp_path, "0.png", "7.png", image=picture)
    write_images(tmp_path, "8.png", image=picture + 3)
    every = [*photos("folder", tmp_path)]
    for near, same in ((False, {"0", "7"}), (True, {"0", "7", "8"})):
        sides = divided(every, near=near)
        (together,) = [{p.name for p in side} & same for _, side in sides.sides() if {p.name for p in side} & same]
        assert together == same


def test_a_list_s_column_says_which_photographs_belong_together(alone, tmp_path):
    rows = [(str(photo.file), "", photo.label, "", f"part {k % 5}") for k, photo in enumerate(alone)]
    sides = divided(listed(tmp_path / "list.csv", rows))
    parts = [{photo.group for photo in side} for _, side in sides.sides()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5


def test_photographs_with_splits_of_their_own_keep_them(tmp_path):
    found = drawn(tmp_path, 8, 10, 32)
    sides = divided(found)
    assert {photo.split for photo in (*sides.train, *sides.held_out)} == {"train"}
    assert {photo.split for photo in sides.test} == {"test"} and len(sides.test) == 10
    assert sum(photo.label == GOOD for photo in sides.test) == 2


def test_a_data_set_may_have_more_drawn_photographs(tmp_path):
    asked = _asked(tmp_path)
    for name, learned in {"drawn": 8, "drawn=12": 12}.items():
        place = place_of(asked, name)
        found = photographs(name, place, asked)
        assert place.name == name_of(name) == name
        assert sum(photo.split == "train" and photo.label != GOOD for photo in found) == learned
        assert sum(photo.split == "test" for photo in found) == 10
    for wrong in ("drawn=", "drawn=0", "drawn=many", "drawn=-1"):
        with pytest.raises(RLIError, match="expected drawn"):
            photographs(wrong, tmp_path, asked)
    assert name_of("magnetic_tile=tiles") == "magnetic_tile"


def test_a_photograph_whose_defect_no_mask_shows_does_not_judge_a_segmenter(tmp_path, capsys):
    for k in range(12):
        write_png(tmp_path / "photos" / ("crack" if k % 2 else "good") / f"{k:02d}.png", noise(seed=k))
        if k % 2 and k != 11:
            write_png(tmp_path / "photos" / "crack" / f"{k:02d}_mask.png", box(32, 48) & (k < 9))
    for task, left_out in {segmentation.TASK: 2, classification.TASK: 0}.items():
        sides = sides_of(task, _asked(tmp_path), f"folder={tmp_path / 'photos'}")
        assert sum(len(own) for _, own in sides.sides()) == 12 - left_out
        line = f"left out, since no mask shows their defects: {left_out} photographs\n" if left_out else ""
        assert capsys.readouterr().err == line


def _asked(folder: Path) -> Asked:
    """As if the smallest size had been asked for."""
    return Asked(
        size_name="tiny",
        size=SIZES["tiny"],
        network="",
        weights="",
        device=torch.device("cpu"),
        settings=SIZES["tiny"].settings(()),
        work=folder,
        out=folder,
        group=None,
        words=None,
        rows=None,
        seeds=1,
    )


def test_drawn_photographs_of_another_size_are_drawn_again(tmp_path):
    first = [photo.sha256() for photo in drawn(tmp_path, 4, 5, 32)]
    assert [photo.sha256() for photo in drawn(tmp_path, 4, 5, 32)] == first
    assert read_picture(drawn(tmp_path, 4, 5, 48)[0].file).size == (48, 48)


def test_drawn_photographs_of_another_number_show_what_their_classes_say(tmp_path):
    for tested in (5, 10, 5):  # the last of five is good, of ten the last two
        fresh = [photo.sha256() for photo in drawn(tmp_path / f"fresh{tested}", 4, tested, 32)]
        assert [photo.sha256() for photo in drawn(tmp_path / "same", 4, tested, 32)] == fresh


def test_what_is_made_from_a_test_photograph_is_refused(alone, tmp_path):
    sides = divided(alone)
    fine = [original(photo, "train") for photo in sides.train]
    refuse_leaks(fine, sides)
    for leak in (sides.test[0], sides.held_out[0]):
        edit = Item(leak.file, "edit", leak.name, "edit", label="hole", facts={"sha256": leak.sha256()})
        with pytest.raises(RLIError, match=f"edit is made from .*{leak.name}"):
            refuse_leaks([*fine, edit], sides)
        masked = {
            "sha256": sides.train[0].sha256(),
            "placement": json.dumps([{"from": "blob"}, {"from": leak.name}]),
            "hashes": {leak.name: leak.sha256()},
        }
        by_example = {"sha256": sides.train[0].sha256(), "example": leak.sha256()}
        for facts in (masked, by_example):
            with pytest.raises(RLIError, match=leak.name):
                refuse_leaks([Item(leak.file, "edit", "x", "x", label="hole", facts=facts)], sides)
    unknown = Item(alone[0].file, "edit", "x", "x", label="hole", facts={"sha256": "0" * 64})
    with pytest.raises(RLIError, match="nobody knows"):
        refuse_leaks([unknown], sides)


def test_no_row_learns_from_a_test_photograph_that_slipped_among_those_edited(tmp_path):
    found = drawn(tmp_path / "photographs", 8, 10, 32)
    sides, folder = divided(found), tmp_path / "sets"
    careless = Making((*sides.train, *sides.test), ("crack",), tmp_path / "made")
    made, row = pasted(careless), rows(("crack",), classes=False)["copy and paste"]
    with pytest.raises(RLIError, match="not for training"):
        write_training_set(folder, "segmentation", row, sides, made, 0)
    assert not folder.exists()
    careful = pasted(Making(sides.train, ("crack",), tmp_path / "careful"))
    defective = sum(photo.label != GOOD for photo in sides.train)
    counts = write_training_set(folder, "segmentation", row, sides, careful, 0)
    assert counts == (len(sides.train), 2 * defective) and len(careful) == COPIES * defective


def test_a_pasted_defect_is_where_its_mask_says_and_nothing_else_changes():
    onto, donor, mask = grey(40, 50), np.full((60, 60, 3), 10, np.uint8), box(60, 60, slice(5, 20), slice(30, 42))
    for seed in range(8):
        image, where = copied(np.random.default_rng(seed), donor, mask, onto)
        assert where.sum() == mask.sum() and (image[where] == 10).all()
        changed = (image != onto).any(-1)
        assert not (changed & ~where).sum() > changed.sum() / 2


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_segmenter_gives_a_logit_for_every_pixel(name):
    if name in SMP:
        pytest.importorskip("segmentation_models_pytorch")
    with torch.no_grad():
        assert segmenter(name, "none").eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_a_row_has_its_images_and_its_ratio(tmp_path):
    def item(k, maker, label, source, kept=True, kind="edit"):
        return Item(tmp_path, kind, str(k), str(k), label=label, facts={"maker": maker, "kept": kept, "from": source})

    made = [item(k, OURS, "rust", "crack", kept=k % 2 == 0) for k in range(20)]
    made += [item(20 + k, OURS, "crack", GOOD) for k in range(20)]
    made += [item(40, OURS, "crack", "crack", kind="reconstruction"), item(41, INPAINTED, "rust", "crack")]
    made += [item(42, PASTED, "crack", GOOD)]
    known = rows(("crack", "rust"), classes=True)
    assert chosen(known[REAL], made, 3, 0) == []
    assert {i.facts["kept"] for i in chosen(known["edits"], made, 100, 0)} == {True}
    assert len(chosen(known["edits, no gate"], made, 100, 0)) == 20
    assert {i.facts["from"] for i in chosen(known["placed"], made, 100, 0)} == {GOOD}
    assert [i.name for i in chosen(known["syn"], made, 100, 0)] == ["40"]
    assert [i.name for i in chosen(known[INPAINTED], made, 100, 0)] == ["41"]
    assert [i.name for i in chosen(known["copy and paste"], made, 100, 0)] == ["42"]
    assert chosen(known["edits to crack"], made, 100, 0) == []
    for ratio, name in ((0.5, f"{BOTH}, ratio 0.5"), (2, BOTH), (5, f"{BOTH}, ratio 5")):
        assert len(chosen(known[name], made, 4, 0)) == 4 * ratio
    assert chosen(known[BOTH], made, 4, 0) != chosen(known[BOTH], made, 4, 1)
    assert "MixUp" in known and "MixUp" not in rows(("crack",), classes=False)


def test_a_list_of_photographs_has_their_masks(tmp_path):
    found = [photo for photo in tiles(tmp_path / "tiles", {"crack": 2, "free": 1}) if photo.label]
    again = [*photos("list", rewritten(tmp_path / "list", found))]
    assert [photo.label for photo in again] == [photo.label for photo in found]
    for one, other in zip(found, again, strict=True):
        assert one.sha256() == other.sha256()
        assert other.label == GOOD or (one.truth(32, 48) == other.truth(32, 48)).all()


def test_other_metrics_have_answers_of_their_own():
    rows = [
        {"row": row, "seed": k, "pixel_ap": 0.5 + (row == "with") * 0.1}
        for k in range(2)
        for row in ("with", "without")
    ]
    table = pd.DataFrame(rows).assign(image_auroc=np.nan)
    (only,) = further_answers(table, "with", "without", ("pixel_ap", "image_auroc", "not measured"))
    assert only == "better: AP of pixels +10.0 ± 0.0 points over 2 trainings of “with” beside “without”"


def test_the_epochs_that_figures_are_of():
    nothing = np.zeros(1)
    epochs = [Epoch(held, test, nothing, nothing) for held, test in ((0.2, 0.9), (0.5, 0.3), (0.5, 0.4), (0.1, 0.2))]
    found = judged(epochs, lambda epoch: {"miou": epoch.test})
    assert found.metrics == {"miou": 0.4, "miou_last": 0.2, "miou_best": 0.9} and found.honest is epochs[2]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.05, 0.06, 0.04), "better"),
        ((-0.05, -0.06, -0.04), "worse"),
        ((0.05, -0.06, 0.02), "no different"),
        ((0.3,), "not known"),
    ],
)
def test_an_answer_is_a_difference_beyond_the_spread_of_the_seeds(gains, verdict):
    rows = [{"row": "with", "seed": k, "miou": 0.5 + 0.1 * k + gain} for k, gain in enumerate(gains)]
    rows += [{"row": "without", "seed": k, "miou": 0.5 + 0.1 * k} for k in (2, 1, 0)]
    found = answer(pd.DataFrame(rows), "with", "without", "miou")
    assert found.verdict == verdict and found.difference == pytest.approx(np.mean(gains))
    assert verdict in found.sentence("miou", "with", "without")


def test_what_is_missed_before_and_found_after():
    truth = np.zeros((4, 8, 8), bool)
    truth[:2, 2:4, 2:4] = True
    found = np.zeros((4, 8, 8), np.float16)
    found[0, 3, 3] = found[2, 0, 0] = 0.7
    assert [*Seen(truth, found, 0.5).right] == [True, False, False, True]
    assert [*Seen(np.array([0, 1]), np.array([1, 1]), 0.5).right] == [False, True]
    precision, recall = precision_and_recall(truth, found)
    assert (precision[50], recall[50]) == (0.5, 1 / 8) and recall[-1] == 1 and (np.diff(recall) >= 0).all()


def test_a_label_is_held_against_every_pixel_that_changed(tmp_path):
    image, mask = grey(40, 60), box()
    changed = np.where(mask[..., None], 220, image).astype(np.uint8)
    write_images(tmp_path, "photo.png", image=image)
    write_images(tmp_path, "edit.png", image=changed)
    half = mask & (np.arange(60) < 15)
    write_images(tmp_path, "all.png", image=mask)
    write_images(tmp_path, "half.png", image=half)
    for name, value in (("all", 0.95), ("half", 0.5)):
        regions = (Region("rust", tmp_path / f"{name}.png"),)
        item = Item(tmp_path / "edit.png", "edit", "p", "p", label="rust", regions=regions)
        fidelity = mask_fidelity(item, Photo("p", tmp_path / "photo.png"))
        assert fidelity == pytest.approx(value, abs=0.07)


def test_the_frechet_distance_of_moved_and_of_stretched_features():
    pytest.importorskip("torch_fidelity")
    features = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)).double()
    shift = torch.arange(6).double()
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features + shift, features) == pytest.approx(55, abs=1e-6)  # 0 + 1 + 4 + 9 + 16 + 25
    # Of normal distributions with covariances S and k²S it is (k - 1)² times the trace of S, and the means' distance.
    expected = 4 * features.T.cov().trace() + (2 * features.mean(0)).square().sum()
    assert frechet_distance(3 * features, features) == pytest.approx(float(expected), rel=1e-6)


def test_dinov2_s_features_are_its_class_token_s(tmp_path):
    for k in range(3):
        write_images(tmp_path, f"{k}.png", image=noise(64, 64, seed=k))
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=56)
    network, files = Dinov2Model(config).eval(), [tmp_path / f"{k}.png" for k in range(3)]
    found = dinov2_features(network, files)
    assert found.shape == (3, 16) and found.dtype == torch.float64
    torch.testing.assert_close(found[1:2], dinov2_features(network, files[1:2]), check_dtype=False)


@pytest.mark.parametrize("row", ["augmented", "MixUp", "CutMix"])
def test_mixed_pictures_cost_a_network_that_knows_nothing_what_plain_ones_do(row):
    torch.manual_seed(0)
    loss = classification.loss_of(rows(("crack",), classes=True)[row], 4)
    knows_nothing = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    nn.init.zeros_(knows_nothing[1].weight), nn.init.zeros_(knows_nothing[1].bias)
    batch = [torch.randn(8, 3, 8, 8), torch.arange(8) % 4]
    assert loss(knows_nothing, batch).item() == pytest.approx(np.log(4))


def test_names_without_the_folder_that_all_lie_in():
    assert harness.without_folder(["a/b/0~1/rust", "a/b/1~2/rust"]) == ["0~1/rust", "1~2/rust"]
    assert harness.without_folder(["plate", "sheet"]) == ["plate", "sheet"] and harness.without_folder([]) == []


def test_both_readings_of_the_background():
    photo, mask = grey(40, 60), box()
    edit = np.where(mask[..., None], 255, photo + 4).astype(np.uint8)
    found = background(edit, photo, mask)
    assert found["mse_background"] == pytest.approx((4 / 255) ** 2)
    assert found["mse_published"] == pytest.approx(found["mse_background"] * (1 - mask.mean()))
    assert found["psnr_published"] - found["psnr_background"] == pytest.approx(-10 * np.log10(1 - mask.mean()))
    assert background(photo, photo, mask)["psnr_background"] == 99


def test_structure_is_distance_of_a_transformer_s_keys():
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    config.image_size, config.patch_size = 32, 8
    keys = partial(last_keys, ViTModel(config).eval())
    one, other = noise(seed=0), noise(seed=1)
    assert keys(one).shape == (17, 16)
    assert structure_distance(keys, one, one) == 0 < structure_distance(keys, one, other)
    judged = measured(one, other, box(32, 48), "photo", Judges(None, keys, lambda picture, prompt: 25.0))
    assert judged["structure"] > 0 and judged["clip_whole"] == 25 and "lpips_published" not in judged


def test_overlap_of_masks():
    truth, found = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    assert intersection_over_union(truth, found) == miou(truth, found) == 1
    truth[0, :2], found[0, 1:3] = True, True
    assert intersection_over_union(truth, found) == pytest.approx(4 / 12)
    assert miou(truth, found) == pytest.approx((4 / 12 + 20 / 28) / 2)
    assert best_threshold(truth, np.where(truth, 0.62, 0.57)) == pytest.approx(0.6)


def test_regions_count_alike_whatever_their_size():
    truth = np.zeros((1, 40, 40), bool)
    truth[0, :20, :20] = truth[0, 30, 30] = True
    rng = np.random.default_rng(0)
    assert pro(truth, truth.astype(float)) == pytest.approx(1, abs=0.01)
    large, small = truth.copy(), truth.copy()
    large[0, 30, 30], small[0, :20, :20] = False, False
    assert pro(truth, large + 0.0) == pytest.approx(pro(truth, small + 0.0), abs=0.05)
    assert pro(truth, rng.random(truth.shape)) < 0.5
    assert np.isnan(pro(np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4))))


@pytest.mark.parametrize(("seed", "value"), [(0, 0.6030), (1, 0.5103), (2, 0.6166)])
def test_pro_is_what_anomalib_2_7_says_of_the_same(seed, value):
    rng, truth = np.random.default_rng(seed), np.zeros((3, 64, 64), bool)
    truth[0, 5:15, 5:30] = truth[1, 40:60, 3:9] = truth[1, 2:5, 50:60] = True
    scores = (truth * 0.4 + rng.random(truth.shape)).astype(np.float32) / 1.4
    assert pro(truth, scores) == pytest.approx(value, abs=1e-3)


def test_curves_of_a_small_case():
    pytest.importorskip("sklearn")
    found = curves("pixel", np.array([0, 0, 1, 1], bool), np.array([0.1, 0.4, 0.35, 0.8]))
    assert found["pixel_auroc"] == pytest.approx(0.75)
    assert found["pixel_ap"] == pytest.approx(0.8333, abs=1e-4)
    assert found["pixel_f1"] == pytest.approx(0.8)
    assert curves("image", np.ones(3, bool), np.ones(3)) == {}


def test_accuracy_over_pictures_and_over_classes():
    found = classified(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    assert found == {"accuracy": 0.75, "class_accuracy": 0.5}
