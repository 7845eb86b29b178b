"""Better, no different or worse? What trainings with generated images say beside those without, and their spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

BETTER, SAME, WORSE, UNKNOWN = "better", "no different", "worse", "not known"


@dataclass(frozen=True)
class Answer:
    """What a row of the table is worth beside another."""

    # One of the four.
    verdict: str
    # Mean difference of the metric over the seeds, and its standard deviation; NaN where it is not known.
    difference: float
    spread: float
    # Trainings that were compared.
    seeds: int

    def sentence(self, metric: str, row: str, baseline: str) -> str:
        """The answer in words: what learned from the row beside what learned from the baseline."""
        if self.verdict == UNKNOWN:
            return f"not known: one training of “{row}” says nothing of the spread between trainings (--seeds 3)"
        change = f"{metric} {100 * self.difference:+.1f} ± {100 * self.spread:.1f} points over {self.seeds} trainings"
        return f"{self.verdict}: {change} of “{row}” beside “{baseline}”"


def answer(table: pd.DataFrame, row: str, baseline: str, metric: str) -> Answer:
    """Compares two rows, seed by seed. Better or worse is a mean difference above the spread of the differences.

    Args:
        table: Rows of one data set, see `run.measure`.
        row: With generated images.
        baseline: Without.
        metric: The column, higher is better.
    """
    own, other = (table[table["row"] == name].set_index("seed")[metric] for name in (row, baseline))
    differences = (own - other).dropna()
    if len(differences) < 2:
        difference = float(differences.mean()) if len(differences) else math.nan
        return Answer(UNKNOWN, difference, math.nan, len(differences))
    mean, spread = float(differences.mean()), float(differences.std())
    verdict = SAME if abs(mean) <= spread else BETTER if mean > 0 else WORSE
    return Answer(verdict, mean, spread, len(differences))
