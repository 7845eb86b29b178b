from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from rli.method.attention.install import install
from rli.method.sampler import sampling_steps
from rli.method.solvers.adam import Adam
from rli.method.solvers.base import LeastSquares
from rli.method.solvers.gauss_newton import PROBE, GaussNewton
from rli.models.conditioning import Conditioning
from rli.models.text import encode_prompts

SHAPE = (2, 4, 4)  # of eps
SIZE = 32
# The noisiest move, where Adam's learning rate is the given one.
STEP = sampling_steps(10)[0]


def conditioning(seed, rows=1, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        scale * torch.randn(rows, 3, 4, generator=generator, dtype=torch.float64),
        scale * torch.randn(rows, 4, generator=generator, dtype=torch.float64),
    )


def flat(null):
    return torch.cat([null.tokens.flatten(1), null.pooled], 1)


def matrix(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, SIZE, generator=generator, dtype=torch.float64) / 4


def linear(null, rows):
    return (flat(null) @ matrix()).view(-1, *SHAPE)


def curved(null, rows):
    return (flat(null).sin() @ matrix() * 3).tanh().view(-1, *SHAPE)


def problem(predict, rows=1, slope=0.7, tolerance=0.0):
    target = torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return LeastSquares(predict, target, slope, torch.full((rows,), tolerance, dtype=torch.float64), STEP)


def gauss_newton(problem, null, **settings):
    return GaussNewton(**settings)(problem, null)


def adam(problem, null, **settings):
    return Adam(**settings)(problem, null)


def test_on_a_linear_eps_as_many_steps_as_unknowns_find_the_least_squares_solution():
    inner, null = problem(linear), conditioning(2)
    found = gauss_newton(inner, null, inner_steps=1, cg_steps=16)
    wanted = torch.linalg.lstsq(matrix().T, (inner.target / inner.slope).flatten()[:, None]).solution[:, 0]
    assert torch.allclose(flat(found.null)[0], wanted, atol=1e-6)
    assert torch.allclose(found.eps, linear(found.null, None))


def test_one_step_is_the_gradient_s_with_the_length_that_is_best():
    inner, null = problem(linear), conditioning(2)
    found = gauss_newton(inner, null, inner_steps=1)
    r = (inner.target / inner.slope - linear(null, None)).flatten()
    gradient = matrix() @ r
    length = gradient @ gradient / (matrix().T @ gradient).square().sum()
    assert torch.allclose(flat(found.null) - flat(null), length * gradient[None], atol=1e-8)


@pytest.mark.parametrize("cg_steps", [1, 3])
def test_no_iteration_raises_the_loss(cg_steps):
    for seed in range(8):
        found = gauss_newton(problem(curved, rows=3), conditioning(seed, 3), inner_steps=6, cg_steps=cg_steps)
        losses = torch.stack(found.losses)
        assert (losses[1:] <= losses[:-1]).all()
        assert (losses[-1] < losses[0]).all()


def test_a_step_that_would_raise_the_loss_is_shortened():
    """Past a cliff that the linear model cannot know of, eps is far off: the full step lands there."""
    null = conditioning(2)
    free = gauss_newton(problem(linear), null, inner_steps=1)
    full = (flat(free.null) - flat(null)).norm()

    def cliff(cond, rows):
        return linear(cond, rows) + 100 * ((flat(cond) - flat(null)).norm() > 0.5 * full)

    found = gauss_newton(problem(cliff), null, inner_steps=1)
    assert (flat(found.null) - flat(null)).norm() == pytest.approx(float(full) / 4)
    assert found.losses[-1] < found.losses[0]


def test_where_no_step_helps_the_start_is_kept():
    """What the start and the probe promise, no trial keeps."""
    null, calls = conditioning(2), []

    def liar(cond, rows):
        calls.append(rows)
        return linear(cond, rows) + 100 * (len(calls) > 2)

    found = gauss_newton(problem(liar), null, inner_steps=3)
    assert len(calls) == 2 + 4
    assert torch.equal(found.null.tokens, null.tokens)
    assert torch.equal(found.losses[-1], found.losses[0])
    assert torch.equal(found.eps, linear(null, None))


def test_the_embeddings_scale_does_not_matter():
    """A model whose embeddings are 8 times as large, and whose UNet divides them by 8, is the same model."""

    def scaled(cond, rows):
        return curved(Conditioning(cond.tokens / 8, cond.pooled / 8), rows)

    null = conditioning(2)
    small = gauss_newton(problem(curved), null, inner_steps=4)
    large = gauss_newton(problem(scaled), Conditioning(null.tokens * 8, null.pooled * 8), inner_steps=4)
    assert torch.allclose(large.null.tokens, 8 * small.null.tokens, rtol=1e-9)
    assert torch.allclose(large.eps, small.eps, rtol=1e-9)


@pytest.mark.parametrize("solve", [gauss_newton, lambda *a, **k: adam(*a, **k, learning_rate=0.05)])
def test_a_photograph_that_is_done_is_not_predicted_again(solve):
    asked = []

    def counted(null, rows):
        asked.append(rows.tolist())
        return curved(null, rows)

    inner = problem(counted, rows=3)
    inner = replace(inner, tolerance=torch.tensor([0.0, 1e9, 0.0], dtype=torch.float64))
    found = solve(inner, conditioning(3, 3), inner_steps=2)
    assert asked[0] == [0, 1, 2]
    assert all(rows == [0, 2] for rows in asked[1:])
    assert torch.equal(found.null.tokens[1], conditioning(3, 3).tokens[1])
    assert torch.allclose(found.eps, curved(found.null, None))
    for b in (0, 2):
        alone = replace(inner, target=inner.target[b : b + 1], tolerance=inner.tolerance[b : b + 1])
        again = solve(alone, conditioning(3, 3)[b : b + 1], inner_steps=2)
        assert torch.allclose(found.null.tokens[b], again.null.tokens[0])


def test_without_iterations_there_is_one_prediction():
    inner = problem(curved)
    for found in (
        gauss_newton(inner, conditioning(2), inner_steps=0),
        adam(inner, conditioning(2), inner_steps=0, learning_rate=1),
    ):
        assert torch.equal(found.eps, curved(conditioning(2), None))
        assert len(found.losses) == 1


def test_forward_differences_are_the_jacobian_vector_products_of_the_unet(tiny):
    """Against forward-mode differentiation, which the plain attention kernel allows."""
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    step, cond = sampling_steps(10)[4], encode_prompts(tiny, ["photo of a crack defect image"], (64, 64))
    direction = torch.randn(cond.tokens.shape, generator=torch.Generator().manual_seed(1))
    h = PROBE * (cond.tokens.norm() / direction.norm())

    def eps(tokens):
        return tiny.predict(latent, step, Conditioning(tokens, cond.pooled, cond.time_ids), "x")

    with install(tiny.unet, (), (8, 8)), sdpa_kernel(SDPBackend.MATH):
        exact = torch.func.jvp(eps, (cond.tokens,), (direction,))[1]
        with torch.no_grad():
            difference = (eps(cond.tokens + h * direction) - eps(cond.tokens)) / h
    assert (difference - exact).norm() / exact.norm() < 0.02
