"""What the commands of `echoreel library` show: counts, problems, tables, pictures."""

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel.cli.output import Answer
from echoreel.common.errors import EchoReelError, OutputError
from echoreel.common.text import in_one_row, printable

if TYPE_CHECKING:
    from echoreel.library.check_clips import Checked
    from echoreel.library.clips import Answer as LibraryAnswer
    from echoreel.library.clips import Found, LibraryClip
    from echoreel.library.reference_library import ReferenceLibrary
    from echoreel.library.sources.added import Added

PROBLEMS_SHOWN = 20
NO_ACTION = "could not find an action in the prompt, which is read as English; pass --action"
LONGEST_CELL = 300  # characters; --json has all of them


def tell_added(answer: Answer, place: str, added: "Added", first: str = "", pruned: bool = False) -> None:
    """What `add` and `update` did. first: the line to begin with."""
    rate = (added.clips + added.known) / max(added.seconds, 1e-3)
    answer.say(
        first
        or f"added {added.clips} clips to {place} in {added.seconds:.1f} s ({rate:,.0f} a second); "
        f"{added.known} were there"
    )
    _tell_files(answer, "{} files hold another video; its clips replace the old ones", added.changed)
    _tell_files(answer, "{} files have another caption", added.recaptioned)
    _tell_files(answer, "{} files moved", [f"{before} is now {now}" for before, now in added.moved])
    gone = "clips taken out" if pruned else "`library update --prune` takes their clips out"
    _tell_files(answer, "{} files are gone; " + gone, added.vanished)
    copies = [f"{file} is a copy of {other}" for file, other in added.copied]
    _tell_files(answer, "{} files are copies of others", copies)
    if added.without_action:
        answer.say(f"{added.without_action} captions name no action; search will not return these clips")
    if added.left_out:
        answer.say(f"{added.left_out} videos and rows were left out")
    tell_problems(answer, added.problems)
    problems = [{"place": where, "why": why} for where, why in added.problems]
    answer.facts = vars(added) | {"problems": problems, "seconds": round(added.seconds, 2)}


def _tell_files(answer: Answer, what: str, lines: Sequence[str]) -> None:
    """A sentence with how many, and the first of them."""
    if lines:
        answer.say(what.format(len(lines)))
        _tell_lines(answer, lines)


def _tell_lines(answer: Answer, lines: Sequence[str]) -> None:
    for line in lines[:PROBLEMS_SHOWN]:
        answer.say(f"  {in_one_row(line)}")
    if len(lines) > PROBLEMS_SHOWN:
        answer.say(f"  and {len(lines) - PROBLEMS_SHOWN} more; --json lists them")


def tell_checked(answer: Answer, checked: "Checked") -> None:
    """Each kind of fault with its clips."""
    for fault in ("missing", "damaged", "cut", "no action"):
        found = checked.of(fault)
        answer.say(f"{fault}: {len(found)}")
        _tell_lines(answer, [f"{each.clip.id}  {each.clip.place}: {each.why}" for each in found])
    bad = len({each.clip.id for each in checked.faults})
    answer.say(f"{bad} of {checked.clips + checked.urls} clips have a fault")
    if checked.urls:
        answer.say(f"{checked.urls} clips are URLs, which were not fetched")


def tell_problems(answer: Answer, problems: list[tuple[str, str]]) -> None:
    _tell_lines(answer, [f"{where}: {why}" for where, why in problems])


def tell_clips(answer: Answer, library: "ReferenceLibrary", clips: "Sequence[LibraryClip]") -> None:
    """A block for each video: its place, then its clips with their times, actions and captions."""
    place = None
    for clip in clips:
        if clip.place != place:
            place = clip.place
            answer.say(in_one_row(place) + (" (the video is missing)" if library.is_missing(clip) else ""))
        times = times_of(clip)
        _tell_block(answer, f"  {clip.id}  {times:16}", clip.phrase or "(no action)", clip.caption)


