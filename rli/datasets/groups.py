"""Which photographs belong together: views of one part, and equal files. No split tears them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import regex
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rli.errors import SettingError, shown
from rli.photos.naming import as_text
from rli.photos.photo import Photo

# The rule by which the photographs of one folder are a group.
FOLDER = "folder"
# Of a pattern, in characters, and for one name, in seconds: some patterns would take longer than the run on some names.
LONGEST, SECONDS = 200, 0.2


def grouped_by(rule: str | None) -> Callable[[Photo], str]:
    """How photographs are grouped.

    Args:
        rule: None takes what the photographs' reader knows; `folder` the folder that each lies in; anything else is a
            pattern (a regular expression) that is searched in the photograph's name, and what its brackets hold is the
            group, or all that it finds where it has none.

    Returns:
        From a photograph to its group; the reader's where the rule says nothing of it, "" where nobody does.

    Raises:
        SettingError: The pattern is none, or is too long. While grouping: it takes too long on a name.
    """
    group_in = _group_in_name(rule)
    return lambda photo: group_in(photo.name) or photo.group


def check_group_rule(rule: str | None, photos: Iterable[Photo]) -> None:
    """Whether a rule can be followed, before anything is made.

    Args:
        rule: See `grouped_by`.
        photos: All photographs; none is opened.

    Raises:
        SettingError: It cannot, or it is a pattern that is found in no photograph's name.
    """
    group_in, first, is_found = _group_in_name(rule), "", False
    for photo in photos:
        first = first or photo.name
        is_found = bool(group_in(photo.name)) or is_found
    if rule is not None and not is_found:
        raise SettingError("group", rule, f"it groups no photograph; the first is named {shown(first)}")


def joined(ties: Sequence[Sequence[str]]) -> list[str]:
    """The group of each photograph: those that share a tie are together, and so are theirs.

    Args:
        ties: What ties each photograph to others, such as its group and its file's hash; at least one each.

    Returns:
        A name for each photograph's group: the smallest tie in it, so that another photograph with the same ties
        changes none.
    """
    known = sorted({tie for own in ties for tie in own})
    index = {tie: k for k, tie in enumerate(known)}
    edges = [(len(known) + k, index[tie]) for k, own in enumerate(ties) for tie in own]
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    size = len(known) + len(ties)
    graph = coo_array((np.ones(len(edges), bool), (rows, columns)), (size, size))
    _, component = connected_components(graph, directed=False)
    smallest: dict[int, str] = {}
    for tie, number in zip(known, component, strict=False):
        smallest.setdefault(number, tie)
    return [smallest[number] for number in component[len(known) :]]


def ties_of(name: str, group: str, sha256: str) -> tuple[str, ...]:
    """What ties a photograph to others. A group's name is the smallest of them, then the file's hash: the name of a
    file alone ties it to none."""
    told = [f"1 {as_text(group)}"] if group else []
    return (*told, f"2 {sha256}" if sha256 else f"3 {name}")


def _group_in_name(rule: str | None) -> Callable[[str], str]:
    """From a photograph's name to the group that the rule finds in it; "" where it finds none."""
    if rule is None:
        return lambda name: ""
    if rule == FOLDER:
        return lambda name: name.rpartition("/")[0]
    pattern = _pattern(rule)

    def found(name: str) -> str:
        try:
            match = pattern.search(name, timeout=SECONDS)
        except TimeoutError:
            problem = f"it takes too long on the name {shown(name)}; expected a pattern without nested repeats"
            raise SettingError("group", rule, problem) from None
        return ("/".join(part or "" for part in match.groups()) or match[0]) if match else ""

    return found


def _pattern(rule: str) -> regex.Pattern[str]:
    if len(rule) > LONGEST:
        raise SettingError("group", rule, f"too long; expected a pattern of {LONGEST} characters at most")
    try:
        return regex.compile(rule)
    except regex.error as error:
        raise SettingError("group", rule, f"not a regular expression: {error}; expected one, or {FOLDER}") from None
