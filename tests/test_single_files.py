"""Checkpoints of one file come out tensor by tensor as the folder that they were made of, or are named as what they
are."""

import json

import pytest
import single_files
import torch
from command import QUICK, SMALL, run
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from rli.errors import RLIError
from rli.models.base_models import BASE_MODELS, MINI, BaseModel
from rli.models.clip_vocabulary import clip_tokenizer
from rli.models.loading import assemble, check_weights, load, load_parts, tokenizer_at_hand
from rli.models.mini.tokenizer import tokenizers
from rli.models.parts import Parts
from rli.models.random import random_parts
from rli.models.stable_diffusion import STABLE_DIFFUSION

pytestmark = pytest.mark.integration

# Weights of every part, as the papers and model cards state them, or as their authors' checkpoints have them.
PARAMETERS = {
    "sdxl": {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd21": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
}


def modules(parts: Parts) -> tuple:
    return parts.unet, parts.vae, *parts.text_encoders


def same(found: Parts, wanted: Parts, dtype: torch.dtype = torch.float32) -> bool:
    """Whether all parts have the same tensors, the VAE in float32."""

    def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
        kind = torch.float32 if one is found.vae else dtype
        have, want = one.state_dict(), other.state_dict()
        return have.keys() == want.keys() and all(torch.equal(have[name], want[name].to(kind)) for name in have)

    return all(equal(one, other) for one, other in zip(modules(found), modules(wanted), strict=True))


@pytest.fixture(scope="module")
def mini() -> Parts:
    return load_parts("mini", str(MINI), torch.float32)


@pytest.fixture(scope="module")
def whole(mini, tmp_path_factory):
    """The miniature in one file, named as SDXL's."""
    return single_files.write(tmp_path_factory.mktemp("one") / "parts.safetensors", single_files.sdxl_tensors(mini))


def small(kind: str, folder) -> Parts:
    """A small random model of Stable Diffusion 1's or 2's structure; its configurations are written to the folder."""
    tokenizer, is_second = tokenizers()[0 if kind == "sd1" else 1], kind == "sd2"
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 32, 64, 64), cross_attention_dim=32, attention_head_dim=4, layers_per_block=2,
        use_linear_projection=is_second,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1,
    )  # fmt: skip
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), projection_dim=32, **sizes, **ids))
    scheduler = json.loads((BASE_MODELS["sd15" if kind == "sd1" else "sd21"].configuration / SCHEDULER).read_text())
    for name, part in (("unet", unet), ("vae", vae)):
        part.save_config(folder / name)
    encoder.config.architectures = ["CLIPTextModel"]
    encoder.config.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / SCHEDULER).parent.mkdir()
    (folder / SCHEDULER).write_text(json.dumps(scheduler))
    return Parts(STABLE_DIFFUSION, unet, vae, (tokenizer,), (encoder,), scheduler)


SCHEDULER = "scheduler/scheduler_config.json"


@pytest.fixture
def stable_diffusion(tmp_path, monkeypatch):
    """For a kind its small model, and a file of it, under the name of the base model of that kind."""

    def make(kind: str, name: str):
        folder = tmp_path / kind
        folder.mkdir()
        parts = small(kind, folder)
        monkeypatch.setitem(BASE_MODELS, name, BaseModel("some/one", STABLE_DIFFUSION, 16, kind, folder))
        encoder = (
            single_files.clip_tensors(parts.text_encoders[0], "cond_stage_model.transformer.")
            if kind == "sd1"
            else single_files.open_clip_tensors(parts.text_encoders[0], "cond_stage_model.model.")
        )
        tensors = {**single_files.unet_tensors(parts.unet), **single_files.vae_tensors(parts.vae), **encoder}
        return parts, single_files.write(tmp_path / f"{kind}.safetensors", tensors)

    return make


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sdxl_in_one_file(mini, whole, dtype):
    assert same(load_parts("mini", str(whole), dtype), mini, dtype)


def test_sdxl_in_one_file_of_half_precision(mini, tmp_path):
    file = single_files.write(tmp_path / "x.safetensors", single_files.sdxl_tensors(mini), torch.float16)
    found, name = load_parts("mini", str(file), torch.float32), "conv_in.weight"
    assert found.unet.dtype == torch.float32
    assert torch.equal(found.unet.state_dict()[name], mini.unet.state_dict()[name].half().float())


