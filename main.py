"""The command: compose the configuration, check it, run the job, leave tables, images and a report.

python main.py defect=corrosion resolution=1024
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from itertools import chain, islice
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rli.dataset import Photo, PhotoSource, photos
from rli.job import Job, run
from rli.memory import Memory
from rli.model import compiled, load, pick_device, pick_dtype
from rli.outputs import read, shown_places, write_failures, write_outcome
from rli.parts import check_weights
from rli.results import frame_of
from rli.run_folder import Place, rows_of, write_photo, write_status
from rli.sweep import PUBLISHED, write_sweep
from rli.types import EditSettings, Failure, InversionSettings, RLIError, Target, whole, within

ROOT = Path(__file__).parent
# Set where the user set HYDRA_FULL_ERROR: show tracebacks.
WANTS_TRACE = "RLI_FULL_ERROR"
# Set while a multirun is under way: its folder. (Hydra imports its callbacks as another copy of this module: the
# environment is what both see.)
SWEEPING = "RLI_SWEEP"


def settings(cfg: Mapping[str, Any]) -> Job:
    """The configuration as checked records. Raises RLIError, in one line, for whatever cannot be."""
    inversion = dict(cfg["inversion"])
    batch_size = inversion.pop("batch_size")
    defect, runtime = cfg["defect"], cfg["runtime"]
    for group, record in (("inversion", InversionSettings), ("rli", InversionSettings), ("edit", EditSettings)):
        for key in {*cfg[group]} - {field.name for field in fields(record)} - {"batch_size"}:
            raise RLIError(f"{group}.{key} is not a setting")
    targets = [Target(name, prompt) for name, prompt in defect["all"].items()]
    if defect["name"]:
        if not defect["target"]:
            raise RLIError(
                'defect=custom needs defect.target: the prompt that is wanted, such as "photo of a crack hole image"'
            )
        targets.append(Target(defect["name"], defect["target"], defect["source_word"], defect["target_word"]))
    return Job(
        model=cfg["model"]["name"],
        height=cfg["resolution"]["height"],
        width=cfg["resolution"]["width"],
        source=defect["source"],
        targets=tuple(targets),
        original=defect["original"],
        inversion=InversionSettings(**inversion, **cfg["rli"], seed=runtime["seed"]),
        edit=EditSettings(**cfg["edit"]),
        cache=Path(runtime["cache"]),
        batch_size=batch_size,
        target_batch=runtime["target_batch"],
        memory=Memory(runtime["memory"], runtime["memory_gb"], runtime["checkpointing"], runtime["vae_tiling"]),
        weights=f"{cfg['model']['weights']} {cfg['model']['vae']} {runtime['device']} {runtime['dtype']}",
    )


def sources(cfg: Mapping[str, Any], job: Job) -> PhotoSource:
    """The photographs; a single one is read at once, so that a bad file is refused before a model is loaded."""
    data = dict(cfg["data"])
    found = photos(data.pop("kind"), data.pop("path"), **data)
    first = [*islice(found, 2)]
    if len(first) == 1:
        first[0].read(job.height, job.width)
        if first[0].mask:
            first[0].mask(job.height, job.width)
    return found


def work(cfg: Mapping[str, Any], folder: Path, group: str | None = None) -> None:
    """One run: everything that it leaves is in `folder`. What an earlier run of the same settings has done there stays.

    group: the sweep's name. Raises RLIError when no photograph could be done.
    """
    from rli.tracking import open_tracker

    job = settings(cfg)
    check(cfg, job)
    todo, tracking, report = sources(cfg, job), dict(cfg["tracking"]), cfg["report"]
    tracking["group"] = tracking["group"] or group
    tracking["tags"] = [*tracking["tags"], job.model, job.inversion.method, *(t.name for t in job.targets)]
    where = {
        "name": f"{group}/{folder.name}" if group else None,
        "job_type": "job" if group else "run",
        "floor_db": report["floor_db"],
    }
    with open_tracker(tracking.pop("kind"), folder, cfg, **tracking, **where) as tracker:
        failures = make(cfg, job, todo, folder)
        done = {photo.name: rows for photo in todo if (rows := rows_of(folder, photo.name, job.key(photo)))}
        if not done:
            write_failures(failures, folder)
            raise RLIError(
                failures[0].reason
                if len(failures) == 1
                else f"none of {len(failures)} photographs could be done: see {folder / 'failed.csv'}"
            )
        rows = [row for some in done.values() for row in some]
        frame, places = frame_of(rows), [Place(folder, name) for name in done]
        write_outcome(
            folder,
            frame,
            places,
            cfg,
            PUBLISHED,
            f"{job.model}, {job.resolution} pixels",
            failures=failures,
            edits=report["edits"],
            floor_db=report["floor_db"],
        )
        tracker.log(rows, read(shown_places(frame, places, report["edits"])))
    if group is None:
        print((folder / "comparison.md").read_text())
    print(f"{len(rows)} rows in {folder / 'results.csv'}; page: {folder / 'report.html'}")


def check(cfg: Mapping[str, Any], job: Job) -> None:
    """Raises RLIError for what cannot be, before a model is loaded."""
    runtime = cfg["runtime"]
    pick_dtype(runtime["dtype"], pick_device(runtime["device"]))
    if not isinstance(runtime["compile"], bool):
        raise RLIError(f"runtime.compile={runtime['compile']} is not known: choose true or false")
    whole("report.edits", cfg["report"]["edits"], 1, 1_000_000)
    within("report.floor_db", cfg["report"]["floor_db"], 0, 100)
    check_weights(job.model, cfg["model"]["weights"])


def make(cfg: Mapping[str, Any], job: Job, todo: Iterable[Photo], folder: Path) -> list[Failure]:
    """The photographs' files that are not in `folder` yet; returns what could not be done."""
    from rli.metrics import load_lpips
    from rli.progress import shown

    missing = (photo for photo in todo if rows_of(folder, photo.name, job.key(photo)) is None)
    if (first := next(missing, None)) is None:
        return []
    runtime, where = cfg["runtime"], cfg["model"]
    model = load(
        job.model,
        where["weights"],
        vae=where["vae"],
        device=runtime["device"],
        dtype=runtime["dtype"],
        offload=True,  # nothing is placed before the job's plan says what has room
    )
    if runtime["compile"]:
        model = compiled(model)
    lpips = load_lpips()
    if lpips is None:
        print(
            "warning: LPIPS stays empty: its VGG-16 weights are neither kept on this machine nor within reach",
            file=sys.stderr,
        )
    judge = None
    if job.model == "mini":
        from rli.mini.classifier import judge_of, load_classifier

        judge = judge_of(load_classifier())
    failures = []
    for result in run(model, job, chain([first], missing), lpips, shown, judge):
        if isinstance(result, Failure):
            print(f"skipped: {result.reason}", file=sys.stderr)
            failures.append(result)
        else:
            write_photo(folder, result)
    return failures


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def main(cfg: DictConfig) -> None:
    """One job. In a multirun a bad one says so in its own folder, so that the others go on.

    A single one ends here, because Hydra would print lines of its own around an error that passes through it.
    """
    hydra_cfg = HydraConfig.get()
    folder, is_job = Path(hydra_cfg.runtime.output_dir), hydra_cfg.mode == RunMode.MULTIRUN
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    try:
        work(plain, folder, Path(hydra_cfg.sweep.dir).name if is_job else None)
    except Exception as error:
        mendable = isinstance(error, (RLIError, OSError))
        if not mendable or WANTS_TRACE in os.environ:
            traceback.print_exc()
        with suppress(OSError):  # where the disk is full this cannot be written either
            write_status(folder, one_line(error) or type(error).__name__)
        if not is_job:
            if mendable:
                print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(2 if mendable else 1)
        print(f"failed: job {hydra_cfg.job.num}: {one_line(error)}", file=sys.stderr)
    else:
        write_status(folder)


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
    from rli.tracking import open_tracker

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
    print(f"sweep: {folder / 'results.csv'}; page: {folder / 'report.html'}")
    if sweep.failed:
        where, first = folder / "failed.csv", sweep.failed[0].reason
        print(f"error: {len(sweep.failed)} of {len(sweep.jobs)} jobs failed: see {where} ({first})", file=sys.stderr)
        return 2
    return 0


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
        print(f"error: {one_line(error)}", file=sys.stderr)
        folder = Path(os.environ.pop(SWEEPING, ""))
        if (folder / "multirun.yaml").is_file():
            gather(folder, OmegaConf.load(folder / "multirun.yaml"))
        return 2
    finally:
        os.environ.pop(SWEEPING, None)
    return 0


if __name__ == "__main__":
    sys.exit(command())
