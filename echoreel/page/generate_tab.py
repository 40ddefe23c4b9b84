"""The Generate tab: what is asked for, on its left side."""

import random
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from echoreel.common.errors import EchoReelError
from echoreel.common.settings import checked
from echoreel.generation.reference_checks import reference_checks
from echoreel.generation.request import GenerationRequest, ReferenceRequest
from echoreel.generation.settings import GenerationSettings
from echoreel.page.appearance import paragraphs
from echoreel.page.from_library import best
from echoreel.page.reference_cards import Card, asked, filled, reference_cards
from echoreel.page.shared import EMBEDDED, MOST_REFERENCES, VIDEO_FILES, Shared, as_text, number, told
from echoreel.page.telling import warn

EXAMPLE_PROMPT = (
    "a person with brown hair in a red sweater and blue trousers doing a cartwheel on a grassy field"
)
EXAMPLE_SEED = 7
FIRST_USE = (
    "Say who should do what, drop a clip of someone doing it, press **Generate**. New here? "
    "**Try the example** fills in a prompt and a clip; **Generate** then takes some ten seconds."
)
WEBCAM = (
    '<video id="webcam-view" muted playsinline hidden aria-label="What the webcam sees"></video>'
    '<p id="webcam-news" role="status"></p>'
)
LARGEST_SEED = 2**31 - 1  # that the dice shows: short enough to read out


class Asked(NamedTuple):
    """The components that a request is made of, in the order of `requested`."""

    prompt: gr.Textbox
    base: gr.Dropdown
    adapter: gr.Dropdown
    seed: gr.Textbox
    steps: gr.Textbox
    guidance_scale: gr.Textbox
    num_frames: gr.Textbox
    seconds: gr.Textbox
    width: gr.Textbox
    height: gr.Textbox
    scale: gr.Slider
    first: gr.Slider
    last: gr.Slider
    compare: gr.Checkbox


NUMBERS = ("steps", "guidance_scale", "num_frames", "seconds", "width", "height")  # that may be left out


class GenerateTab(NamedTuple):
    """What others join."""

    asked: Asked
    cards: list[Card]
    generate: gr.Button
    why: gr.Button

    @property
    def inputs(self) -> list[Any]:
        return [*self.asked, *(each for card in self.cards for each in card.inputs)]

    @property
    def outputs(self) -> list[Any]:
        return [*self.asked, *(each for card in self.cards for each in card.outputs)]

    @property
    def card_inputs(self) -> list[Any]:
        return self.inputs[len(self.asked) :]

    @property
    def card_outputs(self) -> list[Any]:
        return self.outputs[len(self.asked) :]


def generate_tab(shared: Shared) -> GenerateTab:
    """Draw it and join what stays inside it."""
    gr.Markdown(FIRST_USE)
    prompt = gr.Textbox(
        label="Prompt", lines=3, placeholder=EXAMPLE_PROMPT, max_length=2000, elem_id="prompt"
    )
    drop = gr.File(
        label=f"Drop reference videos here, up to {MOST_REFERENCES}",
        file_count="multiple",
        file_types=VIDEO_FILES,
        height=150,
        elem_id="drop",
    )
    with gr.Row():
        find = gr.Button("Find a clip in the library", size="sm", elem_id="find")
        webcam = gr.Button("Record with the webcam", size="sm", elem_id="webcam")
    gr.HTML(WEBCAM, padding=True, elem_classes="webcam")
    why_taken = gr.HTML(elem_id="why-taken", elem_classes="note")
    cards = reference_cards()
    with gr.Row():
        generate = gr.Button("Generate", variant="primary", elem_id="generate")
        example = gr.Button("Try the example", elem_id="example")
    why = gr.Button("Why does my reference not show?", size="sm", elem_id="why")
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        fields = _settings(shared)
    tab = GenerateTab(Asked(prompt, *fields), cards, generate, why)
    webcam.click(None, None, None, js="() => { window.echoreelWebcam(); }", api_visibility="private")
    _join(tab, shared, drop, example)
    _join_library(tab, shared, find, why_taken)
    return tab


def _settings(shared: Shared) -> list[Any]:
    own = "as the base"
    with gr.Row():
        base = gr.Dropdown(shared.bases, label="Base", info="Video models on this machine.")
        adapter = gr.Dropdown(shared.adapters, label="Adapter", info="Made for that base.")
    with gr.Row():
        seed = number("Seed", "0", value="0", info="Another seed, another video.", scale=3)
        dice = gr.Button("Roll the dice", scale=1, min_width=120, elem_id="dice")
    with gr.Row():
        steps = number("Steps", own)
        guidance = number("Guidance scale", own)
        frames = number("Frames", own)
        seconds = number("Seconds", own, info="Longer than the base's in windows, where it can.")
    with gr.Row():
        width = number("Width (pixels)", own)
        height = number("Height (pixels)", own)
    scale = gr.Slider(0, 2, 1, step=0.05, label="Scale of all references", info="0 is off, 1 as trained.")
    with gr.Row():
        first = gr.Slider(0, 1, 0, step=0.05, label="References act from", info="Share of the steps.")
        last = gr.Slider(0, 1, 1, step=0.05, label="References act until", info="Share of the steps.")
    compare = gr.Checkbox(True, label="Also make the base's own video, to compare", elem_id="compare")
    dice.click(
        lambda: str(random.randint(0, LARGEST_SEED)), None, seed, queue=False, api_visibility="private"
    )
    return [base, adapter, seed, steps, guidance, frames, seconds, width, height, scale, first, last, compare]


