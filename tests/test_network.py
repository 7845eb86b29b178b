"""The guard itself: who reaches for the network is found out, in the test's own process and in those that it starts."""

import http.server
import socket
import threading
import urllib.request
from pathlib import Path

import network
import pytest
from command import run_process

pytestmark = pytest.mark.integration

AWAY = "192.0.2.1"  # an address that documentation may use: nobody has it
FETCH = "import sys, urllib.request as u\ntry: u.urlopen(sys.argv[1], timeout=5)\nexcept OSError: print('offline')"


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection((AWAY, 80), timeout=1),
        lambda: socket.create_connection(("rli.invalid", 443), timeout=1),
        lambda: socket.gethostbyname("rli.invalid"),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"?", (AWAY, 53)),
        lambda: urllib.request.urlopen("https://rli.invalid/weights", timeout=1),
    ],
)
def test_a_try_is_noted_and_fails_as_without_a_network(network_log, reach):
    with pytest.raises(OSError, match="tests do not reach for the network"):
        reach()
    (line,) = network.take(network_log)
    assert Path(__file__).name in line


@pytest.mark.parametrize("url", ["https://rli.invalid/", f"http://{AWAY}/"])
def test_a_child_process_is_found_out(network_log, tmp_path, url):
    assert run_process("-c", FETCH, url, folder=tmp_path).stdout == "offline\n"
    assert len(network.take(network_log)) == 1


def test_a_child_with_surroundings_of_its_own_gets_nowhere(network_log, tmp_path):
    """Without the guard on its path it is not found out; the proxy ends its tries."""
    answer = run_process("-I", "-c", FETCH, "https://rli.invalid/", folder=tmp_path)
    assert answer.stdout == "offline\n", answer.stderr


def test_a_server_on_this_machine_may_be_asked(network_log, tmp_path):
    handler = http.server.SimpleHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert urllib.request.urlopen(url, timeout=5).status == 200
        assert run_process("-c", FETCH, url, folder=tmp_path).stdout == ""
        server.shutdown()
    assert network.take(network_log) == []


def test_a_test_that_swallows_the_error_fails_all_the_same(tmp_path):
    """Pytest in a process of its own, with this folder's guard."""
    (tmp_path / "conftest.py").write_text("from network_fixtures import network_log, no_network\n")
    (tmp_path / "test_it.py").write_text(
        "import contextlib, socket\n"
        "def test_it():\n"
        "    with contextlib.suppress(OSError):\n"
        f"        socket.create_connection(('{AWAY}', 80), timeout=1)\n"
    )
    answer = run_process("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert answer.status == 1
    assert "reached for the network" in answer.stdout and f"{AWAY}:80" in answer.stdout
