"""The file that an offline run of Weights & Biases is kept in: records in LevelDB's log format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from rli.errors import RLIError

# A .wandb file: seven bytes of wandb's own, then LevelDB's log format: blocks with fragments of records, each after its
# checksum, length and kind.
HEAD, BLOCK, FRAGMENT = 7, 32768, struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_log(data: bytes, path: Path) -> Iterator[bytes]:
    """The records of a log; the last is left out where it was never finished.

    Args:
        data: the file's content.
        path: the file, for the message.

    Raises:
        RLIError: a wrong checksum.
    """
    at, record = HEAD, b""
    while at + FRAGMENT.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < FRAGMENT.size:
            at += left
            continue
        checksum, length, kind = FRAGMENT.unpack_from(data, at)
        at += FRAGMENT.size
        part = data[at : at + length]
        if len(part) < length:
            return
        if checksum != zlib.crc32(bytes([kind]) + part):
            raise RLIError(f"{path} is damaged; copy it again")
        at += length
        record += part
        if kind in (WHOLE, LAST):
            yield record
            record = b""


def write_log(head: bytes, records: Iterable[bytes]) -> bytes:
    """A log's content.

    Args:
        head: the file's first HEAD bytes.
        records: what it holds; they are cut into fragments, none across two blocks.
    """
    log = bytearray(head)
    for record in records:
        start, done = 0, False
        while not done:
            left = BLOCK - len(log) % BLOCK
            if left < FRAGMENT.size:
                log += bytes(left)
                left = BLOCK
            part = record[start : start + left - FRAGMENT.size]
            done = start + len(part) == len(record)
            kind = (WHOLE if done else FIRST) if start == 0 else (LAST if done else MIDDLE)
            log += FRAGMENT.pack(zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            start += len(part)
    return bytes(log)
