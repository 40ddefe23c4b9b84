"""The references of the Generate tab: a card for each, with the frames that it gives."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from echoreel.common.errors import EchoReelError
from echoreel.common.settings import checked
from echoreel.common.text import checked_text
from echoreel.generation.request import ReferenceRequest
from echoreel.media.overview import overview
from echoreel.media.reference_times import ALIGNMENTS
from echoreel.media.reference_video import CROPS, DEFAULT_FPS, DEFAULT_FRAMES
from echoreel.page.shared import MOST_REFERENCES, as_text, number, picture


class Card(NamedTuple):
    """The parts of one reference; file: kept by the server, never told by the browser."""

    whole: gr.Column
    title: gr.HTML
    part: gr.HTML
    strip: gr.HTML
    file: gr.State
    caption: gr.Textbox
    start: gr.Textbox
    end: gr.Textbox
    strength: gr.Slider
    crop: gr.Radio
    align: gr.Radio
    speed: gr.Textbox
    remove: gr.Button

    @property
    def inputs(self) -> list[Any]:
        return [
            self.file,
            self.caption,
            self.start,
            self.end,
            self.strength,
            self.crop,
            self.align,
            self.speed,
        ]

    @property
    def outputs(self) -> list[Any]:
        return [self.whole, self.title, self.part, self.strip, *self.inputs]


INPUTS = 8  # of a card
FRAME = 96  # pixels: height of a frame in the strip
FILM = 12, 56  # frames of the whole video, and their height in pixels
USUAL = DEFAULT_FRAMES / DEFAULT_FPS  # seconds that are taken where no end is asked for
EMPTY = [None, "", "", "", 1.0, "middle", "stretch", ""]


def reference_cards() -> list[Card]:
    """As many as a generation may have, hidden; each shows its frames as soon as a value changes."""
    cards = [_card(place) for place in range(1, MOST_REFERENCES + 1)]
    for card in cards:
        changed = [each.change for each in (card.start, card.end, card.crop, card.align, card.speed)]
        gr.on(
            changed,
            shown_strip,
            card.inputs,
            card.strip,
            show_progress="hidden",
            api_visibility="private",
            trigger_mode="always_last",
        )
    return cards


def _card(place: int) -> Card:
    with gr.Column(visible=False, elem_id=f"reference-{place}", elem_classes="card") as whole, gr.Group():
        title = gr.HTML(padding=True)
        part = gr.HTML(padding=True)
        strip = gr.HTML(padding=True, elem_classes="strip")
        caption = gr.Textbox(label=f"Caption of reference {place}", info="Who does what, and where.", lines=2)
        with gr.Row():
            start = number("Start (s)", "0", elem_classes="start")
            end = number("End (s)", f"{USUAL:g} s on", elem_classes="end")
        strength = gr.Slider(0, 2, 1, step=0.05, label="Strength", info="0 is off, 1 as trained.")
        crop = gr.Radio(
            CROPS, value="middle", label="Crop", info="The middle, or the square that follows what moves."
        )
        align = gr.Radio(
            [*ALIGNMENTS],
            value="stretch",
            label="If it is longer or shorter than the video",
            info="Fit all of it, or play it once from the start, in a loop, or to and fro.",
        )
        speed = number("Speed", "1", elem_classes="speed")
        remove = gr.Button("Remove this reference", size="sm")
    return Card(
        whole, title, part, strip, gr.State(None), caption, start, end, strength, crop, align, speed, remove
    )


def asked(values: Sequence[Any]) -> list[ReferenceRequest]:
    """The references of all cards' inputs, one card after the other. Raises SettingsError."""
    return [
        checked(
            ReferenceRequest,
            file=file,
            caption=checked_text("caption", caption) if isinstance(caption, str) else caption,
            start=start or None,
            end=end or None,
            strength=strength,
            crop=crop,
            align=align,
            speed=speed or 1.0,
        )
        for file, caption, start, end, strength, crop, align, speed in _by_card(values)
        if file is not None
    ]


def filled(references: Sequence[ReferenceRequest]) -> list[Any]:
    """Outputs of all cards that show these."""
    outputs: list[Any] = []
    for place in range(MOST_REFERENCES):
        if place < len(references):
            each = references[place]
            read = each.read()
            caption = read.caption if each.caption is None else each.caption
            values: list[Any] = [
                each.file,
                caption,
                as_text(each.start),
                as_text(each.end),
                each.strength,
                each.crop,
                read.align,
                as_text(None if read.speed == 1 else read.speed),
            ]
            title = f"<strong>Reference {place + 1}: {html.escape(each.file.name)}</strong>"
            part = part_chooser(each, place + 1)
            outputs += [gr.Column(visible=True), title, part, shown_strip(*values), *values]
        else:
            outputs += [gr.Column(visible=False), "", "", "", *EMPTY]
    return outputs


def part_chooser(reference: ReferenceRequest, place: int) -> str:
    """The whole video as a film, with handles for start and end; page.js joins them to the fields."""
    seen = overview(reference.file, *FILM)
    start = reference.start or 0.0
    end = start + USUAL if reference.end is None else reference.end
    film = "".join(f'<img src="{picture(frame, FILM[1])}" alt="" draggable="false">' for frame in seen.frames)
    handles = "".join(
        f'<input type="range" min="0" max="{seen.duration:.2f}" step="0.01" '
        f'value="{min(value, seen.duration):.2f}" aria-label="{name} of reference {place} in seconds">'
        for name, value in (("Start", start), ("End", end))
    )
    shares = [min(1.0, value / seen.duration) for value in (start, end)]
    return (
        f'<div class="part" data-usual="{USUAL:g}" style="--from:{shares[0]:.4f};--to:{shares[1]:.4f}">'
        f'<div class="film">{film}</div><div class="left-out before"></div><div class="left-out after"></div>'
        f"{handles}<p>The whole video, {seen.duration:.2f} s. Drag the handles to choose a part.</p></div>"
    )


def shown_strip(file: Path | None, *values: Any) -> str:
    """The frames taken, or in one sentence why there are none."""
    if file is None:
        return ""
    try:
        read = asked([file, *values])[0].read()
    except (EchoReelError, OSError) as error:
        return f'<p role="alert">{html.escape(str(error))}</p>'
    pictures = read.frames if read.crop is None else read.crop.outlined()
    frames = "".join(
        f'<figure><img src="{picture(frame, FRAME)}" alt=""><figcaption>{time:.2f}</figcaption></figure>'
        for frame, time in zip(pictures, read.timestamps, strict=True)
    )
    return f'<div class="frames">{frames}</div><p>{html.escape(read.describe())}</p>'


def _by_card(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[first : first + INPUTS] for first in range(0, len(values), INPUTS)]
