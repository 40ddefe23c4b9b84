"""The Library tab: find clips by their action, take one as a reference, add more."""

import html
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from echoreel.common.errors import EchoReelError
from echoreel.generation.request import ReferenceRequest
from echoreel.library.clips import LibraryClip
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.added import Added
from echoreel.library.tables import is_library
from echoreel.media.video_files import write_video
from echoreel.page.appearance import address, paragraphs
from echoreel.page.generate_tab import GenerateTab, with_references
from echoreel.page.reference_cards import asked
from echoreel.page.shared import VIDEO_FILES, Shared, scaled, told

HITS = 8  # shown at once
THUMBNAIL = 144  # pixels high
NO_ACTION = "(no action found)"


def library_tab(tab: GenerateTab, tabs: gr.Tabs, own: gr.Tab, shared: Shared) -> None:
    """Draw it and join it to the Generate tab, which takes its hits as references."""
    gr.Markdown(f"Clips in the library `{shared.library}`, found by what is done in them.")
    with gr.Row():
        query = gr.Textbox(
            label="Find clips of the action in",
            placeholder="a woman in a red coat doing a cartwheel",
            scale=3,
            elem_id="query",
            max_length=2000,
        )
        action = gr.Dropdown([], label="Or browse by action", scale=2, elem_id="action")
    search = gr.Button("Search", variant="primary", elem_id="search")
    understood = gr.HTML(elem_id="understood")
    clips = gr.State([])
    wholes, pictures, buttons = _hits()
    with gr.Accordion("Add videos", open=False, elem_id="add"):
        drop = gr.File(
            label="Videos to add",
            file_count="multiple",
            file_types=VIDEO_FILES,
            height=120,
            elem_id="add-drop",
        )
        caption = gr.Textbox(
            label="What they show",
            info="For all of them. Empty: the words of each file's name.",
            max_length=2000,
        )
        add = gr.Button("Add to the library", elem_id="add-button")
        added = gr.HTML(elem_id="added")
    found = [understood, clips, *wholes, *pictures]

    @told
    def searched(text: str) -> list[Any]:
        answer = _opened(shared).search(text, HITS)
        if answer.action is None:
            return _shown("The text names no action. Say what is done, or browse by action.", [], [], shared)
        why = [f"{each.why}, score {each.score:.2f}" for each in answer.results]
        line = f"Action: “{answer.action.phrase}”." + ("" if why else " Nothing near it in the library.")
        return _shown(line, [each.clip for each in answer.results], why, shared)

    @told
    def browsed(verb: str | None) -> list[Any]:
        if verb is None:
            return _shown("", [], [], shared)
        library = _opened(shared)
        if verb == NO_ACTION:
            some = next(library.batches("verb = ''"), [])[:HITS]
        else:
            some = library.clips(HITS, verb)
        return _shown(f"{len(some)} clips of “{verb}”.", some, [""] * len(some), shared)

    @told
    def taken(place: int, some: Sequence[LibraryClip], *values: Any) -> list[Any]:
        clip = some[place]
        kept = shared.results.keep(_opened(shared).file(clip))
        reference = ReferenceRequest(file=kept, caption=clip.caption, start=clip.start, end=_end(clip))
        return [gr.Tabs(selected="generate"), *with_references(asked(values), [reference])]

    @told
    def more(uploads: list[str] | None, text: str) -> list[Any]:
        if not uploads:
            raise EchoReelError("no video to add; drop one first")
        kept = [shared.results.keep(Path(each), text.strip() or None) for each in uploads]
        told_of = ReferenceLibrary.open(shared.library, create=True).add(kept, quiet=True)
        return [None, _told_added(told_of), gr.Dropdown(choices=_actions(shared))]

    private: Any = {"api_visibility": "private"}
    gr.on([search.click, query.submit], searched, query, found, **private)
    action.input(browsed, action, found, **private)
    add.click(more, [drop, caption], [drop, added, action], **private)
    for place, button in enumerate(buttons):
        button.click(
            partial(taken, place),
            [clips, *tab.card_inputs],
            [tabs, *tab.card_outputs],
            **private,
        )
    own.select(
        told(lambda: gr.Dropdown(choices=_actions(shared))), None, action, show_progress="hidden", **private
    )


def _hits() -> tuple[list[gr.Column], list[gr.HTML], list[gr.Button]]:
    wholes, pictures, buttons = [], [], []
    with gr.Row():
        for place in range(HITS):
            with gr.Column(visible=False, elem_classes="hit", min_width=160) as whole:
                pictures.append(gr.HTML(padding=True))
                buttons.append(gr.Button("Use as reference", size="sm", elem_id=f"take-{place}"))
            wholes.append(whole)
    return wholes, pictures, buttons


def _opened(shared: Shared) -> ReferenceLibrary:
    """Raises LibraryError, MissingExtra."""
    if not is_library(str(shared.library)):
        raise EchoReelError(
            f"{shared.library}: no library yet; add videos below, or start the page with --library DIR"
        )
    return ReferenceLibrary.open(shared.library)


def _actions(shared: Shared) -> list[str]:
    if not is_library(str(shared.library)):
        return []
    stats = ReferenceLibrary.open(shared.library).stats()
    return [*stats["commonest"], *([NO_ACTION] if stats["without_action"] else [])]


def _end(clip: LibraryClip) -> float | None:
    return None if clip.end is None else min(clip.end, clip.start + 2.0)


def _shown(line: str, clips: Sequence[LibraryClip], why: Sequence[str], shared: Shared) -> list[Any]:
    wholes = [gr.Column(visible=place < len(clips)) for place in range(HITS)]
    told_of = [_told_clip(clip, reason, shared) for clip, reason in zip(clips, why, strict=True)]
    return [paragraphs(line), list(clips), *wholes, *told_of, *[""] * (HITS - len(clips))]


def _told_clip(clip: LibraryClip, why: str, shared: Shared) -> str:
    action = f"Action: {clip.phrase}" if clip.phrase else "No action found in the caption"
    return _thumbnail(clip, shared) + paragraphs(clip.caption, action, why)


def _thumbnail(clip: LibraryClip, shared: Shared) -> str:
    """A small video that plays under the pointer. Of a clip on the web nothing: looking fetches nothing."""
    if clip.is_url:
        return "<p>On the web; downloaded when you use it.</p>"
    small = shared.thumbnails / f"{clip.id}.mp4"
    try:
        if not small.exists():
            reference = ReferenceLibrary.open(shared.library).reference(clip)
            frames = np.stack([scaled(frame, THUMBNAIL) for frame in reference.frames])
            write_video(small, frames, reference.fps)
    except (EchoReelError, OSError) as error:
        return f'<p role="alert">{html.escape(str(error))}</p>'
    label = html.escape(clip.caption, quote=True)
    return f'<video src="{address(small)}" muted loop playsinline tabindex="0" aria-label="{label}"></video>'


def _told_added(added: Added) -> str:
    lines = [f"Added {added.clips} clips; {added.known} were there already."]
    if added.without_action:
        lines.append(f"No action found in {added.without_action} captions; search will not return them.")
    return paragraphs(*lines, *(f"{Path(place).name}: {why}" for place, why in added.problems[:5]))
