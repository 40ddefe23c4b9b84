"""`echoreel library caption`, `remove`, `update`, `check`: what is in a library changes, or is wrong."""

from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.library import Ids, Library, library, opened
from echoreel.cli.library_answers import tell_added, tell_checked
from echoreel.cli.output import Answer


@library.command(
    epilog='Example: echoreel library caption references 4be1d3c8a0f2e917 "a woman doing a cartwheel"'
)
def caption(
    answer: Answer,
    place: Library,
    id: Annotated[str, typer.Argument(metavar="ID", help="A clip, by the id that `list` shows.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Who does what, and where.")],
) -> None:
    """Give a clip another caption. Adding its video again keeps it, unless the file's own caption changes."""
    clip = opened(place).caption(id, text)
    answer.facts = clip.details()
    if clip.verb:
        answer.say(f'{clip.id} shows "{clip.phrase}"')
    else:
        answer.say(f"{clip.id} has the caption; it names no action, and search will not return the clip")


@library.command(epilog="Example: echoreel library remove references 4be1d3c8a0f2e917")
def remove(
    answer: Answer,
    place: Library,
    ids: Ids,
    undo: Annotated[bool, typer.Option("--undo", help="Put removed clips in again.")] = False,
) -> None:
    """Take clips out for good, also when their videos are added again. The videos stay where they are."""
    found = opened(place)
    count = found.restore(ids) if undo else found.remove(ids)
    answer.say(f"{'restored' if undo else 'removed'} {count} of {len(ids)} clips")
    answer.facts = {"restored" if undo else "removed": count}


@library.command(epilog="Example: echoreel library update references --prune")
def update(
    answer: Answer,
    place: Library,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR...]", help="Further folders to look for moved videos in."),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Take out clips whose video is gone.")] = False,
) -> None:
    """Bring clips in step with their videos: which changed, moved or vanished. New videos are not added."""
    done = opened(place).update(folders or (), prune)
    tell_added(answer, place, done, first=f"looked at {place} in {done.seconds:.1f} s", pruned=prune)


@library.command(epilog="Example: echoreel library check references")
def check(answer: Answer, place: Library) -> None:
    """Decode every video: which clips are missing, damaged, cut by the camera, or without an action."""
    checked = opened(place).check()
    answer.facts = checked.details()
    tell_checked(answer, checked)
