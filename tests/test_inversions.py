import dataclasses
import multiprocessing
import threading

import pytest
import torch

from rli.method import inversion
from rli.method.records import InversionSettings
from rli.store import inversions as cache

SOURCE, SETTINGS = "photo of a crack defect image", InversionSettings(steps=3, inner_steps=1)


@pytest.fixture(scope="module")
def inverted(tiny, photo):
    return inversion.invert(tiny, photo, SOURCE, SETTINGS)


def same(a, b):
    pairs = [(a.latent, b.latent), (a.walk, b.walk), (a.nulls.tokens, b.nulls.tokens), (a.nulls.pooled, b.nulls.pooled)]
    return all(torch.equal(x, y) for x, y in pairs) and dataclasses.replace(
        a, latent=None, walk=None, nulls=None
    ) == dataclasses.replace(b, latent=None, walk=None, nulls=None)


def test_what_is_kept_comes_back(tmp_path, inverted):
    cache.write(tmp_path / "x.safetensors", inverted)
    assert same(cache.read(tmp_path / "x.safetensors"), inverted)


def test_the_key_knows_everything_that_matters(tiny, photo):
    keys = {
        cache.key(tiny, photo, SOURCE, SETTINGS),
        cache.key(tiny, photo.flip(3), SOURCE, SETTINGS),
        cache.key(tiny, photo, "another prompt", SETTINGS),
        cache.key(dataclasses.replace(tiny, fingerprint="other"), photo, SOURCE, SETTINGS),
        *(
            cache.key(tiny, photo, SOURCE, dataclasses.replace(SETTINGS, **change))
            for change in ({"alpha": 0.2}, {"steps": 4}, {"guidance": 4.0}, {"location": "mid"}, {"encode": "sample"})
        ),
    }
    assert len(keys) == 9
    assert cache.key(tiny, photo.clone(), SOURCE, InversionSettings(steps=3, inner_steps=1)) in keys


def test_it_is_made_once(tmp_path, inverted):
    made = []
    for _ in range(2):
        found = cache.get(tmp_path, "k", lambda: made.append(1) or inverted)
        assert same(found, inverted)
    assert len(made) == 1


def test_a_damaged_file_is_made_again(tmp_path, inverted):
    path = cache.path_of(tmp_path, "k")
    cache.write(path, inverted)
    path.write_bytes(path.read_bytes()[:100])
    assert cache.read(path) is None
    assert same(cache.get(tmp_path, "k", lambda: inverted), inverted)
    assert same(cache.read(path), inverted)


def test_a_failure_leaves_no_file(tmp_path):
    def fail():
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        cache.get(tmp_path, "k", fail)
    assert not list(tmp_path.glob("*.safetensors"))


def hold(folder, entered):
    def make():
        entered.set()
        threading.Event().wait()  # for ever: it is killed

    cache.get(folder, "k", make)


def test_a_job_that_dies_does_not_block_the_next(tmp_path, inverted):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    job = context.Process(target=hold, args=(tmp_path, entered))
    job.start()
    assert entered.wait(60)
    job.kill()
    job.join()
    assert same(cache.get(tmp_path, "k", lambda: inverted), inverted)
