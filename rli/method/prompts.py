"""Two prompts → which source token each target token takes its attention map from, and which words changed.

Sources: prompt-to-prompt (Hertz et al. 2022), section 3.2; refine aligns by global sequence alignment
(Needleman and Wunsch 1970; gap 0, match 1, mismatch -1), replace by word positions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor

from rli.errors import RLIError, shortened
from rli.method.records import EditSettings, Target

Span = tuple[int, int]

# What CLIP's text encoders read: begin and end are two of them, and a word is at least one.
MOST_TOKENS = 77
# What other programs take for a factor on a word's attention.
WEIGHT = re.compile(r"\([^():]*[^():\s\d]:[-+]?\d*\.?\d+\)|\(\([^()]+\)\)|\w+[+-]{2,}(?=[\s,.]|$)")


@dataclass(frozen=True)
class Tokens:
    """A prompt as the tokenizer sees it: ids with begin and end, and each word with its span of positions."""

    ids: tuple[int, ...]
    words: tuple[str, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class TokenAlignment:
    """How the tokens of N target prompts belong to those of the source prompt, and which of them changed."""

    # (N,S,S), from source token to target token: whose map each target token takes.
    mapper: Tensor
    # (N,S): share of a target token's own map.
    keep_own_map: Tensor
    # (N,S): factor on each target token's map.
    equalizer: Tensor
    # (N,S): 1 at the tokens whose maps make the blend mask, of the source and of the target prompt.
    source_words: Tensor
    target_words: Tensor

    def to(self, device: torch.device) -> TokenAlignment:
        return TokenAlignment(*(value.to(device) for value in vars(self).values()))


def check_prompt(prompt: str) -> None:
    """Everything about one prompt that needs no tokenizer.

    Raises:
        RLIError: It is longer than any text encoder reads, holds weights, or is no text.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise RLIError(f"the prompt “{shortened(prompt)}” is no text: some of its bytes are no UTF-8") from None
    if found := WEIGHT.search(prompt):
        raise RLIError(
            f"“{shortened(found[0])}”: weights in the prompt are not read; edit.eq is the factor on the changed words"
        )
    _check_length(prompt, len(prompt.split()) + 2, MOST_TOKENS, "at least ")


def _check_length(prompt: str, count: int, most: int, how: str = "") -> None:
    if count > most:
        raise RLIError(
            f"the prompt “{shortened(prompt, 60)}” has {how}{count} tokens, and the text encoder reads at most {most}; "
            "shorten it"
        )


def tokenize(tokenizer: Any, prompt: str) -> Tokens:
    """CLIP's byte pairs never cross white space, so that words can be tokenized one by one.

    Raises RLIError for what `check_prompt` refuses, and for a prompt longer than the text encoder reads.
    """
    check_prompt(prompt)
    words = prompt.split()
    pieces = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
    ids = tuple(tokenizer(prompt, verbose=False).input_ids)
    _check_length(prompt, len(ids), tokenizer.model_max_length)
    if len(ids) != 2 + sum(map(len, pieces)):
        raise RLIError(f"the prompt “{shortened(prompt)}” cannot be told apart into words: write plain words")
    ends = [1 + sum(map(len, pieces[: k + 1])) for k in range(len(pieces))]
    spans = tuple((end - len(piece), end) for end, piece in zip(ends, pieces, strict=True))
    return Tokens(ids, tuple(words), spans)


def bare(word: str) -> str:
    return word.lower().strip(".,;:!?\"'()")


