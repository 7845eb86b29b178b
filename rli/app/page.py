"""The page's widgets: the only module that imports Gradio."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from rli.app.choices import SLIDERS, Choices, command_line, told_changes, with_choices
from rli.app.figures import figures
from rli.app.workbench import Edited, KeptPhoto, Workbench
from rli.errors import RLIError, shown
from rli.photos.pairing import IMAGE_SUFFIXES

TITLE = "RLI: try defects on a photograph"
# What the sliders are called.
LABELS = {
    "eq": ("eq", "Strength: the factor on the changed words' attention"),
    "cross": ("cross", "Share of the steps that keep the photograph's cross-attention"),
    "replace": ("replace", "Share of the steps that keep the photograph's self-attention: its structure"),
    "fresh": ("fresh", "Share of fresh noise where the edit goes: a defect of another shape than the photograph's"),
    "threshold": (
        "threshold",
        "How sure attention must be that a place belongs to the words; without a brushed region",
    ),
}
FOUND = ("found by comparing the prompts", "")
# The colour of the brush: seen on grey, rusty and dark parts alike.
BRUSH = "rgba(235, 60, 150, 0.6)"
CSS = """
.gradio-container { max-width: 1400px !important; margin: 0 auto; }
#figures table { width: 100%; border: 0 !important; border-collapse: collapse; }
#figures tr { border: 0 !important; }
#figures td { border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; padding: 6px 8px; }
#figures td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
"""


def look() -> dict[str, Any]:
    """How the page looks: letters that every machine has, because others would be fetched."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return {"theme": gr.themes.Default(primary_hue="pink", neutral_hue="slate", **fonts), "css": CSS}


