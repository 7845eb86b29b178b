"""Does the model recognise what was wanted? Diffusion Classifier (Li et al. 2023) in an edit's mask."""

import csv
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from builders import box, job, targets, write_clip, write_surface
from command import QUICK, SMALL, run

from rli.errors import RLIError
from rli.images import to_tensor
from rli.keys import LATER, key_of
from rli.method.recognition import Recognition, competing, prediction_errors, recognise, recognised
from rli.models import vae
from rli.models.loading import load
from rli.models.mini.surfaces import UNSEEN, surface
from rli.models.noise_schedule import Step
from rli.models.text import encode_prompts
from rli.photos.photo import Photo
from rli.runs.job import Selection
from rli.runs.quality_gate import Gate, Scores, reject_reason

pytestmark = pytest.mark.integration

PROMPTS = tuple(f"photo of a {word} defect image" for word in ("crack", "rust", "dent", "blistering"))


@pytest.fixture(scope="module")
def mini():
    return load("mini")


def test_the_error_of_a_prompt_is_that_of_the_noise_predicted_in_the_region(mini):
    image, region = to_tensor(surface(UNSEEN, ("rust",), 64, 64).image), box(64, 64)
    text = encode_prompts(mini, PROMPTS[1:2], (64, 64))
    (error,) = prediction_errors(mini, image, text, region, Recognition((0.5,)), seed=3)
    latent, level = vae.encode(mini, image), round(0.5 * (len(mini.abar) - 1))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    noisy = mini.abar[level] ** 0.5 * latent + (1 - mini.abar[level]) ** 0.5 * noise
    with torch.no_grad():
        said = mini.predict(noisy, Step(0, 1, level, level, level), text, "here")
    half = latent.shape[-1] // 2
    assert error == pytest.approx(float((said - noise)[..., :half, :half].square().mean()), rel=1e-5)


def test_prompts_do_not_depend_on_those_beside_them(mini):
    image, region = to_tensor(surface(UNSEEN + 1, ("dent",), 64, 64).image), box(64, 64)
    many = [f"photo of a {word} image" for word in "abcdefghi"]  # more than are predicted with together
    texts = (competing(mini, prompts, (64, 64)).text for prompts in ([*PROMPTS, *many], PROMPTS))
    together, alone = (prediction_errors(mini, image, text, region, Recognition((0.3,)), batch=5) for text in texts)
    assert together[:4] == pytest.approx(alone, rel=1e-4)


def test_most_drawn_defects_are_recognised(mini):
    side = mini.unet.config.sample_size * mini.pixels_per_latent
    right, among = [], competing(mini, PROMPTS, (side, side))
    for k in range(6):
        drawn = surface(UNSEEN + 300 + k, (PROMPTS[k % 4].split()[3],), side, side)
        found = recognise(mini, to_tensor(drawn.image), PROMPTS[k % 4], among, drawn.mask, Recognition())
        assert (found.rank == 1) == (found.margin > 0)
        right.append(found.rank == 1)
    assert sum(right) >= 4


def test_rank_and_margin():
    assert recognised((2.0, 3.0, 4.0), 0) == recognised((4.0, 2.0, 3.0), 1)
    best, last = recognised((2.0, 3.0, 4.0), 0), recognised((2.0, 3.0, 4.0), 2)
    assert (best.rank, best.margin) == (1, 0.5) and (last.rank, last.margin) == (3, -0.5)
    assert recognised((2.0,), 0) is None


def test_nothing_is_recognised_where_nothing_was_to_change(mini):
    image = to_tensor(surface(UNSEEN, (), 64, 64).image)
    every, one = (competing(mini, prompts, (64, 64)) for prompts in (PROMPTS, [PROMPTS[0]] * 2))
    assert recognise(mini, image, PROMPTS[0], every, np.zeros((64, 64), bool), Recognition()) is None
    assert recognise(mini, image, PROMPTS[0], one, box(64, 64), Recognition()) is None


def test_the_gate_may_ask_for_a_margin():
    scores = Scores(40, 0.98, 33, 20, 0.05, 5, recognised_margin=-0.012)
    assert reject_reason(scores, Gate()) is None
    assert reject_reason(replace(scores, recognised_margin=float("nan")), Gate(min_recognised_margin=0)) is None
    reason = reject_reason(scores, Gate(min_recognised_margin=0))
    assert reason == "margin of -1.2% over what else the model sees is below 0.00%"


def test_keys_of_what_was_made_before_stay_what_they_were(tmp_path):
    @dataclass(frozen=True)
    class Known:
        old: int = 1

    @dataclass(frozen=True)
    class More:
        old: int = 1
        new: int | None = field(default=None, metadata=LATER)

    More.__name__ = "Known"
    assert key_of(Known()) == key_of(More()) != key_of(More(new=2))
    photo, plain = Photo("plate", stamp="1"), job(tmp_path, targets=targets("rust"), selection=Selection())
    asked = replace(plain, recognition=Recognition())
    assert plain.key(photo) != asked.key(photo) != replace(asked, recognition=Recognition((0.5,))).key(photo)
    strict = replace(asked, selection=Selection(Gate(min_recognised_margin=0.0)))
    assert strict.key(photo) != asked.key(photo)
    with pytest.raises(RLIError, match="needs recognition=on"):
        replace(plain, selection=Selection(Gate(min_recognised_margin=0.0)))


def test_a_run_says_what_is_recognised_and_the_gate_rejects_what_is_not(tmp_path, monkeypatch):
    encoded = []

    def noted(model, prompts, *more):
        encoded.append(prompts)
        return encode_prompts(model, prompts, *more)

    monkeypatch.setattr("rli.method.recognition.encode_prompts", noted)
    for name in ("plate", "sheet"):
        write_surface(tmp_path / "photos" / f"{name}.png")
    own = (*QUICK, *SMALL, "data=folder", f"data.path={tmp_path / 'photos'}", "defect=rust", "inversion=direct")
    own += ("export=imagefolder", "recognition=on", 'recognition.prompts=["photo of a clean image"]')
    own += (f"recognition.clip={write_clip(tmp_path / 'clip')}", "dataset.gate.min_clip_margin=150")
    answer = run(*own, "dataset.gate.min_recognised_margin=900", "dataset.max_retries=0", f"out={tmp_path / 'out'}")
    with (answer.folder / "manifest.csv").open() as file:
        edits = [row for row in csv.DictReader(file) if row["kind"] == "edit"]
    assert len(edits) == 2 and [len(prompts) for prompts in encoded] == [3]  # once, for every edit of every photograph
    for edit in edits:
        assert edit["kept"] == "False" and "over what else the model sees is below" in edit["reason"]
        assert "CLIP's margin of" in edit["reason"]
        for judge in ("recognised", "clip"):
            rank, margin = int(float(edit[f"{judge}_rank"])), float(edit[f"{judge}_margin"])
            assert rank in (1, 2, 3) and (rank == 1) == (margin > 0)
    page = (answer.folder / "report.html").read_text()
    assert "Recognised as wanted" in page and "Recognised by CLIP" in page


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("recognition.levels=[]", "recognition.levels"),
        ("recognition.levels=[1.5]", "recognition.levels"),
        ("recognition.noises=0", "recognition.noises"),
    ],
)
def test_bad_settings_end_in_one_line(setting, says):
    assert says in run(*QUICK, "recognition=on", setting).error
