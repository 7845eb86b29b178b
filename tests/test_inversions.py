import dataclasses
import multiprocessing
import threading

import pytest
import torch

from rli.method import inversion
from rli.method.attention.rli import RLI
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.solvers.gauss_newton import GaussNewton
from rli.store import inversions as cache

SOURCE, SETTINGS = "photo of a crack defect image", InversionSettings(NullText(GaussNewton(inner_steps=1)), steps=3)


@pytest.fixture(scope="module")
def inverted(tiny, photo):
    return inversion.invert(tiny, photo, SOURCE, SETTINGS)


def same(a, b):
    pairs = [
        (a.latent, b.latent),
        (a.source_latents, b.source_latents),
        (a.nulls.tokens, b.nulls.tokens),
        (a.nulls.pooled, b.nulls.pooled),
    ]
    return all(torch.equal(x, y) for x, y in pairs) and dataclasses.replace(
        a, latent=None, source_latents=None, nulls=None
    ) == dataclasses.replace(b, latent=None, source_latents=None, nulls=None)


def test_what_is_kept_comes_back(tmp_path, inverted):
    cache.write(tmp_path / "x.safetensors", inverted)
    assert same(cache.read(tmp_path / "x.safetensors", SOURCE, SETTINGS), inverted)


def test_a_file_of_other_settings_is_none(tmp_path, inverted):
    cache.write(tmp_path / "x.safetensors", inverted)
    assert cache.read(tmp_path / "x.safetensors", "another prompt", SETTINGS) is None
    other = dataclasses.replace(SETTINGS, method=Direct())
    assert cache.read(tmp_path / "x.safetensors", SOURCE, other) is None


def test_the_key_knows_everything_that_matters(tiny, photo):
    keys = {
        cache.key(tiny, photo, SOURCE, SETTINGS),
        cache.key(tiny, photo.flip(3), SOURCE, SETTINGS),
        cache.key(tiny, photo, "another prompt", SETTINGS),
        cache.key(dataclasses.replace(tiny, fingerprint="other"), photo, SOURCE, SETTINGS),
        *(
            cache.key(tiny, photo, SOURCE, dataclasses.replace(SETTINGS, **change))
            for change in (
                {"method": Direct()},
                {"method": Ddim()},
                {"method": NullText(GaussNewton(inner_steps=2))},
                {"hooks": ()},
                {"hooks": (RLI(0.2),)},
                {"hooks": (RLI(location="mid"),)},
                {"steps": 4},
                {"guidance": 4.0},
                {"encode": "sample"},
            )
        ),
    }
    assert len(keys) == 13
    assert cache.key(tiny, photo.clone(), SOURCE, dataclasses.replace(SETTINGS)) in keys


def test_it_is_made_once(tmp_path, inverted):
    made = []
    for _ in range(2):
        found = cache.get(tmp_path, "k", SOURCE, SETTINGS, lambda: made.append(1) or inverted)
        assert same(found, inverted)
    assert len(made) == 1


def test_a_damaged_file_is_made_again(tmp_path, inverted):
    path = cache.path_of(tmp_path, "k")
    cache.write(path, inverted)
    path.write_bytes(path.read_bytes()[:100])
    assert cache.read(path, SOURCE, SETTINGS) is None
    assert same(cache.get(tmp_path, "k", SOURCE, SETTINGS, lambda: inverted), inverted)
    assert same(cache.read(path, SOURCE, SETTINGS), inverted)


def test_a_failure_leaves_no_file(tmp_path):
    def fail():
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        cache.get(tmp_path, "k", SOURCE, SETTINGS, fail)
    assert not list(tmp_path.glob("*.safetensors"))


def hold(folder, entered):
    def make():
        entered.set()
        threading.Event().wait()  # for ever: it is killed

    cache.get(folder, "k", SOURCE, SETTINGS, make)


def test_a_job_that_dies_does_not_block_the_next(tmp_path, inverted):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    job = context.Process(target=hold, args=(tmp_path, entered))
    job.start()
    assert entered.wait(60)
    job.kill()
    job.join()
    assert same(cache.get(tmp_path, "k", SOURCE, SETTINGS, lambda: inverted), inverted)
