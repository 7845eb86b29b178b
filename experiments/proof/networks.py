"""The networks that learn: of torchvision and, for segmentation, segmentation-models-pytorch (the extra `proof`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision import models

from rli.errors import RLIError

IMAGENET, SCRATCH = "imagenet", "none"
# By their names in the published tables.
CLASSIFIERS = {
    "ResNet18": models.resnet18,
    "ResNet34": models.resnet34,
    "ResNet50": models.resnet50,
    "ResNet101": models.resnet101,
    "Densenet121": models.densenet121,
    "EfficientNetV2-M": models.efficientnet_v2_m,
    "EfficientNetV2-L": models.efficientnet_v2_l,
    "MobileNetV3": models.mobilenet_v3_small,
}
# Architectures of segmentation-models-pytorch with the encoder of all of them, and what one of them is told beyond it;
# and torchvision's smallest.
ENCODER = "resnet18"
SMP: dict[str, tuple[str, dict[str, Any]]] = {
    "UNet": ("Unet", {}),
    # A decoder of a quarter of the width, for a processor without a GPU.
    "small UNet": ("Unet", {"decoder_channels": (64, 32, 16, 16, 8)}),
    "UPerNet": ("UPerNet", {}),
    "PSPNet": ("PSPNet", {}),
    "SegFormer": ("Segformer", {}),
    "DeepLabV3+": ("DeepLabV3Plus", {}),
}
LRASPP = "LRASPP"
SEGMENTERS = (*SMP, LRASPP)


class OnlyOutput(nn.Module):
    """A network of torchvision's that gives its output alone, as others do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)["out"]


def classifier(name: str, weights: str, classes: int) -> nn.Module:
    """A network of CLASSIFIERS, from scratch or with ImageNet's weights, for so many classes.

    Raises:
        RLIError: The weights cannot be had.
    """
    if weights == SCRATCH:
        return CLASSIFIERS[name](num_classes=classes)
    try:
        network = CLASSIFIERS[name](weights="DEFAULT")
    except OSError:
        raise RLIError(f"the weights of {name} cannot be downloaded; use --weights none") from None
    head = network.get_submodule(_head(network))
    _replace(network, _head(network), nn.Linear(head.in_features, classes))
    return network


def segmenter(name: str, weights: str) -> nn.Module:
    """A network of SEGMENTERS: pictures (B,3,H,W) to logits (B,1,H,W) of a defect.

    Raises:
        RLIError: Its library or its weights are not there.
    """
    try:
        return _segmenter(name, weights == IMAGENET)
    except ImportError:
        raise RLIError(
            f"{name} needs segmentation-models-pytorch: pip install 'rli[proof]'; or use --network LRASPP"
        ) from None
    except OSError:
        raise RLIError(f"the weights of {name} cannot be downloaded; use --weights none") from None


def _segmenter(name: str, is_pretrained: bool) -> nn.Module:
    if name == LRASPP:
        backbone = "DEFAULT" if is_pretrained else None
        made = models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=backbone, num_classes=1)
        return OnlyOutput(made)
    import segmentation_models_pytorch as smp

    architecture, more = SMP[name]
    weights = IMAGENET if is_pretrained else None
    return getattr(smp, architecture)(ENCODER, encoder_weights=weights, classes=1, **more)


def _head(network: nn.Module) -> str:
    """The name of the last linear layer, which says the class."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(network.get_submodule(above), own, module)
