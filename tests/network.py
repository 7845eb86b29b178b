"""A guard against tests that reach for the network: such a try is noted in a file and ends as on a machine without one.

An audit hook sees what a process does through Python's sockets, whatever library asks for it. Child processes install
it too: guard/ is on their PYTHONPATH. What is not Python, or has another PYTHONPATH, finds a proxy that refuses.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = "RLI_TESTS_NETWORK_LOG"
FOLDER = Path(__file__).parent
# Nothing listens on loopback's discard port. Only a library that follows the proxies below ever asks for it.
DISCARD = 9
PROXY = f"http://127.0.0.1:{DISCARD}"


class NetworkReachedError(OSError):
    """Raised in the place of a connection or a look-up, as a machine without a network would."""


def surroundings(log: Path) -> Mapping[str, str]:
    """The environment variables with which child processes are guarded and write into the same file."""
    places = [str(FOLDER / "guard"), str(FOLDER), os.environ.get("PYTHONPATH")]
    proxies = {name: PROXY for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")}
    local = dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
    return {LOG: str(log), "PYTHONPATH": os.pathsep.join(filter(None, places)), **proxies, **local}


def install() -> None:
    """Guards this process from here on. There is no way back: an audit hook cannot be removed."""
    sys.addaudithook(_watch)


def take(log: Path) -> list[str]:
    """What was tried since the last time, a line for each try."""
    if not log.is_file():
        return []
    lines = log.read_text().splitlines()
    log.unlink()
    return lines


def _watch(event: str, args: tuple[Any, ...]) -> None:
    place = _place(event, args) if event.startswith("socket.") else None
    if place is not None and (log := os.environ.get(LOG)):
        with open(log, "a") as file:
            file.write(f"{event} {place} in process {os.getpid()}, from {_caller()}\n")
        raise NetworkReachedError(f"{place}: tests do not reach for the network")


def _place(event: str, args: tuple[Any, ...]) -> str | None:
    """What is asked for, where it lies beyond this machine."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        asked, address = args
        # A datagram socket's connect sends nothing: libraries use it to learn this machine's own address.
        silent = event == "socket.connect" and asked.type == socket.SOCK_DGRAM
        if address is None or silent or asked.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        host, port = address[:2]
        return None if _is_here(host) and port != DISCARD else f"{host}:{port}"
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        return None if _is_here(args[0]) else ":".join(map(str, args[:2]))
    return None


def _is_here(host: str | bytes | None) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", "<broadcast>", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _caller() -> str:
    """The last line of this checkout's own code on the way."""
    frames = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(FOLDER.parent)]
    own = [f for f in frames if f.filename != __file__ and ".venv" not in f.filename]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "no code of ours"
