"""Who makes synthetic images of the training photographs: this project's command, two pipelines beside it, and cutting
out and pasting. Each gives images of a data set whose facts say what they were made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import ndimage

from experiments.peers.pipelines import inpainting, leditspp
from experiments.proof.photographs import rewritten
from rli.cli.app import command
from rli.datasets.annotations import Item, Region, change_mask
from rli.errors import RLIError
from rli.files import write_whole
from rli.images import read_mask_full, to_tensor, to_uint8, write_png
from rli.keys import key_of
from rli.models.diffusion import Model
from rli.models.mini import SIDE
from rli.photos.paste import bounds
from rli.photos.photo import GOOD, Photo
from rli.progress import shown

OURS, EXAMPLE, PASTED, INPAINTED, LEDITS = "ours", "by example", "copy and paste", "masked inpainting", "LEDITS++"
# Copies that are pasted for each defective photograph.
COPIES = 5
# Pixels that a region lies around a defect, and that are cut out around one.
GROWN, CUT = 8, 2


def target_prompts(label: str, words: Sequence[str]) -> dict[str, str]:
    """What is wanted of photographs of a class: every other defect, or where there is none, more of their own."""
    others = {word: source_prompt(word) for word in words if word != label}
    return others or {label: f"photo of a large {label} defect image"}


def source_prompt(label: str) -> str:
    """What describes a photograph of a class."""
    return "photo of a clean image" if label == GOOD else f"photo of a {label} defect image"


@dataclass(frozen=True)
class Making:
    """What all makers are given."""

    # Of training alone.
    photos: tuple[Photo, ...]
    # The defects that are wanted.
    words: tuple[str, ...]
    # Where everything goes; what lies there already is not made again.
    folder: Path
    # Settings of the command: model, steps, edits and so on.
    settings: tuple[str, ...] = ()
    # What the pipelines work at, in steps and pixels a side.
    steps: int = 20
    side: int = SIDE

    @cached_property
    def defective(self) -> list[Photo]:
        """Those with a defect whose place is known."""
        return [photo for photo in self.photos if photo.label != GOOD and photo.markings]

    @property
    def good(self) -> list[Photo]:
        """Those without a defect."""
        return [photo for photo in self.photos if photo.label == GOOD]


def ours(making: Making) -> list[Item]:
    """Reconstructions and edits of every photograph, good ones with a placed defect, by one command.

    Raises:
        RLIError: The command failed; it has said why.
    """
    return _by_command(making, OURS, _photographs(making), "task=both")


def by_example(making: Making) -> list[Item]:
    """As `ours`, without reconstructions; each edit has a defect of another training photograph as its example.

    Raises:
        RLIError: The command failed; it has said why.
    """
    photographs = _photographs(making)
    return _by_command(making, EXAMPLE, photographs, "task=edit", f"edit.example_pool={photographs}")


def _photographs(making: Making) -> Path:
    """A list of what may be learned from, as the command reads it."""
    return rewritten(making.folder / "photographs", making.photos).resolve()


def _by_command(making: Making, maker: str, photographs: Path, *more: str) -> list[Item]:
    run = making.folder / ("run" if maker == OURS else maker.replace(" ", "_"))
    prompts = making.folder / "prompts.yaml"
    labels = dict.fromkeys([GOOD, *(photo.label for photo in making.photos)])
    asked = {
        label: {"source": source_prompt(label), "targets": target_prompts(label, making.words)} for label in labels
    }
    write_whole(prompts, yaml.safe_dump(asked))
    placement = ["placement=pool"] if making.good and making.defective else []
    words = [
        *("data=list", f"data.path={photographs}", f"defect.prompts={prompts.resolve()}", *more),
        *("defect=custom", f"defect.name={making.words[0]}", f"defect.target={source_prompt(making.words[0])}"),
        f"defect.source={source_prompt(GOOD)}",
        *("export=segmentation", "tracking=off", f"out={run.resolve()}", *placement, *making.settings),
    ]
    with redirect_stdout(StringIO()):  # its tables are not what was asked for
        status = command(words)
    if status:
        raise RLIError("the images could not be made; the line above says why")
    return read_manifest(run, maker)


def read_manifest(run: Path, maker: str) -> list[Item]:
    """A run's reconstructions and edits, each with what the manifest says of it and whether the gate kept it."""
    rows = pd.read_csv(run / "manifest.csv", keep_default_na=False)
    hashes = dict(zip(rows["photo"], rows["sha256"], strict=True))
    labels = dict(rows.loc[rows["kind"] == "original", ["photo", "label"]].values)
    items = []
    for row in rows[rows["kind"] != "original"].itertuples():
        regions = tuple(Region(label, run / mask) for label, mask in json.loads(row.regions))
        facts = {
            "sha256": row.sha256,
            "placement": row.placement,
            "hashes": hashes,
            "maker": maker,
            "example": row.example_sha256,
            "kept": str(row.kept) == "True",
            "from": labels[row.photo],
            "recognised": float(row.recognised_margin or "nan"),
        }
        items.append(Item(run / row.image, row.kind, row.photo, row.name, "", row.label, "train", regions, facts=facts))
    return items


