"""What every experiment is made of: options, photographs, processes of their own, tables and pictures on file."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from os.path import commonpath
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor

from rli.files import whole_file, write_whole
from rli.images import to_tensor
from rli.method.records import Target
from rli.models.device import DTYPES
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.sources import photos

matplotlib.use("Agg")

ROOT = Path(__file__).parents[1]
SOURCE = "photo of a crack defect image"
# Columns of a run's tables that no two runs share.
MEASURED = ("seconds", "peak_memory")
# What experiments can be asked; each names those it has, with its own defaults.
OPTIONS: dict[str, dict[str, Any]] = {
    "surfaces": {"type": int, "help": "drawn surfaces that no training saw"},
    "side": {"type": int, "help": "pixels of a side"},
    "size": {"type": int, "help": "pixels of a side"},
    "steps": {"type": int, "help": "DDIM steps"},
    "folder": {"type": Path, "help": "further real photographs"},
    "device": {"help": "auto, cpu, cuda, cuda:N"},
    "dtype": {"choices": list(DTYPES), "help": "the model's precision"},
    "out": {"type": Path, "help": "folder in which tables and pictures are recorded"},
}


def options(doc: str, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with options of OPTIONS.

    Args:
        doc: The experiment's module docstring; its first line is the help's.
        **defaults: For each option that the experiment has, its default.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default, **OPTIONS[name])
    return parser


# --- what is worked on ------------------------------------------------------------------------------------------------


def photographs(count: int, side: int, folder: Path | None = None) -> list[tuple[str, str, Tensor]]:
    """Drawn, cracked surfaces that no training saw, and real photographs: scikit-image's brick and gravel, and a
    folder's. Of each its kind (surface or real), its name, and the image (1,3,side,side) in [-1,1]."""
    drawn = [("surface", str(k), to_tensor(surface(UNSEEN + k, ("crack",), side, side).image)) for k in range(count)]
    real = [*photos("sample", samples=["brick", "gravel"])]
    if folder is not None and folder.is_dir():
        real += photos("folder", str(folder))
    return drawn + [("real", photo.name, photo.read(side, side)) for photo in real]


def targets(words: Sequence[str]) -> tuple[Target, ...]:
    """Edits of a cracked surface to each of these defects."""
    return tuple(Target(word, f"photo of a crack {word} image") for word in words)


# --- where it runs ----------------------------------------------------------------------------------------------------


def apart(function: Callable[..., Any], *arguments: Any, threads: int = 1) -> Any:
    """What the function returns in a fresh process, whose memory and caches nobody has used."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        return pool.submit(function, *arguments).result()


def together(
    function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, Any]]:
    """What the function returns for each of these arguments, and the number of these, as they end: one after another in
    this process, or so many at once, each on one thread in a process of its own."""
    if jobs == 1:
        yield from enumerate(function(*given) for given in arguments)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(function, *given): number for number, given in enumerate(arguments)}
        try:
            yield from ((futures[future], future.result()) for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def command(*arguments: str) -> list[str]:
    """The command line that runs the main job with these arguments."""
    return [sys.executable, str(ROOT / "main.py"), *arguments]


def machine(device: str) -> dict[str, str]:
    """What ran: processor, GPU, torch."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else ""
    return {"cpu": (names or [platform.processor()])[0], "gpu": gpu, "torch": torch.__version__}


# --- what is left -----------------------------------------------------------------------------------------------------


def unmeasured(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that are the same whenever the same is run."""
    return table[[name for name in table.columns if not name.startswith(MEASURED)]]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1, notes: int = 0) -> str:
    """A table whose first `words` and last `notes` columns are text, and those between them figures."""
    rule = ["---"] * words + ["---:"] * (len(head) - words - notes) + ["---"] * notes
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def embed(folder: Path, name: str, text: str, page: str = "README.md") -> None:
    """Puts the text into the folder's page between the marks of this name, where there is one that has them."""
    file, begin, end = folder / page, f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    if file.is_file() and begin in (before := file.read_text()):
        head, rest = before.split(begin)
        write_whole(file, f"{head}{begin}\n{text}\n\n{end}{rest.split(end)[1]}")


def tell(folder: Path, name: str, about: str, table: str) -> None:
    """Prints a table below what it is of, and embeds both in the folder's page."""
    text = f"{about}\n\n{table}"
    embed(folder, name, text)
    print(text)


def without_folder(names: Sequence[str]) -> list[str]:
    """Names, such as those of photographs that were listed by their paths, without the folder that they all lie in."""
    folder = commonpath([str(Path(name).parent) for name in names]) if names else ""
    return [str(Path(name).relative_to(folder)) for name in names]


def write_csv(path: Path, rows: pd.DataFrame) -> None:
    """The rows as a file, to four decimals."""
    write_whole(path, rows.round(4).to_csv(index=False, lineterminator="\n"))


def record(folder: Path, name: str, rows: pd.DataFrame, table: str, page: str = "README.md") -> None:
    """The rows as <name>.csv, and the Markdown table in the folder's page and on the terminal."""
    write_csv(folder / f"{name}.csv", rows)
    embed(folder, f"{name}.csv", table, page)
    print(table)


def save_figure(figure: plt.Figure, path: Path, dpi: int) -> None:
    """The figure as a picture file, whole; it is closed."""
    with whole_file(path) as part:
        figure.savefig(part, dpi=dpi)
    plt.close(figure)
