"""The miniature's training, a few steps of it: the command runs, goes on where it was, and leaves an SDXL folder."""

import pytest
import torch

from rli.method.sampler import inversion_steps, move
from rli.models.base_models import BASE_MODELS
from rli.models.loading import load
from rli.models.mini import WEIGHTS, autoencode, inverted, soften, train
from rli.models.mini.latents import Batch, Captions, mixed, noised
from rli.models.mini.networks import Denoiser, scheduler
from rli.models.mini.tokenizer import PIECES, tokenizers
from rli.models.text import encode_prompts

pytestmark = pytest.mark.integration

SMALL = ["--soft-steps", "1", "--vae-steps", "2", "--pictures", "5", "--pools", "6", "3", "3", "3"]
SMALL += ["--inverted", "1", "--inverted-steps", "1", "--batch", "2"]
SIZES = ((64, 64), (64, 128), (128, 64), (64, 64))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training that was called three times, and the model's fingerprint after each."""
    folder, fingerprints = tmp_path_factory.mktemp("mini"), []
    for steps in (1, 1, 2):  # the second call finds nothing to do, the third goes on
        with pytest.MonkeyPatch.context() as patch:
            places = ["--out", str(folder / "out"), "--work", str(folder / "work")]
            patch.setattr("sys.argv", ["train", *places, "--steps", str(steps), *SMALL])
            patch.setattr(inverted, "STEPS", (3, 4))
            for module in (train, inverted):
                patch.setattr(module, "SIZES", SIZES)
            patch.setattr(autoencode, "CROP", 32)
            train.main()
        fingerprints.append(load("mini", str(folder / "out"), device="cpu").fingerprint)
    return folder, fingerprints


def test_a_finished_training_is_not_repeated_and_a_longer_one_goes_on(trained):
    fingerprints = trained[1]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_the_folder_is_a_stock_pipeline(trained):
    from diffusers import StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(trained[0] / "out", dtype=torch.float32)
    made = pipe("photo of a crack rust image", num_inference_steps=2, height=128, width=128, output_type="pt").images
    assert made.shape == (1, 3, 128, 128)


def test_guidance_by_softer_words_is_a_smaller_guidance_by_the_words_as_they_were():
    captions = Captions()
    told, empty = captions.look_up((3, -1))[0], captions.empty()[0]
    tokens = torch.stack([told, empty], 1)
    masks = torch.zeros(2, 2, 4, 4)
    batch = Batch(torch.randn(2, 16, 4, 4), masks, tokens, torch.zeros(2, 2, tokens.shape[-1]), (32, 32))
    seen = noised(batch.latents, scheduler().alphas_cumprod, torch.Generator().manual_seed(0))

    def teacher(latents, timesteps, tokens, size):
        return latents * tokens.sum((0, 2))[:, None, None, None] / 1000 + timesteps[:, None, None, None] / 1000

    softer = soften.targets(teacher, seen, batch, empty)
    nothing = empty[:, None].expand_as(tokens)
    told, plain = (teacher(seen.latents, seen.timesteps, words, batch.size) for words in (tokens, nothing))
    guidance = 5.0
    guided, smaller = plain + guidance * (softer - plain), plain + soften.STRENGTH * guidance * (told - plain)
    assert torch.allclose(guided, smaller, atol=1e-5) and torch.allclose(softer[1], plain[1])
    assert not torch.allclose(softer[0], told[0])


def test_the_way_to_softer_words_is_gone_on_until_they_are_as_soft_as_asked():
    class Words(torch.nn.Module):
        def __init__(self, effect):
            super().__init__()
            self.effect = torch.nn.Parameter(torch.tensor(effect))

        def forward(self, latents, timesteps, tokens, size):
            return latents + self.effect * tokens.sum((0, 2))[:, None, None, None]

    tokens = Captions().look_up((3, -1))[0][:, None]
    batch = Batch(
        torch.randn(1, 16, 4, 4), torch.zeros(1, 2, 4, 4), tokens, torch.zeros(1, 2, tokens.shape[-1]), (32, 32)
    )
    teacher, softer, empty = Words(1.0), Words(0.7), Captions().empty()[0]
    assert soften.strength(teacher, softer, batch, empty) == pytest.approx(0.7, rel=1e-4)
    assert soften.strength(teacher, teacher, batch, empty) == pytest.approx(1)
    done = soften.lengthened(teacher, softer, batch, empty)
    assert done.effect.item() == pytest.approx(soften.STRENGTH, rel=1e-4)
    assert softer.effect.item() == pytest.approx(0.7)


def test_every_second_picture_is_asked_for_what_the_next_one_shows():
    batch = Batch(
        torch.zeros(4, 16, 1, 1), torch.ones(4, 2, 1, 1), torch.arange(24).view(2, 4, 3), torch.ones(4, 2, 3), (8, 8)
    )
    tokens = soften.exchanged(batch).tokens
    assert torch.equal(tokens[:, 0], batch.tokens[:, 1]) and torch.equal(tokens[:, 2], batch.tokens[:, 3])
    assert torch.equal(tokens[:, 1::2], batch.tokens[:, 1::2])
    assert soften.exchanged(batch).marks.amax((1, 2)).tolist() == [0, 1, 0, 1]


def test_the_words_split_as_they_were_trained():
    for tokenizer in tokenizers():
        for pieces in PIECES:
            assert tokenizer.tokenize("".join(pieces)) == [*pieces[:-1], pieces[-1] + "</w>"]
        prompt = "photo of a crack rust image"
        assert tokenizer.decode(tokenizer(prompt).input_ids, skip_special_tokens=True).split() == prompt.split()


def test_the_shipped_weights_are_small_and_plain():
    files = [f for f in WEIGHTS.rglob("*") if f.is_file()]
    assert (WEIGHTS / "model_index.json") in files
    assert sum(f.stat().st_size for f in files) <= 24 * 2**20
    assert {f.suffix for f in files} <= {".safetensors", ".json", ".txt"}
    assert str(WEIGHTS) == BASE_MODELS["mini"].weights


def test_an_inversion_is_the_sampler_s_and_a_photograph_comes_back_from_its_noise():
    """Against the method's own moves; and latents in the noise of their inversion are the trajectory."""
    model, steps = load("mini", device="cpu"), 6
    denoiser = Denoiser()
    denoiser.unet, (denoiser.first, denoiser.second) = model.unet, model.text_encoders
    words, latents = Captions().look_up((0, -1))[0][:, None], 0.3 * torch.randn(1, 16, 16, 16)
    noise, times = inverted.inverted(denoiser.float(), latents, words, (128, 128), steps)
    told, now = encode_prompts(model, ["photo of a crack defect image"], (128, 128)), latents
    for k, step in enumerate(s for s in inversion_steps(steps) if not s.is_identity):
        with torch.no_grad():
            now = move(now, model.predict(now, step, told, "inversion"), model.abar[step.start], model.abar[step.end])
        abar = scheduler().alphas_cumprod
        seen = mixed(latents, noise[k].float(), times[k : k + 1], abar)
        assert step.end == times[k] and torch.allclose(seen.latents, now, atol=0.03, rtol=0.03)


def test_a_surface_s_pictures_differ_in_their_defects_alone():
    for number in range(0, 400, inverted.VARIANTS):
        shown = [inverted.variant(number + k) for k in range(inverted.VARIANTS)]
        assert len({seed for seed, _ in shown}) == 1 and len({words for _, words in shown}) == inverted.VARIANTS
