"""The command: compose the configuration, check it, run the job, leave tables, images and a report.

python main.py defect=corrosion resolution=1024
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rli.datasets.dataset import Dataset, write_dataset
from rli.errors import RLIError
from rli.files import write_whole
from rli.photos.sources import Photo, PhotoSource
from rli.progress import quiet
from rli.reports.outputs import Outcome, write_outcome
from rli.reports.results import frame_of
from rli.reports.sweep import PUBLISHED, write_sweep
from rli.runs.config import card_of, check, dataset_folder, maker_of, settings, sources, wanted
from rli.runs.job import Job
from rli.runs.runner import Part, alone, foreseen, is_complete, outcome, pending
from rli.store.records import Failure, Place, write_status
from rli.tracking.tracker import Tracker

ROOT = Path(__file__).parent
# Set where the user set HYDRA_FULL_ERROR: show tracebacks.
WANTS_TRACE = "RLI_FULL_ERROR"
# Set while a multirun is under way: its folder. (Hydra imports its callbacks as another copy of this module: the
# environment is what both see.)
SWEEPING = "RLI_SWEEP"
CONFIG = Path(".hydra", "config.yaml")


def work(cfg: Mapping[str, Any], folder: Path, group: str | None = None) -> bool:
    """One run: everything that it leaves is in `folder`. What an earlier run of the same settings has done there stays.

    group: the sweep's name. A part of the photographs (shard) is made in the folder that all parts share, and the part
    that ends last writes the tables. Returns whether they are there. Raises RLIError when no photograph could be done.
    """
    job, dataset, part = settings(cfg), wanted(cfg), Part.read(cfg["shard"])
    check(cfg, job)
    source = sources(cfg, job)
    if part.of > 1:
        folder = Path(cfg["out"])
    if cfg["data"]["path"] and Path(cfg["data"]["path"]).resolve() == folder.resolve():
        raise RLIError(f"{folder} holds the photographs: let the results go to another folder")
    if cfg["dry_run"]:
        print(foreseen(maker_of(cfg, job), source, folder, dataset))
        return False
    if part.of > 1 and not (folder / CONFIG).exists():  # in a multirun: tells the folder from one of photographs
        write_whole(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(cfg)))
    if left := sum(1 for _ in pending(job, part.of_photos(source), folder, cfg["retry_failed"])):
        make(cfg, job, pending(job, part.of_photos(source), folder, cfg["retry_failed"]), left, folder)
    if part.of > 1 and not is_complete(job, source, folder):
        print(f"part {cfg['shard']} is done: the part that ends last writes the tables in {folder}")
        return False
    with alone(folder), tracked(cfg, job, folder, group) as tracker:
        finish(cfg, job, source, folder, dataset, tracker)
    if part.of > 1:
        write_status(folder)  # in a multirun the part's own folder is another
    if group is None:
        print((folder / "comparison.md").read_text())
    print(f"results: {folder / 'results.csv'}; page: {folder / 'report.html'}")
    return True


def finish(
    cfg: Mapping[str, Any], job: Job, source: PhotoSource, folder: Path, dataset: Dataset | None, tracker: Tracker
) -> None:
    """Tables, page and data set of what has been made. Raises RLIError where nothing was."""
    report, lost, rows, made = cfg["report"], [], [], []
    for photo in source:
        found = outcome(job, photo, folder)
        if isinstance(found, Failure):
            lost.append(found)
        elif found is not None:
            rows += found.rows
            made.append((photo, found))
    outcome_of_run = Outcome(
        rows=frame_of(rows),
        places=[Place(folder, photo.name) for photo, _ in made],
        failures=lost,
        settings=cfg,
        title=f"{job.model}, {job.resolution} pixels",
    )
    limits = {"edits": report["edits"], "floor_db": report["floor_db"]}
    write_outcome(folder, outcome_of_run, PUBLISHED, tracker=tracker, **limits)
    if not made:
        raise RLIError(
            lost[0].reason
            if len(lost) == 1
            else f"none of {len(lost)} photographs could be done: see {folder / 'failed.csv'}"
        )
    if dataset is not None:
        counts = write_dataset(made, folder, dataset, card_of(cfg), job.inversion.seed)
        for name, count in counts.items():
            left_out = f", {count.left_out} left out (no known region)" if count.left_out else ""
            print(f"data set: {folder / 'dataset' / name}: {count.images} images, {count.objects} objects{left_out}")


@contextmanager
def tracked(cfg: Mapping[str, Any], job: Job, folder: Path, group: str | None) -> Iterator[Tracker]:
    """The run's tracker; in a sweep its runs are a group."""
    from rli.tracking.tracker import open_tracker

    tracking = dict(cfg["tracking"])
    tracking["group"] = tracking["group"] or group
    tracking["tags"] = [*tracking["tags"], job.model, job.inversion.method, *(t.name for t in job.targets)]
    name, kind = (f"{group}/{folder.name}", "job") if group else (None, "run")
    where = {"name": name, "job_type": kind, "floor_db": cfg["report"]["floor_db"]}
    with open_tracker(tracking.pop("kind"), folder, cfg, **tracking, **where) as tracker:
        yield tracker


