"""Prompts that cannot be used are refused before anything is computed; words may be phrases."""

import pytest

from rli.errors import RLIError
from rli.method.inversion import invert
from rli.method.prompts import align, check_prompt, check_target, tokenize
from rli.method.records import EditSettings, Target

LONG = "photo of a crack " + "seen under a ring light " * 20
SOURCE = "photo of a deep crack, hair-line image"


@pytest.mark.parametrize("prompt", ["a (rust:1.3) image", "a ((rust)) image", "a rust+++ image", "a (deep rust:.5)"])
def test_weights_of_other_programs_are_named(prompt):
    with pytest.raises(RLIError, match="weights in the prompt are not read"):
        check_prompt(prompt)


@pytest.mark.parametrize("prompt", ["a (rust) image", "scale (1:50)", "rust: a lot", "a -- b", "C+ steel", "", "50%"])
def test_what_is_no_weight_is_taken(prompt):
    check_prompt(prompt)


def test_long_prompts_are_refused_in_a_short_line(tiny, photo):
    for refuse in (check_prompt, lambda prompt: tokenize(tiny.tokenizers[0], prompt), lambda p: invert(tiny, photo, p)):
        with pytest.raises(RLIError, match="the text encoder reads at most 77") as caught:
            refuse(LONG)
        assert len(str(caught.value)) < 200
    with pytest.raises(RLIError, match="reads at most 77"):
        invert(tiny, photo, "unverkennbar " * 40)  # few words of many tokens each


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(RLIError, match="no UTF-8"):
        check_prompt("caf\udce9")


@pytest.mark.parametrize(
    ("word", "count"), [("deep crack", 2), ("crack,", 1), ("CRACK", 1), ("line", 1), ("hair-line image", 2), ("a", 1)]
)
def test_words_and_phrases_are_found(tiny, word, count):
    target = Target("rust", "photo of a rust spot, hair-line image", word, "rust spot")
    mapped = align(tiny.tokenizers[0], SOURCE, [target], EditSettings())
    spans = tokenize(tiny.tokenizers[0], SOURCE).spans
    tokens = [sum(end - start for start, end in spans[k : k + count]) for k in range(len(spans))]
    assert mapped.source_words[0].sum() in tokens


@pytest.mark.parametrize("word", ["crack deep", "deep  rust", "cra", "", " "])
def test_phrases_that_are_not_there_are_refused(word):
    with pytest.raises(RLIError, match="is not in the prompt"):
        check_target(SOURCE, Target("rust", "photo of rust", word, "rust"), "refine")
