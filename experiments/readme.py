"""Measured tables inside an experiment's README, between marks that name the file they come from."""

from __future__ import annotations

from pathlib import Path

from rli.files import write_whole


def embed(folder: Path, name: str, text: str) -> None:
    """Put the text into the folder's README.md between the marks of this name, where there is one that has them."""
    readme, begin, end = folder / "README.md", f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    if readme.is_file() and begin in (before := readme.read_text()):
        head, rest = before.split(begin)
        write_whole(readme, f"{head}{begin}\n{text}\n\n{end}{rest.split(end)[1]}")
