"""What an image costs beside the core: `python -m experiments.datasets.overhead`.

Whole runs over folders of small photographs, each in a process of its own: photographs are read,
keys, cache, records, pictures, tables, page, manifest and data sets are written as ever. Only inversion, sampling,
decoding, the classifier and LPIPS are replaced by something that costs nothing.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from experiments.cost.meter import Meter
from experiments.datasets.evidence import publish
from experiments.harness import apart, markdown, options
from rli.method.inversion.settings import InversionSettings
from rli.method.records import Edit, EditSettings, Inversion, NullEmbeddings, Target
from rli.models.mini.surfaces import UNSEEN, surface
from rli.package_files import resource_folder
from rli.progress import shown
from rli.runs import measure, runner, stages
from rli.runs import run as story
from rli.runs.config import read_config

SIDE = 64
# A run's own stages, by the functions that it calls. "walks" is all the rest: looking for what is done, reading rows.
STAGES = {"make": "making", "write_outcome": "tables and page", "write_dataset": "data sets"}
REST = "walks"
LOADING = "loading"


def write_photos(folder: Path, count: int) -> None:
    """count different small photographs: few drawn surfaces, each with noise of its own."""
    folder.mkdir(parents=True)
    base = [surface(UNSEEN + k, ("crack",), SIDE, SIDE).image for k in range(min(count, 20))]
    for k in shown(range(count), "photographs drawn"):
        noise = np.random.default_rng(k).integers(-8, 9, (SIDE, SIDE, 3))
        Image.fromarray((base[k % len(base)] + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{k:06d}.png")


def inverted(_model: Any, images: Tensor, prompt: str, settings: InversionSettings, _progress: Any) -> list[Inversion]:
    """Inversions that hold the photographs themselves, and nothing of a source branch's size."""
    return [
        Inversion(prompt, settings, x, torch.zeros(1), NullEmbeddings(torch.zeros(1), None)) for x in images.split(1)
    ]


def given_back(_model: Any, inversion: Inversion) -> Tensor:
    return inversion.latent


def edited(
    _model: Any, inversions: Sequence[Inversion], targets: Sequence[Target], _settings: EditSettings, **_options: Any
) -> list[list[Edit]]:
    """A square of the photograph, inverted in colour."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[SIDE // 4 : SIDE // 2, SIDE // 4 : SIDE // 2] = True
    images = [torch.where(torch.from_numpy(mask), -inversion.latent, inversion.latent) for inversion in inversions]
    return [[Edit(target, image, mask) for target in targets] for image in images]


@contextmanager
def without_core() -> Iterator[None]:
    """Within the scope the job calls the functions above, and no picture is judged."""
    core = {"invert_batch": inverted, "edit_batch": edited, "reconstruct": given_back}
    with (
        patch.multiple(stages, **core),
        patch.object(measure, "vae_round_trip", given_back),
        patch("rli.metrics.lpips.load_lpips", lambda: None),
        patch("rli.models.mini.classifier.judge_of", lambda classifier: None),
    ):
        yield


def timed(meter: Meter, phase: str, function: Callable) -> Callable:
    @wraps(function)
    def inside(*arguments: Any, **options: Any) -> Any:
        with meter.phase(phase):
            return function(*arguments, **options)

    return inside


def spend(photos: Path, folder: Path, formats: Sequence[str]) -> dict[str, float]:
    """In a fresh process: one run over the photographs. Seconds of each stage by the clock and of the processor, and
    the process's peak in GB (2^30 bytes) while the model is loaded, and at all."""
    meter = Meter(torch.device("cpu"))
    with ExitStack() as stack:
        stack.enter_context(without_core())
        for name, phase in STAGES.items():
            stack.enter_context(patch.object(story, name, timed(meter, phase, getattr(story, name))))
        stack.enter_context(patch.object(runner.Runner, "open", timed(meter, LOADING, runner.Runner.open)))
        with meter.phase(REST):
            story.work(read_config(settings(photos, folder, formats)), folder)
    spent = meter.phases
    return {
        **{name: spent[name].seconds for name in (LOADING, *STAGES.values(), REST)},
        **{f"{name} cpu": spent[name].cpu_seconds for name in (*STAGES.values(), REST)},
        "loaded_gb": spent[LOADING].peak_gb,
        "peak_gb": max(one.peak_gb for one in spent.values()),
    }


def settings(photos: Path, folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    """The command's configuration for a data set of the folder's photographs."""
    with initialize_config_dir(str(resource_folder("conf")), version_base="1.3"):
        asked = ["model=mini", 'resolution="64"', "data=folder", f"data.path='{photos}'", "tracking=off", "runtime=cpu"]
        asked += [f"export=[{','.join(formats)}]", f"out='{folder}'", f"runtime.cache='{folder / 'cache'}'"]
        return OmegaConf.to_container(compose("config", asked), resolve=True)


def profile(photos: Path, folder: Path, formats: Sequence[str], lines: int = 45) -> None:
    """In a fresh process: the functions in which a run's time goes, by their own time and with what they call."""
    profiler = cProfile.Profile()
    profiler.runcall(spend, photos, folder, formats)
    stats = pstats.Stats(profiler)
    stats.sort_stats("tottime").print_stats(lines)
    stats.sort_stats("cumtime").print_stats(str(Path(story.__file__).parents[1]), 2 * lines)


def table(rows: pd.DataFrame) -> str:
    """Milliseconds a photograph by stage, by the clock and of the processor, and memory."""
    stages = [*STAGES.values(), REST]
    cpu = [f"{name} cpu" for name in stages]
    head = ["Photographs", *stages, "together, ms a photograph", "minutes", "peak, GB", "of which loaded, GB"]
    lines = []
    for _, row in rows.iterrows():
        each = 1000 / row["photographs"]
        lines.append(
            [
                f"{row['photographs']:.0f}",
                *(f"{each * row[a]:.1f} ({each * row[b]:.1f})" for a, b in zip(stages, cpu, strict=True)),
                f"{each * row[stages].sum():.1f} ({each * row[cpu].sum():.1f})",
                f"{row[stages].sum() / 60:.1f} ({row[cpu].sum() / 60:.1f})",
                f"{row['peak_gb']:.3f}",
                f"{row['loaded_gb']:.3f}",
            ]
        )
    return markdown(head, lines, words=0)


def main() -> None:
    parser = options(__doc__, out=Path(__file__).parent)
    parser.add_argument("--count", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--formats", nargs="+", default=["coco", "yolo"])
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    asked = parser.parse_args()
    rows = []
    for count in asked.count:
        with tempfile.TemporaryDirectory() as place:
            write_photos(Path(place, "photos"), count)
            work = (Path(place, "photos"), Path(place, "run"), asked.formats)
            if asked.profile:
                apart(profile, *work)
            else:
                rows.append({"photographs": count, **apart(spend, *work)})
    if rows:
        publish(asked.out, "overhead", pd.DataFrame(rows), table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
