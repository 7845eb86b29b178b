"""The embedded miniature: a small trained pipeline in SDXL's own architecture, and what it was trained on."""

import pathlib

# Pixels a side of the pictures that it was trained on.
SIDE = 256
WEIGHTS = pathlib.Path(__file__).parent / "weights"
