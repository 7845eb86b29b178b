"""The group `edit` of the configuration: how edits are made, and what they are to look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from rli.method.inversion.virtual import Virtual
from rli.method.records import EditSettings
from rli.photos.photo import Photo
from rli.runs.examples import Examples, ExampleSettings, find_examples
from rli.runs.groups import build, keyed

# Pixels a side at which a photograph is tried.
SMALL = 64

# A data set's own defaults. Compared in known regions with the paper's, they show the wanted defect far more often and
# the old one less, and still keep some of the photograph's structure (experiments/peers).
DATASET_EDITS = {"cross": 0.4, "replace": 0.0, "fresh": 0.5}
# Those of photographs that are not inverted: what is drawn in the region has nothing of what was there.
VIRTUAL_EDITS = {"fresh": 1.0, "mask_from": "photograph"}
# Those of edits by example, which must not hold on to the photograph's own structure either.
EXAMPLE_EDITS = {"cross": 0.4, "replace": 0.0}


def edit_of(cfg: Mapping[str, Any]) -> EditSettings:
    """How edits are made."""
    of_examples = {field.name for field in fields(ExampleSettings)}
    own = {name: value for name, value in edit_settings(cfg).items() if name not in of_examples}
    return build(EditSettings, "edit", own)


def edit_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `edit` without null: what is not said is the paper's, or what suits data sets, examples
    and photographs that are not inverted."""
    said = {name: value for name, value in cfg["edit"].items() if value is not None}
    looser = DATASET_EDITS if cfg["export"] else EXAMPLE_EDITS if example_settings(cfg).are_wanted else {}
    anew = VIRTUAL_EDITS if cfg["inversion"]["method"] == Virtual.name else {}
    return {**looser, **anew, **said}


def example_settings(cfg: Mapping[str, Any]) -> ExampleSettings:
    """Where examples come from."""
    return ExampleSettings(**{field.name: cfg["edit"][field.name] for field in fields(ExampleSettings)})


def examples_of(cfg: Mapping[str, Any], data: Iterable[Photo]) -> Examples | None:
    """What edits are to look like; a single photograph is read at once.

    Args:
        cfg: The configuration, as plain values.
        data: The data set, gone through where an example is named by its name.
    """
    with keyed("edit"):
        found = find_examples(example_settings(cfg), data, cfg["runtime"]["seed"])
    if found is not None and len(found.photos) == 1:
        found.photos[0].read(SMALL, SMALL)
        found.photos[0].truth_full()
    return found
