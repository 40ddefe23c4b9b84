"""`echoreel library`: videos that show actions, added once and found by the action that a prompt asks for.

`library_upkeep` holds the commands that change what is there. Over 300 lines since each option is a parameter
of its own.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.commands import Commands
from echoreel.cli.library_answers import (
    NO_ACTION,
    export_references,
    tell_added,
    tell_clip,
    tell_clips,
    tell_found,
    tell_others,
    tell_problems,
    write_sheet,
)
from echoreel.cli.options import Base
from echoreel.cli.output import Answer
from echoreel.common.errors import EchoReelError

if TYPE_CHECKING:
    from echoreel.library.reference_library import ReferenceLibrary

library = Commands(no_args_is_help=True, help="Reference videos, found by the action that a prompt asks for.")
app.add_typer(library, name="library")

Library = Annotated[
    str, typer.Argument(metavar="LIBRARY", help="A folder, or a place such as s3://bucket/name.")
]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Clips, by the ids that `list` shows.")]
ActionText = Annotated[
    str | None, typer.Option("--action", metavar="TEXT", help="The action, if the prompt does not name it.")
]
EmbedderName = Annotated[
    str | None,
    typer.Option(
        "--embedder", metavar="NAME", help='Compares actions: a hub name, or "none" for words alone.'
    ),
]
MOST_RESULTS, MOST_CLIPS = 10_000, 10_000_000


def opened(place: str, create: bool = False, embedder: str | None = None) -> "ReferenceLibrary":
    """The library, whose packages are loaded by its commands alone."""
    from echoreel.library.reference_library import ReferenceLibrary

    return ReferenceLibrary.open(place, create=create, embedder=embedder)


@library.command(epilog="Example: echoreel library add references videos/ catalogue.csv")
def add(
    answer: Answer,
    place: Library,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders of videos, videos, .csv .parquet .json .jsonl, other libraries.",
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder that a catalogue's paths are relative to. Default: its own."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT=NAME", help="A catalogue's column of caption, location, start or end."),
    ] = None,
    longest: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longer shots are cut into equal parts.")
    ] = 12.0,
    shortest: Annotated[float, typer.Option(metavar="SECONDS", help="Shorter shots are left out.")] = 1.0,
    embedder: EmbedderName = None,
    ray: Annotated[bool, typer.Option("--ray", help="Distribute the work over Ray's workers.")] = False,
) -> None:
    """Add videos with their captions, and bring those that are there up to date. If interrupted, rerun."""
    from echoreel.common.settings import checked
    from echoreel.library.sources.add_sources import AddSettings, check_sources
    from echoreel.library.tables import unmade_if_empty

    columns = dict(_pair(each) for each in column or ())
    settings = checked(
        AddSettings, root=root, columns=columns, clips={"longest": longest, "shortest": shortest}
    )
    check_sources(sources, settings)  # before there is a library that holds nothing
    with unmade_if_empty(place):
        found = opened(place, create=True, embedder=embedder)
        if ray:
            from echoreel.library.add_with_ray import add_with_ray

            added = add_with_ray(found, sources, settings)
        else:
            added = found.add(sources, settings)
    tell_added(answer, place, added)


@library.command(
    epilog='Example: echoreel library search references "a raccoon playing the guitar" --sheet out.png'
)
def search(
    answer: Answer,
    place: Library,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the video should show.")],
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, max=MOST_RESULTS, help="Number of results.")
    ] = 10,
    action: ActionText = None,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", metavar="X", min=0, max=1, help="Leave out what fits less well."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a picture with frames of the results.")
    ] = None,
    embedder: EmbedderName = None,
) -> None:
    """Find clips of the prompt's action: what was understood, the scores, and why each was picked."""
    found = opened(place, embedder=embedder)
    result = found.search(prompt, count, action)
    if min_score is not None:
        kept = tuple(each for each in result.results if each.score >= min_score)
        result = replace(result, results=kept)
    answer.facts = result.details()
    if result.action is None:
        answer.say(NO_ACTION)
        return
    answer.say(f'action: "{result.action.phrase}"')
    tell_others(answer, result)
    if not result.results:
        held = found.store.count("clips")
        answer.say("nothing similar in the library" if held else "the library holds no clips; add some first")
        return
    tell_found(answer, found, result.results)
    if sheet is not None:
        write_sheet(found, [each.clip for each in result.results], sheet, answer)


