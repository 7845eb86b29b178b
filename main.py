"""The command: compose the configuration, check it, run the job, leave tables, images and a report.

python main.py defect=corrosion resolution=1024
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rli.dataset import Photo, photos
from rli.job import Failure, Job, run, write_photo
from rli.memory import Memory
from rli.model import compiled, load, pick_device, pick_dtype
from rli.outputs import aggregate, write_failures, write_outcome, write_status
from rli.parts import check_weights
from rli.types import EditSettings, InversionSettings, RLIError, Target

ROOT = Path(__file__).parent
# Set where the user set HYDRA_FULL_ERROR: show tracebacks.
WANTS_TRACE = "RLI_FULL_ERROR"
PUBLISHED = ROOT / "experiments" / "defect_comparison" / "published.csv"


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
    )


def sources(cfg: Mapping[str, Any], job: Job) -> list[Photo]:
    """The photographs; a single one is read at once, so that a bad file is refused before a model is loaded."""
    data = dict(cfg["data"])
    found = photos(data.pop("kind"), data.pop("path"), **data)
    if len(found) == 1:
        found[0].read(job.height, job.width)
        if found[0].mask:
            found[0].mask(job.height, job.width)
    return found


def work(cfg: Mapping[str, Any], folder: Path) -> None:
    """One run: everything that it leaves is in `folder`. Raises RLIError when no photograph could be done."""
    from rli.metrics import load_lpips
    from rli.progress import shown
    from rli.tracking import open_tracker

    runtime, where = cfg["runtime"], cfg["model"]
    job = settings(cfg)
    device = pick_device(runtime["device"])
    pick_dtype(runtime["dtype"], device)
    if not isinstance(runtime["compile"], bool):
        raise RLIError(f"runtime.compile={runtime['compile']} is not known: choose true or false")
    check_weights(job.model, where["weights"])
    todo = sources(cfg, job)
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
    done, rows, failures = [], [], []
    tracking = dict(cfg["tracking"])
    with open_tracker(tracking.pop("kind"), folder, cfg, **tracking) as tracker:
        for result in run(model, job, todo, lpips, shown):
            if isinstance(result, Failure):
                print(f"skipped: {result.reason}", file=sys.stderr)
                failures.append(result)
                continue
            write_photo(folder, result)
            rows.extend(result.rows)
            if len(done) < cfg["report"]["photos"]:
                done.append(result)
        write_failures(failures, folder)
        if not rows:
            raise RLIError(
                failures[0].reason
                if len(failures) == 1
                else f"none of {len(failures)} photographs could be done: see {folder / 'failed.csv'}"
            )
        write_outcome(rows, done, cfg, folder, PUBLISHED, f"{job.model}, {job.resolution} pixels")
        tracker.log(rows, done)
    print((folder / "comparison.md").read_text())
    print(f"{len(rows)} rows in {folder / 'results.csv'}; page: {folder / 'report.html'}")


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def main(cfg: DictConfig) -> None:
    """One job. In a multirun a bad one says so in its own folder, so that the others go on.

    A single one ends here, because Hydra would print lines of its own around an error that passes through it.
    """
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    try:
        work(plain, folder)
    except Exception as error:
        mendable = isinstance(error, (RLIError, OSError))
        if not mendable or WANTS_TRACE in os.environ:
            traceback.print_exc()
        with suppress(OSError):  # where the disk is full this cannot be written either
            write_status(folder, one_line(error) or type(error).__name__)
        if hydra_cfg.mode != RunMode.MULTIRUN:
            if mendable:
                print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(2 if mendable else 1)
        print(f"failed: job {hydra_cfg.job.num}: {one_line(error)}", file=sys.stderr)
    else:
        write_status(folder)


class SweepEnd(Callback):
    """Gathers a multirun's jobs into its folder when all have ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        failures = aggregate(folder, PUBLISHED, config.report.photos)
        print(f"sweep: {folder / 'results.csv'}; page: {folder / 'report.html'}")
        if failures:  # an exception would end as a warning of Hydra's
            where, first = folder / "failed.csv", failures[0].reason
            print(f"error: {len(failures)} of the jobs failed: see {where} ({first})", file=sys.stderr)
            sys.exit(2)


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
    """The exit status: 2 and one line for what the user can mend; 1 and its traceback for a bug."""
    sys.argv[1:] = map(quoted, sys.argv[1:])
    if "HYDRA_FULL_ERROR" in os.environ:
        os.environ[WANTS_TRACE] = "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors come here, instead of Hydra's own page of them
    try:
        main()
    except SystemExit as end:
        return end.code
    except Exception as error:  # jobs never raise: it is about the configuration
        if WANTS_TRACE in os.environ:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command())
