"""Text and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def escaped(text: Any) -> str:
    """Any text as plain words of Markdown, in a table too: nothing in it is markup, a link or HTML.

    Args:
        text: a user's, of any type; its line ends become spaces.

    Returns:
        One line that is read as the text. An underscore inside a word, as in null_text, is no markup and stays.
    """
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]|~#@:]|(?<=www)\.|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)
    return re.sub(r"^(\d*)([-+=.)])(?=[-+=\s]|$)", r"\1\\\2", line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """A table, without a line end after its last line.

    Args:
        head: the columns' headings, escaped.
        rows: each with as many cells, escaped.
        names: how many columns name a row; these are aligned left, the others, numbers, right.
    """
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
