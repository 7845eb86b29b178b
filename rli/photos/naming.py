"""Names for what is made from a photograph: safe as files and folders anywhere, unique without a list of all."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import groupby

# What Windows takes for a device, whatever suffix follows.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)
# Neither Windows nor a shell nor a page's address takes these; ~ is kept for numbers.
FORBIDDEN = re.compile(r'[/\\:*?"<>|~]')


def safe(entry: str) -> str:
    """A file's stem, or a folder's name, as a part of a photograph's name.

    Args:
        entry: A file's name, or a folder's with a / at its end.

    Returns:
        Printable text in Unicode's composed form, 140 bytes at most, without '/\\:*?"<>|~', and without dots or spaces
        at its ends. A folder's has no dot at all, so that no file made for a photograph can have a folder's name.
    """
    text = entry[:-1].replace(".", "_") if entry.endswith("/") else stem(entry)
    plain = FORBIDDEN.sub("_", unicodedata.normalize("NFC", text))
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else "_" for c in plain)
    return undevice(plain.strip(" .").encode()[:140].decode(errors="ignore").strip(" .") or "photo")


def undevice(name: str) -> str:
    """A file's or a folder's name that Windows takes for no device: con becomes con_."""
    return DEVICES.sub(r"\1_", name) if DEVICES.match(name) else name


def folded(entry: str) -> str:
    """A text that is the same for entries whose names are the same on some file system."""
    return unicodedata.normalize("NFC", safe(entry).casefold())


def by_name(entries: Iterable[str]) -> list[str]:
    """Entries in the order that `numbered` needs: files before folders of the same name."""
    return sorted(entries, key=lambda entry: (folded(entry), entry.endswith("/"), entry))


def numbered(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each of a folder's entries as a part of a name, with the entry.

    Of several entries that would have the same name the second is name~2, and so on. No other name holds a ~, so these
    clash with nothing.

    Args:
        entries: In the order of `by_name`.
    """
    for _, same in groupby(entries, folded):
        for number, entry in enumerate(same, 1):
            yield (safe(entry) if number == 1 else f"{safe(entry)}~{number}"), entry


def stem(name: str) -> str:
    """A file's name without its suffix."""
    return os.path.splitext(name)[0]


def joined(*parts: str) -> str:
    """Parts with / between them; empty ones are left out."""
    return "/".join(filter(None, parts))


def as_text(path: str) -> str:
    """A path as any text file can hold it: bytes that are no UTF-8 become escapes."""
    return path.encode(errors="backslashreplace").decode()