def _join(tab: GenerateTab, shared: Shared, drop: gr.File, example: gr.Button) -> None:
    @told
    def added(uploads: list[str] | None, *values: Any) -> list[Any]:
        references = asked(values)
        kept = [ReferenceRequest(file=shared.results.keep(Path(each))) for each in uploads or ()]
        return [None, *with_references(references, kept)]

    @told
    def removed(place: int, *values: Any) -> list[Any]:
        references = asked(values)
        del references[place]
        return filled(references)

    @told
    def filled_example() -> list[Any]:
        clip = shared.results.keep(Path(str(files("echoreel") / "assets" / "cartwheel.mp4")))
        caption = (files("echoreel") / "assets" / "cartwheel.txt").read_text().strip()
        reference = ReferenceRequest(file=clip, caption=caption)
        request = GenerationRequest(
            prompt=EXAMPLE_PROMPT,
            references=(reference,),
            seed=EXAMPLE_SEED,
            settings=GenerationSettings(compare=True),
        )
        return shown(request, shared)

    drop.upload(
        added,
        [drop, *tab.card_inputs],
        [drop, *tab.card_outputs],
        api_visibility="private",
        show_progress="minimal",
    )
    example.click(filled_example, None, tab.outputs, api_visibility="private")
    for place, card in enumerate(tab.cards):
        card.remove.click(
            partial(removed, place), tab.card_inputs, tab.card_outputs, api_visibility="private"
        )


def _join_library(tab: GenerateTab, shared: Shared, find: gr.Button, why_taken: gr.HTML) -> None:
    @told
    def found(prompt: str, *values: Any) -> list[Any]:
        have = asked(values)
        reference, why = best(shared, prompt, have)
        return [paragraphs(why), *with_references(have, [reference])]

    find.click(
        found,
        [tab.asked.prompt, *tab.card_inputs],
        [why_taken, *tab.card_outputs],
        api_visibility="private",
        show_progress="minimal",
    )


def with_references(have: Sequence[ReferenceRequest], more: Sequence[ReferenceRequest]) -> list[Any]:
    """Outputs of all cards. Raises EchoReelError for too many."""
    if (count := len(have) + len(more)) > MOST_REFERENCES:
        raise EchoReelError(f"got {count} references, need {MOST_REFERENCES} or fewer; remove one first")
    return filled([*have, *more])


def requested(values: Sequence[Any]) -> GenerationRequest:
    """What the inputs of the tab ask for. Raises SettingsError."""
    fields = {name: None if each == "" else each for name, each in zip(Asked._fields, values, strict=False)}
    references = asked(values[len(Asked._fields) :])
    settings = checked(
        GenerationSettings,
        **{name: fields[name] for name in (*NUMBERS, "scale")},
        window=(fields["first"], fields["last"]),
        compare=bool(fields["compare"] and references),
    )
    names = {"prompt": fields["prompt"] or "", "base": fields["base"], "adapter": fields["adapter"]}
    return checked(
        GenerationRequest, **names, seed=fields["seed"] or 0, references=tuple(references), settings=settings
    )


def shown(request: GenerationRequest, shared: Shared) -> list[Any]:
    """Outputs of the tab that show a request."""
    settings = request.settings
    fields = {
        "prompt": request.prompt,
        "base": _choice("base", request.base, shared.bases),
        "adapter": _choice("adapter", request.adapter, shared.adapters),
        "seed": str(request.seed),
        **{name: as_text(getattr(settings, name)) for name in NUMBERS},
        "scale": settings.scale,
        "first": settings.window[0],
        "last": settings.window[1],
        "compare": settings.compare or not request.references,
    }
    return [*(fields[name] for name in Asked._fields), *filled(request.references[:MOST_REFERENCES])]


def reasons(*values: Any) -> str:
    """Why the reference may not show, as a list."""
    request = requested(values)
    found = reference_checks(
        request.prompt, [reference.read() for reference in request.references], request.settings
    )
    if not found:
        found = ["Nothing speaks against it. Try another seed, or two references of the same action."]
    return "## Why your reference may not show\n" + "\n".join(f"- {each}" for each in found)


def _choice(kind: str, name: str | None, choices: Sequence[str]) -> str | None:
    """The one that is meant: by its name, or the last part of its path; told where there is none."""
    wanted = name or EMBEDDED
    if found := [each for each in choices if wanted in (each, Path(each).name)]:
        return found[0]
    warn(f"{wanted}: not on this machine; choose another, or start with --{kind} DIR", f"No such {kind}")
    return None
