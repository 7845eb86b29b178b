"""Prepares offline runs of Weights & Biases to be sent from where they lie now, and prints the command for it.

An offline run's log names its tables and their pictures by absolute paths; from a moved or copied folder `wandb sync`
would leave them out without a word. There,

python -m rli.tracking.offline FOLDER…

points the logs to the files beside them, and prints the command that sends the runs.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from rli.errors import RLIError
from rli.files import write_whole
from rli.tracking.wandb_log import HEAD, read_log, write_log
from rli.tracking.wandb_run import STAGED


def re_root(folder: Path) -> list[Path]:
    """Points the logs of the offline runs at or below `folder` to the staged files where these are now.

    Returns:
        The runs' folders.

    Raises:
        RLIError: there is no run, a log is damaged, or a file is gone; that log then stays as it was.
    """
    found = sorted(Path(folder).absolute().rglob("run-*.wandb"))
    logs = [log for log in found if log.parent.name.startswith("offline-run-")]
    if not logs:
        raise RLIError(f"no offline W&B runs found in {folder}")
    for log in logs:
        old = log.read_bytes()
        new = write_log(old[:HEAD], [_re_rooted(record, log.parent) for record in read_log(old, log)])
        if new != old:
            # What was sent from here before was incomplete, and is to be sent again.
            log.with_name(f"{log.name}.synced").unlink(missing_ok=True)
            write_whole(log, new)
    return [log.parent for log in logs]


def _re_rooted(record: bytes, run: Path) -> bytes:
    """A log's record with the staged files of its artifact, if it has one, named where they lie in the folder `run`."""
    from wandb.proto.wandb_internal_pb2 import Record

    parsed = Record.FromString(record)
    if parsed.WhichOneof("record_type") != "artifact":
        return record
    for entry in parsed.artifact.manifest.contents:
        # Whatever system it was written on: PureWindowsPath knows both kinds of separators.
        staged = run / STAGED / PureWindowsPath(entry.local_path).name
        if not staged.is_file():
            raise RLIError(f"{staged} is missing; copy the run's folder again, with everything in its wandb folder")
        entry.local_path = str(staged)
    return parsed.SerializeToString()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 2 and one line on stderr for what the user can correct."""
    parser = argparse.ArgumentParser(
        description="Prepare offline W&B runs to be sent from where they lie now; prints the command that sends them."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders that hold runs, at any depth")
    try:
        runs = [run for folder in parser.parse_args(arguments).folders for run in re_root(folder)]
    except (RLIError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(shlex.join(["wandb", "sync", *map(str, runs)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
