"""The Library tab: find clips by their action, take one as a reference, mend captions."""

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from echoreel.common.errors import EchoReelError
from echoreel.library.clips import LibraryClip
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.video_files import write_video
from echoreel.page.appearance import address, paragraphs
from echoreel.page.from_library import as_reference, opened
from echoreel.page.generate_tab import GenerateTab, with_references
from echoreel.page.library_add import NO_ACTION, actions, library_add
from echoreel.page.reference_cards import asked
from echoreel.page.shared import Shared, scaled, told

HITS = 8  # shown at once
THUMBNAIL = 144  # pixels high
PRIVATE: Any = {"api_visibility": "private"}


class Hit(NamedTuple):
    """The parts of one clip that was found."""

    whole: gr.Column
    picture: gr.HTML
    caption: gr.Textbox
    facts: gr.HTML
    take: gr.Button
    save: gr.Button


class Finder(NamedTuple):
    """What is asked of the library, and the clips on show."""

    query: gr.Textbox
    action: gr.Dropdown
    search: gr.Button
    understood: gr.HTML
    clips: gr.State
    hits: list[Hit]

    @property
    def found(self) -> list[Any]:
        parts = [[hit.whole, hit.picture, hit.caption, hit.facts] for hit in self.hits]
        return [self.understood, self.clips, *(part for hit in parts for part in hit)]


def library_tab(tab: GenerateTab, tabs: gr.Tabs, own: gr.Tab, shared: Shared) -> None:
    """Draw it and join it to the Generate tab, which takes its hits as references."""
    gr.Markdown(f"Clips in the library `{shared.library}`, found by what is done in them.")
    finder = _finder()
    library_add(shared, finder.action)
    _join_search(finder, own, shared)
    for place, hit in enumerate(finder.hits):
        _join_hit(hit, place, finder, tab, tabs, shared)


def _finder() -> Finder:
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
    understood = gr.HTML(elem_id="understood", elem_classes="note")
    with gr.Row():
        hits = [_hit(place) for place in range(HITS)]
    return Finder(query, action, search, understood, gr.State([]), hits)


def _hit(place: int) -> Hit:
    with gr.Column(visible=False, elem_classes="hit", min_width=160, elem_id=f"hit-{place}") as whole:
        picture = gr.HTML(padding=True)
        caption = gr.Textbox(label=f"Caption of clip {place + 1}", lines=3, max_length=2000)
        facts = gr.HTML(padding=True)
        with gr.Row():
            take = gr.Button("Use as reference", size="sm", min_width=100, elem_id=f"take-{place}")
            save = gr.Button("Save caption", size="sm", min_width=100, elem_id=f"save-{place}")
    return Hit(whole, picture, caption, facts, take, save)


def _join_search(finder: Finder, own: gr.Tab, shared: Shared) -> None:
    @told
    def searched(text: str) -> list[Any]:
        answer = opened(shared).search(text, HITS)
        if answer.action is None:
            return _shown("The text names no action. Say what is done, or browse by action.", [], [], shared)
        why = [f"{each.why}, score {each.score:.2f}" for each in answer.results]
        line = f"Action: “{answer.action.phrase}”." + ("" if why else " Nothing near it in the library.")
        return _shown(line, [each.clip for each in answer.results], why, shared)

    @told
    def browsed(verb: str | None) -> list[Any]:
        if verb is None:
            return _shown("", [], [], shared)
        library = opened(shared)
        if verb == NO_ACTION:
            some = next(library.batches("verb = ''"), [])[:HITS]
            line = (
                f"{len(some)} clips whose captions name no action: no search finds them. Mend the captions."
            )
        else:
            some = library.clips(HITS, verb)
            line = f"{len(some)} clips of “{verb}”."
        return _shown(line, some, [""] * len(some), shared)

    gr.on([finder.search.click, finder.query.submit], searched, finder.query, finder.found, **PRIVATE)
    finder.action.input(browsed, finder.action, finder.found, **PRIVATE)
    listed = told(lambda: gr.Dropdown(choices=actions(shared)))
    own.select(listed, None, finder.action, show_progress="hidden", **PRIVATE)


def _join_hit(hit: Hit, place: int, finder: Finder, tab: GenerateTab, tabs: gr.Tabs, shared: Shared) -> None:
    @told
    def taken(some: Sequence[LibraryClip], *values: Any) -> list[Any]:
        reference = as_reference(shared, some[place])
        return [gr.Tabs(selected="generate"), *with_references(asked(values), [reference])]

    @told
    def saved(some: Sequence[LibraryClip], caption: str) -> list[Any]:
        clip = opened(shared).caption(some[place].id, caption)
        some = [*some[:place], clip, *some[place + 1 :]]
        return [some, clip.caption, paragraphs(_action(clip), "Saved."), gr.Dropdown(choices=actions(shared))]

    hit.take.click(taken, [finder.clips, *tab.card_inputs], [tabs, *tab.card_outputs], **PRIVATE)
    hit.save.click(
        saved, [finder.clips, hit.caption], [finder.clips, hit.caption, hit.facts, finder.action], **PRIVATE
    )


def _shown(line: str, clips: Sequence[LibraryClip], why: Sequence[str], shared: Shared) -> list[Any]:
    outputs: list[Any] = [paragraphs(line), list(clips)]
    for clip, reason in zip(clips, why, strict=True):
        facts = paragraphs(_action(clip), reason)
        outputs += [gr.Column(visible=True), _thumbnail(clip, shared), clip.caption, facts]
    return [*outputs, *[gr.Column(visible=False), "", "", ""] * (HITS - len(clips))]


def _action(clip: LibraryClip) -> str:
    return f"Action understood: {clip.phrase}" if clip.phrase else "No action found in the caption."


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
