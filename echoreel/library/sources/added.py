"""What came of adding: counts for people and machines, and what was wrong with single files and rows."""

from dataclasses import dataclass, field
from pathlib import Path

PROBLEMS_KEPT = 10_000
COUNTS = ("clips", "known", "videos", "copies", "without_action", "left_out")
LISTS = ("problems", "changed", "recaptioned", "moved", "copied", "vanished")


@dataclass
class Added:
    """What came of it."""

    clips: int = 0
    known: int = 0  # rows that were there already, and copies
    videos: int = 0  # files read
    copies: int = 0  # files with the content of another
    without_action: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)  # file or catalogue, what is wrong
    left_out: int = 0  # videos and rows
    changed: list[str] = field(default_factory=list)  # files that hold another video than before
    recaptioned: list[str] = field(default_factory=list)  # files of which somebody wrote another caption
    moved: list[tuple[str, str]] = field(default_factory=list)  # where a file was, and is
    copied: list[tuple[str, str]] = field(default_factory=list)  # a file, and the one whose content it has
    vanished: list[str] = field(default_factory=list)  # files that are gone
    seconds: float = 0.0

    def problem(self, where: Path | str, why: str, count: int = 1) -> None:
        if count:  # captions are read in other threads, which leave out none
            self.left_out += count
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((str(where), why))

    def __iadd__(self, other: "Added") -> "Added":
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in LISTS:
            setattr(self, name, (getattr(self, name) + getattr(other, name))[:PROBLEMS_KEPT])
        return self
