"""Networks that measure images and are read from this machine's Hugging Face cache: they are not downloaded unasked."""

from __future__ import annotations

import sys

from huggingface_hub import try_to_load_from_cache

CLIP, DINO, DINOV2 = "openai/clip-vit-large-patch14", "facebook/dino-vitb8", "facebook/dinov2-large"


def is_at_hand(name: str) -> bool:
    """Whether a network of the hub lies in the cache; where it does not, a line says so."""
    found = isinstance(try_to_load_from_cache(name, "config.json"), str)
    if not found:
        print(f"{name} is not on this machine (hf download {name}): what it measures stays empty", file=sys.stderr)
    return found
