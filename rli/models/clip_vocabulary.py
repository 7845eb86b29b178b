"""CLIP's own vocabulary (Radford et al. 2021), which single-file checkpoints are trained with and do not hold."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

# A merge a line, in the order in which they apply; from CLIP's repository, under the MIT licence.
MERGES = Path(__file__).parent / "configurations" / "clip_merges.txt.gz"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """The 48,894 merges of CLIP's byte-pair encoding."""
    lines = gzip.decompress(MERGES.read_bytes()).decode().splitlines()
    return tuple((first, second) for first, second in (line.split() for line in lines))


def clip_tokenizer(pad: str = END, length: int = 77) -> Any:
    """A tokenizer with CLIP's 49,408 entries: every byte, inside a word and at its end, the merges, begin and end.

    Args:
        pad: The token that fills a prompt up: the end's in OpenAI's encoder, "!" in OpenCLIP's.
        length: Tokens of a prompt.

    Returns:
        transformers' CLIPTokenizer.
    """
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = [*bytes_to_unicode().values()]
    entries = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(pair) for pair in merges()), BEGIN, END]
    return CLIPTokenizer(
        vocab={entry: k for k, entry in enumerate(entries)},
        merges=[*merges()],
        bos_token=BEGIN,
        eos_token=END,
        unk_token=END,
        pad_token=pad,
        model_max_length=length,
    )
