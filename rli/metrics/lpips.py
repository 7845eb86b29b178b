"""LPIPS, in the published protocol and apart from it (method: section 5)."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rli.files import write_whole
from rli.images import to_tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Lpips:
    """LPIPS with the VGG-16 backbone (Zhang et al. 2018), under its two names. Build once, use for every image."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    def published(self, image: np.ndarray, reference: np.ndarray) -> float:
        """The published protocol: 256×256, ImageNet-normalised. The network expects [-1,1]: these values compare with
        the published ones and with nothing else."""
        return self._distance(*(self._imagenet(to_tensor(x)) for x in (image, reference)))

    def standard(self, image: np.ndarray, reference: np.ndarray) -> float:
        """The package's own protocol: full size, [-1,1]."""
        return self._distance(to_tensor(image), to_tensor(reference))

    @staticmethod
    def _imagenet(x: Tensor) -> Tensor:
        x = F.interpolate((x + 1) / 2, size=(256, 256), mode="bilinear", antialias=True)
        return (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]

    @torch.no_grad()
    def _distance(self, a: Tensor, b: Tensor) -> float:
        return float(self.network(a, b))


def load_lpips(timeout: float = 10) -> Lpips | None:
    """LPIPS with its trained backbone, read from torch's hub folder or downloaded there; None where it cannot be had.

    The file's hash is checked each time: torchvision's own loader trusts whatever lies there.
    """
    import lpips
    from torchvision.models import VGG16_Weights

    url = VGG16_Weights.IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    expected = path.stem.rsplit("-", 1)[1]
    try:
        if not path.is_file():
            with urllib.request.urlopen(url, timeout=timeout) as response:
                data = response.read()
            if not hashlib.sha256(data).hexdigest().startswith(expected):
                return None
            write_whole(path, data)
        if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(expected):
            return None
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        return None
    network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    slices = [getattr(network.net, f"slice{k}") for k in range(1, 6)]
    for layers in slices:
        for index, layer in layers.named_children():
            if isinstance(layer, nn.Conv2d):
                layer.load_state_dict({kind: weights[f"features.{index}.{kind}"] for kind in ("weight", "bias")})
    return Lpips(network)
