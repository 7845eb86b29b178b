"""The autoencoder's linear start: what it promises before any training."""

import numpy as np
import pytest
import torch

from rli.models.mini.autoencode import started, to_tensor
from rli.models.mini.surfaces import UNSEEN, surface
from rli.models.mini.transform import as_convolution

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return started(5).requires_grad_(False)


@pytest.fixture(scope="module")
def pictures():
    return to_tensor(np.stack([surface(UNSEEN + k, ("rust",), 128, 128, "painted steel").image for k in range(4)]))


def test_the_encoder_is_one_convolution(fresh, pictures):
    latents = fresh.encode(pictures).latent_dist.mean
    assert (latents - as_convolution(fresh)(pictures)).std() < 0.003 * latents.std()


def test_pictures_come_back_before_any_training(fresh, pictures):
    back = fresh.decode(fresh.encode(pictures).latent_dist.mean).sample
    error = ((back - pictures) / 2).square().mean()
    assert -10 * error.log10() > 24


def test_colours_come_back(fresh):
    for colour in ([200, 90, 150], [90, 170, 90], [110, 80, 160]):  # pink, green, violet
        plain = to_tensor(np.full((1, 128, 128, 3), colour, np.uint8))
        back = fresh.decode(fresh.encode(plain).latent_dist.mean).sample
        assert (back - plain)[..., 40:88, 40:88].mean((0, 2, 3)).abs().max() < 0.06
