"""A photograph's files are read back as they were written, and tell whether they are whole and still right."""

import dataclasses

import builders
import numpy as np
import pytest
from builders import box, noise, photo_result, targets, words

from rli.errors import RLIError
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Target
from rli.photos.sources import Photo
from rli.store.failures import (
    Failure,
    read_failure,
    read_failures,
    read_status,
    write_failure,
    write_status,
)
from rli.store.records import EditedPhoto, EditRecord, read_photo, read_record, write_photo


def photograph():
    edit = EditedPhoto(noise(seed=1), box(32, 48, slice(3, 9)), words("a", "<b>"), words("a"))
    figures = {"original": {"psnr": 1 / 3}, "rust": {"psnr": float("inf"), "psnr_background": 1.0}}
    return photo_result("sub/plate", edits={"rust": edit}, figures=figures.__getitem__, key="k")


def test_what_is_written_is_read_back(tmp_path):
    written = photograph()
    write_photo(tmp_path, written)
    back = read_record(tmp_path, "sub/plate", job="7").read()
    assert back.job == "7"
    for field in ("name", "rows", "losses", "prompts", "key"):
        assert getattr(back, field) == getattr(written, field)
    assert np.array_equal(back.input, written.input) and np.array_equal(back.reconstruction, written.reconstruction)
    old, new = written.edits["rust"], back.edits["rust"]
    assert np.array_equal(old.image, new.image) and np.array_equal(old.mask, new.mask)
    for name in ("maps", "source_maps"):
        for written_map, read_map in zip(getattr(old, name), getattr(new, name), strict=True):
            assert written_map.word == read_map.word
            assert np.allclose(written_map.map, read_map.map, atol=1e-3)
    assert (new.change, back.truth) == (None, None)


def test_what_a_data_set_needs_is_read_back(tmp_path):
    plain = photograph()
    mask = plain.edits["rust"].mask
    facts = {
        "label": "rust",
        "settings": EditSettings(eq=3.0),
        "scores": {"share": 0.25},
        "reason": "too large",
    }
    edit = dataclasses.replace(plain.edits["rust"], change=~mask, **facts)
    made = {"model": "mini", "model_hash": "abc", "version": "1"}
    written = dataclasses.replace(
        plain, edits={"rust-2": edit}, truth=mask, source="set/plate.png", sha256="123", made=made
    )
    write_photo(tmp_path, written)
    record = read_record(tmp_path, "sub/plate")
    assert (record.key, record.source, record.sha256, record.made) == ("k", "set/plate.png", "123", made)
    assert record.has_truth and record.edits == {"rust-2": EditRecord(**facts)}
    assert record.picture("rust-2_change") == tmp_path / "images" / "sub" / "plate" / "rust-2_change.png"
    back = record.read()
    assert np.array_equal(back.truth, mask) and np.array_equal(back.edits["rust-2"].change, ~mask)
    assert {name: getattr(back.edits["rust-2"], name) for name in facts} == facts


def test_a_record_whose_pictures_are_gone_says_so(tmp_path):
    write_photo(tmp_path, photograph())
    record = read_record(tmp_path, "sub/plate")
    record.picture("rust_mask").unlink()
    assert record.rows == photograph().rows
    assert record.damage() == "rust_mask.png is missing"
    with pytest.raises(RLIError, match=r"rust_mask\.png is missing"):
        record.read()


def test_a_record_is_there_for_the_same_job_only(tmp_path):
    assert read_record(tmp_path, "sub/plate", "k") is None
    write_photo(tmp_path, photograph())
    assert read_record(tmp_path, "sub/plate", "k").rows == photograph().rows
    assert read_record(tmp_path, "sub/plate", "another") is None


def test_a_photograph_without_its_record_or_pictures_is_not_done(tmp_path):
    write_photo(tmp_path, photograph())
    record = tmp_path / "records" / "sub" / "plate.safetensors"
    record.write_bytes(record.read_bytes()[:100])
    assert read_record(tmp_path, "sub/plate", "k") is None
    with pytest.raises(RLIError, match="the same command makes them again"):
        read_photo(tmp_path, "sub/plate")


def test_the_key_follows_what_results_depend_on_and_nothing_else(tmp_path):
    job = builders.job(tmp_path, targets=targets("rust"))
    photo = Photo("x", stamp="1")
    same = [
        dataclasses.replace(job, cache=tmp_path / "other", batch_size=4, target_batch=2),
        dataclasses.replace(job, memory=dataclasses.replace(job.memory, mode="low")),
    ]
    other = [
        dataclasses.replace(job, edit=EditSettings(eq=3.0)),
        dataclasses.replace(job, targets=(Target("rust", "the rust"),)),
        dataclasses.replace(job, inversion=InversionSettings(steps=49)),
        dataclasses.replace(job, weights="/models/x"),
    ]
    assert {one.key(photo) for one in same} == {job.key(photo)}
    keys = [job.key(photo), job.key(dataclasses.replace(photo, stamp="2")), *(one.key(photo) for one in other)]
    assert len(set(keys)) == len(keys)


def test_status_and_failures(tmp_path):
    assert "stopped before its end" in read_status(tmp_path)
    write_status(tmp_path, "no such file")
    assert read_status(tmp_path) == "no such file"
    write_status(tmp_path)
    assert read_status(tmp_path) is None
    assert read_failures(tmp_path) == []
    (tmp_path / "failed.csv").write_text('name,reason\nNA,"a, b"\n')
    assert [(f.name, f.reason) for f in read_failures(tmp_path)] == [("NA", "a, b")]


def test_a_failure_s_note_is_not_believed_with_any_bit_turned(tmp_path):
    write_failure(tmp_path, Failure("plate", "it cannot be read"), "k")
    path = tmp_path / "records" / "plate.failed.json"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert read_failure(tmp_path, "plate", "k") is None


def test_a_failure_is_told_for_the_same_job_only_and_until_the_photograph_is_done(tmp_path):
    failure = Failure("sub/plate", "it cannot be read", is_lasting=False)
    write_failure(tmp_path, failure, "k")
    assert read_failure(tmp_path, "sub/plate", "k") == failure
    assert read_failure(tmp_path, "sub/plate", "another") is None
    write_photo(tmp_path, photograph())
    assert read_failure(tmp_path, "sub/plate", "k") is None
