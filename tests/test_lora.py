"""LoRAs change exactly the weights that they name, by strength·alpha/rank·up·down, whatever trainer wrote them."""

import copy
import json

import pandas as pd
import pytest
import single_files
import torch
from command import QUICK, SMALL, run
from single_files import Matrices, drawn, kohya, peft

from rli.errors import RLIError
from rli.models.base_models import MINI
from rli.models.loading import check_weights, load, load_parts
from rli.models.lora import Lora, check_lora, fuse, parse_lora
from rli.models.parts import Parts
from rli.models.quantized import KINDS, Kind

pytestmark = pytest.mark.integration

ATTENTION = r"attn\d\.to_(q|k|v|out\.0)$"
EVERYTHING = r"attn\d\.to_|ff\.net|proj_in|proj_out|resnets.*conv|samplers|time_emb_proj|conv_in|linear_\d"


@pytest.fixture(scope="module")
def before() -> Parts:
    return load_parts("mini", str(MINI), torch.float32)


@pytest.fixture
def parts(before) -> Parts:
    """The same, to be changed."""
    return copy.deepcopy(before)


def modules(parts: Parts) -> dict:
    return {"unet": parts.unet, "text_encoder": parts.text_encoders[0], "text_encoder_2": parts.text_encoders[1]}


def check_changed(after: Parts, before: Parts, wanted: dict[str, dict[str, torch.Tensor]]) -> None:
    """Whether exactly the weights of these layers changed, by these tensors."""
    for part, module in modules(after).items():
        own = {f"{name}.weight": change for name, change in wanted.get(part, {}).items()}
        old = modules(before)[part].state_dict()
        for name, value in module.state_dict().items():
            if name in own:
                assert torch.allclose(value, old[name] + own.pop(name), atol=1e-4, rtol=1e-5), name
            else:
                assert torch.equal(value, old[name]), name
        assert not own


def changes(layers: dict[str, Matrices], module: torch.nn.Module, strength: float) -> dict[str, torch.Tensor]:
    return {name: strength * one.change(module.get_submodule(name).weight) for name, one in layers.items()}


def old_diffusers(part: str, layers: dict[str, Matrices]) -> dict[str, torch.Tensor]:
    """As diffusers saved attention layers before peft."""
    out = {}
    for name, one in layers.items():
        stem, _, layer = name.replace("to_out.0", "to_out").rpartition(".")
        key = f"{part}.{stem}.processor.{layer}_lora"
        out |= {f"{key}.up.weight": one.up, f"{key}.down.weight": one.down}
    return out


def sgm(part: str, layers: dict[str, Matrices], config) -> dict[str, torch.Tensor]:
    """As kohya-ss names SDXL's blocks."""
    return kohya(part, {single_files.unet_name(name, config): one for name, one in layers.items()})


@pytest.mark.parametrize(
    ("form", "strength"),
    [
        ("kohya", 0.8),
        ("kohya, SDXL's blocks", 1.0),
        ("peft", -0.5),
        ("peft, alpha in the header", 0.7),
        ("diffusers 0.20", 2.0),
    ],
)
def test_every_form_adds_the_same(form, strength, parts, before, tmp_path):
    pattern = EVERYTHING if form.startswith("kohya") else ATTENTION
    alpha = 3.0 if form in ("peft", "diffusers 0.20") else 1.5
    layers, metadata = drawn(parts.unet, pattern, alpha=alpha), {}
    assert len(layers) > 20
    if form == "kohya":
        tensors = kohya("lora_unet", layers)
    elif form.startswith("kohya"):
        tensors = sgm("lora_unet", layers, parts.unet.config)
    elif form == "diffusers 0.20":
        tensors = old_diffusers("unet", layers)
    else:
        tensors = peft("unet", layers)
        told = {"unet.r": 3, "unet.lora_alpha": alpha}
        metadata = {"lora_adapter_metadata": json.dumps(told)} if form.endswith("header") else {}
    file = single_files.write(tmp_path / "a.safetensors", tensors, **metadata)
    fuse(parts, [Lora(file, strength)])
    check_changed(parts, before, {"unet": changes(layers, before.unet, strength)})


