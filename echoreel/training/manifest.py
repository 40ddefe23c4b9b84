"""A manifest: JSON lines, a pair on each; paths are relative to its folder, or `root`, and stay in it.

`{"target": "a.mp4", "caption": "…", "references": [{"path": "b.mp4", "caption": "…"}]}`
A line may name its `action`, as `prepare dataset` does.

Every clip may have a `start` and an `end` in seconds; nothing past its end is read.
"""

from functools import partial
from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from echoreel.common.places import regular_file, resolved
from echoreel.common.settings import Settings, validated
from echoreel.common.text import checked_text, json_value
from echoreel.training.pair_shards import PairSetError

LINE_CHARACTERS = 2**20


class Cut(Settings):
    """Which part of a video a clip is."""

    start: NonNegativeFloat = 0.0  # seconds
    end: PositiveFloat | None = None  # seconds; none = to the end of the file

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"the end {self.end:g} s is not after the start {self.start:g} s")
        return self


class ManifestReference(Cut):
    """A reference of one line."""

    path: Path
    caption: str = ""


class ManifestLine(Cut):
    """One pair."""

    target: Path
    caption: str
    action: str = ""  # of both clips; none = as the caption says. Only `evaluate --videos` asks
    references: tuple[ManifestReference, ...] = Field(min_length=1)

    def captions(self, references: int) -> list[str]:
        """The target's, and those of its first so many references."""
        return [self.caption, *(each.caption for each in self.references[:references])]

    def clips(self, references: int) -> list[tuple[Path, Cut]]:
        """The files of these clips, and which part of each."""
        return [(self.target, self), *((each.path, each) for each in self.references[:references])]


def read_manifest(path: Path, references: int = 1, root: Path | None = None) -> list[ManifestLine]:
    """Every line. Raises PairSetError or SettingsError, naming the line, for one that is wrong or has too few
    references."""
    return [*numbered_lines(path, references, root or path.parent).values()]


def numbered_lines(path: Path, references: int, root: Path) -> dict[int, ManifestLine]:
    """As `read_manifest`, by their numbers in the file."""
    regular_file(path, PairSetError, "a manifest")
    lines = {}
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as rows:  # captions may hold other line ends
            for number, row in enumerate(iter(partial(rows.readline, LINE_CHARACTERS), ""), 1):
                if len(row) == LINE_CHARACTERS:
                    raise PairSetError(
                        f"{path.name} line {number}: over {LINE_CHARACTERS} characters; cut it"
                    )
                if row.strip():
                    lines[number] = _line(row, f"{path.name} line {number}", references, root)
    except (OSError, UnicodeDecodeError) as error:
        raise PairSetError(f"manifest {path} cannot be read ({error}); need JSON lines in UTF-8") from error
    if not lines:
        raise PairSetError(f"manifest {path} is empty; need a JSON line for each pair")
    return lines


def _line(row: str, source: str, references: int, root: Path) -> ManifestLine:
    """Raises PairSetError, SettingsError."""
    try:
        data = json_value(row)
    except ValueError as error:
        raise PairSetError(f"{source}: not JSON: {error}") from error
    line = validated(ManifestLine, data, source)
    if len(line.references) < references:
        raise PairSetError(
            f"{source}: got {len(line.references)} references, need {references}; ask for fewer, or choose "
            f"pairs again with --references {references}"
        )
    for caption in (line.caption, *(r.caption for r in line.references)):
        checked_text(f"{source}: caption", caption)
    checked_text(f"{source}: action", line.action)
    for file in (line.target, *(r.path for r in line.references)):
        checked_text(f"{source}: path", str(file))
        inside(root, file, source)
    return line


def inside(root: Path, file: Path, source: str) -> Path:
    """The file in the root folder. Raises PairSetError for a path that points outside it."""
    found = resolved(root / file)
    if not found.is_relative_to(resolved(root)):
        raise PairSetError(
            f"{source}: {file} points outside {root}, which videos must be in; give another root"
        )
    return found
