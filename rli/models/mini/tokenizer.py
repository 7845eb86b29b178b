"""CLIP tokenizers with a small vocabulary: every byte, and the merges that the captions' words need."""

from __future__ import annotations

from transformers import CLIPTokenizer

LENGTH = 77
PIECES = (
    ("photo",), ("of",), ("a",), ("clean",), ("image",), ("defect",), ("crack",), ("rust",), ("dent",), ("wear",),
    ("scratch",), ("corro", "sion"), ("blister", "ing"), ("peel", "ing"), ("degrad", "ation"),
    ("surface",), ("metal",), ("steel",), ("carbide",), ("concrete",), ("crack", "ed"), ("blister", "ed"),
    ("dent", "ed"), ("rust", "y"), ("corro", "ded"), ("worn",), ("degra", "ded"), ("scratch", "ed"),
)  # fmt: skip


def _alphabet() -> list[str]:
    """CLIP's 256 byte symbols: printable bytes stand for themselves, the others for code points from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def _merge(symbols: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding of one word: the earliest merge first, until none applies."""
    while pairs := [pair for pair in zip(symbols, symbols[1:], strict=False) if pair in merges]:
        first, second = min(pairs, key=merges.index)
        merged, k = [], 0
        while k < len(symbols):
            joins = symbols[k : k + 2] == [first, second]
            merged.append(first + second if joins else symbols[k])
            k += 1 + joins
        symbols = merged
    return symbols


def _merges() -> list[tuple[str, str]]:
    """Merges that join each piece of PIECES from left to right, reusing those of earlier words."""
    merges: list[tuple[str, str]] = []
    for word in PIECES:
        ends = [*word[:-1], word[-1] + "</w>"]
        for piece, end in zip(word, ends, strict=True):
            symbols = list(piece)
            symbols[-1] += end[len(piece) :]
            while len(symbols := _merge(symbols, merges)) > 1:
                merges.append((symbols[0], symbols[1]))
    for word in PIECES:  # a merge made for one word may break another
        spelled = "".join(word)
        symbols = _merge([*spelled[:-1], spelled[-1] + "</w>"], merges)
        assert symbols == [*word[:-1], word[-1] + "</w>"], f"{spelled} splits into {symbols}"
    return merges


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    alphabet = _alphabet()
    entries = [*alphabet, *(symbol + "</w>" for symbol in alphabet), *(a + b for a, b in merges)]
    return {entry: k for k, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}


_MERGES = _merges()
SIZE = len(_vocabulary(_MERGES))
BOS, EOS = SIZE - 2, SIZE - 1


def tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """SDXL's pair: the first pads with the end token, the second with "!"."""
    return tuple(
        CLIPTokenizer(
            vocab=_vocabulary(_MERGES),
            merges=_MERGES,
            bos_token="<|startoftext|>",
            eos_token="<|endoftext|>",
            unk_token="<|endoftext|>",
            pad_token=pad,
            model_max_length=LENGTH,
        )
        for pad in ("<|endoftext|>", "!")
    )
