"""What was found of the photographs, told before work begins: a table, and what looks like a mistake.

Everything is counted from names, in one pass in which no photograph is opened; a few photographs are looked at.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rli.errors import shortened, shown
from rli.photos.look import Look, drawn, look
from rli.photos.pairing import IMAGE_SUFFIXES
from rli.photos.photo import GOOD, Photo
from rli.photos.sources import PhotoSource
from rli.photos.walk import PhotoFolder, is_passed_over

# Photographs that are looked at; and pending ones from which on a run is long enough to begin with the table.
LOOKED_AT, LONG = 24, 10
# Names that stand for many, and the characters that each may have.
EXAMPLES, LONGEST = 3, 40
# Classes, categories or splits that get a line each.
MOST_LINES = 10
# One in so many photographs that look like masks is too many: where masks are taken for photographs, it is each other.
MANY = 3
# Groups, and files that are used, that are remembered in order to be counted.
MOST_KEPT = 200_000
# The order of the lines.
KINDS = (
    "photographs",
    "good",
    "class",
    "category",
    "split",
    "with a mask",
    "with a region",
    "gets a place",
    "cannot be used",
)


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    count: int
    # A few of them, or what else is known.
    examples: str


@dataclass(frozen=True)
class Found:
    """What there is to tell."""

    lines: tuple[Line, ...]
    # What looks like a mistake, a sentence each.
    warnings: tuple[str, ...]

    @property
    def table(self) -> str:
        """The lines in columns."""
        rows = [(line.what, f"{line.count:,}", line.examples) for line in self.lines]
        first, second = (max(len(row[k]) for row in rows) for k in range(2))
        return "\n".join(shown(f"{what:<{first}}  {count:>{second}}  {rest}".rstrip()) for what, count, rest in rows)


def find(source: PhotoSource, otherwise: tuple[int, int]) -> Found:
    """What there is of a source's photographs.

    Args:
        source: Gone through once.
        otherwise: Height and width of photographs that are no files, in pixels.
    """
    names = _Names()
    looks = [look(photo, otherwise) for photo in drawn(names.noting(source), LOOKED_AT)]
    lines = (*names.lines(), *_not_read(source, names.files), *_seen(looks, names.count))
    return Found(lines, tuple(_warnings(looks)))


@dataclass
class _Kinds:
    """How many there are of each kind of something, and a few of them."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, example: str) -> None:
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(example)

    def lines(self, what: str) -> Iterator[Line]:
        """A line for each kind; beyond MOST_LINES one for all others together."""
        kinds = sorted(self.counts)
        for kind in kinds[:MOST_LINES]:
            name = f"{what} {shortened(kind, LONGEST)}" if kind else what
            more = ", …" if self.counts[kind] > EXAMPLES else ""
            yield Line(name, self.counts[kind], f"{_named(self.examples[kind])}{more}")
        if rest := kinds[MOST_LINES:]:
            yield Line(f"{what}: {len(rest):,} others", sum(self.counts[kind] for kind in rest), _named(rest))


