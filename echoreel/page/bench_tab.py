"""The Bench tab: what `echoreel evaluate` found, as its report's folder holds it."""

import html
from pathlib import Path

import gradio as gr

from echoreel.page.appearance import address


def bench_pictures(folder: Path) -> list[Path]:
    """The plot and the sheets of a report, which may be somebody else's: no links to files elsewhere."""
    found = [*folder.glob("report.png"), *sorted(folder.glob("sheets/*.png"))]
    return [path for path in found if _is_own(path, folder)]


def _is_own(path: Path, folder: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def bench_tab(folder: Path) -> None:
    """Draw it."""
    report = folder / "report.md"
    if not _is_own(report, folder):
        gr.Markdown(
            f"No report in `{folder}`. `echoreel evaluate` writes one; "
            "start the page with `--bench DIR` to see it."
        )
        return
    gr.Markdown(f"ActorBench: is the action of the reference performed? Report in `{folder}`.")
    gr.Markdown(report.read_text(encoding="utf-8", errors="replace"), elem_classes="report")
    for picture in bench_pictures(folder):
        label = (
            "Bars of every measure" if picture.name == "report.png" else f"Sheet of {picture.stem} actions"
        )
        gr.HTML(
            f'<figure class="sheet"><img src="{address(picture)}" alt="{html.escape(label, quote=True)}">'
            f"<figcaption>{html.escape(label)}</figcaption></figure>"
        )
