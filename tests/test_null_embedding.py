from dataclasses import replace

import pytest
import torch

from rli.method.inversion.base import InversionTask
from rli.method.inversion.null_text import NullText
from rli.method.sampler import guide, move, sampling_steps
from rli.method.solvers.adam import Adam
from rli.method.solvers.gauss_newton import GaussNewton
from rli.method.solvers.lbfgs import Lbfgs
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import cumulative_alphas

ABAR = cumulative_alphas(0.00085, 0.012, "scaled_linear", 1000)
STEPS = sampling_steps(5)
ADAM = Adam(inner_steps=4, learning_rate=1e-2, early_stop=0.0)


def optimize(model, path, source, empty, solver=ADAM, *, residual=False, guidance=5.0, alignment="aligned"):
    task = InversionTask(model, path[0], source, empty, len(STEPS), guidance, alignment)
    return NullText(solver, residual).optimize(task, path, path.new_ones(path.shape[1]))


class Toy:
    """A differentiable model: noise that depends on latent, timestep, token and pooled embeddings."""

    abar = ABAR

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.mix = torch.randn(6, 4 * 8 * 8, generator=generator) * 0.3
        self.calls = 0

    def predict(self, latent, step, cond, phase=""):
        self.calls += 1
        told = (cond.tokens.mean(1) + cond.pooled).tanh() @ self.mix
        return 0.1 * latent + told.view(-1, 4, 8, 8) * (1 + step.timestep / 1000)


def conditioning(seed, rows=1):
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(torch.randn(rows, 7, 6, generator=generator), torch.randn(rows, 6, generator=generator))


