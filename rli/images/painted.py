"""What of a mask file is painted."""

from __future__ import annotations

import numpy as np

from rli.images.decoding import Decoded


def painted(decoded: Decoded) -> np.ndarray:
    """(H,W) bool."""
    count = decoded.samples.shape[2] - decoded.has_alpha
    level = decoded.samples[..., :count].max(2).astype(np.float64)
    if decoded.has_alpha:
        level = level * (decoded.samples[..., -1] > 127)
    return level > level.max() / 2
