"""The part of the Library tab that adds videos."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from echoreel.common.errors import EchoReelError
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.added import Added
from echoreel.library.tables import is_library
from echoreel.page.appearance import paragraphs, progress
from echoreel.page.shared import VIDEO_FILES, Shared, told_on_the_way

NO_ACTION = "(no action found)"


def library_add(shared: Shared, action: gr.Dropdown) -> None:
    """Draw it; `action` gets the library's actions as choices once there are more."""
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
        added = gr.HTML(elem_id="added", elem_classes="note")

    @told_on_the_way
    def more(uploads: list[str] | None, text: str) -> Iterator[list[Any]]:
        if not uploads:
            raise EchoReelError("no video to add; drop one first")
        library, total = ReferenceLibrary.open(shared.library, create=True), Added()
        for done, each in enumerate(uploads):
            name = Path(each).name
            yield [
                gr.skip(),
                progress(f"Adding {name}, {done + 1} of {len(uploads)}.", done / len(uploads)),
                gr.skip(),
            ]
            kept = shared.results.keep(Path(each), text.strip() or None)
            total += library.add([kept], quiet=True)
        yield [None, _told_added(total), gr.Dropdown(choices=actions(shared))]

    add.click(more, [drop, caption], [drop, added, action], api_visibility="private", show_progress="hidden")


def actions(shared: Shared) -> list[str]:
    """The library's commonest actions, and `NO_ACTION` where clips have none."""
    if not is_library(str(shared.library)):
        return []
    stats = ReferenceLibrary.open(shared.library).stats()
    return [*stats["commonest"], *([NO_ACTION] if stats["without_action"] else [])]


def _told_added(added: Added) -> str:
    lines = [f"Added {added.clips} clip{'' if added.clips == 1 else 's'}; {added.known} already existed."]
    if added.without_action:
        lines.append(f"No action found in {added.without_action} captions; search will not return them.")
    return paragraphs(*lines, *(f"{Path(place).name}: {why}" for place, why in added.problems[:5]))