@library.command("list", epilog="Example: echoreel library list references --action running")
def list_clips(
    answer: Answer,
    place: Library,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, max=MOST_CLIPS, help="Number of clips.")
    ] = 20,
    action: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those of this action.")] = None,
    removed: Annotated[
        bool, typer.Option("--removed", help="List only clips that `remove` took out.")
    ] = False,
) -> None:
    """Show clips of the library."""
    if removed and action:
        raise EchoReelError("--action: goes without --removed; leave one of them out")
    found = opened(place)
    clips = found.removed()[:count] if removed else found.clips(count, action)
    answer.facts = {"clips": [clip.details() for clip in clips]}
    tell_clips(answer, found, clips)


@library.command(epilog="Example: echoreel library show references 4be1d3c8a0f2e917 --sheet out.png")
def show(
    answer: Answer,
    place: Library,
    id: Annotated[str, typer.Argument(metavar="ID", help="A clip, by the id that `list` shows.")],
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture of its frames.")] = None,
) -> None:
    """Show all that is known of one clip."""
    found = opened(place)
    clip = found.show(id)
    answer.facts = clip.details()
    tell_clip(answer, found, clip)
    if sheet is not None:
        write_sheet(found, [clip], sheet, answer)


@library.command(epilog="Example: echoreel library trust their-library videos/")
def trust(
    answer: Answer,
    place: Library,
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of videos.")],
) -> None:
    """Let a library read videos from these folders: one that somebody else made reads none by itself."""
    found = opened(place)
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise EchoReelError(f"{missing[0]}: there is no such folder; give one that holds videos")
    found.permissions.allow(folders)
    answer.say(f"{place} may read from: {', '.join(found.permissions.allowed.folders)}")
    answer.facts = {"folders": list(found.permissions.allowed.folders)}


@library.command(epilog='Example: echoreel library export references out --prompt "a woman juggling"')
def export(
    answer: Answer,
    place: Library,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Output folder.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Clips. Default: all.")] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Export what `search` finds for this prompt.")
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", metavar="N", min=1, max=MOST_RESULTS, help="With --prompt: number of results."
        ),
    ] = 10,
    references: Annotated[
        bool, typer.Option("--references", help="Write one reference file for each clip, and no videos.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help='With --references: encode for this base, or "embedded".'),
    ] = None,
) -> None:
    """Copy clips to a folder with a manifest, which can be added to another library as a catalogue."""
    if base is not None and not references:
        raise EchoReelError("--base: only reference files hold what is encoded; add --references")
    found = opened(place)
    if ids:
        clips = [found.show(id) for id in ids]
    elif prompt:
        clips = [each.clip for each in found.search(prompt, count).results]
    else:
        clips = [clip for batch in found.batches() for clip in batch]
    if references:
        files, problems = export_references(answer, found, folder, clips, base)
    else:
        with answer.busy(f"copying {len(clips)} clips"):
            files, problems = found.export(folder, clips)
        answer.say(f"wrote {len(files)} videos and manifest.jsonl to {folder}")
    tell_problems(answer, problems)
    answer.facts = {"files": [str(file) for file in files], "problems": problems}


@library.command(epilog="Example: echoreel library stats references")
def stats(answer: Answer, place: Library) -> None:
    """Show what the library holds."""
    answer.facts = opened(place).stats()
    for name, value in answer.facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        answer.say(f"{name.replace('_', ' '):17} {value}")


@library.command(epilog="Example: echoreel library embed references --adapter runs/adapter")
def embed(
    answer: Answer,
    place: Library,
    base: Base = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="An adapter for that base. Default: the embedded one."),
    ] = None,
) -> None:
    """Encode clips for a base ahead of time, for `generate --library`. If interrupted, rerun to resume."""
    from echoreel.cli.output import hush

    found = opened(place)
    hush()
    from echoreel.bases.loading import load_base
    from echoreel.generation.settings import recommended_size
    from echoreel.library.encoded_clips import encode_library
    from echoreel.method.loading import load_adapter

    with answer.busy("loading the models"):
        pipe, loaded = load_base(base), load_adapter(adapter)
        loaded.attach(pipe)  # so that one of another base is told before the work
        loaded.detach()
    stored = encode_library(found, pipe, recommended_size(pipe))
    answer.say(f"encoded {stored.clips} clips; {stored.known} were encoded already")
    if stored.stale:
        answer.say(f"{stored.stale} were encoded with other weights of this base and are replaced")
    tell_problems(answer, stored.problems)
    answer.facts = stored.details()


def _pair(text: str) -> tuple[str, str]:
    """WHAT=NAME. Raises EchoReelError."""
    what, equals, name = text.partition("=")
    if not equals or not name:
        raise EchoReelError(f"--column: got {text!r}, need WHAT=NAME, such as caption=title")
    return what, name
