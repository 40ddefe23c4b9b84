"""How the page looks and plays videos: theme, style, the script that keeps videos in step."""

import html
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from echoreel.media.drawing import BLUE, ORANGE

SANS = ("system-ui", "Segoe UI", "Roboto", "sans-serif")  # of the machine: no font is fetched
MONO = ("ui-monospace", "monospace")
THEME = gr.themes.Default(primary_hue="blue", font=SANS, font_mono=MONO).set(
    button_primary_background_fill=BLUE,
    button_primary_background_fill_dark=BLUE,
    button_primary_background_fill_hover="#005a8e",
    button_primary_background_fill_hover_dark="#005a8e",
    button_primary_text_color="#ffffff",
    slider_color=BLUE,
    checkbox_background_color_selected=BLUE,
    color_accent=BLUE,
    body_text_color_subdued="#4b5563",
    body_text_color_subdued_dark="#d1d5db",
    block_info_text_color="#4b5563",
    block_info_text_color_dark="#d1d5db",
    block_label_text_color="#374151",
    block_label_text_color_dark="#e5e7eb",
    block_title_text_color="#374151",
    block_title_text_color_dark="#e5e7eb",
    input_placeholder_color="#6b7280",
    input_placeholder_color_dark="#d1d5db",
)

_HERE = files("echoreel") / "page"
CSS = f":root {{ --accent: {BLUE}; --focus: {ORANGE}; }}\n" + (_HERE / "page.css").read_text(encoding="utf-8")
HEAD = f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>"


def address(path: Path) -> str:
    """Of a file in a folder that the page may show."""
    return f"/gradio_api/file={quote(str(path))}"


def videos(shown: Mapping[str, Path]) -> str:
    """Videos under their labels, playing in step."""
    figures = "".join(
        f'<figure><video src="{address(path)}" autoplay loop muted playsinline tabindex="0" '
        f'aria-label="{html.escape(label, quote=True)}"></video>'
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
        for label, path in shown.items()
    )
    return f'<div class="videos">{figures}</div>'


def paragraphs(*lines: str) -> str:
    """Text of others as text."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)


def progress(line: str, share: float | None, label: str = "Progress") -> str:
    """A line over a bar that is full to this share of 1; None: nobody knows."""
    value = "" if share is None else f" value='{share:.3f}' max='1'"
    return f"{paragraphs(line)}<progress{value} aria-label='{html.escape(label, quote=True)}'></progress>"
