"""What the page does: keeps a photograph, makes edits of it with a run's own stages, and saves them as a run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rli.app.choices import Choices, with_choices
from rli.errors import RLIError
from rli.files import whole_file, write_whole
from rli.images import png, read_picture
from rli.models.device import deterministic
from rli.photos.naming import safe
from rli.progress import Progress, quiet
from rli.runs.config import RunConfig, read_config
from rli.runs.run import work, write_config
from rli.runs.runner import Runner
from rli.store.failures import Failure, write_status
from rli.store.records import write_photo
from rli.store.results import PhotoResult

# From arguments as they are typed to the configuration's plain values. Raises RLIError.
Compose = Callable[[Sequence[str]], Mapping[str, Any]]
# The longest side of the picture on which a region is brushed.
PREVIEW = 1024


@dataclass(frozen=True)
class KeptPhoto:
    """A photograph that was dropped on the page."""

    # Where it is kept, as it came.
    file: Path
    # Its height and width in pixels.
    size: tuple[int, int]
    # (h,w,3) uint8: what is brushed on, PREVIEW pixels a side at most.
    preview: np.ndarray


@dataclass(frozen=True)
class Edited:
    """An edit that was made on the page, and the run that it would be."""

    # As they are typed.
    arguments: tuple[str, ...]
    config: RunConfig
    result: PhotoResult

    @property
    def name(self) -> str:
        """The edit's."""
        return next(iter(self.result.edits))


@dataclass(frozen=True)
class Workbench:
    """A loaded model, and the folder in which photographs are kept."""

    # The arguments that every edit shares.
    given: tuple[str, ...]
    compose: Compose
    runner: Runner
    folder: Path

    @classmethod
    def open(cls, given: Sequence[str], compose: Compose, folder: Path) -> Workbench:
        """Loads the model.

        Args:
            given: The arguments that the page was started with; those that the page chooses itself say where it starts.
            compose: Makes arguments into a configuration.
            folder: Where photographs and regions are kept.

        Raises:
            RLIError: An argument is not possible, or the model cannot be loaded.
        """
        config = read_config(compose(given))
        return cls(tuple(given), compose, Runner.open(config.job, config.model), folder)

    def keep(self, upload: Path) -> KeptPhoto:
        """Keeps a photograph as it came, in a folder of its own: beside it no file is taken for its mask.

        Raises:
            RLIError: It is no photograph that can be read.
        """
        picture = read_picture(upload)
        digest = hashlib.sha256(upload.read_bytes()).hexdigest()[:12]
        file = self.folder / digest / f"{safe(upload.name)}{upload.suffix.lower()}"
        if not file.is_file():
            with whole_file(file) as part:
                shutil.copyfile(upload, part)
        small = Image.fromarray(picture.rgb)
        small.thumbnail((PREVIEW, PREVIEW))
        return KeptPhoto(file, picture.size, np.asarray(small))

    def region(self, photo: KeptPhoto, painted: np.ndarray) -> Path | None:
        """Keeps what was brushed as a mask.

        Args:
            photo: The photograph.
            painted: (h,w) bool, of the preview's size.

        Returns:
            The mask's file, by what it holds; None where nothing was brushed.
        """
        if not painted.any():
            return None
        data = png(painted)
        file = photo.file.parent / "regions" / f"{hashlib.sha256(data).hexdigest()[:12]}.png"
        if not file.is_file():
            write_whole(file, data)
        return file

    def edit(self, choices: Choices, progress: Progress = quiet) -> Edited:
        """Makes one edit, in memory. The inversion comes from the cache, where it was made before.

        Args:
            choices: What is chosen.
            progress: Shows how far the steps are.

        Raises:
            RLIError: A choice is not possible, or the photograph could not be edited.
        """
        arguments = with_choices(self.given, choices)
        config = read_config(self.compose(arguments))
        runner = replace(self.runner, job=config.job)
        with deterministic(runner.model.device):
            (result,) = runner.results(config.source, progress)
        if isinstance(result, Failure):
            raise RLIError(result.reason)
        return Edited(arguments, config, result)

    def save(self, edited: Edited) -> Path:
        """Saves an edit as the run that its command would be, in the run's usual folder; nothing is computed again.

        Returns:
            The folder.

        Raises:
            RLIError: The run cannot be written.
        """
        folder = Path(edited.config.settings["out"])
        write_photo(folder, edited.result)
        write_config(edited.config, folder)
        work(edited.config, folder)
        write_status(folder)
        return folder
