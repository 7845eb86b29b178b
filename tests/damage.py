"""A model's folder with one thing wrong with it: what copies, disks and people do to checkpoints.

python tests/damage.py 500     tries every damage of a file and so many of tensors, and prints what is not refused well
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from rli.errors import RLIError
from rli.models.base_models import BASE_MODELS
from rli.models.loading import load

MINI = Path(BASE_MODELS["mini"].weights)
# Files that a pipeline's folder can do without, or that hold nothing but who made it.
SPARE = ("classifier.safetensors",)


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a folder."""

    name: str
    # Changes the folder, which is a copy.
    do: Callable[[Path], None]
    # Whether one tensor is wrong, and not a whole file.
    is_of_a_tensor: bool = False


def copied(folder: Path) -> Path:
    """The miniature's weights as links: what a damage changes it writes anew."""
    return Path(shutil.copytree(MINI, folder, copy_function=os.link))


def damages() -> Iterator[Damage]:
    """Every damage of every file, then of every tensor."""
    files = sorted(p.relative_to(MINI) for p in MINI.rglob("*.*") if p.is_file() and p.name not in SPARE)
    for file in files:
        for name, content in _contents(file):
            yield Damage(f"{file} {name}", lambda folder, f=file, c=content: _replaced(folder / f, c))
    for file in files:
        if file.suffix == ".safetensors":
            for name, tensor in load_file(MINI / file).items():
                for what, changed in _tensors(tensor):
                    do = partial(_changed_in, file=file, name=name, tensor=changed)
                    yield Damage(f"{file} {name} {what}", do, is_of_a_tensor=True)


def _contents(file: Path) -> Iterator[tuple[str, bytes | None]]:
    data = (MINI / file).read_bytes()
    yield "missing", None
    yield "empty", b""
    yield "truncated", data[: len(data) // 2]
    yield "null", b"null"
    yield "a list", b"[]"
    yield "no settings", b"{}"
    yield "another's", (MINI / _another(file)).read_bytes()
    yield "a huge header", (2**40).to_bytes(8, "little") + data[8:]
    yield "a pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield "nested", b"[" * 100_000


def _another(file: Path) -> str:
    if file.suffix == ".safetensors":
        return "vae/diffusion_pytorch_model.safetensors" if file.parent.name == "unet" else str(_UNET)
    return "vae/config.json" if file.parent.name != "vae" else "unet/config.json"


_UNET = Path("unet", "diffusion_pytorch_model.safetensors")


def _tensors(tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor | None]]:
    yield "missing", None
    yield "of another shape", torch.cat([tensor, tensor])
    yield "not finite", torch.full_like(tensor, float("nan"))
    yield "infinite", torch.full_like(tensor, float("inf"))
    yield "of whole numbers", torch.ones_like(tensor).int()


def _replaced(file: Path, content: bytes | None) -> None:
    file.unlink()
    if content is not None:
        file.write_bytes(content)


def _changed_in(folder: Path, file: Path, name: str, tensor: torch.Tensor | None) -> None:
    file = folder / file
    tensors = load_file(file)
    file.unlink()
    tensors.pop(name)
    save_file(tensors if tensor is None else {**tensors, name: tensor}, file, {"format": "pt"})


def edited(file: Path, **values: object) -> None:
    """A JSON file with other values; None removes one."""
    settings = {**json.loads(file.read_text()), **values}
    file.unlink()
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def complaint(damage: Damage) -> str:
    """What is wrong with the answer to a damage; "" where it is refused in one line."""
    with tempfile.TemporaryDirectory() as place:
        folder = copied(Path(place, "w"))
        damage.do(folder)
        try:
            load("mini", str(folder), device="cpu")
        except RLIError as error:
            line = str(error)
            return "" if "\n" not in line and len(line) < 450 and line.startswith("weights=") else line
        except Exception as error:  # a campaign goes on after what it looks for
            return f"{type(error).__name__}: {error}"
    return "it is taken"


def main(count: int, seed: int) -> None:
    every = [*damages()]
    tensors = [damage for damage in every if damage.is_of_a_tensor]
    tried = [damage for damage in every if not damage.is_of_a_tensor]
    tried += random.Random(seed).sample(tensors, min(count, len(tensors)))
    bad = 0
    for damage in tried:
        if found := complaint(damage):
            bad += 1
            print(damage.name, "→", found, flush=True)
    print(f"{len(tried)} damages, {bad} not refused well")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