def changed_words(source: str, target: str, *, by_words: bool = True) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of the words that differ, in the source and in the target prompt (either may be empty, but both only
    where the edit is not by words).

    Raises RLIError when the prompts are the same words.
    """
    a, b = [bare(w) for w in source.split()], [bare(w) for w in target.split()]
    if a == b and by_words:
        raise RLIError(f"the target prompt “{target}” equals the source prompt; change at least one word")
    if len(a) == len(b):  # by position, so that two neighbours that change are two words that changed
        places = tuple(k for k, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
        return places, places
    ops = [op for op in SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if op[0] != "equal"]
    return (
        tuple(k for _, i, end, _, _ in ops for k in range(i, end)),
        tuple(k for _, _, _, j, end in ops for k in range(j, end)),
    )


def check_target(source: str, target: Target, method: str, *, by_words: bool = True) -> None:
    """Everything about a pair of prompts that needs no model: raises RLIError.

    Where an example says what is wanted, and words need not (`by_words` false), the two may be the same.
    """
    check_prompt(source)
    check_prompt(target.prompt)
    changed_words(source, target.prompt, by_words=by_words)
    for prompt, word in ((source, target.source_word), (target.prompt, target.target_word)):
        if word is not None:
            _find(prompt.split(), word, prompt)
    counts = len(source.split()), len(target.prompt.split())
    if method == "replace" and counts[0] != counts[1]:
        raise RLIError(
            f"edit=replace needs prompts with the same number of words, and “{source}” has {counts[0]}, "
            f"“{target.prompt}” {counts[1]}; use edit=refine"
        )


def _find(words: Sequence[str], wanted: str, prompt: str) -> tuple[int, ...]:
    """Positions of a word, or of the words of a phrase, wherever they stand side by side; part of a hyphenated word
    stands for all of it. Raises RLIError where there are none."""
    phrase, plain = [bare(word) for word in wanted.split()], [bare(word) for word in words]
    starts = [k for k in range(len(plain)) if phrase and plain[k : k + len(phrase)] == phrase]
    found = sorted({k + j for k in starts for j in range(len(phrase))})
    if not found and len(phrase) == 1:
        found = [k for k, word in enumerate(plain) if phrase[0] in word.split("-")]
    if not found:
        what = "phrase" if len(phrase) > 1 else "word"
        raise RLIError(f"the {what} “{shortened(wanted)}” is not in the prompt “{shortened(prompt)}”")
    return tuple(found)


def global_alignment(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """For each target token the source token it is aligned with, -1 where there is none (Needleman and Wunsch 1970)."""
    rows, columns = len(source), len(target)
    score = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            match = 1 if source[i - 1] == target[j - 1] else -1
            score[i][j] = max(score[i][j - 1], score[i - 1][j], score[i - 1][j - 1] + match)
    partner, i, j = [-1] * columns, rows, columns
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            partner[j] = i
    return partner


def refine_mapper(source: Tokens, target: Tokens, length: int, convention: str = "standard") -> tuple[Tensor, Tensor]:
    """mapper (S,S) and keep_own_map (S,): aligned tokens take their partner's map, the others keep their own.

    After the end of the target prompt padding is aligned with padding; the reference goes on by index there.
    """
    shift = 0 if convention == "reference" else len(source.ids) - len(target.ids)
    partner = global_alignment(source.ids, target.ids)
    partner += [min(j + shift, length - 1) for j in range(len(target.ids), length)]
    partners = torch.tensor(partner)
    mapper, keep_own_map = torch.zeros(length, length), (partners < 0).float()
    columns = torch.arange(length)[partners >= 0]
    mapper[partners[partners >= 0], columns] = 1
    return mapper, keep_own_map


def replace_mapper(source: Tokens, target: Tokens, length: int, convention: str = "standard") -> tuple[Tensor, Tensor]:
    """mapper (S,S) and keep_own_map (S,) all 0: a changed word's tokens take the mean map of the word they replace.

    Every column sums to 1. The reference divides by the target's tokens instead and leaves what follows unshifted.
    """
    if convention == "reference":
        return _reference_replace_mapper(source, target, length), torch.zeros(length)
    mapper = torch.zeros(length, length)
    mapper[0, 0] = 1
    for (i, i_end), (j, j_end) in zip(source.spans, target.spans, strict=True):
        same = source.ids[i:i_end] == target.ids[j:j_end]
        mapper[i:i_end, j:j_end] = torch.eye(i_end - i) if same else 1 / (i_end - i)
    end = len(target.ids) - 1
    for j in range(end, length):
        mapper[min(j - end + len(source.ids) - 1, length - 1), j] = 1
    return mapper, torch.zeros(length)


def _reference_replace_mapper(source: Tokens, target: Tokens, length: int) -> Tensor:
    """The reference's quirks: weights 1/len(target word), and plain indices after the last changed word."""
    mapper, i, j = torch.zeros(length, length), 0, 0
    changed = [
        spans
        for spans, a, b in zip(zip(source.spans, target.spans, strict=True), source.words, target.words, strict=True)
        if a != b
    ]
    while i < length and j < length:
        if changed and changed[0][0][0] == i:
            (i, i_end), (j, j_end) = changed.pop(0)
            same = i_end - i == j_end - j
            mapper[i:i_end, j:j_end] = torch.eye(i_end - i) if same else 1 / (j_end - j)
            i, j = i_end, j_end
        else:
            mapper[i if changed else j, j] = 1
            i, j = i + 1, j + 1
    return mapper


def align(
    tokenizer: Any, source_prompt: str, targets: Sequence[Target], settings: EditSettings, *, by_words: bool = True
) -> TokenAlignment:
    """Align every target prompt with the source prompt; by_words as in `check_target`.

    Raises RLIError where the prompts do not allow the edit.
    """
    length = tokenizer.model_max_length
    make = {"refine": refine_mapper, "replace": replace_mapper}[settings.method]
    source = tokenize(tokenizer, source_prompt)
    parts = []
    for target in targets:
        check_target(source_prompt, target, settings.method, by_words=by_words)
        tokens = tokenize(tokenizer, target.prompt)
        before, after = changed_words(source_prompt, target.prompt, by_words=by_words)
        if target.source_word is not None:
            before = _find(source.words, target.source_word, source_prompt)
        if target.target_word is not None:
            after = _find(tokens.words, target.target_word, target.prompt)
        if settings.convention == "reference":  # always blends by this word; an absent one is silently nothing
            before = tuple(k for k, word in enumerate(source.words) if word == "defect")
        changed = indicator(tokens, after, length)
        mapper, keep_own_map = make(source, tokens, length, settings.convention)
        parts.append(
            (mapper, keep_own_map, 1 + (settings.eq - 1) * changed, indicator(source, before, length), changed)
        )
    return TokenAlignment(*(torch.stack(values) for values in zip(*parts, strict=True)))


def indicator(tokens: Tokens, words: Sequence[int], length: int) -> Tensor:
    """(S,) float: 1 at the tokens of the named words."""
    out = torch.zeros(length)
    for k in words:
        out[slice(*tokens.spans[k])] = 1
    return out
