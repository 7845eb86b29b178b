"""The command: `rli`, `python -m rli`, or `python main.py` in a checkout.

rli defect=corrosion resolution=1024     one run; Hydra composes its configuration from conf/
rli gather FOLDERS…                      the tools of TOOLS, with arguments of their own

Whatever takes long to import is imported when it is needed: help and typing errors are answered at once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rli.cli import sweep_callback
from rli.cli.errors import (
    errors_pass_through_hydra,
    is_mendable,
    one_line,
    print_error,
    print_traceback_if_due,
    wants_traceback,
)
from rli.cli.settings import plain
from rli.package_files import resource_folder

# What the command does beside runs, by the name that is typed first: a module with `main(arguments) -> exit status`.
TOOLS = {"gather": "rli.reports.sweep", "offline": "rli.tracking.offline"}


def command(arguments: Sequence[str] | None = None) -> int:
    """One command.

    Args:
        arguments: What is typed after the command's name; None takes it from the command line.

    Returns:
        The exit status: 2 after one line for what the user can mend, 1 after a traceback for a bug, 130 where stopped.
    """
    arguments = sys.argv[1:] if arguments is None else [*arguments]
    if arguments and arguments[0] in TOOLS:
        return import_module(TOOLS[arguments[0]]).main(arguments[1:])
    # Hydra reads the command line itself.
    sys.argv[1:] = map(quoted, arguments)
    with errors_pass_through_hydra():
        return _runs()


def _runs() -> int:
    main = hydra.main(version_base="1.3", config_path=str(resource_folder("conf")), config_name="config")(run)
    token = sweep_callback.under_way.set(None)
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        print("stopped: the same command goes on, with hydra.run.dir or hydra.sweep.dir as it was", file=sys.stderr)
        return 130
    except Exception as error:  # runs never raise: it is about the configuration, or a launcher's worker died
        if wants_traceback():
            raise
        hint = ': pip install "rli[sweep]"' if "hydra/launcher/" in str(error) else ""
        print_error(one_line(error) + hint)
        folder = sweep_callback.under_way.get()
        if folder is not None and (folder / "multirun.yaml").is_file():
            config = OmegaConf.load(folder / "multirun.yaml")
            assert isinstance(config, DictConfig)  # Hydra writes a mapping
            sweep_callback.gather(config, folder)
        return 2
    finally:
        sweep_callback.under_way.reset(token)
    return 0


def run(cfg: DictConfig) -> None:
    """One run, in a multirun one job of it.

    A job that fails says so in its own folder, so that the others go on. A single run ends the process here, because
    Hydra would print lines of its own around an error that passes through it.
    """
    hydra_cfg = HydraConfig.get()
    folder, is_job = Path(hydra_cfg.runtime.output_dir), hydra_cfg.mode == RunMode.MULTIRUN
    settings = plain(cfg)
    group = Path(hydra_cfg.sweep.dir).name if is_job else None
    try:
        complete = _work(settings, folder, group)
    except Exception as error:
        print_traceback_if_due(error)
        if not settings["dry_run"]:
            with suppress(OSError):  # where the disk is full this cannot be written either
                _write_status(folder, one_line(error))
        _end(error, hydra_cfg.job.num if is_job else None)
    else:
        if complete or (is_job and not settings["dry_run"]):
            _write_status(folder)
    finally:
        if settings["dry_run"] and not (folder / "records").exists():
            _leave_nothing(folder, f"{hydra_cfg.job.name}.log")


def _work(settings: Mapping[str, Any], folder: Path, group: str | None) -> bool:
    """The run's story; what is asked for is checked before anything is imported that only a run needs."""
    from rli.runs.config import read_config

    config = read_config(settings)
    from rli.runs.run import work

    return work(config, folder, group)


def _write_status(folder: Path, reason: str | None = None) -> None:
    from rli.store.records import write_status

    write_status(folder, reason)


def _end(error: Exception, job: int | None) -> None:
    """Says why a job of a multirun failed; ends the process where it was a single run."""
    if job is not None:
        print(f"failed: job {job}: {one_line(error)}", file=sys.stderr)
    elif is_mendable(error):
        print_error(one_line(error))
        sys.exit(2)
    else:
        sys.exit(1)


def _leave_nothing(folder: Path, log: str) -> None:
    """Removes what Hydra wrote into a folder where no run has been, and the folders that are empty then."""
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    with suppress(OSError):
        (folder / log).unlink(missing_ok=True)
        for place in (folder, *(above for above in folder.parents if Path.cwd() in above.parents)):
            place.rmdir()


def quoted(argument: str) -> str:
    """An argument as Hydra wants it.

    A group's option must be a string, and Hydra reads digits as a number: resolution=512,1024 becomes
    resolution="512","1024".
    """
    key, _, value = argument.partition("=")
    if key != "resolution":
        return argument
    return f"{key}=" + ",".join(f'"{option}"' if option.isdigit() else option for option in value.split(","))


def run_folder(otherwise: str, *, _root_: DictConfig) -> str:
    """Where a run's files go, for conf/config.yaml: those of a data set, or of a shard, where the settings say."""
    if not _root_.export and _root_.shard is None:
        return otherwise
    from rli.runs.config import dataset_folder

    names = [name for name in map(str, _root_) if name not in ("out", "hydra")]
    return dataset_folder(plain(OmegaConf.masked_copy(_root_, names), resolve=False))


# Here, so that a launcher's processes, which import this module for `run`, have it too.
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