def test_text_encoders_have_their_own(parts, before, tmp_path):
    """As kohya-ss and diffusers name them, and with convolutions in the place of matrices, as old files have them."""
    first, second = before.text_encoders
    one, two = drawn(first, r"self_attn|mlp"), drawn(second, r"q_proj", seed=1, alpha=3.0)
    prefixed = {f"text_model.{name.removeprefix('text_model.')}": m for name, m in one.items()}
    thin = {name: Matrices(m.up[..., None, None], m.down[..., None, None], m.alpha) for name, m in prefixed.items()}
    tensors = {**kohya("lora_te1", thin), **peft("text_encoder_2", two)}
    kinds = [{n: v for n, v in tensors.items() if n.startswith("lora_") == is_kohya} for is_kohya in (True, False)]
    fuse(parts, [Lora(single_files.write(tmp_path / f"{k}.safetensors", kind)) for k, kind in enumerate(kinds)])
    wanted = {"text_encoder": changes(one, first, 1), "text_encoder_2": changes(two, second, 1)}
    check_changed(parts, before, wanted)


def test_several_add_up_and_nought_changes_nothing(parts, before, tmp_path):
    loras = []
    for seed, strength in ((0, 0.8), (1, 0.5), (2, 0.0)):
        file = tmp_path / f"{seed}.safetensors"
        single_files.write(file, kohya("lora_unet", drawn(before.unet, ATTENTION, seed=seed)), torch.float16)
        loras.append(Lora(file, strength))
    fuse(parts, loras)
    both = [drawn(before.unet, ATTENTION, seed=seed) for seed in (0, 1)]
    for name in both[0]:
        halved = [Matrices(m.up.half().float(), m.down.half().float(), m.alpha) for m in (both[0][name], both[1][name])]
        old = before.unet.get_submodule(name).weight
        wanted = old + 0.8 * halved[0].change(old) + 0.5 * halved[1].change(old)
        assert torch.allclose(parts.unet.get_submodule(name).weight, wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("form", ["kohya, SDXL's blocks", "peft, alpha in the header"])
def test_peft_adds_the_same(form, parts, before, tmp_path):
    """The same file by diffusers' own way, which needs peft."""
    pytest.importorskip("peft", reason="peft is not installed")
    from diffusers import StableDiffusionXLPipeline

    layers, told = drawn(before.unet, ATTENTION), {}
    tensors = sgm("lora_unet", layers, before.unet.config) if form.startswith("kohya") else peft("unet", layers)
    if form.startswith("peft"):
        settings = {"unet.r": 3, "unet.lora_alpha": 6, "unet.target_modules": ["to_q"]}
        told = {"lora_adapter_metadata": json.dumps(settings)}
    file = single_files.write(tmp_path / "a.safetensors", tensors, **told)
    pipe = StableDiffusionXLPipeline.from_pretrained(MINI, local_files_only=True)
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    pipe.fuse_lora(lora_scale=0.8)
    pipe.unload_lora_weights()
    fuse(parts, [Lora(file, 0.8)])
    other = pipe.unet.state_dict()
    for name, value in parts.unet.state_dict().items():
        assert torch.allclose(value, other[name], atol=1e-4, rtol=1e-5), name


def test_a_model_with_a_lora_is_another_model(before, tmp_path):
    file = single_files.write(tmp_path / "rust.safetensors", kohya("lora_unet", drawn(before.unet, ATTENTION)))
    plain = load("mini", device="cpu")
    adapted, halved = (load("mini", lora=[f"{file}{s}"], device="cpu") for s in ("", ":0.5"))
    assert len({model.fingerprint for model in (plain, adapted, halved)}) == 3
    assert (plain.lora, adapted.lora, halved.lora) == ((), ("rust.safetensors:1",), ("rust.safetensors:0.5",))
    nothing = load("mini", lora=[f"{file}:0"], device="cpu")
    assert nothing.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("text", "file", "strength"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.8", "a.safetensors", 0.8),
        ("folder/a b.safetensors:-1", "folder/a b.safetensors", -1.0),
        ("C:/parts.safetensors", "C:/parts.safetensors", 1.0),
        ("C:/parts.safetensors:2", "C:/parts.safetensors", 2.0),
    ],
)
def test_strengths_as_they_are_typed(text, file, strength):
    lora = parse_lora(text)
    assert (lora.file.as_posix(), lora.strength) == (file, strength)


