"""What a run does to every photograph, as one checked record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rli.errors import RLIError, shortened, whole, within
from rli.keys import LATER, counts, key_of
from rli.method.inversion.settings import InversionSettings
from rli.method.recognition import Recognition
from rli.method.records import EditSettings, Target
from rli.metrics.columns import ORIGINAL
from rli.models.base_models import check_size
from rli.photos.naming import undevice
from rli.photos.sources import Photo
from rli.photos.windows import WindowSettings
from rli.runs.class_prompts import Prompts, found
from rli.runs.examples import Examples
from rli.runs.memory_plan import Memory
from rli.runs.quality_gate import Gate
from rli.runs.variants import Variants, variant_name

# Names of other files beside the edits', and of the reconstruction's row.
RESERVED = (ORIGINAL, "input", "reconstruction", "truth")
# Of a defect's name in bytes: what files add still fits into the 255 that file systems take.
LONGEST_NAME = 100
# Part of every result's key: raise it when the same job gives another result.
VERSION = 3
# Fields that change a job's seconds and memory, and no result.
COST_ONLY = ("cache", "batch_size", "target_batch", "memory")
# Fields of which a photograph's own prompts come.
PROMPTS = ("source", "targets", "good", "by_class")


@dataclass(frozen=True)
class Selection:
    """Which edits of a data set are good enough, and what counts as changed. Raises SettingError."""

    gate: Gate = field(default_factory=Gate)
    # How often a rejected edit is tried again with other settings.
    max_retries: int = 1
    # The difference of colour (CIEDE2000) at which a pixel counts as changed.
    threshold: float = 5.0
    # The smallest piece of changed pixels that counts.
    smallest: int = 16
    # How far apart pieces of changed pixels lie at most, in pixels, between which all is one defect.
    gap: int = 12

    @property
    def changes(self) -> dict[str, Any]:
        """What `change_mask` takes of it."""
        return {name: getattr(self, name) for name in ("threshold", "smallest", "gap")}

    def __post_init__(self) -> None:
        whole("max_retries", self.max_retries, 0, 100)
        within("threshold", self.threshold, 0, 100)
        whole("smallest", self.smallest, 0, 2**31 - 1)
        whole("gap", self.gap, 0, 1000)


@dataclass(frozen=True)
class Job:
    """What is done to every photograph. Raises RLIError for what can be refused without a model."""

    # The model's name, and the size in pixels that photographs are worked at.
    model: str
    height: int
    width: int
    # The prompt that describes the photograph.
    source: str
    # The wanted defects.
    targets: tuple[Target, ...]
    # Whether the reconstruction gets a row of its own.
    original: bool
    inversion: InversionSettings
    edit: EditSettings
    # The folder of kept inversions.
    cache: Path
    # Photographs inverted together, and targets edited together, at most.
    batch_size: int = 1
    target_batch: int = 8
    # Which memory savings may be turned on.
    memory: Memory = field(default_factory=Memory)
    # What else the results depend on, as text: which weights, and in what precision.
    weights: str = ""
    # Which windows of a photograph are worked on, and how edits come back to it.
    window: WindowSettings = field(default_factory=WindowSettings)
    # How many edits of each photograph to each target.
    variants: Variants = field(default_factory=Variants)
    # The prompts of good photographs that get a defect (see `Photo.place`); None where they have those of all.
    good: Prompts | None = None
    # Prompts of some photographs, by class, category/class or category/*.
    by_class: Mapping[str, Prompts] = field(default_factory=dict)
    # Which edits are good enough for a data set; None where all are.
    selection: Selection | None = None
    # How the model is asked whether it recognises what was wanted; None where it is not.
    recognition: Recognition | None = field(default=None, metadata=LATER)
    # What edits are to look like; None where words alone say it.
    examples: Examples | None = None

    def __post_init__(self) -> None:
        check_size(self.model, self.height, self.width)
        for prompts in self.every_prompts:
            self.check(prompts)
            self._check_names(prompts)
        if self.examples is None or len(self.examples.photos) == 1:
            self.variants.check_differ(self.edit)
        self._check_judges()
        whole("batch_size", self.batch_size, 1, 10_000)
        whole("target_batch", self.target_batch, 1, 10_000)

    def check(self, prompts: Prompts) -> None:
        """Raises RLIError where an edit is not possible with these prompts."""
        prompts.check(self.edit.method, by_words=self.examples is None)

    def _check_judges(self) -> None:
        gate, asked = self.selection.gate if self.selection else Gate(), self.recognition
        if asked is None and gate.min_recognised_margin is not None:
            raise RLIError("dataset.gate.min_recognised_margin needs recognition=on, which asks the model")
        if (asked is None or asked.clip is None) and gate.min_clip_margin is not None:
            raise RLIError("dataset.gate.min_clip_margin needs recognition=on and recognition.clip, which ask CLIP")

    def _check_names(self, prompts: Prompts) -> None:
        names = self.edits(prompts)
        kinds = ("", "_mask", "_change", *(("_example", "_example_mask") if self.examples else ()))
        files = Counter(f"{name}{kind}".casefold() for name in names for kind in kinds)
        for name in names:
            if files[name.casefold()] > 1 or name.casefold() in RESERVED or not _is_file_name(name):
                problem = "expected a unique, short name that is a plain file name"
                raise RLIError(f"the defect name “{shortened(name)}” cannot be used; {problem}")

    @property
    def every_prompts(self) -> list[Prompts]:
        """The prompts that photographs may have, as they stand before a photograph's class is known."""
        common = Prompts(self.source, self.targets)
        return [common, *([self.good] if self.good else []), *self.by_class.values()]

    @property
    def classes(self) -> list[str]:
        """The classes of the edits, each once."""
        return list(dict.fromkeys(target.name for prompts in self.every_prompts for target in prompts.targets))

    def prompts(self, photo: Photo) -> Prompts:
        """What describes a photograph, and what is wanted of it; whether this can be is not checked."""
        good = self.good if photo.place is not None else None
        return (found(self.by_class, photo) or good or self.every_prompts[0]).of(photo)

    def edits(self, prompts: Prompts) -> list[str]:
        """The names of a photograph's edits: of every target, and of its variants."""
        return [variant_name(target.name, k) for target in prompts.targets for k in range(self.variants.count)]

    def check_length(self, tokenizer: Any) -> None:
        """Raises RLIError where a prompt is longer than the text encoder of this tokenizer reads."""
        for prompts in self.every_prompts:
            prompts.check_length(tokenizer)

    @property
    def resolution(self) -> str:
        """How a table names the size: 512, or 512x768 (height × width)."""
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"

    def key(self, photo: Photo) -> str:
        """Hash of everything that a photograph's result depends on; where it is unchanged, nothing is done again."""
        prompts, others = self.prompts(photo), (*COST_ONLY, *PROMPTS, "examples")
        own = {f.name: getattr(self, f.name) for f in fields(self) if counts(f, getattr(self, f.name))}
        facts: dict[str, Any] = {name: value for name, value in own.items() if name not in others}
        if self.examples is not None:
            labels = [target.name for target in prompts.targets]
            facts["examples"] = self.examples.stamp(photo, labels, self.variants.count)
        return key_of(VERSION, facts | vars(prompts), photo.stamp)


def _is_file_name(name: str) -> bool:
    is_plain = name.isprintable() and not any(c in '/\\:*?"<>|' for c in name) and name.strip(" .") == name
    return is_plain and 0 < len(name.encode()) <= LONGEST_NAME and undevice(name) == name
