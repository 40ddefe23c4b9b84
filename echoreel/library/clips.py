"""Clips of a library as people meet them, and what a search answers."""

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from echoreel.common.errors import OutputError
from echoreel.library.actions.find_action import Action
from echoreel.library.tables import LibraryError
from echoreel.media.reference_video import ReferenceVideo

FOR_GAPS: dict[str, Any] = {"id": 0, "video": 0, "start": 0.0, "end": None, "look": None, "motion": None}
FOR_GAPS |= dict.fromkeys(("root", "path", "caption", "action", "verb"), "")


@dataclass(frozen=True, slots=True)
class LibraryClip:
    """One clip. path: in its root, or a URL. video: which one it was cut from. Times in seconds."""

    id: str
    caption: str
    phrase: str
    verb: str
    root: str  # the folder that the path stays in; empty for a URL
    path: str
    video: str
    start: float
    end: float | None
    motion: float | None  # mean difference of neighbouring frames, 0 to 1; None where nobody has looked
    look: tuple[float, ...] | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """From a row of the table, in which somebody else may have left gaps, or numbers that cannot be."""
        row = FOR_GAPS | {name: value for name, value in row.items() if _can_be(value)}
        look = row["look"]
        return cls(
            id=shown(row["id"]),
            caption=row["caption"],
            phrase=row["action"],
            verb=row["verb"],
            root=row["root"],
            path=row["path"],
            video=shown(row["video"]),
            start=round(row["start"], 3),
            end=None if row["end"] is None else round(row["end"], 3),
            motion=row["motion"],
            look=None if look is None else tuple(look),
        )

    @property
    def number(self) -> int:
        """The id as it is stored."""
        return stored(self.id)

    @property
    def label(self) -> str:
        """None: a library's clips have captions, and no classes."""
        return ""

    @property
    def is_url(self) -> bool:
        return not self.root

    @property
    def place(self) -> str:
        """The file's whole path, or the URL."""
        return self.path if self.is_url else f"{self.root.rstrip('/')}/{self.path}"

    def details(self) -> dict[str, Any]:
        """For --json."""
        named = {"id": self.id, "caption": self.caption, "action": self.phrase, "path": self.place}
        return named | {"video": self.video, "start": self.start, "end": self.end, "motion": self.motion}


class Found(NamedTuple):
    """A clip, how well its action fits (0 to 1, and a little for the scenery), and why."""

    clip: LibraryClip
    score: float
    why: str

    def details(self) -> dict[str, Any]:
        """For --json."""
        return self.clip.details() | {"score": round(self.score, 4), "why": self.why}


@dataclass(frozen=True)
class Answer:
    """What a search understood and found. action: None where the prompt tells of none."""

    prompt: str
    action: Action | None
    results: tuple[Found, ...]
    others: tuple[Action, ...] = ()  # further actions of the prompt, which were not looked for

    def details(self) -> dict[str, Any]:
        phrase = self.action.phrase if self.action else None
        return {
            "prompt": self.prompt,
            "action": phrase,
            "other_actions": [other.phrase for other in self.others],
            "results": [found.details() for found in self.results],
        }


@dataclass(frozen=True)
class Taken:
    """The references that a generation takes, and those that it would have if they could be read."""

    answer: Answer
    references: tuple[tuple[Found, ReferenceVideo], ...]
    problems: tuple[tuple[str, str], ...]


def check_any(done: Sized, what: str, problems: Sequence[tuple[str, str]]) -> None:
    """Raises OutputError where there are no clips, or all have problems, (place, what is wrong).

    done: the others. what: such as "exported". An earlier output is then not replaced by an empty one.
    """
    if done:
        return
    if not problems:
        raise OutputError(f"no clips to be {what}, so nothing is changed; add some, or ask for other ones")
    place, why = problems[0]
    told = f"{place}: {without_place(place, why)}"
    raise OutputError(
        f"none of {len(problems)} clips can be {what}, so nothing is changed; the first: {told}"
    )


def without_place(place: str, why: str) -> str:
    """The reason without the file that it begins with."""
    return why.removeprefix(f"{place}: ").removeprefix(f"{Path(place).name}: ")


def shown(number: int) -> str:
    """How people see an id: 16 digits from 0 to f."""
    return f"{number % 2**64:016x}"


def stored(id: str) -> int:
    """The id as stored. Raises LibraryError."""
    try:
        number = int(id, 16)
    except ValueError:
        number = -1
    if len(id) != 16 or number < 0:
        raise LibraryError(f"got {id!r}, need the id of a clip: 16 digits from 0 to f, as `list` shows them")
    return number - 2**64 if number >= 2**63 else number


def _can_be(value: Any) -> bool:
    """Whether a value of a row is there and, of numbers, finite; times and motion are 0 or more."""
    if isinstance(value, list):
        return all(each is not None and math.isfinite(each) for each in value)
    return value is not None and (not isinstance(value, float) or 0 <= value < math.inf)
