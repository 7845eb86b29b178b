import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import relative
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch._dynamo.utils import counters
from transformers import CLIPTextConfig, CLIPTextModel

from rli.errors import RLIError
from rli.method import editing, inversion
from rli.method.attention.install import install
from rli.method.attention.rli import RLI
from rli.method.inversion.settings import InversionSettings
from rli.models import text
from rli.models import vae as codec
from rli.models.base_models import BASE_MODELS, check_size
from rli.models.device import pick_device, pick_dtype
from rli.models.diffusion import compiled
from rli.models.loading import assemble, check_weights, load, random_model, tokenizer_at_hand
from rli.models.mini import WEIGHTS
from rli.models.mini.tokenizer import tokenizers
from rli.models.noise_schedule import Step
from rli.models.parts import Parts, fingerprint
from rli.models.random import random_parts

pytestmark = pytest.mark.integration

SOURCE, RUST = "photo of a crack defect image", "photo of a crack rust image"


def stable_diffusion(prediction: str) -> StableDiffusionPipeline:
    """Tiny parts in Stable Diffusion 1 and 2's architecture."""
    torch.manual_seed(0)
    tokenizer = tokenizers()[0]
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 32, 64, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=4,
        ),
        vae=AutoencoderKL(
            block_out_channels=(32, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                eos_token_id=tokenizer.eos_token_id,
            )
        ),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=prediction,
            clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    out = {}
    for name, prediction in (("sd15", "epsilon"), ("sd21", "v_prediction")):
        out[name] = tmp_path_factory.mktemp(name)
        stable_diffusion(prediction).save_pretrained(out[name])
    return out


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_stable_diffusion_is_loaded_inverted_and_edited(folders, photo, name):
    model = load(name, str(folders[name]), device="cpu")
    done = inversion.invert(model, photo, SOURCE, InversionSettings(steps=4))
    edited = editing.edit(model, done, [RUST])[0]
    assert edited.image.shape == photo.shape
    assert done.nulls.pooled is None
    assert not torch.equal(edited.image, editing.reconstruct(model, done))


def test_stable_diffusions_prompts_are_encoded_as_the_stock_pipeline_does(folders):
    pipe = StableDiffusionPipeline.from_pretrained(folders["sd15"], safety_checker=None)
    stock, empty = pipe.encode_prompt(RUST, "cpu", 1, True, "")
    ours = text.encode_prompts(load("sd15", str(folders["sd15"]), device="cpu"), [RUST, ""], (64, 64))
    assert relative(ours.tokens, torch.cat([stock, empty]).detach()) < 1e-5


def test_v_is_turned_into_noise(folders):
    model = load("sd21", str(folders["sd21"]), device="cpu")
    latent, step = torch.randn(1, 4, 8, 8), Step(0, 2, 500, 480, 500)
    cond = text.encode_prompts(model, [SOURCE], (64, 64))
    with torch.no_grad():
        eps = model.predict(latent, step, cond, "test")
        v = model.unet(latent, 500, cond.tokens).sample
    abar = model.abar[480]
    x0 = abar**0.5 * latent - (1 - abar) ** 0.5 * v  # Salimans and Ho 2022, appendix D
    assert torch.allclose(abar**0.5 * x0 + (1 - abar) ** 0.5 * eps, latent, atol=1e-4)


def test_sdxl_goes_through_save_and_load(tmp_path):
    from diffusers import StableDiffusionXLPipeline

    tiny = random_model("tiny")
    for encoder, tokenizer in zip(tiny.text_encoders, tiny.tokenizers, strict=True):
        encoder.resize_token_embeddings(len(tokenizer))
    pipe = StableDiffusionXLPipeline(
        vae=tiny.vae,
        text_encoder=tiny.text_encoders[0],
        text_encoder_2=tiny.text_encoders[1],
        tokenizer=tiny.tokenizers[0],
        tokenizer_2=tiny.tokenizers[1],
        unet=tiny.unet,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )
    pipe.save_pretrained(tmp_path)
    loaded = load("sdxl", str(tmp_path), device="cpu")
    stock = pipe.encode_prompt(RUST, device="cpu", do_classifier_free_guidance=False)
    ours = text.encode_prompts(loaded, [RUST], (64, 64))
    assert relative(ours.tokens, stock[0].detach()) < 1e-5
    assert relative(ours.pooled, stock[2].detach()) < 1e-5
    assert ours.time_ids.tolist() == [[64, 64, 0, 0, 64, 64]]
    with_vae = load("sdxl", str(tmp_path), vae=str(tmp_path / "vae"), device="cpu")
    assert with_vae.fingerprint == loaded.fingerprint
    half = load("sdxl", str(tmp_path), device="cpu", dtype="bfloat16")
    assert half.unet.dtype == half.text_encoders[0].dtype == torch.bfloat16
    assert torch.equal(half.vae.decoder.conv_in.weight, tiny.vae.decoder.conv_in.weight)


def test_weights_are_frozen_and_the_fingerprint_sees_a_change():
    parts = random_parts("tiny", torch.float32)
    before = fingerprint(parts)
    assert before == fingerprint(random_parts("tiny", torch.float32))
    model = assemble("tiny", parts, torch.device("cpu"))
    assert not any(p.requires_grad for part in (model.unet, model.vae, *model.text_encoders) for p in part.parameters())
    with torch.no_grad():
        next(parts.unet.parameters()).mul_(1.001)
    assert fingerprint(parts) != before


