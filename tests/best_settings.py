"""The best settings of a sweep, as the page's script must find them too."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from rli.reports.analysis import metric_of


def best(
    table: pd.DataFrame, constraints: Mapping[str, tuple[str, float]], maximize: str = "strength", count: int = 5
) -> pd.DataFrame:
    """At most `count` lines of a `settings_table` that meet every constraint, best first.

    constraints: metric to ("min", value) or ("max", value), both inclusive. Equal lines stay in the table's order; a
    line whose `maximize` was not measured comes last; a metric that was not measured meets no constraint.
    """
    meets = pd.Series(True, index=table.index)
    for name, (kind, value) in constraints.items():
        meets &= table[name] >= value if kind == "min" else table[name] <= value
    order = {"ascending": not metric_of(maximize).higher, "kind": "stable", "na_position": "last"}
    return table[meets].sort_values(maximize, **order).head(count)
