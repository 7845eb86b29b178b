"""CLIP as a judge: what it says is what transformers' own model says, of the part of a picture that an edit changed."""

import numpy as np
import pytest
import torch
from builders import box, noise, write_clip
from command import QUICK, run
from PIL import Image

from rli.errors import SettingError
from rli.metrics.clip import SMALLEST, close_up, load_clip

PROMPTS = ("photo of a crack defect image", "photo of a rust defect image", "photo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny")


def test_similarities_are_those_of_the_whole_model(folder):
    clip, image = load_clip(str(folder)), noise(40, 40)
    given = clip.processor(text=list(PROMPTS), images=[Image.fromarray(image)], return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = clip.model(**given).logits_per_image[0] / clip.model.logit_scale.exp()
    assert clip.similarities(image, clip.encode(PROMPTS)) == pytest.approx((100 * logits).tolist(), abs=1e-4)


def test_a_prompt_does_not_depend_on_those_beside_it(folder):
    clip = load_clip(str(folder))
    alone = torch.cat([clip.encode([prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(clip.encode(PROMPTS), alone)


def test_rank_and_margin_follow_the_similarities_of_the_close_up(folder):
    clip, image, region = load_clip(str(folder)), noise(96, 128), box(96, 128)
    texts = clip.encode(PROMPTS)
    found = clip.similarities(close_up(image, region), texts)
    every = [clip.recognise(image, texts, k, region) for k in range(len(PROMPTS))]
    assert [one.rank for one in every] == [1 + sum(other > own for other in found) for own in found]
    best, second, *_ = sorted(found, reverse=True)
    assert max(one.margin for one in every) == pytest.approx(best - second)
    assert all((one.rank == 1) == (one.margin > 0) for one in every)
    assert clip.recognise(image, texts[:1], 0, region) is None
    assert clip.recognise(image, texts, 0, np.zeros_like(region)) is None


@pytest.mark.parametrize("size", [(300, 400), (50, 200), (40, 30)])
def test_a_close_up_is_a_square_that_shows_all_of_the_region(size):
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows, columns = (slice(*sorted(rng.choice(n + 1, 2, replace=False))) for n in size)
        region = box(*size, rows, columns)
        image = np.where(region[..., None], 255, 0).astype(np.uint8).repeat(3, -1)
        seen = close_up(image, region)
        assert seen.shape[0] == seen.shape[1] >= min(SMALLEST, max(size))
        longest = max(rows.stop - rows.start, columns.stop - columns.start)
        if max(SMALLEST, 1.5 * longest) <= min(size):
            assert (seen[..., 0] == 255).sum() == region.sum()


def test_what_is_no_clip_is_refused_in_one_line(folder, tmp_path):
    with pytest.raises(SettingError, match=r"clip=.*nowhere: CLIP cannot be loaded; expected a folder"):
        load_clip(str(tmp_path / "nowhere"))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(SettingError, match="CLIP cannot be loaded"):
        load_clip(str(tmp_path / "half"))


@pytest.mark.integration
def test_a_clip_that_cannot_be_had_ends_in_one_line_before_anything_is_made(tmp_path):
    own = ("data=sample", "recognition=on", f"recognition.clip={tmp_path / 'nowhere'}", f"out={tmp_path / 'out'}")
    assert "recognition.clip=" in run(*QUICK, *own).error
    assert not (tmp_path / "out" / "images").exists()
    needs = run(*QUICK, "recognition=on", "export=imagefolder", "dataset.gate.min_clip_margin=1")
    assert "needs recognition=on and recognition.clip" in needs.error
