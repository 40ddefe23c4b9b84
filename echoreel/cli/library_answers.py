"""What the commands of `echoreel library` show: counts, problems, tables, pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel.cli.output import Answer
from echoreel.common.errors import EchoReelError, OutputError
from echoreel.common.text import printable

if TYPE_CHECKING:
    from echoreel.library.clips import LibraryClip
    from echoreel.library.reference_library import ReferenceLibrary
    from echoreel.library.sources.add_sources import Added

PROBLEMS_SHOWN = 20
LONGEST_CELL = 300  # characters; --json has all of them


def tell_added(answer: Answer, place: str, added: "Added") -> None:
    rate = (added.clips + added.known) / max(added.seconds, 1e-3)
    answer.say(
        f"added {added.clips} clips to {place} in {added.seconds:.1f} s ({rate:,.0f} a second); "
        f"{added.known} were there"
    )
    if added.copies:
        answer.say(f"{added.copies} files are copies of others")
    if added.without_action:
        answer.say(f"{added.without_action} captions name no action; search will not return these clips")
    if added.left_out:
        answer.say(f"{added.left_out} videos and rows were left out")
    tell_problems(answer, added.problems)
    answer.facts = {
        "clips": added.clips,
        "known": added.known,
        "videos": added.videos,
        "copies": added.copies,
        "without_action": added.without_action,
        "left_out": added.left_out,
        "problems": [{"place": where, "why": why} for where, why in added.problems],
        "seconds": round(added.seconds, 2),
    }


def tell_problems(answer: Answer, problems: list[tuple[str, str]]) -> None:
    for where, why in problems[:PROBLEMS_SHOWN]:
        answer.say(f"  {where}: {why}")
    if len(problems) > PROBLEMS_SHOWN:
        answer.say(f"  and {len(problems) - PROBLEMS_SHOWN} more; --json lists them")


def table(answer: Answer, names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    if answer.as_json:
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        shown.add_column(name, no_wrap=name in ("id", "score"), overflow="fold")
    for row in rows:
        shown.add_row(*(Text(shortened(cell)) for cell in row))  # captions of others are never markup
    Console(soft_wrap=False).print(shown)


def shortened(text: str) -> str:
    """What a table shows of a text."""
    return printable(text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…")


def write_sheet(found: "ReferenceLibrary", clips: "list[LibraryClip]", path: Path, answer: Answer) -> None:
    """A picture with a row for each clip that can be read. Raises OutputError for one of their files."""
    from echoreel.common.places import check_outputs
    from echoreel.media.drawing import contact_sheet
    from echoreel.media.video_files import write_image

    rows = []
    for clip in clips:
        try:
            check_outputs([path], [found.file(clip)], overwrite=True)
            rows.append((shortened(f"{clip.phrase}: {clip.caption}"), found.reference(clip).frames))
        except OutputError:
            raise
        except (EchoReelError, OSError) as error:
            answer.say(f"  {clip.place}: {error}")
    if not rows:
        raise EchoReelError("none of the clips can be read; see above")
    write_image(path, contact_sheet(rows))
    answer.say(f"wrote {path}")


def export_references(
    answer: Answer, found: "ReferenceLibrary", folder: Path, clips: "list[LibraryClip]", base: str | None
) -> tuple[list[Path], list[tuple[str, str]]]:
    """Write a reference file for each clip. Returns the files, and what failed with the reason."""
    from echoreel.cli.output import hush

    hush()
    from echoreel.bases.loading import load_base
    from echoreel.generation.settings import recommended_size
    from echoreel.library.export_references import export_references as export

    pipe, size = None, (0, 0)
    if base is not None:
        with answer.busy("loading the base"):
            pipe = load_base(base)
        size = recommended_size(pipe)
    files, problems = export(found, folder, clips, pipe, size)
    answer.say(f"wrote {len(files)} reference files to {folder}")
    if there := len(clips) - len(files) - len(problems):
        answer.say(f"{there} were there already and are left as they are")
    return files, problems
