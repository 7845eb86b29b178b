"""A configuration as everything but this package takes it: plain nested values."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def plain(config: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """A configuration's values.

    Args:
        config: As Hydra has composed it.
        resolve: Whether its interpolations are resolved; they stay as they are written otherwise.

    Returns:
        Nested dictionaries and lists.

    Raises:
        MissingMandatoryValue: A value has not been given, and all are needed to resolve.
    """
    values = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(values, dict)  # of a DictConfig it is one
    return {str(key): value for key, value in values.items()}