def tell_found(answer: Answer, library: "ReferenceLibrary", results: "Sequence[Found]") -> None:
    """A block for each result, and a line above those that `generate` does not take."""
    from echoreel.library.actions.rank_actions import FITS

    above = True
    for each in results:
        if above and each.score < FITS:
            answer.say(f"below {FITS}, which `generate` takes only with a lower --min-score:")
            above = False
        missing = "; the video is missing" if library.is_missing(each.clip) else ""
        said = f"{each.clip.phrase} ({each.why}), {times_of(each.clip)}{missing}"
        _tell_block(answer, f"{each.score:4.2f}  {each.clip.id}  ", said, each.clip.caption)


def tell_others(answer: Answer, found: "LibraryAnswer") -> None:
    """Actions of the prompt that were not looked for."""
    if found.others:
        phrases = ", ".join(f'"{other.phrase}"' for other in found.others)
        answer.say(f"not looked for: {phrases}; a reference shows one action, which --action chooses")


def tell_clip(answer: Answer, library: "ReferenceLibrary", clip: "LibraryClip") -> None:
    """All that is known of one clip."""
    end = "the end" if clip.end is None else f"{clip.end:.1f} s"
    moves = "nobody has looked" if clip.motion is None else f"{clip.motion:.3f} (0 a still, 1 the most)"
    facts = {
        "id": clip.id,
        "action": clip.phrase or "none found in the caption",
        "video": in_one_row(clip.place) + (" (missing)" if library.is_missing(clip) else ""),
        "part": f"{clip.start:.1f} s to {end}",
        "motion": moves,
        "caption": clip.caption or "none",
    }
    for name, value in facts.items():
        if name == "video":
            answer.say(f"{name:8} {value}")  # whole, so that it can be copied
        else:
            _tell_wrapped(answer, f"{name:8} ", value)


def times_of(clip: "LibraryClip") -> str:
    """Such as "0.0 to 2.5 s"."""
    if clip.end is None:
        return f"{clip.start:.1f} s to the end" if clip.start else "whole"
    return f"{clip.start:.1f} to {clip.end:.1f} s"


def _tell_block(answer: Answer, first: str, said: str, caption: str) -> None:
    """Two paragraphs that begin under each other."""
    _tell_wrapped(answer, first, said)
    if caption:
        _tell_wrapped(answer, " " * len(first), caption)


def _tell_wrapped(answer: Answer, first: str, text: str) -> None:
    """A paragraph as wide as the terminal; `first` stands before it, spaces before its other lines."""
    width = max(shutil.get_terminal_size().columns, len(first) + 20)
    lines = textwrap.wrap(shortened(text), width - len(first), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines or [""]):
        answer.say((" " * len(first) if number else first) + line)


def shortened(text: str) -> str:
    """What a table shows of a text."""
    return printable(text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…")


def write_sheet(found: "ReferenceLibrary", clips: "list[LibraryClip]", path: Path, answer: Answer) -> None:
    """A picture with a row for each clip that can be read. Raises OutputError for one of their files."""
    from echoreel.common.places import check_outputs
    from echoreel.media.drawing import contact_sheet
    from echoreel.media.video_files import write_image

    rows, before = [], path.exists()
    for clip in clips:
        try:
            check_outputs([path], [found.file(clip)], overwrite=True)
            rows.append((shortened(f"{clip.phrase}: {clip.caption}"), found.reference(clip).frames))
        except OutputError:
            raise
        except (EchoReelError, OSError) as error:
            answer.say(f"  {in_one_row(clip.place)}: {error}")
    if not rows:
        raise EchoReelError("none of the clips can be read; see above")
    write_image(path, contact_sheet(rows))
    answer.say(f"wrote {path}" + (" over the one that was there" if before else ""))


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
        answer.say(f"{there} already existed and were kept")
    return files, problems
