"""Lays out a W&B workspace over tracked runs: `python -m experiments.dashboard.workspace --entity NAME --project rli`.

--dry-run prints the layout, and needs neither key nor network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from rli.metrics.columns import COLUMNS, ORIGINAL
from rli.tracking.wandb_setup import has_key
from rli.tracking.wandb_tables import COMPARISON, FAILED, RESULTS, SCATTER, SWEEP_RESULTS, TRADE_OFF

PUBLISHED = Path(__file__).parents[1] / "defect_comparison" / "published.csv"
KNOBS = ("edit.eq", "edit.cross", "edit.replace", "rli.alpha")
BACKGROUND, STRENGTH, OBJECTIVE = "mean/psnr_background", "mean/strength", "objective"
# What a bar stands for, and its title; the published table's reading: an edit is compared with the reconstruction.
BARS = {
    "psnr_recon": "PSNR to the reconstruction (dB)",
    "lpips_recon": "LPIPS to the reconstruction",
    "strength": "Strength of the edit (grey levels)",
    "psnr_background": "PSNR of the background (dB)",
}
WIDE = {"w": 24, "h": 12}  # of 24 columns


def build(entity: str, project: str, defects: Sequence[str]) -> Any:
    """The workspace, not saved yet; bars for each of `defects`. Raises ImportError without wandb-workspaces."""
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as wr

    return ws.Workspace(
        entity=entity,
        project=project,
        name="RLI",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections(wr, defects).items()],
        runset_settings=ws.RunsetSettings(
            order=[expr.Ordering(expr.Summary(OBJECTIVE), ascending=False)],
            pinned_columns=[f"summary:{key}" for key in (OBJECTIVE, BACKGROUND, STRENGTH)],
        ),
    )


def sections(wr: Any, defects: Sequence[str]) -> dict[str, list[Any]]:
    """The panels of each section. wr: wandb_workspaces.reports.v2."""
    edits = [defect for defect in defects if defect != ORIGINAL]
    summary, knob = wr.SummaryMetric, wr.Config
    return {
        "Comparison": [
            _table(wr, COMPARISON),
            wr.BarPlot(title="Reconstruction: PSNR to the photograph (dB)", metrics=[f"psnr/{ORIGINAL}"]),
            *(
                wr.BarPlot(title=title, metrics=[f"{metric}/{defect}" for defect in edits])
                for metric, title in BARS.items()
            ),
            _table(wr, FAILED),
        ],
        "Trade-off": [
            *(
                wr.ScatterPlot(
                    title=f"Strength against background, by {name}",
                    x=summary(BACKGROUND),
                    y=summary(STRENGTH),
                    z=knob(name),
                )
                for name in KNOBS
            ),
            wr.ParallelCoordinatesPlot(
                title="Knobs, background, and what a search maximises",
                columns=[
                    *(wr.ParallelCoordinatesPlotColumn(metric=knob(name), display_name=name) for name in KNOBS),
                    *(wr.ParallelCoordinatesPlotColumn(metric=summary(key)) for key in (BACKGROUND, OBJECTIVE)),
                ],
            ),
            wr.ParameterImportancePlot(with_respect_to=OBJECTIVE),
            wr.MediaBrowser(title="A sweep's plot", media_keys=[TRADE_OFF]),
            wr.CustomChart(
                query={"summaryTable": {"tableKey": f"{SCATTER}_table"}},
                chart_name="wandb/scatter/v0",
                chart_fields={"x": "psnr_background", "y": "strength"},
                chart_strings={"title": "Every edit of a sweep"},
            ),
        ],
        "Images": [_table(wr, RESULTS), _table(wr, SWEEP_RESULTS)],
        "Cost": [wr.BarPlot(title=c.title, metrics=[f"mean/{c.name}"]) for c in COLUMNS if c.tracked == "cost"],
    }


def layout(workspace: Any) -> str:
    """A line for each section and, indented, for each of its panels."""
    lines = [f"{workspace.entity}/{workspace.project}: {workspace.name}"]
    for section in workspace.sections:
        lines.append(f"  {section.name}")
        lines += [f"    {type(panel).__name__}: {_label(panel)}" for panel in section.panels]
    return "\n".join(lines)


def published_defects() -> list[str]:
    """The published table's rows."""
    return [*pd.read_csv(PUBLISHED, dtype={"defect": "str"})["defect"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 and one line for what the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entity", required=True, help="whose workspace: a user's or team's name")
    parser.add_argument("--project", default="rli")
    parser.add_argument("--defects", nargs="+", default=published_defects(), help="that the bars show")
    parser.add_argument("--dry-run", action="store_true", help="print the layout, save nothing")
    asked = parser.parse_args(arguments)
    try:
        workspace = build(asked.entity, asked.project, asked.defects)
    except ImportError:
        return _refused("the workspace needs wandb-workspaces: pip install -e '.[dashboard]'")
    if asked.dry_run:
        print(layout(workspace))
        return 0
    with TemporaryDirectory() as scratch:
        if not has_key(Path(scratch)):
            return _refused("no W&B key is configured: `wandb login`, or set WANDB_API_KEY")
    try:
        workspace.save()  # says where it is
    except Exception as error:  # of many types; a message may hold an address or a key
        return _refused(f"W&B did not take the workspace ({type(error).__name__}): check entity, project, key, network")
    return 0


def _table(wr: Any, key: str) -> Any:
    return wr.WeavePanelSummaryTable(table_name=key, layout=wr.Layout(**WIDE))


def _label(panel: Any) -> str:
    names = (getattr(panel, name, None) for name in ("title", "table_name", "with_respect_to", "chart_name"))
    return next(filter(None, names), "")


def _refused(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
