import contextlib

import pytest
import torch
from diffusers.models.attention_processor import Attention
from simulated_cuda import simulated_cuda

from rli.method.attention.install import SMALL_SIDE, AttentionHook, Processor, attend, install, layer_size
from rli.method.attention.prompt_to_prompt import MapStore, PromptToPrompt, inject, map_size
from rli.method.attention.rli import LOCATIONS, RLI
from rli.models.noise_schedule import Step
from rli.models.text import encode_prompts

# The latent's size of which it has 4×4 positions.
LATENT = (4, 4)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=None, heads=2, dim_head=8).eval().requires_grad_(False)


@pytest.fixture
def cross_layer():
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8).eval().requires_grad_(False)


def processor(*hooks, latent=LATENT):
    return Processor("up", hooks, latent)


def injection(source_of=(0, 0), tokens=5, cross=True, self_=True, sources=1):
    n = len(source_of)
    return PromptToPrompt(
        sources=sources,
        source_of=torch.tensor(source_of),
        mapper=torch.rand(n, tokens, tokens),
        keep_own_map=torch.rand(n, tokens),
        equalizer=1 + torch.rand(n, tokens),
        inject_cross=cross,
        inject_self=self_,
        store=MapStore((4, 4)),
    )


def probabilities(layer, x, context):
    q, k = (p(s).unflatten(-1, (2, 8)).transpose(1, 2) for p, s in ((layer.to_q, x), (layer.to_k, context)))
    return (q @ k.transpose(-1, -2) * 8**-0.5).softmax(-1)


def values(layer, context):
    return layer.to_v(context).unflatten(-1, (2, 8)).transpose(1, 2)


def project(layer, out):
    return layer.to_out[0](out.transpose(1, 2).flatten(2))


def test_on_a_gpu_cudnn_s_kernel_is_left_out_and_the_choice_is_put_back(layer, monkeypatch):
    fused, seen = torch.nn.functional.scaled_dot_product_attention, []

    def watched(*given, **named):
        seen.append((torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()))
        return fused(*given, **named)

    before = torch.backends.cuda.cudnn_sdp_enabled()
    with simulated_cuda():
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
        attend(*torch.randn(3, 1, 2, 16, 8).to("cuda"), 1.0)
    attend(*torch.randn(3, 1, 2, 16, 8), 1.0)
    assert seen == [(False, True), (before, True)] and torch.backends.cuda.cudnn_sdp_enabled() == before


def test_alpha_0_is_the_plain_processor_in_self_and_cross_attention(layer, cross_layer):
    x, text = torch.randn(3, 16, 16), torch.randn(3, 5, 12)
    for attn, context in ((layer, None), (cross_layer, text)):
        plain = attn(x, encoder_hidden_states=context)
        attn.set_processor(processor(RLI(0.0)))
        assert torch.allclose(attn(x, encoder_hidden_states=context), plain, atol=1e-6)


def test_alpha_1_is_the_identity_in_self_attention_only(layer, cross_layer):
    x, text = torch.randn(3, 16, 16), torch.randn(3, 5, 12)
    plain = cross_layer(x, encoder_hidden_states=text)
    for attn in (layer, cross_layer):
        attn.set_processor(processor(RLI(1.0)))
    assert torch.equal(layer(x), x)
    assert torch.allclose(cross_layer(x, encoder_hidden_states=text), plain, atol=1e-6)


def test_alpha_between_interpolates(layer):
    x = torch.randn(3, 16, 16)
    plain = layer(x)
    layer.set_processor(processor(RLI(0.3)))
    assert torch.allclose(layer(x), 0.7 * plain + 0.3 * x, atol=1e-6)


def test_self_attention_injection_is_the_source_s_map_on_the_target_s_values(layer):
    x, hook = torch.randn(5, 16, 16), injection()
    maps = probabilities(layer, x, x)
    maps[1:3] = maps[:1]
    layer.set_processor(processor())
    assert torch.allclose(layer(x, hooks=(hook,)), project(layer, maps @ values(layer, x)), atol=1e-6)


def test_self_attention_is_left_alone_in_large_layers_and_outside_the_window(layer):
    side = 2 * SMALL_SIDE
    large = torch.randn(3, side * side, 16)
    plain_large, small = layer(large), torch.randn(3, 16, 16)
    plain_small = layer(small)
    layer.set_processor(processor(latent=(side, side)))
    assert torch.allclose(layer(large, hooks=(injection(),)), plain_large, atol=1e-5)
    layer.set_processor(processor())
    assert torch.allclose(layer(small, hooks=(injection(self_=False),)), plain_small, atol=1e-6)


def test_cross_attention_uses_the_edited_maps_and_stores_them(cross_layer):
    x, text, hook = torch.randn(5, 16, 16), torch.randn(5, 5, 12), injection()
    maps = probabilities(cross_layer, x, text)
    maps[1:3] = inject(maps[:1], maps[1:3], hook.mapper, hook.keep_own_map, hook.equalizer)
    cross_layer.set_processor(processor())
    out = cross_layer(x, encoder_hidden_states=text, hooks=(hook,))
    assert torch.allclose(out, project(cross_layer, maps @ values(cross_layer, text)), atol=1e-6)
    assert torch.allclose(hook.store.mean().flatten(1, 2), maps[:3].mean(1), atol=1e-6)


