"""LPIPS with the VGG-16 backbone (Zhang et al. 2018), in the published protocol (method: section 5) and in its own."""

from __future__ import annotations

import hashlib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rli.files import write_whole
from rli.images import to_tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Lpips:
    """The distance of images (H,W,3) uint8; 0 for equal ones. Load it once, use it for every image."""

    # From two images (1,3,H,W) in [-1,1] to their distance.
    network: nn.Module

    def published(self, image: np.ndarray, reference: np.ndarray) -> float:
        """The published protocol: 256×256, ImageNet-normalised.

        The network expects [-1,1]: these values compare with the published ones and with nothing else.
        """
        return self._distance(*(imagenet_input(to_tensor(x)) for x in (image, reference)))

    def standard(self, image: np.ndarray, reference: np.ndarray) -> float:
        """The package's own protocol: full size, [-1,1]."""
        return self._distance(to_tensor(image), to_tensor(reference))

    @torch.no_grad()
    def _distance(self, a: Tensor, b: Tensor) -> float:
        return float(self.network(a, b))


def imagenet_input(image: Tensor) -> Tensor:
    """The published protocol's input: (1,3,H,W) in [-1,1] → (1,3,256,256), ImageNet-normalised."""
    small = F.interpolate((image + 1) / 2, size=(256, 256), mode="bilinear", antialias=True)
    return (small - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


def load_lpips(timeout: float = 10) -> Lpips | None:
    """Loads LPIPS with its trained backbone, read from torch's hub folder or downloaded there.

    Args:
        timeout: seconds to wait for the server.

    Returns:
        None where the backbone cannot be had.
    """
    import lpips
    from torchvision.models import VGG16_Weights

    weights = _read_or_download(VGG16_Weights.IMAGENET1K_V1.url, timeout)
    if weights is None:
        return None
    network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    for k in range(1, 6):
        for index, layer in getattr(network.net, f"slice{k}").named_children():
            if isinstance(layer, nn.Conv2d):
                layer.load_state_dict({kind: weights[f"features.{index}.{kind}"] for kind in ("weight", "bias")})
    return Lpips(network)


def _read_or_download(url: str, timeout: float) -> dict[str, Tensor] | None:
    """Weights from torch's hub folder, downloaded where they are not there.

    The file's hash, which its name ends in, is checked each time: torchvision's own loader trusts whatever lies there.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    try:
        if not path.is_file():
            with urllib.request.urlopen(url, timeout=timeout) as response:
                data = response.read()
            if not _has_hash(data, path):
                return None
            write_whole(path, data)
        if not _has_hash(path.read_bytes(), path):
            return None
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        return None


def _has_hash(data: bytes, path: Path) -> bool:
    """Whether the data's SHA-256 begins as the end of the file's name says: vgg16-397923af.pth."""
    return hashlib.sha256(data).hexdigest().startswith(path.stem.rsplit("-", 1)[1])
