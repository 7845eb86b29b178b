"""What each solver of the null embeddings gives for its work: `python -m experiments.cost.solvers`.

Unseen surfaces and real photographs on the embedded miniature, and on the same network with its text embeddings scaled
by 8 and by 1/8, which a solver with a learning rate notices and one without does not. The default's settings were
chosen on the photographs in CHOSEN_ON, which are reported by themselves.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor, nn

from experiments.cost.meter import Meter
from experiments.harness import SOURCE, markdown, options, photographs, record, save_figure, write_csv
from rli.images import to_uint8
from rli.method.editing import reconstruct, vae_round_trip
from rli.method.inversion import invert
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.solvers.adam import Adam
from rli.method.solvers.gauss_newton import GaussNewton
from rli.method.solvers.lbfgs import Lbfgs
from rli.metrics.image import psnr
from rli.models.device import pick_device
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.progress import shown

PAPER, DEFAULT, GAUSS_NEWTON = "adam (the paper's)", "lbfgs (the default)", "gauss_newton"
# What every photograph sees.
COMPARED = (PAPER, GAUSS_NEWTON, DEFAULT)
SOLVERS = {
    PAPER: Adam(),
    "adam, no early stop": Adam(early_stop=0.0),
    "adam, 3 iterations": Adam(inner_steps=3),
    "adam, 1 iteration": Adam(inner_steps=1),
    "adam from the source prompt": Adam(start="source"),
    DEFAULT: Lbfgs(),
    "lbfgs, 3 iterations": Lbfgs(inner_steps=3),
    "lbfgs, 10 iterations": Lbfgs(inner_steps=10),
    GAUSS_NEWTON: GaussNewton(),
    "gauss_newton, slack 90 dB": GaussNewton(slack_db=90.0),
    "gauss_newton, 3 iterations, slack 30 dB": GaussNewton(inner_steps=3, slack_db=30.0),
    "gauss_newton, every move": GaussNewton(stop_db=200.0, slack_db=0.0),
    "gauss_newton, 2 conjugate-gradient steps": GaussNewton(cg_steps=2),
    "gauss_newton from the empty prompt, every move": GaussNewton(start="empty", stop_db=200.0, slack_db=0.0),
}
SETTINGS = {
    **{name: InversionSettings(NullText(solver)) for name, solver in SOLVERS.items()},
    "null = source prompt": InversionSettings(NegativePrompt()),
}
MODELS = {"mini": 1.0, "mini, embeddings x8": 8.0, "mini, embeddings /8": 1 / 8}
# Photographs that the default's settings were chosen on: what they show is no proof.
CHOSEN_ON = {("surface", "0"), ("surface", "1"), ("surface", "2"), ("real", "brick")}
SHAPES = {"mini": "o", "mini, embeddings x8": "^", "mini, embeddings /8": "v"}


@torch.no_grad()
def rescale(model: Model, factor: float) -> Model:
    """The same function of photographs and prompts, with text embeddings `factor` times as large in between."""

    def enlarge(_module: nn.Module, _args: tuple, out: dict) -> dict:
        out["hidden_states"] = tuple(layer * factor for layer in out["hidden_states"])
        if "text_embeds" in out:
            out["text_embeds"] = out["text_embeds"] * factor
        return out

    for encoder in model.text_encoders:
        encoder.register_forward_hook(enlarge)
    for name, layer in model.unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            layer.weight /= factor
    width = model.text_encoders[1].config.projection_dim
    model.unet.add_embedding.linear_1.weight[:, :width] /= factor
    return model


def measure(model: Model, image: Tensor, settings: InversionSettings) -> dict:
    """One reconstruction: its quality, and what walking back cost (the inversion before it is the same for all)."""
    meter = Meter(model.device)
    names = {"inversion": "inversion", "null": "back", "reconstruction": "back"}
    with meter.watching(model.unet):
        done = invert(model, image, SOURCE, settings, meter.progress(lambda label: names[label.split()[0]]))
    spent = meter.phases["back"]
    back, ceiling, photo = (to_uint8(x) for x in (reconstruct(model, done), vae_round_trip(model, done), image))
    return {
        "psnr_to_vae": min(psnr(back, ceiling), 99.0),
        "below_vae": psnr(ceiling, photo) - psnr(back, photo),
        "forwards": spent.forwards,
        "backwards": spent.backwards,
        "passes": spent.forwards + spent.backwards,
        "cpu_seconds": spent.cpu_seconds,
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians of a model, a kind of photograph and a setting; against the paper's solver photograph by photograph."""
    chosen_on = [key in CHOSEN_ON for key in zip(rows["kind"], rows["image"], strict=True)]
    rows = rows.assign(kind=rows["kind"] + pd.Series(chosen_on, index=rows.index).map({True: ", chosen on", False: ""}))
    paper = rows[rows["settings"] == PAPER].set_index(["model", "kind", "image"])[["psnr_to_vae", "passes"]]
    rows = rows.join(paper, on=["model", "kind", "image"], rsuffix="_paper")
    rows = rows.assign(
        gain=rows["psnr_to_vae"] - rows["psnr_to_vae_paper"], share=rows["passes"] / rows["passes_paper"]
    )
    grouped = rows.groupby(["model", "kind", "settings"], sort=False)
    table = grouped[["psnr_to_vae", "below_vae", "passes", "share", "gain", "cpu_seconds"]].median()
    return table.assign(
        worst=grouped["psnr_to_vae"].min(), worst_gain=grouped["gain"].min(), photos=grouped.size()
    ).reset_index()