@pytest.mark.parametrize(("kind", "name"), [("sd1", "sd15"), ("sd2", "sd21")])
def test_stable_diffusion_in_one_file(stable_diffusion, kind, name):
    parts, file = stable_diffusion(kind, name)
    found = load_parts(name, str(file), torch.float32)
    assert same(found, parts)
    prediction = assemble(name, found, torch.device("cpu")).prediction
    assert prediction == ("epsilon" if kind == "sd1" else "v_prediction")
    if kind == "sd2":  # its 512-pixel variants predict the noise, which their files do not say
        assert load(name, str(file), device="cpu", prediction="epsilon").prediction == "epsilon"


def test_a_file_is_the_same_model_as_its_folder(whole, mini):
    """Also to the cache of inversions, which knows models by their fingerprint."""
    assert load("mini", str(whole), device="cpu").fingerprint == load("mini", device="cpu").fingerprint
    prompt = "photo of a crack image"
    assert tokenizer_at_hand("mini", str(whole))(prompt).input_ids == mini.tokenizers[0](prompt).input_ids


def test_what_trainers_leave_in_files_is_read(mini, tmp_path):
    """Weights of no use, and marks of what the UNet predicts."""
    tensors = {**single_files.sdxl_tensors(mini), "model_ema.decay": torch.tensor(1.0), "betas": torch.ones(3)}
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    file = single_files.write(tmp_path / "v.safetensors", {**tensors, **marks})
    model = load("mini", str(file), device="cpu")
    assert model.prediction == "v_prediction" and model.abar[-1] == 0
    file = single_files.write(tmp_path / "w.safetensors", tensors, **{"modelspec.prediction_type": "v"})
    assert load("mini", str(file), device="cpu").prediction == "v_prediction"


def test_a_vae_in_a_file_of_its_own(mini, whole, tmp_path):
    other = random_parts("tiny", torch.float32, seed=1)
    changed = {name: value + 0.01 for name, value in mini.vae.state_dict().items()}
    vae = AutoencoderKL.from_config(mini.vae.config)
    vae.load_state_dict(changed)
    forms = {
        "bare": single_files.vae_tensors(vae, ""),
        "as in a whole model": {**single_files.vae_tensors(vae), **single_files.unet_tensors(mini.unet)},
        "diffusers": changed,
    }
    for form, tensors in forms.items():
        file = single_files.write(tmp_path / f"{form}.safetensors", tensors)
        found = load("mini", vae=str(file), device="cpu").vae.state_dict()
        assert all(torch.equal(found[name], value) for name, value in changed.items()), form
    # A file without a VAE needs one.
    tensors = {n: v for n, v in single_files.sdxl_tensors(mini).items() if not n.startswith("first_stage_model.")}
    bald = single_files.write(tmp_path / "bald.safetensors", tensors)
    with pytest.raises(RLIError, match=r"it holds no VAE; give one with model\.vae"):
        check_weights("mini", str(bald))
    load("mini", str(bald), vae=str(tmp_path / "bare.safetensors"), device="cpu")
    with pytest.raises(RLIError, match=r"^vae=.*its weights do not fit its config"):
        load("mini", vae=str(single_files.write(tmp_path / "t.safetensors", other.vae.state_dict())), device="cpu")


def without(prefix: str, tensors: dict) -> dict:
    return {name: value for name, value in tensors.items() if not name.startswith(prefix)}


def wider(tensors: dict, channels: int) -> dict:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    first = tensors[name]
    return {**tensors, name: torch.zeros(len(first), channels, *first.shape[2:])}