def test_targets_of_several_sources_look_at_their_own(layer, cross_layer):
    x, text, hook = torch.randn(7, 16, 16), torch.randn(7, 5, 12), injection(sources=2, source_of=(1, 0, 1))
    sources, targets = torch.tensor([1, 0, 1]), slice(2, 5)
    maps = probabilities(layer, x, x)
    maps[targets] = maps[sources]
    layer.set_processor(processor())
    assert torch.allclose(layer(x, hooks=(hook,)), project(layer, maps @ values(layer, x)), atol=1e-6)
    maps = probabilities(cross_layer, x, text)
    for row, source in zip((2, 3, 4), sources, strict=True):
        one = [v[row - 2 : row - 1] for v in (hook.mapper, hook.keep_own_map, hook.equalizer)]
        maps[row] = inject(maps[source][None], maps[row][None], *one)[0]
    cross_layer.set_processor(processor())
    out = cross_layer(x, encoder_hidden_states=text, hooks=(hook,))
    assert torch.allclose(out, project(cross_layer, maps @ values(cross_layer, text)), atol=1e-6)
    assert torch.allclose(hook.store.mean().flatten(1, 2), maps[:5].mean(1), atol=1e-6)


def test_outside_the_window_cross_attention_is_plain_and_still_watched(cross_layer):
    x, text, hook = torch.randn(5, 16, 16), torch.randn(5, 5, 12), injection(cross=False)
    plain = cross_layer(x, encoder_hidden_states=text)
    cross_layer.set_processor(processor())
    assert torch.allclose(cross_layer(x, encoder_hidden_states=text, hooks=(hook,)), plain, atol=1e-6)
    assert torch.allclose(hook.store.mean().sum(-1), torch.ones(3, 4, 4), atol=1e-5)


def test_injecting_by_identity_copies_the_source_s_map():
    source, target = torch.rand(1, 2, 9, 5), torch.rand(3, 2, 9, 5)
    out = inject(source, target, torch.eye(5).expand(3, 5, 5), torch.zeros(3, 5), torch.ones(3, 5))
    assert torch.allclose(out, source.expand_as(out))


def test_owning_every_token_keeps_the_target_s_map_times_the_amplifier():
    source, target, factor = torch.rand(1, 2, 9, 5), torch.rand(1, 2, 9, 5), torch.tensor([[1, 1, 2.0, 1, 1]])
    out = inject(source, target, torch.eye(5)[None], torch.ones(1, 5), factor)
    assert torch.allclose(out, target * factor)


def test_installation_is_scoped_and_rli_stays_in_its_blocks(tiny):
    before = dict(tiny.unet.attn_processors)
    with contextlib.suppress(RuntimeError), install(tiny.unet, (RLI(),), (8, 8)):
        assert all(isinstance(one, Processor) for one in tiny.unet.attn_processors.values())
        raise RuntimeError
    assert dict(tiny.unet.attn_processors) == before


@pytest.mark.parametrize("location", LOCATIONS)
def test_rli_stays_in_its_part_s_self_attention(tiny, location):
    """Where it acts, an output of ones is moved towards an input of zeros."""
    zeros, ones, moved = torch.zeros(1, 4, 2), torch.ones(1, 4, 2), set()

    class Watch(AttentionHook):
        def output(self, x, out, layer):
            if not torch.equal(RLI(0.1, location).output(zeros, ones, layer), ones):
                moved.add((layer.part, layer.is_self))
            return out

    cond = encode_prompts(tiny, ["photo"], (64, 64))
    with torch.no_grad(), install(tiny.unet, (Watch(),), (8, 8)):
        tiny.predict(torch.randn(1, 4, 8, 8), Step(0, 2, 500, 480, 500), cond, "test")
    assert moved == {(location, True)}


def test_hooks_nest_the_first_outermost_and_those_of_a_call_inside(layer):
    seen = []

    class Named(AttentionHook):
        def __init__(self, name):
            self.name = name

        def attention(self, q, k, v, layer, attend):
            seen.append(self.name)
            return attend(q, k, v)

        def output(self, x, out, layer):
            seen.append(self.name.upper())
            return out

    x = torch.randn(3, 16, 16)
    plain = layer(x)
    layer.set_processor(processor(Named("a"), Named("b")))
    assert torch.allclose(layer(x, hooks=(Named("c"),)), plain, atol=1e-6)
    assert seen == ["a", "b", "c", "A", "B", "C"]


def test_a_hook_may_attend_to_another_photograph_s_keys_and_values_too(layer):
    """The second row attends to its own positions and to the first row's."""

    class Graft(AttentionHook):
        def attention(self, q, k, v, layer, attend):
            out = attend(q, k, v)
            return torch.cat([out[:1], attend(q[1:], torch.cat([k[1:], k[:1]], 2), torch.cat([v[1:], v[:1]], 2))])

    x = torch.randn(2, 16, 16)
    both = torch.cat([x[1:], x[:1]], 1)
    wanted = project(layer, probabilities(layer, x[1:], both) @ values(layer, both))
    layer.set_processor(processor(Graft()))
    assert torch.allclose(layer(x)[1:], wanted, atol=1e-6)


@pytest.mark.parametrize(("latent", "positions", "size"), [((64, 64), 1024, (32, 32)), ((64, 96), 384, (16, 24))])
def test_a_layer_s_size_follows_from_its_positions(latent, positions, size):
    assert layer_size(latent, positions) == size


@pytest.mark.parametrize(
    ("latent", "size"),
    [((64, 64), (32, 32)), ((128, 128), (32, 32)), ((96, 96), (24, 24)), ((64, 96), (32, 48)), ((32, 32), (16, 16))],
)
def test_maps_are_read_at_32_by_32_or_in_proportion(tiny, latent, size):
    assert map_size(tiny.unet, latent) == size
