"""How the page looks and plays videos: theme, style, the script that keeps videos in step."""

import html
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import gradio as gr

SANS = ("system-ui", "Segoe UI", "Roboto", "sans-serif")  # of the machine: no font is fetched
MONO = ("ui-monospace", "monospace")
THEME = gr.themes.Default(primary_hue="blue", font=SANS, font_mono=MONO).set(
    button_primary_background_fill="#1d4ed8",
    button_primary_background_fill_hover="#1e40af",
    button_primary_text_color="#ffffff",
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

CSS = """
.gradio-container { max-width: 1280px !important; }
footer { display: none !important; }
button[role=tab][aria-selected=true] { color: var(--body-text-color) !important; }
.videos { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 12px; }
.videos figure { margin: 0; }
.videos video { width: 100%; border-radius: 6px; display: block; }
.videos video { background: #222; aspect-ratio: 1; object-fit: contain; }
.videos ~ p { margin: 8px 0 0; }
.frames { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px; }
@media (max-width: 640px) { .frames { grid-template-columns: repeat(4, 1fr); } }
.frames figure { margin: 0; }
.frames img { width: 100%; display: block; border-radius: 3px; }
.frames figcaption { font-size: 0.75rem; text-align: center; }
.videos figcaption { font-size: 0.9rem; margin-top: 4px; overflow-wrap: anywhere; }
.strip p, .hit p { margin: 4px 0 0; font-size: 0.9rem; overflow-wrap: anywhere; }
.hit { flex: 1 1 220px !important; max-width: 300px; min-width: 160px !important; height: auto !important; }
.hit video { width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: #222; border-radius: 6px; }
.hit video:focus { outline: 3px solid #1d4ed8; }
.job progress { width: 100%; height: 12px; appearance: none; background: #d1d5db; border: 0; }
.job progress::-webkit-progress-bar { background: #d1d5db; border-radius: 6px; }
.job progress::-webkit-progress-value { background: #1d4ed8; border-radius: 6px; }
.job progress::-moz-progress-bar { background: #1d4ed8; border-radius: 6px; }
#history input { padding-right: 28px; text-overflow: ellipsis; }
.job p { margin: 0 0 4px; overflow-wrap: anywhere; }
.checks li { margin: 4px 0; }
.report { overflow-x: auto; }
.sheet { margin: 0; }
.sheet img { max-width: 100%; }
.prose :last-child { margin-bottom: 0; }
"""

# Videos of one result play, pause and move together; under the pointer or the focus they have controls, and
# thumbnails play.
# Gradio's upload areas are named by what is written on them; wide tables scroll by keyboard.
HEAD = """
<script>
setInterval(() => {
  for (const area of document.querySelectorAll('.upload-container')) area.removeAttribute('aria-label');
  for (const wide of document.querySelectorAll('.report, .report > *, .report table')) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
  for (const group of document.querySelectorAll('.videos')) {
    const [first, ...others] = group.querySelectorAll('video');
    if (!first) continue;
    for (const other of others) {
      if (Math.abs(other.currentTime - first.currentTime) > 0.12 && other.readyState > 1) {
        other.currentTime = first.currentTime;
      }
    }
  }
}, 250);
const together = (event) => {
  for (const video of event.target.closest('.videos')?.querySelectorAll('video') ?? []) {
    event.type === 'pause' ? video.pause() : video.play().catch(() => {});
  }
};
for (const name of ['pause', 'play']) document.addEventListener(name, together, true);
const hover = (play) => (event) => {
  const video = event.target.closest && event.target.closest('.hit video, .videos video');
  if (video && video.closest('.videos')) video.controls = play;
  else if (video) play ? video.play().catch(() => {}) : video.pause();
};
for (const name of ['mouseover', 'focusin']) document.addEventListener(name, hover(true));
for (const name of ['mouseout', 'focusout']) document.addEventListener(name, hover(false));
</script>
"""


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
