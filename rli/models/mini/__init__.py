"""The embedded miniature: a small trained pipeline in SDXL's own architecture, and what it was trained on."""

import pathlib

WEIGHTS = pathlib.Path(__file__).parent / "weights"