def make(cfg: Mapping[str, Any], job: Job, todo: Iterable[Photo], total: int, folder: Path) -> None:
    """The photographs' files, here or on a cluster's machines."""
    from rli.progress import shown

    maker, runtime = maker_of(cfg, job), cfg["runtime"]
    if runtime["kind"] == "ray":
        from rli.runs.ray_cluster import make_on_ray

        where = {"address": runtime["address"], "workers": runtime["workers"]}
        make_on_ray(maker, shown(todo, "photographs", total), folder, **where)
    elif total > 1:
        maker.open().make(shown(todo, "photographs", total), folder, quiet)
    else:
        maker.open().make(todo, folder, shown)


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def main(cfg: DictConfig) -> None:
    """One job. In a multirun a bad one says so in its own folder, so that the others go on.

    A single one ends here, because Hydra would print lines of its own around an error that passes through it.
    """
    hydra_cfg = HydraConfig.get()
    folder, is_job = Path(hydra_cfg.runtime.output_dir), hydra_cfg.mode == RunMode.MULTIRUN
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    try:
        complete = work(plain, folder, Path(hydra_cfg.sweep.dir).name if is_job else None)
    except Exception as error:
        mendable = isinstance(error, (RLIError, OSError))
        if not mendable or WANTS_TRACE in os.environ:
            traceback.print_exc()
        if not plain["dry_run"]:
            with suppress(OSError):  # where the disk is full this cannot be written either
                write_status(folder, one_line(error) or type(error).__name__)
        if not is_job:
            if mendable:
                print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(2 if mendable else 1)
        print(f"failed: job {hydra_cfg.job.num}: {one_line(error)}", file=sys.stderr)
    else:
        if complete or (is_job and not plain["dry_run"]):
            write_status(folder)
    finally:
        if plain["dry_run"] and not (folder / "records").exists():
            leave_nothing(folder, f"{hydra_cfg.job.name}.log")


def leave_nothing(folder: Path, log: str) -> None:
    """Removes what Hydra wrote into a folder where no run has been, and the folders that are empty then."""
    shutil.rmtree(folder / CONFIG.parent, ignore_errors=True)
    with suppress(OSError):
        (folder / log).unlink(missing_ok=True)
        for place in (folder, *(above for above in folder.parents if Path.cwd() in above.parents)):
            place.rmdir()


class SweepEnd(Callback):
    """Gathers a multirun's jobs into its folder when all have ended."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        os.environ[SWEEPING] = str(Path(config.hydra.sweep.dir).absolute())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # An exception would end as a warning of Hydra's.
        if status := gather(Path(os.environ.pop(SWEEPING)), config):
            sys.exit(status)


def gather(folder: Path, config: DictConfig) -> int:
    """What the jobs left, gathered into the sweep's folder and told to the tracker; 2 where a job failed."""
    from rli.tracking.tracker import open_tracker

    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, ["model", "tracking", "report"]), resolve=True)
    tracking, report = plain["tracking"], plain["report"]
    tracking["group"] = tracking["group"] or folder.name
    tracking["tags"] = [*tracking["tags"], plain["model"]["name"]]
    where = {"name": f"{folder.name} summary", "job_type": "summary", "floor_db": report["floor_db"]}
    try:
        with open_tracker(tracking.pop("kind"), folder, plain, **{**tracking, **where}) as tracker:
            sweep = write_sweep([folder], folder, edits=report["edits"], floor_db=report["floor_db"], tracker=tracker)
    except (RLIError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    table = folder / "table.md"
    if table.is_file():
        print(table.read_text())
    if (folder / "results.csv").is_file():
        print(f"sweep: {folder / 'results.csv'}; page: {folder / 'report.html'}")
    if sweep.failed:
        where, first = folder / "failed.csv", sweep.failed[0].reason
        print(f"error: {len(sweep.failed)} of {len(sweep.jobs)} jobs failed: see {where} ({first})", file=sys.stderr)
        return 2
    return 0


def run_folder(otherwise: str, *, _root_: DictConfig) -> str:
    """Where a run's files go: a data set's, or a part's, where its settings say."""
    if not _root_.export and _root_.shard is None:
        return otherwise
    return dataset_folder(OmegaConf.to_container(OmegaConf.masked_copy(_root_, [*_root_.keys() - {"out", "hydra"}])))


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


def one_line(error: BaseException) -> str:
    """The message on one line, without where Hydra looked."""
    return " ".join(str(error).split("Config search path")[0].split())


def quoted(argument: str) -> str:
    """resolution=512,1024 as Hydra wants it: a group's option must be a string, and Hydra reads digits as a number."""
    key, _, value = argument.partition("=")
    if key != "resolution":
        return argument
    return f"{key}=" + ",".join(f'"{option}"' if option.isdigit() else option for option in value.split(","))


def command() -> int:
    """The exit status: 2 and one line for what the user can mend; 1 and its traceback for a bug; 130 where stopped."""
    sys.argv[1:] = map(quoted, sys.argv[1:])
    # A launcher's own processes import this module too, for SweepEnd, wherever the command was given.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if "HYDRA_FULL_ERROR" in os.environ:
        os.environ[WANTS_TRACE] = "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors come here, instead of Hydra's own page of them
    try:
        main()
    except SystemExit as end:
        return end.code
    except KeyboardInterrupt:
        print("stopped: the same command goes on, with hydra.run.dir or hydra.sweep.dir as it was", file=sys.stderr)
        return 130
    except Exception as error:  # jobs never raise: it is about the configuration, or a launcher's worker died
        if WANTS_TRACE in os.environ:
            raise
        hint = ': pip install -e ".[sweep]"' if "hydra/launcher/" in str(error) else ""
        print(f"error: {one_line(error)}{hint}", file=sys.stderr)
        folder = Path(os.environ.pop(SWEEPING, ""))
        if (folder / "multirun.yaml").is_file():
            gather(folder, OmegaConf.load(folder / "multirun.yaml"))
        return 2
    finally:
        os.environ.pop(SWEEPING, None)
    return 0


if __name__ == "__main__":
    sys.exit(command())