def pasted(making: Making) -> list[Item]:
    """Defects of photographs, cut out, turned, flipped and pasted on good ones: COPIES of each."""
    items, good = [], making.good
    for k, donor in enumerate(making.defective if good else []):
        for copy in range(COPIES):
            rng = np.random.default_rng([k, copy])
            onto = good[rng.integers(len(good))]
            file = making.folder / "pasted" / f"{key_of(donor.stamp, onto.stamp, k, copy)}.png"
            if not file.is_file():
                image, mask = copied(rng, donor.picture().rgb, donor.truth_full(), onto.picture().rgb)
                write_png(file.with_name(f"{file.stem}_mask.png"), mask)
                write_png(file, image)
            spots = json.dumps([{"from": donor.name}])
            facts = {"placement": spots, "hashes": {donor.name: donor.sha256()}, "sha256": onto.sha256()}
            items.append(_edited(file, onto, donor.label, PASTED, facts))
    return items


def copied(
    rng: np.random.Generator, donor: np.ndarray, mask: np.ndarray, onto: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A defect pasted on another picture, with a soft edge.

    Args:
        rng: Draws how it is turned and flipped, and where it goes.
        donor: (H,W,3) uint8.
        mask: (H,W) bool, its defect.
        onto: (h,w,3) uint8.

    Returns:
        The picture (h,w,3) uint8, and where the defect is in it, (h,w) bool.
    """
    box = bounds(mask, CUT)
    assert box is not None
    turns, is_flipped = int(rng.integers(4)), bool(rng.integers(2))
    patch, own = (np.rot90(one[box], turns) for one in (donor, mask))
    patch, own = (one[:, ::-1] if is_flipped else one for one in (patch, own))
    height, width = (min(a, b) for a, b in zip(own.shape, onto.shape, strict=False))
    patch, own = patch[:height, :width], own[:height, :width]
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(onto.shape, own.shape, strict=False))
    place = np.s_[top : top + height, left : left + width]
    share = np.maximum(ndimage.gaussian_filter(own.astype(np.float32), 1.0), own)[..., None]
    image, where = onto.copy(), np.zeros(onto.shape[:2], bool)
    image[place] = (onto[place] * (1 - share) + patch * share).round().astype(np.uint8)
    where[place] = own
    return image, where


def peers(making: Making, model: Model, maker: str) -> list[Item]:
    """Edits of the defective photographs by one of diffusers' pipelines, within the defect and a margin around it."""
    items, side = [], (making.side, making.side)
    for k, photo in enumerate(shown(making.defective, maker)):
        wanted = target_prompts(photo.label, making.words)
        key = key_of(photo.stamp, model.fingerprint, making.steps, making.side, wanted, k)
        files = [making.folder / maker.replace(" ", "_") / f"{key}-{word}.png" for word in wanted]
        back = to_uint8(photo.read(*side))
        region = ndimage.binary_dilation(photo.truth(*side), iterations=GROWN)
        if not all(file.is_file() for file in files):
            edited = _piped(maker, model, photo, back, region, [*wanted.values()], k, making)
            for file, image in zip(files, edited, strict=True):
                write_png(file.with_name(f"{file.stem}_mask.png"), change_mask(image, back, region))
                write_png(file, image)
        facts = {"sha256": photo.sha256()}
        items += [_edited(file, photo, word, maker, facts) for file, word in zip(files, wanted, strict=True)]
    return items


def _piped(
    maker: str,
    model: Model,
    photo: Photo,
    back: np.ndarray,
    region: np.ndarray,
    prompts: Sequence[str],
    seed: int,
    making: Making,
) -> list[np.ndarray]:
    """(H,W,3) uint8 for each prompt."""
    image = to_tensor(back)
    if maker == LEDITS:
        made = leditspp(model, image, region, source_prompt(photo.label), prompts, seed, making.steps)
        return [to_uint8(one) for one in made.split(1)]
    seeds = range(seed * 1000, seed * 1000 + len(prompts))
    pairs = zip(prompts, seeds, strict=True)
    return [to_uint8(inpainting(model, image, region, prompt, own, making.steps)) for prompt, own in pairs]


def _edited(file: Path, photo: Photo, label: str, maker: str, facts: dict) -> Item:
    """An image beside whose file lies its mask; one in which nothing changed is not kept."""
    mask = file.with_name(f"{file.stem}_mask.png")
    is_kept = bool(read_mask_full(mask).any())
    facts = {**facts, "maker": maker, "kept": is_kept, "from": photo.label}
    name = f"{maker.replace(' ', '_')}/{file.stem}"
    return Item(file, "edit", photo.name, name, "", label, "train", (Region(label, mask),), facts=facts)
