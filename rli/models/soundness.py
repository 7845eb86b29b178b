"""Parts that have been loaded, checked against each other: what libraries let pass would give wrong pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rli.errors import RLIError, shortened
from rli.models.checkpoint import Origin
from rli.models.parts import Parts
from rli.models.vae import latent_scaling

# Words that a vocabulary may have as one piece, which its merges must give.
PROBES = ("photo", "image", "crack", "rust", "metal", "surface", "of", "a")
PADDED_TEXT = "photo of a crack"


def check_report(report: Mapping[str, Any], origin: Origin) -> None:
    """Raises RLIError where a library says that tensors were missing, left over or of another shape.

    Args:
        report: What from_pretrained gives with output_loading_info.
        origin: The part, for messages.
    """
    for kind, problem in (
        ("missing", "lacks"),
        ("unexpected", "has an unknown"),
        ("mismatched", "has another shape of"),
    ):
        keys = sorted(map(str, report.get(f"{kind}_keys") or ()))
        if keys:
            more = f", and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise origin.error(f"{problem} tensor {shortened(keys[0])}{more}: its weights do not fit its config.json")
    if report.get("error_msgs"):
        raise origin.error(f"cannot be loaded: {shortened(report['error_msgs'][0], 200)}")


@torch.no_grad()
def check_finite(part: nn.Module, origin: Origin) -> None:
    """Raises RLIError where a weight is not finite."""
    for name, value in part.state_dict().items():
        if value.is_floating_point() and value.numel():
            low, high = value.aminmax()
            if not (torch.isfinite(low) and torch.isfinite(high)):
                raise origin.error(f"{name} has values that are not finite in {str(value.dtype)[6:]}")


def check_fit(unet: Any, vae: Any) -> None:
    """Whether the UNet works on what this VAE makes. Raises RLIError, also for latents that are scaled in a way of
    their own."""
    kind = type(vae).__name__
    if kind != "AutoencoderKL":
        raise RLIError(f"the VAE is of class {kind}; only AutoencoderKL is supported")
    latent_scaling(vae.config)
    taken, given, made = unet.config.in_channels, unet.config.out_channels, vae.config.latent_channels
    if not taken == given == made:
        raise RLIError(
            f"the UNet takes {taken} channels and predicts {given}, and the VAE makes {made}: only a UNet that "
            "denoises this VAE's latents is supported"
        )


def check_parts_fit(parts: Parts, origin: Origin) -> None:
    """Whether tokenizers, text encoders and UNet belong together.

    Raises:
        RLIError: They do not.
    """
    for k, (tokenizer, encoder) in enumerate(zip(parts.tokenizers, parts.text_encoders, strict=True)):
        suffix = f"_{k + 1}" if k else ""
        check_tokenizer(tokenizer, encoder.config, origin.of(f"tokenizer{suffix}"))
    wanted = parts.architecture.blank(parts.unet.config, 1, 1, torch.float32)
    configs: list[Any] = [encoder.config for encoder in parts.text_encoders]
    width = sum(config.hidden_size for config in configs)
    if width != wanted.tokens.shape[-1]:
        raise origin.error(f"its text encoders give {width} values a token, its UNet takes {wanted.tokens.shape[-1]}")
    if wanted.pooled is not None and configs[-1].projection_dim != wanted.pooled.shape[-1]:
        raise origin.error(f"text_encoder_{len(parts.text_encoders)} is another one than its UNet was trained with")


def check_tokenizer(tokenizer: Any, config: Any, origin: Origin) -> None:
    """Whether a tokenizer has the vocabulary of its text encoder, and uses it.

    Args:
        tokenizer: CLIP's.
        config: The text encoder's.
        origin: The tokenizer, for messages.

    Raises:
        RLIError: It has another one or none, its merges are missing, or it gives prompts of another length.
    """
    count = len(tokenizer)
    if count != config.vocab_size:
        raise origin.error(f"has a vocabulary of {count} entries, its text encoder one of {config.vocab_size}")
    if tokenizer.model_max_length != config.max_position_embeddings:
        raise origin.error(
            f"gives prompts of {shortened(tokenizer.model_max_length)} tokens, its text encoder reads "
            f"{config.max_position_embeddings}: model_max_length in its tokenizer_config.json says how many"
        )
    if None in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        raise origin.error("has no begin, end or padding token: its tokenizer_config.json is damaged")
    vocabulary, backend = tokenizer.get_vocab(), getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        merges = len(json.loads(backend.to_str())["model"].get("merges", ()))
        special = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
        joined = sum(len(entry.removesuffix("</w>")) > 1 for entry in vocabulary if entry not in special)
        if merges < joined:
            raise origin.error(f"has {merges} merges for {joined} pieces of words: its merges are damaged")
    ids = tokenizer(PADDED_TEXT).input_ids
    whole = all(
        tokenizer(word, add_special_tokens=False).input_ids == [vocabulary[f"{word}</w>"]]
        for word in PROBES
        if f"{word}</w>" in vocabulary
    )
    if not whole or ids[0] != tokenizer.bos_token_id or ids[-1] != tokenizer.eos_token_id or max(ids) >= count:
        raise origin.error("does not read prompts as CLIP does: its files are damaged")