def trajectory(rows=1):
    return torch.randn(len(STEPS) + 1, rows, 4, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.3


def test_it_is_adam_on_the_published_loss():
    model, text, null, path = Toy(), conditioning(1), conditioning(2), trajectory()
    result = optimize(model, path, text, null, alignment="reference")
    latent, tokens, pooled = path[-1], null.tokens.clone(), null.pooled.clone()
    for step in STEPS[:-1]:
        tokens, pooled = tokens.detach().requires_grad_(), pooled.detach().requires_grad_()
        adam = torch.optim.Adam([tokens, pooled], lr=1e-2 * (1 - step.index / 100))

        def guided(step=step, latent=latent, tokens=tokens, pooled=pooled):
            given = Conditioning(tokens, pooled)
            eps = guide(model.predict(latent, step, given), model.predict(latent, step, text), 5.0)
            return move(latent, eps, ABAR[step.start], ABAR[step.end])

        for _ in range(4):
            adam.zero_grad()
            loss = (guided() - path[-2 - step.index]).square().mean()
            loss.backward()
            adam.step()
        latent = guided().detach()
        assert torch.allclose(result.nulls.tokens[step.index], tokens, atol=1e-5)
        assert torch.allclose(result.latents[step.index + 1], latent, atol=1e-5)


def test_losses_fall():
    result = optimize(Toy(), trajectory(), conditioning(1), conditioning(2))
    assert len(result.losses) == len(STEPS) - 1
    assert all(history[-1] < history[0] for history in result.losses)


def test_photographs_of_a_batch_do_not_notice_each_other():
    text, null, path = conditioning(1, 3), conditioning(2, 3), trajectory(3)
    solver = replace(ADAM, early_stop=20.0)  # one stops before the others
    together = optimize(Toy(), path, text, null, solver)
    lengths = set()
    for b in range(3):
        alone = optimize(Toy(), path[:, b : b + 1], text[b : b + 1], null[b : b + 1], solver)
        assert torch.allclose(together.latents[:, b : b + 1], alone.latents, atol=1e-5)
        lengths.add(tuple(map(len, alone.losses)))
    assert len(lengths) > 1


def test_without_iterations_it_is_guided_sampling():
    model, text, null, path = Toy(), conditioning(1), conditioning(2), trajectory()
    result = optimize(model, path, text, null, replace(ADAM, inner_steps=0))
    latent = path[-1]
    for step in STEPS[:-1]:
        eps = guide(model.predict(latent, step, null), model.predict(latent, step, text), 5.0)
        latent = move(latent, eps, ABAR[step.start], ABAR[step.end])
    assert torch.allclose(result.latents[-1], latent, atol=1e-6)
    assert torch.equal(result.nulls.tokens[-1], null.tokens)


def test_with_guidance_one_the_null_is_never_asked():
    model = Toy()
    optimize(model, trajectory(), conditioning(1), conditioning(2), guidance=1.0)
    assert model.calls == len(STEPS) - 1


def test_the_residual_puts_the_walk_on_the_trajectory():
    path = trajectory()
    result = optimize(Toy(), path, conditioning(1), conditioning(2), residual=True)
    assert torch.equal(result.latents[:-1], path.flip(0)[:-1])


def test_calls_are_one_conditional_and_one_more_than_the_iterations_a_step():
    model = Toy()
    optimize(model, trajectory(), conditioning(1), conditioning(2))
    assert model.calls == (len(STEPS) - 1) * (1 + 4 + 1)


@pytest.mark.parametrize(("alignment", "iterations"), [("aligned", 0), ("reference", 1)])
def test_the_reference_makes_at_least_one_update(alignment, iterations):
    solver = replace(ADAM, early_stop=1e9)
    result = optimize(Toy(), trajectory(), conditioning(1), conditioning(2), solver, alignment=alignment)
    assert {len(history) for history in result.losses} == {iterations + 1}


DESCENTS = [kind(inner_steps=3, stop_db=80.0, slack_db=0.0) for kind in (Lbfgs, GaussNewton)]


@pytest.mark.parametrize("solver", DESCENTS)
def test_a_photograph_on_its_trajectory_is_left_alone(solver):
    """The walk of the source prompt's own predictions needs neither null predictions nor updates."""
    model, text = Toy(), conditioning(1)
    latents = [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))]
    for step in STEPS[:-1]:
        latents.append(move(latents[-1], model.predict(latents[-1], step, text), ABAR[step.start], ABAR[step.end]))
    path = torch.stack([latents[-1], *reversed(latents)])  # the last level's identity
    model.calls = 0
    result = optimize(model, path, text, text, solver)
    assert model.calls == len(STEPS) - 1
    assert torch.equal(result.nulls.tokens, text.tokens.expand(len(STEPS), 1, -1, -1))
    assert torch.allclose(result.latents, path.flip(0), atol=1e-5)


@pytest.mark.parametrize("solver", DESCENTS)
def test_starting_from_the_source_prompt_asks_each_photograph_only_once_it_drifts(solver):
    """Of two photographs one is on its trajectory; the other is optimized as it is alone."""
    model, text = Toy(), conditioning(1, 2)
    off = trajectory()
    latents = [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))]
    for step in STEPS[:-1]:
        latents.append(move(latents[-1], model.predict(latents[-1], step, text[:1]), ABAR[step.start], ABAR[step.end]))
    on = torch.stack([latents[-1], *reversed(latents)])
    together = optimize(model, torch.cat([on, off], 1), text, text, solver)
    alone = optimize(model, off, text[1:], text[1:], solver)
    assert torch.equal(together.nulls.tokens[:, 0], text.tokens[:1].expand(len(STEPS), -1, -1))
    assert torch.allclose(together.nulls.tokens[:, 1:], alone.nulls.tokens, atol=1e-4)
    assert torch.allclose(together.latents[:, 1:], alone.latents, atol=1e-4)


@pytest.mark.parametrize("kind", [Lbfgs, GaussNewton])
def test_the_demand_in_db_rises_evenly_to_the_last_move(kind):
    solver = kind(stop_db=60.0, slack_db=40.0)
    limits = [solver.tolerance(step, ABAR, torch.tensor([0.5])) / ABAR[step.end] for step in STEPS[:-1]]
    asked = [-10 * torch.log10(limit * 0.5).item() for limit in limits]
    assert asked == pytest.approx([30.0, 40.0, 50.0, 60.0], abs=1e-4)
