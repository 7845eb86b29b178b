import json

import numpy as np
import pytest
import torch
from builders import SOURCE
from transformers import CLIPTokenizer

from rli.errors import RLIError
from rli.method.prompts import (
    align,
    changed_words,
    check_target,
    global_alignment,
    refine_mapper,
    replace_mapper,
    tokenize,
)
from rli.method.records import EditSettings, Target
from rli.models.mini.tokenizer import tokenizers

TOKENIZER = tokenizers()[0]


def mapped(source, target, make=refine_mapper, convention="standard"):
    return make(tokenize(TOKENIZER, source), tokenize(TOKENIZER, target), 77, convention)


def test_words_have_the_positions_of_their_tokens():
    tokens = tokenize(TOKENIZER, "photo of a crack corrosion image")
    assert tokens.words == ("photo", "of", "a", "crack", "corrosion", "image")
    assert tokens.spans == ((1, 2), (2, 3), (3, 4), (4, 5), (5, 7), (7, 8))
    assert len(tokens.ids) == 9


def test_alignment_prefers_two_gaps_to_a_mismatch():
    assert global_alignment([0, 1, 2, 9], [0, 1, 3, 9]) == [0, 1, -1, 3]
    assert global_alignment([0, 1, 9], [0, 5, 1, 9]) == [0, -1, 1, 2]


def test_refine_aligns_every_kept_token_and_the_padding():
    mapper, own = mapped(SOURCE, "photo of a crack blistering image")
    assert own.nonzero().flatten().tolist() == [5, 6]
    assert mapper[:, 7].nonzero().item() == 6  # image
    assert mapper[:, 8].nonzero().item() == 7  # end
    assert [mapper[:, j].nonzero().item() for j in range(9, 77)] == list(range(8, 76))


@pytest.mark.parametrize(
    "target", ["photo of a crack blistering image", "photo of a peeling defect image", "a b c d e f"]
)
def test_replace_columns_sum_to_one(target):
    mapper, own = mapped(SOURCE, target, replace_mapper)
    assert torch.allclose(mapper.sum(0), torch.ones(77))
    assert not own.any()


def test_replace_in_the_reference_s_way_does_not_sum_to_one():
    mapper, _ = mapped(SOURCE, "photo of a crack blistering image", replace_mapper, "reference")
    assert mapper.sum(0)[5] == 0.5


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        ("photo of a crack rust image", ((4,), (4,))),
        ("photo of a rust corrosion image", ((3, 4), (3, 4))),
        ("photo of a large crack defect image", ((), (3,))),
        ("photo of a crack image", ((4,), ())),
        ("Photo of a crack, rust image.", ((4,), (4,))),
    ],
)
def test_changed_words_are_found(target, changed):
    assert changed_words(SOURCE, target) == changed


def test_an_alignment_amplifies_and_watches_the_changed_words():
    alignment = align(TOKENIZER, SOURCE, [Target("x", "photo of a crack corrosion image")], EditSettings(eq=3.0))
    assert alignment.equalizer[0].tolist()[4:8] == [1, 3, 3, 1]
    assert alignment.source_words[0].nonzero().flatten().tolist() == [5]
    assert alignment.target_words[0].nonzero().flatten().tolist() == [5, 6]


def test_words_may_be_named():
    target = Target("x", "photo of a crack rust image", source_word="crack", target_word="image")
    alignment = align(TOKENIZER, SOURCE, [target], EditSettings())
    assert alignment.source_words[0].nonzero().flatten().tolist() == [4]
    assert alignment.equalizer[0].argmax().item() == 6


@pytest.mark.parametrize(
    ("target", "method", "says"),
    [
        (Target("x", SOURCE), "refine", "equals the source"),
        (Target("x", SOURCE.upper()), "refine", "equals the source"),
        (Target("x", "photo of a rust image"), "replace", "the same number of words"),
        (Target("x", "photo of a crack rust image", target_word="dent"), "refine", "is not in the prompt"),
    ],
)
def test_pairs_that_cannot_be_edited_are_refused(target, method, says):
    with pytest.raises(RLIError, match=says):
        check_target(SOURCE, target, method)


def test_a_prompt_that_is_too_long_is_refused():
    with pytest.raises(RLIError, match="tokens"):
        tokenize(TOKENIZER, "crack " * 80)


def test_the_reference_s_mappers_are_reproduced(reference):
    tokenizer = CLIPTokenizer.from_pretrained(reference / "model" / "tokenizer")
    pairs = json.loads((reference / "unit" / "seq_aligner.json").read_text())["pairs"]
    stored = np.load(reference / "unit" / "seq_aligner.npz")
    assert len(pairs) == 14
    for k, pair in pairs.items():
        source, target = tokenize(tokenizer, pair["source"]), tokenize(tokenizer, pair["target"])
        assert list(source.ids) == pair["source_ids"]
        mapper, own = refine_mapper(source, target, 77, "reference")
        aligned = stored[f"{k}_refine_alphas"] > 0
        assert np.array_equal(own.numpy() == 0, aligned)
        assert np.array_equal(mapper.argmax(0).numpy()[aligned], stored[f"{k}_refine_mapper"][aligned])
        if f"{k}_replace_mapper" in stored:
            assert np.allclose(replace_mapper(source, target, 77, "reference")[0], stored[f"{k}_replace_mapper"])
        for wish in pair["equalizer"]:
            if (
                wish["word"] in target.words
                and len(source.words) == len(target.words)
                and pair["source"] != pair["target"]
            ):
                eq = align(
                    tokenizer,
                    pair["source"],
                    [Target("x", pair["target"], target_word=wish["word"])],
                    EditSettings(eq=wish["value"], convention="reference"),
                ).equalizer[0]
                assert np.allclose(eq, stored[f"{k}_eq_{wish['word']}_{wish['value']}"].ravel())