def test_what_is_no_lora_of_this_model_is_refused(parts, before, tmp_path):
    layers = drawn(before.unet, "mid_block.*to_q$")
    good, key = kohya("lora_unet", layers), "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    down = f"{key}.lora_down.weight"
    mistakes = {
        "which this model lacks": {name.replace("mid", "up"): value for name, value in good.items()},
        "does not fit unet": {**good, down: torch.ones(3, 7)},
        "has one matrix of two": {down: good[down]},
        "which is no part of a LoRA of this model": {**good, "lora_vae_conv.lora_down.weight": torch.ones(1, 1)},
        "not finite": {**good, down: torch.full_like(good[down], float("nan"))},
        "it is a LoHa": {f"{key}.hada_w1_a": torch.ones(1, 1)},
        "it is a DoRA": {**good, f"{key}.dora_scale": torch.ones(1, 1)},
        "it holds no LoRA": single_files.vae_tensors(before.vae),
        "of type I32": {**good, down: good[down].int()},
    }  # fmt: skip
    for told, tensors in mistakes.items():
        file = single_files.write(tmp_path / "bad.safetensors", tensors)
        with pytest.raises(RLIError, match=rf"^lora=.*{told}") as caught:
            fuse(parts, [Lora(file)])
        assert "\n" not in str(caught.value)
    for metadata in (
        "[",
        "[1]",
        '{"unet.lora_alpha": "x"}',
        '{"unet.use_dora": true}',
        '{"unet.r": 0, "unet.lora_alpha": 1}',
    ):
        with pytest.raises(RLIError, match=r"^lora="):
            check_lora(Lora(single_files.write(tmp_path / "m.safetensors", good, lora_adapter_metadata=metadata)))
    with pytest.raises(RLIError, match=r"^lora=.*there is no such file"):
        check_weights("mini", None, lora=[str(tmp_path / "none.safetensors")])
    with pytest.raises(RLIError, match=r"^lora=.*the strength is out of range"):
        parse_lora("a.safetensors:1000")


def test_the_command_adds_loras_and_the_data_set_names_them(before, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "int8", Kind("torch", ("cpu",), lambda part, device: None))  # it is the names that count
    for k in range(2):
        layers = drawn(before.unet, ATTENTION, seed=k)
        single_files.write(tmp_path / f"{k}.safetensors", kohya("lora_unet", layers))
    where = (f"runtime.cache={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}")
    lora = f"model.lora=[{tmp_path / '0.safetensors'}:0.01,{tmp_path / '1.safetensors'}:-0.02]"
    folder = run(
        *QUICK, *SMALL, "defect=rust", "export=imagefolder", lora, "model.quantize=text_encoders:int8", *where
    ).folder
    manifest = pd.read_csv(folder / "manifest.csv").set_index("kind")
    assert manifest.loc["edit", "lora"] == "0.safetensors:0.01 1.safetensors:-0.02"
    assert manifest.loc["edit", "quantized"] == "text_encoders:int8"
    assert manifest.loc["edit", "model_hash"] != load("mini", device="cpu").fingerprint
    card = (folder / "README.md").read_text().replace("\\", "")
    assert "0.safetensors:0.01" in card and "text_encoders:int8" in card


def test_the_command_refuses_a_file_that_is_not_there():
    refused = run(*QUICK, "model.lora=none.safetensors:0.8")
    assert refused.error == "error: model.lora=none.safetensors: there is no such file"
