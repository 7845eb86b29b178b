from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from rli.method.attention.install import install
from rli.method.sampler import sampling_steps
from rli.method.solvers.adam import Adam
from rli.method.solvers.base import LeastSquares
from rli.method.solvers.gauss_newton import PROBE, GaussNewton
from rli.method.solvers.lbfgs import Lbfgs
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


def lbfgs(problem, null, **settings):
    return Lbfgs(**settings)(problem, null)


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


def test_lbfgs_steps_are_those_of_the_inverse_hessian_that_bfgs_updates():
    """Against the matrix written out (Nocedal and Wright 2006, equation 6.17), from the scaled identity (7.20)."""
    asked = []

    def watched(null, rows):
        asked.append(null)
        return curved(null, rows)

    inner, count = problem(watched), 5
    found = lbfgs(inner, conditioning(4), inner_steps=count, first_step=0.1)
    places = [flat(null).detach()[0] for null in asked]
    losses = torch.stack(found.losses)[:, 0]
    assert len(places) == 1 + count
    assert (losses[1:] < losses[:-1]).all()  # no step was shortened
    gradients = []
    for null in asked[:-1]:
        leaves = [part.detach().clone().requires_grad_() for part in (null.tokens, null.pooled)]
        loss = inner.error(curved(Conditioning(*leaves), None), inner.all_rows()).square().mean()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves)]))
    first = -0.1 * losses[0] / (gradients[0] @ gradients[0]) * gradients[0]
    assert torch.allclose(places[1] - places[0], first)
    for k in range(1, count):
        pairs = [(places[i + 1] - places[i], gradients[i + 1] - gradients[i]) for i in range(k)]
        s, y = pairs[-1]
        inverse = s @ y / (y @ y) * torch.eye(len(s), dtype=s.dtype)
        for s, y in pairs:
            left = torch.eye(len(s), dtype=s.dtype) - s[:, None] * y / (s @ y)
            inverse = left @ inverse @ left.T + s[:, None] * s / (s @ y)
        assert torch.allclose(places[k + 1] - places[k], -inverse @ gradients[k], rtol=1e-6)


def test_an_iteration_of_lbfgs_is_one_prediction_and_one_backward_pass():
    passes = {"forward": 0, "backward": 0}

    def count(_grad):
        passes["backward"] += 1

    def counted(null, rows):
        passes["forward"] += 1
        eps = curved(null, rows)
        if eps.requires_grad:
            eps.register_hook(count)
        return eps

    lbfgs(problem(counted), conditioning(4), inner_steps=5, first_step=0.1)
    assert passes == {"forward": 6, "backward": 5}


@pytest.mark.parametrize("solver", [GaussNewton(6), GaussNewton(6, cg_steps=3), Lbfgs(6), Lbfgs(6, first_step=10.0)])
def test_no_iteration_raises_the_loss(solver):
    for seed in range(8):
        found = solver(problem(curved, rows=3), conditioning(seed, 3))
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


def test_on_a_linear_eps_lbfgs_shortens_a_step_to_where_it_is_best():
    """Polyak's whole step, four times over, goes too far; the least loss along it is found by one more prediction."""
    inner, null, calls = problem(linear), conditioning(2), []

    def counted(cond, rows):
        calls.append(rows)
        return linear(cond, rows)

    found = lbfgs(replace(inner, predict=counted), null, inner_steps=1, first_step=4.0)
    best = gauss_newton(inner, null, inner_steps=1)  # exact along the gradient
    assert len(calls) == 3
    assert torch.allclose(found.losses[-1], best.losses[-1], rtol=1e-6)


@pytest.mark.parametrize(("solve", "honest"), [(gauss_newton, 2), (lbfgs, 1)])
def test_where_no_step_helps_the_start_is_kept(solve, honest):
    """What the start (and Gauss-Newton's probe) promise, no trial keeps."""
    null, calls = conditioning(2), []

    def liar(cond, rows):
        calls.append(rows)
        return linear(cond, rows) + 100 * (len(calls) > honest)

    found = solve(problem(liar), null, inner_steps=3)
    assert len(calls) == honest + 4
    assert torch.equal(found.null.tokens, null.tokens)
    assert torch.equal(found.losses[-1], found.losses[0])
    assert torch.equal(found.eps, linear(null, None))


@pytest.mark.parametrize("solve", [gauss_newton, lbfgs])
def test_the_embeddings_scale_does_not_matter(solve):
    """A model whose embeddings are 8 times as large, and whose UNet divides them by 8, is the same model."""

    def scaled(cond, rows):
        return curved(Conditioning(cond.tokens / 8, cond.pooled / 8), rows)

    null = conditioning(2)
    small = solve(problem(curved), null, inner_steps=4)
    large = solve(problem(scaled), Conditioning(null.tokens * 8, null.pooled * 8), inner_steps=4)
    assert torch.allclose(large.null.tokens, 8 * small.null.tokens, rtol=1e-9)
    assert torch.allclose(large.eps, small.eps, rtol=1e-9)


@pytest.mark.parametrize("solve", [gauss_newton, lbfgs, lambda *a, **k: adam(*a, **k, learning_rate=0.05)])
def test_a_photograph_that_is_done_is_not_predicted_again(solve):
    asked = []

    def counted(null, rows):
        asked.append(rows.tolist())
        return curved(null, rows)

    inner = problem(counted, rows=3)
    inner = replace(inner, tolerance=torch.tensor([0.0, 1e9, 0.0], dtype=torch.float64))
    found = solve(inner, conditioning(3, 3), inner_steps=4)
    assert asked[0] == [0, 1, 2]
    assert all(rows == [0, 2] for rows in asked[1:])
    assert torch.equal(found.null.tokens[1], conditioning(3, 3).tokens[1])
    assert torch.allclose(found.eps, curved(found.null, None))
    for b in (0, 2):
        alone = replace(inner, target=inner.target[b : b + 1], tolerance=inner.tolerance[b : b + 1])
        again = solve(alone, conditioning(3, 3)[b : b + 1], inner_steps=4)
        assert torch.allclose(found.null.tokens[b], again.null.tokens[0])


def test_without_iterations_there_is_one_prediction():
    inner = problem(curved)
    for found in (
        gauss_newton(inner, conditioning(2), inner_steps=0),
        lbfgs(inner, conditioning(2), inner_steps=0),
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
