"""Which clips of a library cannot serve as references, and why. Every file is decoded from end to end."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from echoreel.library.clips import LibraryClip
from echoreel.library.sources.add_videos import ahead, cores, tried
from echoreel.library.sources.progress_bar import Bar, bars
from echoreel.library.sources.shots import Cuts, find_cuts

EDGE = 0.1  # seconds from a clip's ends within which a cut is its own edge
Fault: TypeAlias = Literal["missing", "damaged", "cut", "no action"]


class ClipFault(NamedTuple):
    """A clip and what is wrong with it."""

    clip: LibraryClip
    fault: Fault
    why: str

    def details(self) -> dict[str, Any]:
        """For --json."""
        return self.clip.details() | {"fault": self.fault, "why": self.why}


@dataclass
class Checked:
    """What `check` found."""

    clips: int = 0  # looked at
    urls: int = 0  # not looked at: they are fetched when they are chosen
    faults: list[ClipFault] = field(default_factory=list)

    def of(self, fault: Fault) -> list[ClipFault]:
        return [each for each in self.faults if each.fault == fault]

    def details(self) -> dict[str, Any]:
        """For --json."""
        return {"clips": self.clips, "urls": self.urls, "faults": [each.details() for each in self.faults]}


def check_clips(
    batches: Iterable[list[LibraryClip]], file: Callable[[LibraryClip], Path], quiet: bool
) -> Checked:
    """Look at every clip. file: gives a clip's video on this machine, or raises."""
    checked, of_place = Checked(), dict[str, list[LibraryClip]]()
    for clip in (clip for batch in batches for clip in batch):
        if not clip.verb:
            checked.faults.append(ClipFault(clip, "no action", "its caption names no action"))
        if clip.is_url:
            checked.urls += 1
        else:
            checked.clips += 1
            of_place.setdefault(clip.place, []).append(clip)
    with bars(quiet) as progress, ThreadPoolExecutor(workers := cores()) as pool:
        tell = Bar(progress, "checking the videos")
        tell.of(len(of_place))
        look = lambda clips: tried(_look, file, clips[0])  # noqa: E731
        for clips, found in ahead(pool, look, of_place.values(), 4 * workers):
            checked.faults += [fault for clip in clips if (fault := _judged(clip, found)) is not None]
            tell.on(1)
    return checked


def _look(file: Callable[[LibraryClip], Path], clip: LibraryClip) -> "Cuts | None":
    """The cuts of a file, or None where there is none. Raises EchoReelError."""
    path = file(clip)
    return find_cuts(path) if os.path.exists(path) else None


def _judged(clip: LibraryClip, found: "Cuts | str | None") -> ClipFault | None:
    """What is wrong with a clip of a file, if anything is."""
    if found is None:
        return ClipFault(clip, "missing", "there is no such file")
    if isinstance(found, str):
        return ClipFault(clip, "damaged", found)
    if clip.start >= found.end:
        return ClipFault(clip, "damaged", f"begins at {clip.start:g} s of {found.end:.2f} s")
    end = found.end if clip.end is None else clip.end
    inside = [time for time in found.times if clip.start + EDGE < time < end - EDGE]
    if not inside:
        return None
    times = ", ".join(f"{time:.1f}" for time in inside[:5])
    return ClipFault(clip, "cut", f"the camera cuts at {times} s" + (" and later" if len(inside) > 5 else ""))