ONE = torch.zeros(2)
UP = {"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.zeros(2, 2)}
# What is made of SDXL's tensors, and what is said of it.
MISTAKES = {
    "refiner": (
        lambda t: {**without("conditioner.", t), "conditioner.embedders.0.model.ln_final.weight": ONE},
        "SDXL's refiner",
    ),
    "inpainting": (lambda t: wider(t, 9), "an inpainting model, whose UNet has 9 input channels"),
    "edits": (lambda t: wider(t, 8), "an InstructPix2Pix model"),
    "unet": (lambda t: without("conditioner.", t), "a UNet without its text encoders"),
    "lora": (lambda t: UP, "a LoRA: model.lora takes it"),
    "vae": (lambda t: {"decoder.conv_in.weight": ONE}, "a VAE: model.vae takes it"),
    "controlnet": (lambda t: {"control_model.time_embed.0.weight": ONE}, "a ControlNet"),
    "flux": (lambda t: {"double_blocks.0.img_mod.lin.weight": ONE}, "a Flux model"),
    "embedding": (lambda t: {"emb_params": ONE}, "a textual inversion"),
    "part": (lambda t: {"down_blocks.0.resnets.0.conv1.weight": ONE}, "a part of a diffusers folder"),
    "unknown": (lambda t: {"layer.weight": ONE}, "it holds no model that is known"),
    "sd15": (
        lambda t: {**without("conditioner.", t), "cond_stage_model.transformer.text_model.bias": ONE},
        "it is Stable Diffusion 1, and mini is SDXL; choose model=sd14 or sd15",
    ),
    "numbers": (lambda t: {n: v.int() for n, v in t.items()}, "of type I32; weights are floating-point numbers"),
    "my_sdxl_turbo_v2": (lambda t: t, "it is a turbo model"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_given_by_mistake_is_named_before_it_is_loaded(name, mini, tmp_path):
    make, told = MISTAKES[name]
    file = single_files.write(tmp_path / f"{name}.safetensors", make(single_files.sdxl_tensors(mini)))
    with pytest.raises(RLIError, match=rf"^weights=.*{told}"):
        check_weights("mini", str(file))


def test_damaged_files_are_refused(mini, whole, tmp_path):
    tensors, one = load_file(whole), "model.diffusion_model.middle_block.0.in_layers.0.weight"
    damages = {
        "lacks tensor mid_block.resnets.0.norm1.weight": {n: v for n, v in tensors.items() if n != one},
        "has another shape of tensor": {**tensors, one: torch.ones(3)},
        "not finite": {**tensors, one: torch.full_like(tensors[one], float("nan"))},
        "has an unknown tensor model.diffusion_model.time_embed.cond_proj": {
            **tensors,
            "model.diffusion_model.time_embed.cond_proj.weight": torch.ones(3),
        },
    }
    for told, damaged in damages.items():
        file = single_files.write(tmp_path / "damaged.safetensors", damaged)
        with pytest.raises(RLIError, match=told) as caught:
            load("mini", str(file), device="cpu")
        assert "\n" not in str(caught.value)
    (tmp_path / "half.safetensors").write_bytes(whole.read_bytes()[:1000])
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x04")
    for name, told in (("half.safetensors", "is damaged"), ("old.ckpt", "is a pickle, which may run anything")):
        with pytest.raises(RLIError, match=told):
            check_weights("mini", str(tmp_path / name))


@pytest.mark.parametrize("name", PARAMETERS)
def test_configurations_have_the_published_numbers_of_weights(name):
    folder, counts = BASE_MODELS[name].configuration, {}
    with torch.device("meta"):
        counts["unet"] = UNet2DConditionModel.from_config(json.loads((folder / "unet/config.json").read_text()))
        counts["vae"] = AutoencoderKL.from_config(json.loads((folder / "vae/config.json").read_text()))
        for part in [part for part in PARAMETERS[name] if part.startswith("text")]:
            config = CLIPTextConfig.from_pretrained(folder / part)
            kinds = {one.__name__: one for one in (CLIPTextModel, CLIPTextModelWithProjection)}
            counts[part] = kinds[config.architectures[0]](config)
    counts = {part: sum(value.numel() for value in model.parameters()) for part, model in counts.items()}
    assert counts == PARAMETERS[name]


def test_clip_s_vocabulary_gives_clip_s_numbers():
    """Of "a photo of a cat" as CLIP's repository shows them."""
    tokenizer = clip_tokenizer("!")
    assert len(tokenizer) == 49408
    padded = tokenizer("a photo of a cat", padding="max_length").input_ids
    assert padded == [49406, 320, 1125, 539, 320, 2368, 49407] + [0] * 70


def test_the_command_takes_files(whole, tmp_path):
    answer = run(*QUICK, *SMALL, "defect=original", f"model.weights={whole}", f"hydra.run.dir={tmp_path / 'run'}",
                 f"runtime.cache={tmp_path / 'cache'}")  # fmt: skip
    assert (answer.folder / "results.csv").is_file()
    refused = run(*QUICK, "defect=original", f"model.weights={tmp_path / 'none.safetensors'}")
    assert refused.error.startswith("error: model.weights=") and "there is no such file or folder" in refused.error
