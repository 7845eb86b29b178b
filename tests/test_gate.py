from dataclasses import replace

import numpy as np
import pytest

from rli.datasets.annotations import change_mask
from rli.errors import RLIError
from rli.method.records import EditSettings
from rli.models.mini.surfaces import surface
from rli.runs.quality_gate import Gate, Scores, adjusted, reject_reason, score

FINE = Scores(background_psnr=40, background_ssim=0.98, reconstruction_psnr=33, strength=20, share=0.05, difference=5)
SETTINGS = EditSettings(eq=2.0, cross=0.6, replace=0.4, threshold=0.3)


def test_a_drawn_defect_on_a_kept_background_passes():
    clean, drawn = surface(3, (), 128, 128), surface(3, ("rust",), 128, 128)
    change = change_mask(drawn.image, clean.image, drawn.mask)
    scores = score(drawn.image, clean.image, clean.image, drawn.mask, change)
    assert scores.background_psnr == scores.reconstruction_psnr == np.inf
    assert scores.background_ssim > 0.9  # its windows reach into the mask
    assert scores.share == pytest.approx(change.mean())
    assert reject_reason(scores, Gate()) is None
    assert adjusted(SETTINGS, scores, Gate()) is None


def test_nothing_happened():
    image = surface(3, ("crack",), 64, 64)
    scores = score(image.image, image.image, image.image, image.mask, np.zeros((64, 64), bool))
    reason = reject_reason(scores, Gate())
    assert all(word in reason for word in ("changed share of 0.00% is below 0.10%", "strength of 0.0", "difference"))


def test_masks_that_leave_nothing_to_measure():
    image = surface(3, ("crack",), 64, 64).image
    everything, nothing = np.ones((64, 64), bool), np.zeros((64, 64), bool)
    assert (
        reject_reason(score(255 - image, image, image, everything, everything), Gate())
        == "changed share of 100.00% is above 60.00%"
    )
    assert "changed share" in reject_reason(score(image, image, image, nothing, nothing), Gate())


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        (replace(FINE, background_psnr=24.06), "background PSNR of 24.1 dB is below 28"),
        (replace(FINE, background_ssim=0.5), "background SSIM of 0.500 is below 0.85"),
        (replace(FINE, reconstruction_psnr=12), "reconstruction PSNR of 12.0 dB is below 20"),
        (replace(FINE, strength=1), "strength of 1.0 grey levels is below 4"),
        (replace(FINE, strength=99), "strength of 99.0 grey levels is above 60"),
        (replace(FINE, share=0.9), "changed share of 90.00% is above 60.00%"),
        (
            replace(FINE, background_psnr=27, strength=1),
            "strength of 1.0 grey levels is below 4; background PSNR of 27.0 dB is below 28",
        ),
    ],
)
def test_reasons_are_readable_and_the_worst_comes_first(scores, says):
    assert reject_reason(scores, Gate(max_strength=60)) == says
    assert reject_reason(FINE, Gate(max_strength=60)) is None


def test_at_the_limit_an_edit_is_kept():
    gate = Gate(max_strength=60)
    low = Scores(28, 0.85, 20, 4, 0.001, 0.5)
    assert reject_reason(low, gate) is None
    assert reject_reason(replace(low, strength=60, share=0.6), gate) is None


def test_a_weak_edit_is_tried_stronger_and_a_spoilt_background_weaker():
    gate = Gate(max_strength=60)
    weak, strong = replace(FINE, strength=1), replace(FINE, strength=99)
    assert adjusted(SETTINGS, weak, gate) == replace(SETTINGS, eq=3.0, cross=0.4, replace=0.2)
    assert adjusted(SETTINGS, strong, gate) == replace(SETTINGS, eq=1.3333, cross=0.8, replace=0.6)
    spoilt = adjusted(SETTINGS, replace(FINE, background_psnr=20), gate)
    assert spoilt == replace(SETTINGS, eq=1.3333, cross=0.8, replace=0.6, threshold=0.4)
    assert adjusted(SETTINGS, replace(FINE, share=0.9), gate) == spoilt
    small = adjusted(SETTINGS, replace(FINE, share=0), gate)
    assert small == replace(SETTINGS, eq=3.0, cross=0.4, replace=0.2, threshold=0.2)
    assert adjusted(replace(SETTINGS, local_blend=False), replace(FINE, share=0.9), gate).threshold == 0.3


def test_turning_ends_and_stays_in_range():
    for scores in (replace(FINE, strength=0), replace(FINE, share=0), replace(FINE, share=0.9)):
        settings, tries = SETTINGS, []
        while (turned := adjusted(settings, scores, Gate())) is not None:
            settings = turned
            tries.append(settings)
        assert 3 < len(tries) < 12
        assert len(set(tries)) == len(tries)
    far = EditSettings(eq=0.5, cross=1, replace=1, threshold=0.95)
    assert adjusted(far, replace(FINE, share=0.9), Gate()) is None
    assert adjusted(replace(far, eq=50, cross=0.1, replace=0), replace(FINE, strength=0), Gate()) is None


def test_no_edit_mends_a_reconstruction():
    assert adjusted(SETTINGS, replace(FINE, reconstruction_psnr=10, strength=0), Gate()) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"min_background_psnr": -1}, "min_background_psnr"),
        ({"min_background_ssim": 2}, "min_background_ssim"),
        ({"min_strength": "a"}, "min_strength"),
        ({"max_strength": 300}, "max_strength"),
        ({"min_share": 1.5}, "min_share"),
        ({"min_share": 0.7}, "max_share"),
        ({"min_strength": 9, "max_strength": 3}, "below"),
        ({"min_difference": -1}, "min_difference"),
    ],
)
def test_values_that_no_edit_could_reach(values, says):
    with pytest.raises(RLIError, match=says):
        Gate(**values)