def text(table: pd.DataFrame) -> str:
    """The summary as Markdown."""
    head = (
        "Model", "Photographs", "Setting", "PSNR to round trip, dB (worst)", "Passes", "Share of the paper's",
        "Gain on the paper's, dB (worst)", "CPU seconds",
    )  # fmt: skip
    lines = [
        [
            r.model,
            f"{r.photos} {r.kind}",
            r.settings,
            f"{r.psnr_to_vae:.1f} ({r.worst:.1f})",
            f"{r.passes:.0f}",
            f"{r.share:.0%}",
            f"{r.gain:+.1f} ({r.worst_gain:+.1f})",
            f"{r.cpu_seconds:.1f}",
        ]
        for r in table.itertuples()
    ]
    return markdown(head, lines, words=3)


def picture(rows: pd.DataFrame, path: Path) -> None:
    """PSNR against seconds and against passes, of the surfaces that saw every setting, where there are any: a colour
    for each setting, a shape for each model."""
    counts = rows[rows["model"] == "mini"].groupby(["kind", "image"]).size()
    complete = counts[counts == len(SETTINGS)].index
    if complete.empty:
        return
    table = summary(rows[pd.MultiIndex.from_frame(rows[["kind", "image"]]).isin(complete)])
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.6), sharey=True)
    points = table[table["kind"].str.startswith("surface")]
    colours = {name: plt.get_cmap("tab20")(k) for k, name in enumerate(SETTINGS)}
    for axis, column, label in zip(axes, ("cpu_seconds", "passes"), ("CPU seconds", "UNet passes"), strict=True):
        for r in points.itertuples():
            axis.scatter(
                getattr(r, column),
                r.psnr_to_vae,
                s=70,
                color=colours[r.settings],
                marker=SHAPES[r.model],
                edgecolor="black",
                linewidth=0.5,
                label=r.settings if r.model == "mini" else None,
            )
        axis.set_xlabel(f"{label} for the way back, median of {points['photos'].max()} surfaces")
        axis.set_xscale("log")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("PSNR to the VAE round trip, dB")
    handles, labels = axes[0].get_legend_handles_labels()
    handles += [plt.Line2D([], [], color="grey", marker=SHAPES[m], linestyle="") for m in MODELS]
    figure.legend(handles, [*labels, *MODELS], loc="lower center", ncol=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.2, 1, 1))
    save_figure(figure, path, dpi=130)


def work(args: argparse.Namespace) -> list[tuple[str, str, str, Tensor, str]]:
    """(model, kind, image, pixels, setting): every photograph under what is COMPARED, `--few` under all; of these, the
    settings that are asked for."""
    asked, seen = [], {"surface": 0, "real": 0}
    for kind, name, image in photographs(args.surfaces, args.side, args.folder):
        seen[kind] += 1
        few = seen[kind] <= (args.few if kind == "surface" else min(args.few, 2))
        asked += [("mini", kind, name, image, s) for s in SETTINGS if few or s in COMPARED]
        if few and kind == "surface":
            asked += [(model, kind, name, image, s) for model in list(MODELS)[1:] for s in COMPARED]
    asked = [item for item in asked if item[-1] in args.settings]
    return sorted(asked, key=lambda item: list(MODELS).index(item[0]))


def kept(file: Path, settings: Sequence[str]) -> list[dict]:
    """The recorded rows of other settings than these."""
    if not file.is_file() or set(settings) == set(SETTINGS):
        return []
    rows = pd.read_csv(file, dtype={"image": str})
    return rows[~rows["settings"].isin(settings)].to_dict("records")


def main() -> None:
    parser = options(__doc__, surfaces=23, side=SIDE, steps=50, folder=None, device="auto", out=Path(__file__).parent)
    parser.add_argument(
        "--few", type=int, default=3, help="surfaces, and real photographs (two at most), under every setting"
    )
    parser.add_argument(
        "--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="SETTING",
        help="those to measure; what is recorded of others stays",
    )  # fmt: skip
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, models = kept(args.out / "solvers.csv", args.settings), {}
    for name, kind, image_name, image, label in shown(work(args), "solvers"):
        if name not in models:
            models = {name: rescale(load("mini", device=str(pick_device(args.device))), MODELS[name])}
        settings = replace(SETTINGS[label], steps=args.steps)
        found = measure(models[name], image, settings)
        rows.append({"model": name, "kind": kind, "image": image_name, "settings": label, **found})
        write_csv(args.out / "solvers.csv", pd.DataFrame(rows))  # at once: what was measured stays
    report(pd.DataFrame(rows), args.out)


def report(rows: pd.DataFrame, folder: Path) -> None:
    """The picture, and the table in the folder's README.md and on the terminal."""
    order = [list(MODELS), list(SETTINGS)]
    table = summary(rows).sort_values(
        ["model", "settings"], key=lambda c: c.map(order[c.name == "settings"].index), kind="stable"
    )
    picture(rows, folder / "solvers.png")
    record(folder, "solvers", rows, text(table))


if __name__ == "__main__":
    main()