def build_page(bench: Workbench, start: Mapping[str, Any]) -> gr.Blocks:
    """The page.

    Args:
        bench: What it works with.
        start: The values that it starts with (see `choices.starting_values`).
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}")
        photo, edited = gr.State(), gr.State()
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                upload, editor = _photograph()
                words = _words(start)
                sliders = _sliders(start)
                make = gr.Button("Make the edit", variant="primary", elem_id="make")
            with gr.Column(scale=3, min_width=320):
                shows = _results()
                with gr.Row():
                    tell = gr.Button("Show the command", elem_id="tell")
                    save = gr.Button("Save the run", interactive=False, elem_id="save")
                command = gr.Code(label="The command that makes this edit", visible=False, elem_id="command")
                saved = gr.Markdown(elem_id="saved")
        choices = [photo, editor, *words, *sliders]
        _connect_photograph(bench, upload, editor, photo, edited, save)
        _connect_words(words)
        only_one = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        make.click(_make_edit(bench), choices, [edited, *shows, save, saved], show_progress_on=shows[:2], **only_one)
        tell.click(_tell_command(bench), choices, command, api_visibility="private")
        save.click(_save_run(bench), edited, saved, **only_one)
    return page


# --- widgets ----------------------------------------------------------------------------------------------------------


def _photograph() -> tuple[gr.File, gr.ImageEditor]:
    upload = gr.File(label="Photograph", file_types=[*IMAGE_SUFFIXES], height=110, elem_id="photograph")
    gr.Markdown("Brush over what may change. Where nothing is brushed, attention finds the place.")
    editor = gr.ImageEditor(
        label="Region",
        type="numpy",
        sources=(),
        transforms=(),
        layers=False,
        buttons=["fullscreen"],
        brush=gr.Brush(colors=[BRUSH], default_color=BRUSH, color_mode="fixed"),
        elem_id="region",
    )
    return upload, editor


def _words(start: Mapping[str, Any]) -> list[gr.components.Component]:
    """The two prompts, the line that says what changes, and the two words."""
    source = gr.Textbox(start["source"], label="Source prompt: what the photograph shows", elem_id="source")
    changes = _said_changes(start["source"], start["target"])
    target = gr.Textbox(start["target"], label="Target prompt: what is wanted", info=changes, elem_id="target")
    with gr.Accordion("Words that change", open=False):
        own = [
            gr.Dropdown(_options(prompt), value="", label=f"In the {name} prompt", elem_id=f"{name}_word")
            for name, prompt in (("source", start["source"]), ("target", start["target"]))
        ]
    return [source, target, *own]


def _sliders(start: Mapping[str, Any]) -> list[gr.Slider]:
    return [
        gr.Slider(low, high, start[name], step=step, label=LABELS[name][0], info=LABELS[name][1], elem_id=name)
        for name, (low, high, step) in SLIDERS.items()
    ]


def _results() -> list[gr.components.Component]:
    """The photograph and the edit, figures, and what else there is to see."""
    kept = {"format": "png", "interactive": False, "buttons": ["download", "fullscreen"]}
    with gr.Row():
        pictures = [
            gr.Image(label=label, elem_id=name, min_width=260, **kept)
            for label, name in (("Photograph", "before"), ("Edit", "after"))
        ]
    table = gr.HTML(elem_id="figures")
    with gr.Accordion("Reconstruction and mask", open=False), gr.Row():
        pictures += [
            gr.Image(label=label, min_width=260, **kept) for label in ("Reconstruction", "Where it may differ")
        ]
    return [*pictures, table]


def _said_changes(source: str, target: str) -> str:
    return f"Words that change: {told_changes(source, target)}"


def _options(prompt: str) -> list[tuple[str, str]]:
    return [FOUND, *((word, word) for word in dict.fromkeys(prompt.split()))]


# --- what happens -----------------------------------------------------------------------------------------------------


@contextmanager
def _errors_shown() -> Iterator[None]:
    """Within the scope, what the user can correct becomes a line on the page, as text."""
    try:
        yield
    except (RLIError, OSError, MemoryError) as error:
        said = str(error) or "there is too little memory"
        raise gr.Error(html.escape(shown(said)), duration=None, print_exception=False) from None


def _connect_photograph(
    bench: Workbench, upload: gr.File, editor: gr.ImageEditor, photo: gr.State, edited: gr.State, save: gr.Button
) -> None:
    def dropped(file: str) -> tuple[Any, ...]:
        with _errors_shown():
            kept = bench.keep(Path(file))
        picture = {"background": kept.preview, "layers": [], "composite": kept.preview}
        return kept, picture, None, gr.Button(interactive=False)

    def removed() -> tuple[Any, ...]:
        return None, None, None, gr.Button(interactive=False)

    outputs = [photo, editor, edited, save]
    upload.upload(dropped, upload, outputs, api_visibility="private")
    upload.clear(removed, None, outputs, api_visibility="private")


def _connect_words(words: list[Any]) -> None:
    """New prompts have other words, and say at once which of them change."""
    source, target, source_word, target_word = words

    def told(source: str, target: str) -> tuple[Any, ...]:
        chosen = (gr.Dropdown(_options(prompt), value="") for prompt in (source, target))
        return gr.Textbox(info=_said_changes(source, target)), *chosen

    gr.on(
        [source.change, target.change],
        told,
        [source, target],
        [target, source_word, target_word],
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _chosen(bench: Workbench, photo: KeptPhoto | None, painting: Mapping[str, Any] | None, *values: Any) -> Choices:
    """What the widgets say; the region is kept as a file."""
    if photo is None:
        raise RLIError("drop a photograph first")
    layers = (painting or {}).get("layers") or []
    painted = np.logical_or.reduce([np.zeros(photo.preview.shape[:2], bool), *(layer[..., 3] > 0 for layer in layers)])
    source, target, source_word, target_word, *strengths = values
    return Choices(
        photo=photo.file,
        region=bench.region(photo, painted),
        source=source,
        target=target,
        source_word=source_word,
        target_word=target_word,
        strengths=dict(zip(SLIDERS, strengths, strict=True)),
    )


def _make_edit(bench: Workbench) -> Callable[..., tuple[Any, ...]]:
    def make_edit(*values: Any, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        with _errors_shown():
            made = bench.edit(_chosen(bench, *values), lambda items, label: progress.tqdm(items, desc=label))
        result, edit = made.result, made.result.edits[made.name]
        mask = edit.mask.astype(np.uint8) * 255
        pictures = result.input, edit.image, result.reconstruction, mask
        return made, *pictures, figures(result.rows), gr.Button(interactive=True), ""

    return make_edit


def _tell_command(bench: Workbench) -> Callable[..., gr.Code]:
    def tell_command(*values: Any) -> gr.Code:
        with _errors_shown():
            return gr.Code(command_line(with_choices(bench.given, _chosen(bench, *values))), visible=True)

    return tell_command


def _save_run(bench: Workbench) -> Callable[[Edited | None], str]:
    def save_run(edited: Edited | None) -> str:
        with _errors_shown():
            if edited is None:
                raise RLIError("make an edit first")
            folder = bench.save(edited)
        return f"Saved: <code>{html.escape(shown(folder / 'report.html'))}</code>"

    return save_run
