"""The reference implementation's stored numbers, reproduced (figures on a tiny fitted model; float32, CPU)."""

import json

import numpy as np
import pytest
import torch
from conftest import relative
from PIL import Image

from rli import images
from rli.method import editing, inversion
from rli.method.attention.install import install
from rli.method.attention.rli import RLI
from rli.method.blend import local_blend_mask
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.method.solvers.adam import Adam
from rli.metrics import image as metrics
from rli.models import text
from rli.models import vae as codec
from rli.models.loading import load
from rli.models.noise_schedule import Step

pytestmark = pytest.mark.integration

SOURCE, TARGET = "photo of a crack defect image", "photo of a crack corrosion image"


@pytest.fixture(scope="module")
def model(reference):
    return load("sdxl", str(reference / "model"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def inverted(model, reference):
    photo = images.read_image(reference / "input_512.png", 512, 512)
    settings = InversionSettings(
        NullText(Adam(inner_steps=3)),
        steps=10,
        alignment="reference",
        encode="sample",
        time_ids="reference",
        seed=33,
    )
    return inversion.invert(model, photo, SOURCE, settings)


def stored(reference, name):
    return np.load(reference / f"{name}.npz")


def picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_schedule_and_prompts(model, reference):
    kept = stored(reference, "schedule")
    assert np.allclose(model.abar, kept["alphas_cumprod"], atol=1e-6)
    cond = text.encode_prompts(model, ["", SOURCE], (512, 512), "reference")
    assert relative(cond.tokens, kept["context"]) < 1e-5
    assert relative(cond.pooled, kept["context_pooled"]) < 1e-5
    assert np.array_equal(cond.time_ids, kept["time_ids"])


def test_every_stored_prompt_embedding(model, reference):
    kept = stored(reference, "unit/prompt_embeddings")
    told = json.loads((reference / "unit" / "prompt_embeddings.json").read_text())
    plain = {k: v["prompt"] for k, v in told.items() if isinstance(v, dict) and f"{k}_embeds" in kept}
    assert len(plain) > 10
    for k, prompt in plain.items():
        if told[k].get("max_abs_diff_compel_vs_plain_embeds", 1) > 1e-5:
            continue  # compel's weights, which plain prompts do not have
        cond = text.encode_prompts(model, [prompt], (512, 512))
        assert relative(cond.tokens[0], kept[f"{k}_embeds"]) < 1e-4
        assert relative(cond.pooled[0], kept[f"{k}_pooled"]) < 1e-4


def test_the_encoded_photograph(model, reference):
    photo = images.read_image(reference / "input_512.png", 512, 512)
    kept = stored(reference, "vae_latents")
    assert relative(codec.encode(model, photo), kept["z0_mode"]) < 1e-4
    assert relative(codec.encode(model, photo, "sample", 33), kept["z0_sampled"]) < 1e-4


def test_inversion_s_latents(inverted, reference):
    kept = stored(reference, "expected/ddim_latents")["latents"]
    assert relative(inverted.latent[0], kept[0]) < 1e-3
    assert relative(inverted.source_latents[0], kept[-1]) < 1e-3


def test_null_embeddings_and_losses(inverted, reference):
    kept = stored(reference, "expected/null_embeddings")
    for i in range(9):  # the tenth step is an identity, whose embeddings mean nothing
        assert relative(inverted.nulls.tokens[i, 0], kept["uncond"][i]) < 1e-3
        assert relative(inverted.nulls.pooled[i, 0], kept["uncond_pooled"][i]) < 1e-3
        assert np.allclose(inverted.losses[i][:3], kept["losses"][i], rtol=1e-3)


def test_the_reconstruction(model, inverted, reference):
    assert relative(inverted.source_latents[-1], stored(reference, "expected/final_latents")["recon"][0]) < 1e-3
    back = images.to_uint8(editing.reconstruct(model, inverted))
    assert metrics.psnr(back, picture(reference / "expected" / "recon.png")) > 45


@pytest.mark.parametrize("method", ["refine", "replace"])
@pytest.mark.parametrize("blend", [True, False])
def test_edits(model, inverted, reference, method, blend):
    name = f"edit_{method}_{'lb' if blend else 'nolb'}_cross1.0_self0.8"
    settings = EditSettings(method=method, local_blend=blend, convention="reference")
    done = editing.edit(model, inverted, [TARGET], settings)[0]
    kept = stored(reference, "expected/final_latents")
    wanted = codec.decode(model, torch.from_numpy(kept[name][1:]))
    assert metrics.psnr(images.to_uint8(done.image), images.to_uint8(wanted)) > 45
    if blend:
        assert metrics.psnr(images.to_uint8(done.image), picture(reference / "expected" / f"{name}.png")) > 45
        mask = kept[f"mask_last_{name}"]
        assert np.array_equal(done.mask[::8, ::8], mask[1] > 0)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("place", ["down", "mid", "up"])
def test_attention_layers_with_rli(model, reference, place, alpha):
    kept = stored(reference, "unit/controllers")
    told = json.loads((reference / "unit" / "controllers.json").read_text())
    block = model.unet.get_submodule(told[f"hook_{place}"]["module"])
    x, context = (torch.from_numpy(kept[f"hook_{place}_{name}"]) for name in ("h", "ctx"))
    with torch.no_grad(), install(model.unet, (RLI(alpha),), (64, 64)):
        assert relative(block.attn1(x), kept[f"hook_{place}_self_a{alpha}"]) < 1e-4
        assert relative(block.attn2(x, encoder_hidden_states=context), kept[f"hook_{place}_cross_a{alpha}"]) < 1e-4


@pytest.mark.parametrize("alpha", [0.1, 0.4])
def test_a_forward_of_the_unet_with_rli(model, reference, alpha):
    kept = stored(reference, "unit/controllers")
    cond = text.encode_prompts(model, [SOURCE, TARGET], (512, 512), "reference")
    with torch.no_grad(), install(model.unet, (RLI(alpha),), (64, 64)):
        eps = model.predict(torch.from_numpy(kept["unet_x"]), Step(0, 1, 500, 500, 480), cond, "test")
    assert relative(eps, kept[f"unet_eps_t500_a{alpha}"]) < 1e-4


def test_the_local_blend_mask(reference):
    kept = stored(reference, "unit/controllers")
    told = json.loads((reference / "unit" / "controllers.json").read_text())["localblend"]
    maps = torch.stack([torch.from_numpy(kept[f"lb_map{k}"]).view(2, 2, 32, 32, 77).mean(1) for k in range(5)]).mean(0)
    weights = torch.zeros(2, 77)
    for row, tokens in enumerate(told["inds"]):
        weights[row, tokens] = 1
    masks = local_blend_mask(maps, weights, (64, 64), 0.3)[:, 0]
    assert np.array_equal(masks[0] | masks[1], kept["lb_mask"][1] > 0)
    x = torch.from_numpy(kept["lb_x"])
    blended = torch.where(masks[0] | masks[1], x[1], x[0])
    assert torch.allclose(blended, torch.from_numpy(kept["lb_y"][1]), atol=1e-6)
