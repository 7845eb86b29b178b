"""Does the gate set the right edits aside? `python -m experiments.datasets.gate`.

Cracked surfaces that no training saw, edited to five defects on the miniature, with the demo's settings and with the
published table's. The miniature's classifier, which the gate never asks, names the defect: it agrees with an edit to
whose wanted word it gives more than one half.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from experiments.datasets.evidence import EDITS, OPEN, job, options, photo, publish, results
from experiments.harness import markdown, save_figure
from rli.method.records import EditSettings
from rli.metrics.columns import ORIGINAL
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.runs.job import Job
from rli.runs.quality_gate import Gate, Scores, adjusted, reject_reason
from rli.store.records import PhotoResult

# What the model recognises is looked at in experiments/proof.
SCORES = tuple(field.name for field in fields(Scores) if not field.name.endswith("_margin"))
# Limits that an edit can be asked for more of, by the score that each holds.
FLOORS = {"strength": "min_strength", "difference": "min_difference", "share": "min_share"}
DEFAULT, CHOSEN = "default", "chosen"
# Beside the settings that are recommended one in which nothing outside the mask is kept as it was.
SETTINGS = {**EDITS, "demo, no local blend": replace(EDITS["demo"], local_blend=False)}


def edits_of(result: PhotoResult) -> list[dict]:
    """A row for each edit: what the classifier thinks of it, and its scores."""
    return [
        {"image": row.image, "defect": row.defect, "named": row.named, **result.edits[row.defect].scores}
        for row in result.rows
        if row.defect != ORIGINAL
    ]


def judged(rows: pd.DataFrame, gate: Gate) -> list[str]:
    """Why the gate sets each edit aside, empty where it keeps it."""
    return [reject_reason(Scores(**scores), gate) or "" for scores in rows[list(SCORES)].to_dict("records")]


def again(model: Model, work: Job, rows: pd.DataFrame, gate: Gate, folder: Path) -> pd.DataFrame:
    """One more try of the edits that the gate rejects, with the settings that it would turn to: rows as `edits_of`
    has them, with the reason why they are still rejected. Those for which there is nothing to turn are left out.

    The same as dataset.max_retries=1, whose rows tell the better try only.
    """
    turned: dict[tuple[str, EditSettings], set[str]] = {}
    for row in rows[[*SCORES, "image", "defect"]].to_dict("records"):
        settings = adjusted(work.edit, Scores(**{name: row[name] for name in SCORES}), gate)
        if settings is not None:
            turned.setdefault((row["image"], settings), set()).add(row["defect"])
    tried = []
    for (name, settings), defects in turned.items():
        targets = tuple(target for target in work.targets if target.name in defects)
        place = folder / "-".join(f"{value}" for value in asdict(settings).values())
        one = photo(int(name.rpartition("-")[2]))
        tried += [
            row
            for result in results(model, replace(work, targets=targets, edit=settings), [one], place)
            for row in edits_of(result)
        ]
    told = pd.DataFrame(tried, columns=["image", "defect", "named", *SCORES])
    told = told.astype(dict.fromkeys(("named", *SCORES), "float64"))  # also where there is none
    return told.assign(reason=judged(told, gate))


def auc(values: pd.Series, agrees: pd.Series) -> float:
    """How often an edit that the classifier agrees with has the higher value than one that it does not: 0.5 where the
    value says nothing; NaN where all are alike."""
    yes, no = agrees.sum(), (~agrees).sum()
    if not yes or not no:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[agrees.to_numpy()].sum() - yes * (yes + 1) / 2) / (yes * no))


def halves_of(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The edits of the first half of the surfaces, and those of the others."""
    names = rows["image"].unique()
    is_first = rows["image"].isin(names[: len(names) // 2])
    return rows[is_first], rows[~is_first]


def choose(rows: pd.DataFrame, names: Iterable[str]) -> tuple[str, float]:
    """Of these scores the one, and the floor for it, that part the edits best: the largest difference between the
    shares that are kept of those the classifier agrees with and of the others."""
    agrees = rows["named"] > 0.5

    def gap(name: str, floor: float) -> float:
        is_kept = rows[name] >= floor
        return is_kept[agrees].mean() - is_kept[~agrees].mean()

    floors = [(name, round(float(floor), 3)) for name in names for floor in rows[name].sort_values()]
    return max(floors, key=lambda one: np.nan_to_num(gap(*one), nan=-1.0))


def share(agrees: pd.Series) -> str:
    return f"{agrees.mean():.0%} ({agrees.sum()} of {len(agrees)})" if len(agrees) else "none"


def verdicts(parts: Sequence[tuple[str, str, pd.DataFrame, pd.DataFrame]]) -> str:
    """For each gate and settings, with their edits and those of the next try: the share that the classifier agrees
    with."""
    head = ["Gate", "Settings", "all edits", "kept", "rejected", "kept at the next try", "kept in the end"]
    lines = []
    for gate, label, rows, tried in parts:
        agrees, is_kept = rows["named"] > 0.5, rows["reason"] == ""
        after = tried.loc[tried["reason"] == "", "named"] > 0.5
        groups = (agrees, agrees[is_kept], agrees[~is_kept], after, pd.concat([agrees[is_kept], after]))
        lines.append([gate, label, *map(share, groups)])
    return markdown(head, lines, words=2)


def floors(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """For each score the floor that parts the first half best, and what it is worth on the second."""
    lines = []
    for name, limit in FLOORS.items():
        _, floor = choose(first, [name])
        for label, group in [*second.groupby("settings", sort=False), ("both", second)]:
            agrees, is_kept = group["named"] > 0.5, group[name] >= floor
            lines.append([f"`{limit}={floor:g}`", label, share(agrees[is_kept]), share(agrees[~is_kept])])
    return markdown(["Floor", "Settings", "kept", "rejected"], lines, words=2)


def scores(rows: pd.DataFrame) -> str:
    """What each score alone tells of the classifier's verdict, on both halves of the surfaces, and its spread."""
    lines = []
    for label, group in rows.groupby("settings", sort=False):
        for name in SCORES:
            told = [f"{auc(half[name], half['named'] > 0.5):.2f}" for half in halves_of(group)]
            spread = group[name].clip(upper=99.0).quantile([0.0, 0.05, 0.5, 0.95])
            lines.append([label, f"`{name}`", *told, *(f"{value:.3g}" for value in spread)])
    head = ["Settings", "Score", "AUC, first half", "second half", "least", "5 %", "median", "95 %"]
    return markdown(head, lines, words=2)


def sheet(path: Path, pictures: dict[str, list[PhotoResult]], rows: pd.DataFrame, count: int = 8) -> None:
    """Edits that a gate keeps and that it rejects, each below its reconstruction, with the worst reason and the
    classifier's opinion."""
    found = {(label, result.name): result for label, some in pictures.items() for result in some}
    is_kept = rows["reason"] == ""
    parts = [(word, part) for word, part in (("kept", rows[is_kept]), ("rejected", rows[~is_kept])) if len(part)]
    figure, axes = plt.subplots(2 * len(parts), count, figsize=(1.6 * count, 4.0 * len(parts)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for k, (word, part) in enumerate(parts):
        chosen = part.iloc[np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(int)]
        for j, row in enumerate(chosen.to_dict("records")):
            result = found[row["settings"], row["image"]]
            above, below = axes[2 * k : 2 * k + 2, j]
            above.imshow(result.reconstruction, interpolation="nearest")
            above.set_title(f"{word}: {row['defect']}\n{row['settings']}", fontsize=8)
            below.imshow(result.edits[row["defect"]].image, interpolation="nearest")
            reason = row["reason"].split(";")[0].replace(" is ", "\nis ")
            below.set_title(f"{reason}\nnamed {row['named']:.0%}".strip(), fontsize=7.5)
    figure.tight_layout(pad=0.4)
    save_figure(figure, path, dpi=90)


def main() -> None:
    asked = options(__doc__, 20).parse_args()
    model, photos = load("mini"), [photo(k) for k in range(asked.surfaces)]
    works = {label: job(asked.cache, edit, OPEN, asked.steps) for label, edit in SETTINGS.items()}
    pictures = {label: [*results(model, work, photos, asked.work / label)] for label, work in works.items()}
    rows = pd.concat(
        [pd.DataFrame(edits_of(one)).assign(settings=label) for label, some in pictures.items() for one in some],
        ignore_index=True,
    )
    first, second = halves_of(rows[rows["settings"].isin(EDITS)])
    score, floor = choose(first, FLOORS)
    gates = {DEFAULT: (Gate(), rows), CHOSEN: (replace(Gate(), **{FLOORS[score]: floor}), second)}
    parts = []
    for gate, (limits, some) in gates.items():
        for label, group in some.assign(reason=judged(some, limits)).groupby("settings", sort=False):
            aside = group[group["reason"] != ""]
            tried = again(model, works[label], aside, limits, asked.work / "again")
            parts.append((gate, label, group, tried))
    tables = [
        verdicts(parts),
        f"The chosen gate has {FLOORS[score]}={floor:g}, found on the first half of the surfaces; its figures are of "
        "the other half.",
        "Each score's own floor, found on the first half in the same way, on the other half, before any further try:",
        floors(first, second),
        "What each score alone tells of the classifier's verdict (AUC: 0.5 is nothing), by halves of the surfaces:",
        scores(rows),
    ]
    publish(
        asked.out,
        "gate",
        pd.concat(
            [p.assign(gate=gate, next_try=False) for gate, _, p, _ in parts]
            + [t.assign(gate=gate, settings=label, next_try=True) for gate, label, _, t in parts]
        ),
        "\n\n".join(tables),
    )
    sheet(asked.out / "gate.png", pictures, pd.concat([group for gate, _, group, _ in parts if gate == DEFAULT]))


if __name__ == "__main__":
    main()
