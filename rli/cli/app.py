"""The command: `rli`, `python -m rli`, or `python main.py` in a checkout.

rli defect=corrosion resolution=1024     one run; Hydra composes its configuration from conf/
rli gather FOLDERS…                      the tools of TOOLS, with arguments of their own

Whatever takes long to import is imported when it is needed: help and typing errors are answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    print_on_any_terminal,
    print_traceback_if_due,
    wants_traceback,
)
from rli.cli.settings import plain
from rli.cli.typed import as_hydra_reads
from rli.errors import RLIError
from rli.package_files import resource_folder

if TYPE_CHECKING:
    from rli.runs.config import RunConfig

# What the command does beside runs, by the name that is typed first: a module with `main(arguments) -> exit status`.
TOOLS = {"app": "rli.cli.browser", "gather": "rli.reports.sweep", "offline": "rli.tracking.offline"}


def command(arguments: Sequence[str] | None = None) -> int:
    """One command.

    Args:
        arguments: What is typed after the command's name; None takes it from the command line.

    Returns:
        The exit status: 2 after one line for what the user can correct, 1 after a traceback for a bug, 130 if stopped.
    """
    print_on_any_terminal()
    arguments = sys.argv[1:] if arguments is None else [*arguments]
    if arguments and arguments[0] in TOOLS:
        return import_module(TOOLS[arguments[0]]).main(arguments[1:])
    try:
        # Hydra reads the command line itself.
        sys.argv[1:] = as_hydra_reads(arguments)
    except RLIError as error:
        print_error(str(error))
        return 2
    with errors_pass_through_hydra():
        return _runs()


def _runs() -> int:
    main = hydra.main(version_base="1.3", config_path=str(resource_folder("conf")), config_name="config")(run)
    token = sweep_callback.under_way.set(None)
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt as stop:
        sweep = sweep_callback.under_way.get()
        where = stop if sweep is None else f"hydra.sweep.dir={sweep}"
        print(f"stopped. To continue, give the same command with {where}", file=sys.stderr)
        return 130
    except Exception as error:  # runs never raise: it is about the configuration, or a launcher's worker died
        if wants_traceback():
            raise
        print_error(one_line(error))
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
    print_on_any_terminal()  # here too, for a launcher's processes
    hydra_cfg = HydraConfig.get()
    folder, is_job = Path(hydra_cfg.runtime.output_dir), hydra_cfg.mode == RunMode.MULTIRUN
    # A refused run leaves no mark; a job of a multirun has a folder of its own, in which it says why it was refused.
    leaves_marks = is_job and cfg.get("dry_run") is not True
    try:
        if leaves_marks:
            _write_hydra(folder, cfg)
        config = _checked(plain(cfg), folder)
        if not leaves_marks and not config.dry_run:
            _write_hydra(folder, cfg)
            leaves_marks = True
        from rli.runs.run import work

        is_complete = work(config, folder, Path(hydra_cfg.sweep.dir).name if is_job else None)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"hydra.run.dir={folder}") from None
    except Exception as error:
        print_traceback_if_due(error)
        if leaves_marks:
            with suppress(OSError):  # where the disk is full this cannot be written either
                _write_status(folder, one_line(error))
        _end(error, hydra_cfg.job.num if is_job else None)
    else:
        if is_complete or (is_job and leaves_marks):
            _write_status(folder)
    finally:
        if not leaves_marks:
            _remove_empty(folder)


def _checked(settings: Mapping[str, Any], folder: Path) -> RunConfig:
    """What is asked for, before anything is imported that only a run needs."""
    from rli.runs.config import read_config

    config = read_config(settings)
    from rli.runs.run import folder_of

    folder_of(config, folder)
    return config


def _write_hydra(folder: Path, cfg: DictConfig) -> None:
    """What Hydra itself would write of a run, but only once the run is not refused any more."""
    from rli.files import write_whole

    hydra_cfg = HydraConfig.get()
    files = {"config": cfg, "hydra": OmegaConf.create({"hydra": hydra_cfg}), "overrides": hydra_cfg.overrides.task}
    for name, content in files.items():
        write_whole(folder / ".hydra" / f"{name}.yaml", OmegaConf.to_yaml(content))


def _write_status(folder: Path, reason: str | None = None) -> None:
    from rli.store.failures import write_status

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


def _remove_empty(folder: Path) -> None:
    """Removes the folder that Hydra made for a run that has left nothing in it, and those above that are empty then."""
    made = sweep_callback.made_folders.get()
    above = (place for place in folder.parents if Path.cwd() in place.parents)
    with suppress(OSError):
        for place in (folder, *above) if made is None else made:
            place.rmdir()


def run_folder(otherwise: str, *, _root_: DictConfig) -> str:
    """Where a run's files go, for conf/config.yaml: those of a data set, or of a shard, where the settings say."""
    if not _root_.get("export") and _root_.get("shard") is None:
        return otherwise
    from rli.runs.config import dataset_folder

    names = [name for name in map(str, _root_) if name not in ("out", "hydra")]
    with suppress(RLIError):  # the run says it, in a line of its own
        return dataset_folder(plain(OmegaConf.masked_copy(_root_, names), resolve=False))
    return otherwise


# Here, so that a launcher's processes, which import this module for `run`, have it too.
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
