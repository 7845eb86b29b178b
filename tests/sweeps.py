"""A sweep's figures for tests, and its best settings, as the page's script must find them too."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from builders import EVIL

from rli.metrics.columns import NAMES, ORIGINAL
from rli.reports.analysis import metric_of

KNOBS = {"edit.eq": [1.0, 2.0, 4.0], "edit.cross": [0.6, 1.0], "inversion.method": ["null_text", "direct"]}


def sweep_frame(knobs=KNOBS, photos=3, defects=("rust", EVIL), seed=0):
    """What `rli.reports.sweep.frame` gives: plausible figures, one infinite PSNR and one missing figure among them."""
    random = np.random.default_rng(seed)
    rows = []
    for job, values in enumerate(itertools.product(*knobs.values())):
        own = {**dict(zip(knobs, values, strict=True)), "job": str(job), "resolution": "128x128", "model": "mini"}
        for photo in range(photos):
            common = {**own, "image": f"part-{photo}", "psnr": 33.0, "seconds_inversion": 2.0}
            rows.append({**common, "defect": ORIGINAL})
            for defect in defects:
                strength = random.uniform(4, 40)
                background = 44 - 0.4 * strength + random.normal()
                figures = {"psnr_background": background, "ssim_background": 0.9, "strength": strength}
                rows.append({**common, **figures, "defect": defect, "mask_share": 0.1, "seconds_edit": 1.5})
    frame = pd.DataFrame(rows, columns=[*NAMES, "job", *knobs])
    frame.loc[1, "psnr_background"], frame.loc[2, "strength"] = np.inf, np.nan
    return frame


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