@dataclass
class _Names:
    """What the photographs' names and places say, counted while they go by."""

    count: int = 0
    of: defaultdict[str, _Kinds] = field(default_factory=lambda: defaultdict(_Kinds))
    groups: Counter[str] = field(default_factory=Counter)
    # The files that are used.
    files: set[str] = field(default_factory=set)

    def noting(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        """The photographs, each counted as it goes by."""
        for photo in photos:
            self.count += 1
            for what, kind, example in _kinds_of(photo):
                self.of[what].add(kind, example)
            if photo.group and len(self.groups) < MOST_KEPT:
                self.groups[photo.group] += 1
            if len(self.files) < MOST_KEPT:
                self.files.update(str(file) for file in _files_of(photo))
            yield photo

    def lines(self) -> Iterator[Line]:
        """The lines of KINDS, and one of the groups."""
        for what in KINDS:
            if what in self.of:
                yield from self.of[what].lines(what)
        if self.groups:
            largest = (f"{shortened(name, LONGEST)} ({n:,})" for name, n in self.groups.most_common(EXAMPLES))
            more = " or more" if len(self.groups) == MOST_KEPT else ""
            yield Line(f"groups{more}", len(self.groups), f"the largest: {', '.join(largest)}")


def _kinds_of(photo: Photo) -> Iterator[tuple[str, str, str]]:
    """What of KINDS a photograph is, which kind of that, and how it is named as an example."""
    yield "photographs", "", photo.name
    if photo.label == GOOD:
        yield "good", "", photo.name
    else:
        for label in photo.truth_labels or (photo.label,):
            yield "class", label or "unknown", photo.name
    for what, kind in (("category", photo.category), ("split", photo.split)):
        if kind:
            yield what, kind, photo.name
    truths = [marking.file for marking in photo.markings]
    for what, file in (("with a mask", next(iter(truths), None)), ("with a region", photo.region_file)):
        if file:
            yield what, "", f"{shortened(photo.name, LONGEST)} ({shortened(file.name, LONGEST)})"
    if photo.place is not None:
        yield "gets a place", "", photo.name
    if photo.problem:
        yield "cannot be used", "", photo.problem


def _files_of(photo: Photo) -> Iterator[Path]:
    files = (photo.file, photo.region_file, *(marking.file for marking in photo.markings))
    return (file for file in files if file)


def _not_read(source: PhotoSource, used: Collection[str]) -> Iterator[Line]:
    """What else lies in the reader's folder; nothing where a limit, or their number, leaves the used files unknown."""
    reader, others = source.reader, _Kinds()
    if not isinstance(reader, PhotoFolder) or source.limit is not None or len(used) >= MOST_KEPT:
        return
    pictures = "pictures" if getattr(reader, "good", True) else "pictures (see data.good)"
    for name, kind in _others(reader.path, used, {str(folder) for folder in source.filled()}):
        others.add(pictures if kind in IMAGE_SUFFIXES else kind, name)
    yield from others.lines("not read:")


def _others(folder: Path, used: Collection[str], filled: Collection[str]) -> Iterator[tuple[str, str]]:
    """Files and folders that are not used, relative to the folder: what they are, or a file's suffix."""
    for here, folders, files in os.walk(folder):
        place = Path(here)
        for name in sorted(folders):
            path = place / name
            kind = (
                "folders that runs fill"
                if str(path) in filled
                else "hidden or a system's"
                if is_passed_over(name)
                else ""
            )
            if kind:
                yield str(path.relative_to(folder)), kind
                folders.remove(name)
        folders.sort()
        for path in (place / name for name in sorted(files)):
            if str(path) not in used:
                yield str(path.relative_to(folder)), path.suffix.lower() or "files without suffix"


def _seen(looks: Sequence[Look], count: int) -> Iterator[Line]:
    """What the looks show."""
    yield Line("looked at", len(looks), "drawn from all; what follows is about these" if len(looks) < count else "")
    sizes = Counter(f"{seen.size[1]}×{seen.size[0]}" for seen in looks if seen.size)
    if sizes:
        most = ", ".join(f"{size} ({n})" for size, n in sizes.most_common(EXAMPLES))
        yield Line("sizes in pixels", len(sizes), most)
    for what, masks in (("masks", [(s, s.truth) for s in looks]), ("regions", [(s, s.region) for s in looks])):
        shares = [(seen.photo.name, 100 * mask.share) for seen, mask in masks if mask]
        if shares:
            percents = sorted(share for _, share in shares)
            some = ", ".join(f"{shortened(name, LONGEST)} {share:.2g}" for name, share in shares[:EXAMPLES])
            low, middle, high = percents[0], median(percents), percents[-1]
            yield Line(
                f"{what}, % of the picture", len(shares), f"{low:.2g} to {high:.2g}, median {middle:.2g}: {some}"
            )
    if problems := [seen.problem for seen in looks if seen.problem]:
        yield Line("cannot be used", len(problems), "; ".join(problems[:EXAMPLES]))


def _warnings(looks: Sequence[Look]) -> Iterator[str]:
    """What looks like a mistake."""
    masks = [(seen.photo.truth_file, seen.photo, seen.truth) for seen in looks if seen.photo.label != GOOD]
    masks += [(seen.photo.region_file, seen.photo, seen.region) for seen in looks if seen.photo.region_file]
    there = [(file.name if file else photo.name, mask.share) for file, photo, mask in masks if mask]
    for share, colour, meaning in ((0, "black", "nothing is marked"), (1, "white", "the whole picture is marked")):
        if blank := [name for name, own in there if own == share]:
            yield f"{_counted(len(blank), len(there), 'masks')} all {colour}, so that {meaning}: {_named(blank)}"
    readable = [seen for seen in looks if seen.picture is not None]
    flat = [seen.photo.name for seen in readable if seen.is_like_a_mask]
    if flat and MANY * len(flat) >= len(readable):
        what = _counted(len(flat), len(readable), "photographs")
        yield f"{what} like masks, with two grey levels: {_named(flat)}; data.truth_path names a folder of masks"


def _counted(some: int, every: int, what: str) -> str:
    return f"{some} of the {every} {what} that were looked at {'is' if some == 1 else 'are'}"


def _named(names: Sequence[str]) -> str:
    """A few of the names."""
    return ", ".join(shortened(name, LONGEST) for name in names[:EXAMPLES]) + (", …" if len(names) > EXAMPLES else "")
