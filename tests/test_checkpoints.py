"""Damaged and mistaken checkpoints are refused in one line: nothing is filled at random or cast without a word."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from damage import MINI, Damage, copied, damages, edited
from safetensors.torch import load_file, save_file

from rli.errors import RLIError
from rli.models.checkpoint import check_index
from rli.models.loading import check_weights, load, load_parts
from rli.models.sdxl import SDXL

pytestmark = pytest.mark.integration

EVERY = [*damages()]
OF_TENSORS = [damage for damage in EVERY if damage.is_of_a_tensor]
SOME = random.Random(0).sample([damage for damage in EVERY if damage not in OF_TENSORS], 40)
SOME += random.Random(1).sample(OF_TENSORS, 10)
UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


@pytest.fixture
def folder(tmp_path):
    """A copy of the miniature's weights, whose files may be replaced."""
    return copied(tmp_path / "w")


def refused(folder) -> str:
    with pytest.raises(RLIError) as caught:
        load("mini", str(folder), device="cpu")
    line = str(caught.value)
    assert "\n" not in line and len(line) < 450 and line.startswith("weights=")
    return line


@pytest.mark.parametrize("damage", SOME, ids=lambda damage: damage.name)
def test_a_damaged_file_is_refused(folder, damage: Damage, capfd):
    damage.do(folder)
    refused(folder)
    assert not capfd.readouterr().err


def test_whole_folders_load_the_same_wherever_they_lie(folder):
    assert load("mini", str(folder), device="cpu").fingerprint == load("mini", device="cpu").fingerprint


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_folders_with_half_precision_files_only_load(folder, dtype):
    for file in [*folder.rglob("*model.safetensors")]:
        halves = {name: value.half() for name, value in load_file(file).items()}
        file.unlink()
        save_file(halves, file.with_name(f"{file.stem}.fp16.safetensors"), {"format": "pt"})
    model = load("mini", str(folder), device="cpu", dtype=dtype)
    assert str(model.unet.dtype) == f"torch.{dtype}"


def test_other_models_are_named(folder, tmp_path):
    edited(folder / "model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline")
    assert "the refiner, and mini needs a StableDiffusionXLPipeline" in refused(folder)
    edited(folder / "model_index.json", _class_name="StableDiffusionXLPipeline", text_encoder=[None, None])
    assert "has no text_encoder: it is SDXL's refiner" in refused(folder)
    edited(folder / "model_index.json", text_encoder=["transformers", "T5EncoderModel"])
    assert "its text_encoder is a T5EncoderModel" in refused(folder)
    assert "it holds a UNet2DConditionModel alone" in refused(folder / "unet")
    assert "it is a part of a diffusers folder: give the folder" in refused(folder / UNET)
    edited(folder / "unet" / "config.json", _class_name="ControlNetModel")
    assert "it holds a ControlNet alone" in refused(folder / "unet")


def test_an_inpainting_unet_is_named(folder):
    weights = load_file(folder / UNET)
    first = weights["conv_in.weight"]
    weights["conv_in.weight"] = torch.cat([first, torch.zeros(len(first), 5, *first.shape[2:])], 1)
    (folder / UNET).unlink()
    save_file(weights, folder / UNET)
    edited(folder / "unet" / "config.json", in_channels=9)
    assert "holds an inpainting UNet: its UNet has 9 input channels" in refused(folder)


def test_turbo_models_are_named(folder, tmp_path):
    edited(folder / "scheduler/scheduler_config.json", _class_name="EulerAncestralDiscreteScheduler")
    check_weights("mini", str(folder))
    edited(folder / "scheduler/scheduler_config.json", timestep_spacing="trailing")
    assert "it is a turbo model" in refused(folder)
    assert "it is a turbo model" in refused(copied(tmp_path / "sdxl-turbo"))


def test_the_hub_s_index_is_looked_at_before_anything_else_is_fetched(monkeypatch):
    index = {"_class_name": "StableDiffusionXLInpaintPipeline"}
    monkeypatch.setattr("diffusers.StableDiffusionXLPipeline.load_config", lambda weights: index)
    monkeypatch.setattr("diffusers.StableDiffusionXLPipeline.download", lambda *a, **k: pytest.fail("fetched"))
    with pytest.raises(RLIError, match=r"weights=some/one: holds a \w+, an inpainting model, and sdxl needs"):
        load_parts("sdxl", "some/one", torch.float32)


def test_what_the_hub_gives_is_a_folder_like_any_other(monkeypatch):
    monkeypatch.setattr("diffusers.StableDiffusionXLPipeline.load_config", lambda weights: read_index())
    monkeypatch.setattr("diffusers.StableDiffusionXLPipeline.download", lambda *a, **k: str(MINI))
    assert len(load_parts("mini", "some/one", torch.float32).text_encoders) == 2


def read_index():
    index = json.loads((MINI / "model_index.json").read_text())
    check_index(index, SDXL, None, "mini")
    return index


def test_a_tokenizer_without_its_merges_is_refused(folder):
    file = folder / "tokenizer/tokenizer.json"
    settings = json.loads(file.read_text())
    settings["model"]["merges"] = settings["model"]["merges"][:10]
    file.unlink()
    file.write_text(json.dumps(settings))
    assert "its merges are damaged" in refused(folder)


def test_a_tokenizer_of_another_length_is_refused(folder):
    edited(folder / "tokenizer/tokenizer_config.json", model_max_length=None)
    assert "its text encoder reads 77" in refused(folder)


@pytest.mark.parametrize("scale", [0, -1, "x", True, float("inf"), float("nan")])
def test_a_vae_s_scale_is_a_positive_number(folder, scale):
    edited(folder / "vae/config.json", scaling_factor=scale)
    assert "scaling_factor" in refused(folder)


def test_a_replacement_for_the_vae_is_checked_too(folder, tmp_path):
    load("mini", vae=str(folder / "vae"), device="cpu")
    save_file({"lora": torch.zeros(1)}, tmp_path / "lora.safetensors")
    for vae, told in ((tmp_path / "lora.safetensors", "it is no VAE"), (folder, "config.json is missing")):
        with pytest.raises(RLIError, match=told):
            load("mini", vae=str(vae), device="cpu")
    shutil.rmtree(folder / "unet")
    weights = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    weights["decoder.conv_in.weight"] = torch.full_like(weights["decoder.conv_in.weight"], float(np.nan))
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    save_file(weights, folder / "vae/diffusion_pytorch_model.safetensors")
    with pytest.raises(RLIError, match=r"^vae=.*decoder\.conv_in\.weight has values that are not finite"):
        load("mini", vae=str(folder / "vae"), device="cpu")
