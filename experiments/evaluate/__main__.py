"""Are generated images of any use for my photographs? `python -m experiments.evaluate magnetic_tile=FOLDER`.

A third of each class is learned from, with and without generated images, and the rest is tested on; nothing is made
from what is tested on. What is left is report.html, table.csv, and one line: better, no different or worse.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.classification.task import TASK as CLASSES
from experiments.evaluate.page import HEADS, Seen, curves, lines, pictures, write_page
from experiments.proof.answer import UNKNOWN, answer
from experiments.proof.rows import AUGMENTED, BOTH, REAL
from experiments.proof.run import (
    Asked,
    Task,
    add_options,
    asked_of,
    found_file,
    measure,
    name_of,
    place_of,
    training_set,
)
from experiments.proof.training import READINGS
from experiments.segmentation.task import TASK as MASKS
from rli.errors import RLIError

TASKS = {task.name: task for task in (MASKS, CLASSES)}
# Without generated images, and with them.
ROWS = (REAL, AUGMENTED, "edits", "placed", BOTH, f"{BOTH}, recognised")
# Trainings of each row, whatever the size: an answer needs their spread.
SEEDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """From what is typed to the page.

    Returns:
        The exit status: 2 after one line for what the user can correct.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="READER=FOLDER, such as folder=photos or mvtec_ad=bottle, or drawn")
    parser.add_argument("--task", choices=TASKS, default=MASKS.name, help="classification needs no masks")
    add_options(parser, sorted({name for task in TASKS.values() for name in task.networks}), Path("outputs/evaluation"))
    typed = parser.parse_intermixed_args(arguments)
    task = TASKS[typed.task]
    typed.rows, typed.seeds = typed.rows or list(ROWS), typed.seeds or SEEDS
    typed.work = typed.work or typed.out / "work"
    try:
        print(evaluate(task, asked_of(task, typed), typed.data))
    except RLIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def evaluate(task: Task, asked: Asked, data: str) -> str:
    """The answer in a line; the page lies in the output folder."""
    metric, name = task.shown[0], name_of(data)
    table = measure(task, asked, [data])
    is_own = np.logical_and.reduce([table[key] == value for key, value in {**asked.key, "data": name}.items()])
    own = table[is_own & table["row"].isin(asked.rows or ()) & (table["seed"] < asked.seeds)]
    own = own.sort_values("row", key=lambda rows: rows.map([*(asked.rows or ())].index), kind="stable")
    baseline = AUGMENTED if AUGMENTED in set(own["row"]) else REAL
    judged = [row for row in own["row"].unique() if own.loc[own["row"] == row, "synthetic"].max() > 0]
    if not judged:
        raise RLIError("no row has generated images; name one with --rows")
    answers = {row: answer(own, row, baseline, metric) for row in judged}
    best = BOTH if BOTH in answers else judged[0]
    sentence = answers[best].sentence(HEADS[metric], best, baseline)
    seen = {row: Seen.read(found_file(place_of(asked, data), task, row, 0)) for row in (baseline, best)}
    write_page(
        asked.out / "report.html",
        title="Do generated images help?",
        facts=facts(task, asked, own, data),
        answer=answers[best],
        sentence=sentence.partition(": ")[2],
        further=further_answers(own, best, baseline, task.shown[1:]),
        heads=[HEADS[shown] for shown in task.shown],
        readings=[words.removeprefix(", ") or "best held out" for words in READINGS.values()],
        lines=lines(own, task.shown, answers),
        baseline=baseline,
        seeds=asked.seeds,
        chart=curves(seen) if task is MASKS else "",
        groups=groups(task, training_set(place_of(asked, data), task, baseline, 0), seen[baseline], seen[best]),
        outlined=task is MASKS,
    )
    return f"{sentence}; page: {asked.out / 'report.html'}"


def further_answers(table: pd.DataFrame, row: str, baseline: str, metrics: Sequence[str]) -> list[str]:
    """The answers by other metrics, a sentence each; none where they are not known, which has been said,
    or not measured."""
    answers = {metric: answer(table, row, baseline, metric) for metric in metrics if metric in table}
    return [one.sentence(HEADS[metric], row, baseline) for metric, one in answers.items() if one.verdict != UNKNOWN]


def facts(task: Task, asked: Asked, table: pd.DataFrame, data: str) -> str:
    """What was done, in a sentence."""
    return (
        f"{task.name.capitalize()} of {data}: {asked.network} on {asked.size.budget.side} pixels, "
        f"{int(table['real'].max())} photographs learned from, images made by {asked.key['model']}."
    )


def groups(task: Task, data: Path, before: Seen, after: Seen) -> list[dict]:
    """The photographs for testing of a written data set that changed sides, those that are missed still, and false
    alarms."""
    files = sorted((data / "images" / "test").iterdir()) if task is MASKS else sorted((data / "test").glob("*/*"))
    defective, good = after.defective, ~after.defective
    kinds = {
        "Missed before, found after": (~before.right & after.right, defective),
        "Found before, missed after": (before.right & ~after.right, defective),
        "Missed before and after": (~before.right & ~after.right, defective),
        **({"Good, and taken for defective after": (~after.right, good)} if good.any() else {}),
    }
    return [
        {
            "title": title,
            "count": int((chosen & among).sum()),
            "all": int(among.sum()),
            "pictures": pictures(files, chosen & among, after),
        }
        for title, (chosen, among) in kinds.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
