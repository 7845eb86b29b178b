"""The files that come with the package: the configuration, and the published tables."""

from __future__ import annotations

from pathlib import Path

# By name: where they lie in a checkout, seen from its top. In a wheel they lie beside this module, under their name.
CHECKOUT = {"conf": "conf", "published": "experiments"}


def resource_folder(name: str) -> Path:
    """Where files that come with the package lie, in a wheel or in a checkout.

    Args:
        name: `conf` (Hydra's configuration) or `published` (`<experiment>/published.csv` for each experiment).

    Returns:
        The folder.
    """
    installed = Path(__file__).parent / name
    return installed if installed.is_dir() else Path(__file__).parents[1] / CHECKOUT[name]
