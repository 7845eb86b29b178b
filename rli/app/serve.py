"""Serves the page to this machine's browser, and to nobody else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from rli.app.choices import starting_values
from rli.app.workbench import Workbench

# The only address that is listened at: programs on other machines cannot reach it.
HOST = "127.0.0.1"
# Of a photograph that is dropped on the page: what `rli.images` reads of a file at most.
MOST_BYTES = 2**30


@contextmanager
def served(bench: Workbench, *, port: int | None = None, opens_browser: bool = False) -> Iterator[str]:
    """Serves the page within the scope.

    What the page shows lies in a folder of its own, which is deleted at the end; no other file is served.

    Args:
        bench: What the page works with.
        port: To listen at; None takes a free one.
        opens_browser: Whether the browser is opened.

    Yields:
        The page's address.

    Raises:
        OSError: The port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="rli-app-") as folder:
        # Read when the page is built; the library's own is one folder that everybody on the machine shares.
        os.environ["GRADIO_TEMP_DIR"] = folder
        from rli.app.page import build_page, look  # here, because the library is an extra and takes long to import

        page = build_page(bench, starting_values(bench.runner.job))
        nowhere = Path(folder, "nothing")
        nowhere.mkdir()
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=port,
                inbrowser=opens_browser,
                share=False,
                # Each said here, because otherwise an environment variable decides.
                allowed_paths=[str(nowhere)],
                blocked_paths=[str(nowhere)],
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                pwa=False,
                ssr_mode=False,
                max_file_size=MOST_BYTES,
                footer_links=[],
                prevent_thread_lock=True,
                quiet=True,
                **look(),
            )
            yield address
        finally:
            page.close(verbose=False)


def serve(bench: Workbench, *, port: int | None = None, opens_browser: bool = False) -> None:
    """Serves the page until the process is stopped; see `served`."""
    with served(bench, port=port, opens_browser=opens_browser) as address:
        print(f"page: {address} (only this machine can open it; stop with Ctrl+C)", flush=True)
        Event().wait()  # until Ctrl+C; the page is served by threads
