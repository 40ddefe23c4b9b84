"""The Bench tab: what `echoreel evaluate` found, as its report's folder holds it."""

import html
from pathlib import Path

import gradio as gr

from echoreel.common.places import resolved, small_file
from echoreel.media.drawing import DARK, in_both_themes
from echoreel.page.appearance import address

NAMES = {"report": "Bars of every measure", "tradeoff": "Action accuracy against look leakage"}


def bench_pictures(folder: Path) -> list[Path]:
    """The plots and sheets of a report, in both themes; of somebody else's, no links to files elsewhere."""
    found = [
        *(path for name in NAMES for path in sorted(folder.glob(f"{name}*.png"))),
        *sorted(folder.glob("sheets/*.png")),
    ]
    return [path for path in found if _is_own(path, folder)]


def _is_own(path: Path, folder: Path) -> bool:
    return path.is_file() and resolved(path).is_relative_to(resolved(folder))


def bench_tab(folder: Path) -> None:
    """Draw it."""
    report = folder / "report.md"
    if not _is_own(report, folder):
        gr.Markdown(
            f"No report in `{folder}`. `echoreel evaluate` writes one; "
            "start the page with `--bench DIR` to see it."
        )
        return
    gr.Markdown(f"Is the action of the reference performed? Report in `{folder}`.")
    gr.Markdown(small_file(report).decode(errors="replace"), elem_classes="report")
    for picture in bench_pictures(folder):
        if not picture.stem.endswith(f"-{DARK.name}"):
            gr.HTML(_figure(picture))


def _figure(picture: Path) -> str:
    """The picture, and the one for the dark theme where there is one: the style shows one of them."""
    label = html.escape(NAMES.get(picture.stem, f"Sheet of {picture.stem} actions"), quote=True)
    shown = {theme.name: path for theme, path in in_both_themes(picture).items() if path.is_file()}
    pictures = "".join(
        f'<img class="{name if len(shown) > 1 else "any"}" src="{address(path)}" alt="{label}">'
        for name, path in shown.items()
    )
    return f'<figure class="sheet">{pictures}<figcaption>{label}</figcaption></figure>'
