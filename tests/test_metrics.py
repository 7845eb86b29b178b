import hashlib
from types import SimpleNamespace

import lpips
import numpy as np
import pytest
import torch
import torchvision
from skimage.data import astronaut, camera

from rli.metrics import lpips as perceptual
from rli.metrics.image import psnr, ssim
from rli.metrics.lpips import Lpips, imagenet_input

PHOTO = astronaut()[:128, :128]


def test_psnr_is_its_definition():
    off = PHOTO.astype(int)
    off = np.where(off < 128, off + 4, off - 4).astype(np.uint8)
    assert psnr(off, PHOTO) == pytest.approx(10 * np.log10(255**2 / 16))
    assert psnr(PHOTO, PHOTO) == float("inf")


def test_psnr_over_a_region_sees_that_region_only():
    spoilt, region = PHOTO.copy(), np.zeros((128, 128), bool)
    spoilt[:20], region[:20] = 0, True
    assert psnr(spoilt, PHOTO, ~region) == float("inf")
    assert psnr(spoilt, PHOTO, region) < psnr(spoilt, PHOTO)
    assert np.isnan(psnr(spoilt, PHOTO, np.zeros((128, 128), bool)))


def test_ssim_is_one_for_equal_images_and_averages_its_map_over_a_region():
    assert ssim(PHOTO, PHOTO) == pytest.approx(1)
    spoilt, region = PHOTO.copy(), np.zeros((128, 128), bool)
    spoilt[:20], region[:30] = 0, True
    assert ssim(spoilt, PHOTO, ~region) == pytest.approx(1)
    assert ssim(spoilt, PHOTO, region) < ssim(spoilt, PHOTO) < 1


@pytest.fixture(scope="module")
def random_lpips():
    torch.manual_seed(0)
    return Lpips(lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval().requires_grad_(False))


def test_lpips_protocols(random_lpips):
    other = np.dstack([camera()[:128, :128]] * 3)
    for protocol in (random_lpips.published, random_lpips.standard):
        assert protocol(PHOTO, PHOTO) == 0
        assert 0 < protocol(PHOTO, other) == pytest.approx(protocol(other, PHOTO), rel=1e-4)
    x, y = (torch.from_numpy(i.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for i in (PHOTO, other))
    assert random_lpips.standard(PHOTO, other) == pytest.approx(float(random_lpips.network(x, y)))


def test_the_published_input_is_imagenet_normalised_at_256():
    flat = torch.zeros(1, 3, 512, 512)
    out = imagenet_input(flat)
    assert out.shape == (1, 3, 256, 256)
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225], rel=1e-4)


def test_without_the_backbone_there_is_no_lpips(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        perceptual.urllib.request, "urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no network"))
    )
    assert perceptual.load_lpips() is None


def test_a_backbone_with_another_hash_is_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    assert perceptual.load_lpips() is None


def test_the_backbone_s_weights_reach_their_layers(monkeypatch, tmp_path):
    """A file of VGG-16's features under its own hash is loaded, and the network then computes what VGG-16 does."""
    features = torchvision.models.vgg16(weights=None).features.eval()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, folder / "plain.pth")
    digest = hashlib.sha256((folder / "plain.pth").read_bytes()).hexdigest()[:8]
    (folder / "plain.pth").rename(folder / f"vgg16-{digest}.pth")
    there = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=f"nowhere/vgg16-{digest}.pth"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models.VGG16_Weights", there)
    network = perceptual.load_lpips().network
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network.net(x).relu3_3, features[:16](x), atol=1e-5)
