import pytest
import torch

from rli.method.sampler import eps_factor, guide, inversion_steps, move, sampling_steps
from rli.models.noise_schedule import cumulative_alphas

ABAR = cumulative_alphas(0.00085, 0.012, "scaled_linear", 1000)


def test_the_schedule_has_stable_diffusions_published_ends():
    assert ABAR[0] == pytest.approx(1 - 0.00085)
    assert ABAR[999] == pytest.approx(0.00466, abs=1e-5)
    assert all(a > b for a, b in zip(ABAR, ABAR[1:], strict=False))


def test_fifty_steps_are_the_leading_timesteps_and_end_in_an_identity():
    steps = sampling_steps(50)
    assert [s.timestep for s in steps] == list(range(980, -1, -20))
    assert all(s.start == s.timestep and s.end == max(s.start - 20, 0) for s in steps)
    assert [s.is_identity for s in steps] == [False] * 49 + [True]


def test_aligned_inversion_walks_the_sampler_s_levels_backwards():
    up, down = inversion_steps(50), sampling_steps(50)
    assert [(s.timestep, s.start, s.end) for s in up] == [(s.timestep, s.end, s.start) for s in reversed(down)]


def test_reference_inversion_sits_one_step_above_and_stops_at_999():
    up = inversion_steps(50, "reference")
    assert [(s.start, s.end) for s in up] == [(t, min(t + 20, 999)) for t in range(0, 1000, 20)]


@pytest.mark.parametrize(("start", "end"), [(0, 20), (980, 960), (500, 0), (0, 0)])
def test_a_move_with_the_same_noise_there_and_back_is_nothing(start, end):
    latent, eps = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    there = move(latent, eps, ABAR[start], ABAR[end])
    assert torch.allclose(move(there, eps, ABAR[end], ABAR[start]), latent, atol=1e-12)


def test_a_move_keeps_what_the_noise_means():
    x0, eps = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    noisy = {level: ABAR[level] ** 0.5 * x0 + (1 - ABAR[level]) ** 0.5 * eps for level in (980, 20)}
    assert torch.allclose(move(noisy[980], eps, ABAR[980], ABAR[20]), noisy[20], atol=1e-12)


def test_eps_factor_is_the_slope_of_a_move():
    latent, eps = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    change = move(latent, eps + 1, ABAR[980], ABAR[960]) - move(latent, eps, ABAR[980], ABAR[960])
    assert torch.allclose(change, torch.full_like(change, eps_factor(ABAR[980], ABAR[960])), atol=1e-10)


def test_guidance_one_is_the_conditional_prediction_and_zero_the_null():
    null, text = torch.randn(2, 1, 4, 8, 8)
    assert torch.allclose(guide(null, text, 1.0), text, atol=1e-6)
    assert torch.equal(guide(null, text, 0.0), null)
