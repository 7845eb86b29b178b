import contextlib

import pytest
import torch
from diffusers.models.attention_processor import Attention

from rli.method.attention import install as attention
from rli.method.attention.install import Control, MapStore, Processor, inject, install, map_size


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=None, heads=2, dim_head=8).eval().requires_grad_(False)


@pytest.fixture
def cross_layer():
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8).eval().requires_grad_(False)


def control(n=2, tokens=5, cross=True, self_=True, side=4, store_side=4, sources=1, owner=None):
    owner = torch.zeros(n, dtype=torch.long) if owner is None else torch.tensor(owner)
    n, mapper = len(owner), torch.rand(len(owner), tokens, tokens)
    own, factor = torch.rand(n, tokens), 1 + torch.rand(n, tokens)
    return Control(sources, owner, mapper, own, factor, cross, self_, (side, side), MapStore((store_side, store_side)))


def probabilities(layer, x, context):
    q, k = (p(s).unflatten(-1, (2, 8)).transpose(1, 2) for p, s in ((layer.to_q, x), (layer.to_k, context)))
    return (q @ k.transpose(-1, -2) * 8**-0.5).softmax(-1)


def values(layer, context):
    return layer.to_v(context).unflatten(-1, (2, 8)).transpose(1, 2)


def project(layer, out):
    return layer.to_out[0](out.transpose(1, 2).flatten(2))


def test_alpha_0_is_the_plain_processor_in_self_and_cross_attention(layer, cross_layer):
    x, text = torch.randn(3, 16, 16), torch.randn(3, 5, 12)
    for attn, context in ((layer, None), (cross_layer, text)):
        plain = attn(x, encoder_hidden_states=context)
        attn.set_processor(Processor(0.0))
        assert torch.allclose(attn(x, encoder_hidden_states=context), plain, atol=1e-6)


def test_alpha_1_is_the_identity_in_self_attention_only(layer, cross_layer):
    x, text = torch.randn(3, 16, 16), torch.randn(3, 5, 12)
    plain = cross_layer(x, encoder_hidden_states=text)
    for attn in (layer, cross_layer):
        attn.set_processor(Processor(1.0))
    assert torch.equal(layer(x), x)
    assert torch.allclose(cross_layer(x, encoder_hidden_states=text), plain, atol=1e-6)


def test_alpha_between_interpolates(layer):
    x = torch.randn(3, 16, 16)
    plain = layer(x)
    layer.set_processor(Processor(0.3))
    assert torch.allclose(layer(x), 0.7 * plain + 0.3 * x, atol=1e-6)


def test_self_attention_injection_is_the_source_s_map_on_the_target_s_values(layer):
    x, wish = torch.randn(5, 16, 16), control(n=2)
    maps = probabilities(layer, x, x)
    maps[1:3] = maps[:1]
    layer.set_processor(Processor())
    assert torch.allclose(layer(x, control=wish), project(layer, maps @ values(layer, x)), atol=1e-6)


def test_self_attention_is_left_alone_in_large_layers_and_outside_the_window(layer):
    side = 2 * attention.SIDE
    large = torch.randn(3, side * side, 16)
    plain_large, small = layer(large), torch.randn(3, 16, 16)
    plain_small = layer(small)
    layer.set_processor(Processor())
    assert torch.allclose(layer(large, control=control(n=2, side=side)), plain_large, atol=1e-5)
    assert torch.allclose(layer(small, control=control(n=2, self_=False)), plain_small, atol=1e-6)


def test_cross_attention_uses_the_edited_maps_and_stores_them(cross_layer):
    x, text, wish = torch.randn(5, 16, 16), torch.randn(5, 5, 12), control(n=2)
    maps = probabilities(cross_layer, x, text)
    maps[1:3] = inject(maps[:1], maps[1:3], wish.mapper, wish.own, wish.factor)
    cross_layer.set_processor(Processor())
    out = cross_layer(x, encoder_hidden_states=text, control=wish)
    assert torch.allclose(out, project(cross_layer, maps @ values(cross_layer, text)), atol=1e-6)
    assert torch.allclose(wish.store.mean().flatten(1, 2), maps[:3].mean(1), atol=1e-6)


def test_targets_of_several_sources_look_at_their_own(layer, cross_layer):
    x, text, wish = torch.randn(7, 16, 16), torch.randn(7, 5, 12), control(sources=2, owner=[1, 0, 1])
    sources, targets = torch.tensor([1, 0, 1]), slice(2, 5)
    maps = probabilities(layer, x, x)
    maps[targets] = maps[sources]
    layer.set_processor(Processor())
    assert torch.allclose(layer(x, control=wish), project(layer, maps @ values(layer, x)), atol=1e-6)
    maps = probabilities(cross_layer, x, text)
    for row, source in zip((2, 3, 4), sources, strict=True):
        one = [v[row - 2 : row - 1] for v in (wish.mapper, wish.own, wish.factor)]
        maps[row] = inject(maps[source][None], maps[row][None], *one)[0]
    cross_layer.set_processor(Processor())
    out = cross_layer(x, encoder_hidden_states=text, control=wish)
    assert torch.allclose(out, project(cross_layer, maps @ values(cross_layer, text)), atol=1e-6)
    assert torch.allclose(wish.store.mean().flatten(1, 2), maps[:5].mean(1), atol=1e-6)


def test_outside_the_window_cross_attention_is_plain_and_still_watched(cross_layer):
    x, text, wish = torch.randn(5, 16, 16), torch.randn(5, 5, 12), control(n=2, cross=False)
    plain = cross_layer(x, encoder_hidden_states=text)
    cross_layer.set_processor(Processor())
    assert torch.allclose(cross_layer(x, encoder_hidden_states=text, control=wish), plain, atol=1e-6)
    assert torch.allclose(wish.store.mean().sum(-1), torch.ones(3, 4, 4), atol=1e-5)


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
    with install(tiny.unet, "up", 0.1):
        inside = tiny.unet.attn_processors
        assert {name.split(".")[0] for name, p in inside.items() if p.alpha} == {"up_blocks"}
        assert all(isinstance(p, Processor) for p in inside.values())
    with contextlib.suppress(RuntimeError), install(tiny.unet, "mid", 0.1):
        assert {name.split(".")[0] for name, p in tiny.unet.attn_processors.items() if p.alpha} == {"mid_block"}
        raise RuntimeError
    assert dict(tiny.unet.attn_processors) == before


@pytest.mark.parametrize(
    ("latent", "size"),
    [((64, 64), (32, 32)), ((128, 128), (32, 32)), ((96, 96), (24, 24)), ((64, 96), (32, 48)), ((32, 32), (16, 16))],
)
def test_maps_are_read_at_32_by_32_or_in_proportion(tiny, latent, size):
    assert map_size(tiny.unet, latent) == size