def test_bfloat16_keeps_latents_embeddings_and_the_vae_in_float32(photo):
    model = assemble("tiny", random_parts("tiny", torch.bfloat16), torch.device("cpu"))
    done = inversion.invert(model, photo, SOURCE, InversionSettings(steps=3))
    assert {done.source_latents.dtype, done.latent.dtype, done.nulls.tokens.dtype, model.vae.dtype} == {torch.float32}
    assert model.unet.dtype == torch.bfloat16


def test_checkpointing_changes_memory_not_numbers(photo, tiny):
    parts = Parts(
        tiny.architecture, tiny.unet, tiny.vae, tiny.tokenizers, tiny.text_encoders, {"num_train_timesteps": 1000}
    )
    settings = InversionSettings(steps=3)
    plain = inversion.invert(tiny, photo, SOURCE, settings)
    try:
        saving = assemble("tiny", parts, torch.device("cpu"), checkpointing=True)
        assert relative(inversion.invert(saving, photo, SOURCE, settings).nulls.tokens, plain.nulls.tokens) < 1e-5
    finally:
        tiny.unet.disable_gradient_checkpointing()


def test_tiles_agree_with_the_whole_inside(photo):
    model = assemble("tiny", random_parts("tiny", torch.float32), torch.device("cpu"), vae_tiling=True)
    assert model.vae.tile_latent_min_size * 8 == model.vae.tile_sample_min_size
    wide = torch.rand(1, 3, 64, 1024) * 2 - 1
    assert codec.encode(model, wide).shape == (1, 4, 8, 128)


@pytest.mark.parametrize(
    ("name", "height", "width", "good"),
    [
        ("sdxl", 512, 768, True),
        ("sdxl", 500, 512, False),
        ("sd15", 96, 512, False),
        ("mini", 96, 160, True),
        ("mini", 0, 128, False),
    ],
)
def test_sizes(name, height, width, good):
    if good:
        check_size(name, height, width)
    else:
        with pytest.raises(RLIError, match="expected a multiple of"):
            check_size(name, height, width)


def test_weights_of_another_kind_are_refused(folders):
    with pytest.raises(RLIError, match="holds a StableDiffusionPipeline, and sdxl needs a StableDiffusionXLPipeline"):
        check_weights("sdxl", str(folders["sd15"]))


def test_folders_without_a_model_are_refused(tmp_path):
    for weights in (str(tmp_path), str(tmp_path / "none"), "./nowhere"):
        with pytest.raises(RLIError, match=r"model_index\.json"):
            check_weights("sdxl", weights)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(RLIError, match="cannot be read"):
        check_weights("sdxl", str(tmp_path))
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": BASE_MODELS["sdxl"].architecture.pipeline}))
    with pytest.raises(RLIError, match="has no unet, and sdxl needs one"):
        load("sdxl", str(tmp_path), device="cpu")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr("diffusers.StableDiffusionXLPipeline.load_config", unreachable)
    with pytest.raises(RLIError, match="cannot be loaded; expected a local diffusers folder") as error:
        load("sdxl", device="cpu")
    assert "\n" not in str(error.value)


def test_devices_and_precisions():
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16
    with pytest.raises(RLIError, match="needs CUDA"):
        pick_dtype("float16", torch.device("cpu"))
    with pytest.raises(RLIError, match="unknown value"):
        pick_dtype("int8", torch.device("cpu"))
    with pytest.raises(RLIError, match="expected auto, cpu, cuda or cuda:N"):
        pick_device("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(RLIError, match="no CUDA device"):
            pick_device("cuda")


def test_the_compiled_model_computes_the_same():
    """The compiler's front, which decides what may be compiled, with the plain kernels behind it."""
    model = random_model("tiny")
    cond = text.encode_prompts(model, [SOURCE, RUST], (64, 64))
    latent, step = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), Step(0, 2, 500, 480, 500)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        tokens = cond.tokens.clone().requires_grad_()
        with install(model.unet, (RLI(),), (8, 8)):
            eps = model.predict(latent, step, replace(cond, tokens=tokens), "test")
        return eps.detach(), torch.autograd.grad(eps.sum(), tokens)[0]

    plain = both()
    compiled(model, backend="eager")
    before = counters["stats"]["unique_graphs"]
    for a, b in zip(plain, both(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    # Of seven blocks two share what is compiled with one before them: of the same part and width.
    assert counters["stats"]["unique_graphs"] - before == 5


@pytest.mark.slow
def test_a_whole_edit_is_compiled(photo):
    """PyTorch computes uncompiled, and says nothing, what is beyond its limit; here it fails instead."""
    model = compiled(random_model("tiny"), backend="eager")
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        done = inversion.invert(model, photo, SOURCE, InversionSettings(steps=5))
        edited = editing.edit(model, done, [RUST])[0]
    assert torch.isfinite(edited.image).all()


def test_a_tokenizer_is_found_in_a_folder_and_in_the_hub_s_cache_without_asking_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert tokenizer_at_hand("sdxl", "random") is tokenizer_at_hand("sdxl", "some/pipeline") is None
    kept = tmp_path / "models--some--pipeline"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    shutil.copytree(WEIGHTS / "tokenizer", kept / "snapshots" / ("0" * 40) / "tokenizer")
    words = "photo of a crack rust image"
    for weights in ("some/pipeline", str(WEIGHTS)):
        assert tokenizer_at_hand("sdxl", weights)(words).input_ids == tokenizers()[0](words).input_ids
