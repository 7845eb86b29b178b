"""Image files ↔ arrays (H,W,3) uint8 and tensors (1,3,H,W) float32 in [-1,1]; mask files ↔ arrays (H,W) bool."""

from rli.images.arrays import png, to_tensor, to_uint8, write_png
from rli.images.kinds import kind_of
from rli.images.masks import is_marked, read_mask, read_mask_full
from rli.images.picture import LUMINANCE, Picture, image_size, read_image, read_picture
from rli.images.sizes import FITS, fitted, fitted_mask, inner_box, resized_mask

__all__ = [
    "FITS",
    "LUMINANCE",
    "Picture",
    "fitted",
    "fitted_mask",
    "image_size",
    "inner_box",
    "is_marked",
    "kind_of",
    "png",
    "read_image",
    "read_mask",
    "read_mask_full",
    "read_picture",
    "resized_mask",
    "to_tensor",
    "to_uint8",
    "write_png",
]
