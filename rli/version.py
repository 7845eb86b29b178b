"""The one version number: pyproject.toml and every record read it here."""

from __future__ import annotations

__version__ = "0.1.0"
