"""`rli app`: the page on which edits are tried in a browser, on this machine alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from rli.cli.errors import one_line, status_of
from rli.cli.settings import plain
from rli.cli.typed import as_hydra_reads
from rli.errors import RLIError
from rli.package_files import resource_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 2 and one line on stderr for what the user can correct."""
    parser = argparse.ArgumentParser(prog="rli app", description="Try edits of a photograph in a browser.")
    parser.add_argument("settings", nargs="*", help="settings of a run that hold for all edits, such as model=mini")
    parser.add_argument("--port", type=int, help="the port to listen at; a free one from 7860 on otherwise")
    parser.add_argument("--folder", type=Path, default=Path("outputs/app"), help="where photographs are kept")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")
    given = parser.parse_args(arguments)
    try:
        return status_of(lambda: _serve(given))
    except KeyboardInterrupt:
        return 130


def _serve(given: argparse.Namespace) -> None:
    if find_spec("gradio") is None:
        raise RLIError('the page needs the library gradio: pip install "rli[app]"')
    from rli.app.serve import serve
    from rli.app.workbench import Workbench

    bench = Workbench.open(given.settings, composed, given.folder)
    serve(bench, port=given.port, opens_browser=not given.no_browser)


def composed(arguments: Sequence[str]) -> dict[str, Any]:
    """What arguments compose to, as plain values.

    Args:
        arguments: As they are typed, of a single run.

    Raises:
        RLIError: There is no such setting, or a value cannot be read.
    """
    try:
        with initialize_config_dir(str(resource_folder("conf")), version_base="1.3"):
            return plain(compose("config", as_hydra_reads(arguments)))
    except RLIError:
        raise
    except Exception as error:  # Hydra's and OmegaConf's, which share no class
        raise RLIError(one_line(error)) from None


if __name__ == "__main__":
    sys.exit(main())
