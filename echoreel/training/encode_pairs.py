"""Ordinary videos -> cached training pairs of a base: a manifest in, a folder of shards out.

A manifest is JSON lines, a pair on each: paths are relative to its folder, or `root`, and stay in it:
`{"target": "a.mp4", "caption": "…", "references": [{"path": "b.mp4", "caption": "…"}]}`
A line may name its `action`, as `prepare dataset` does.

Every clip may have a `start` and an `end` in seconds; nothing past its end is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.encoding import encode_video
from echoreel.bases.lookup import base_of
from echoreel.common.errors import ClipTooShort, VideoError
from echoreel.common.places import regular_file
from echoreel.common.settings import Pixels, Settings, validated
from echoreel.common.text import checked_text, json_value
from echoreel.media.images import Frames
from echoreel.media.video_files import MOST_FPS, Span, read_frames
from echoreel.training.autoencoder_probe import probe_of, same_probe
from echoreel.training.clip_shape import ClipShape, clip_shape
from echoreel.training.pair_cache import Origin, PairSet, PairSetError, PairSetWriter

LINE_CHARACTERS = 2**20  # of a manifest


class PrepareSettings(Settings):
    """How the videos of a manifest are read. None means: as `clip_shape` has it for the base."""

    frames: Annotated[int, Field(ge=1, le=10_000)] | None = None
    fps: Annotated[float, Field(gt=0, le=MOST_FPS)] | None = None
    size: tuple[Pixels, Pixels] | None = None  # pixels (height, width)
    references: Annotated[int, Field(ge=1, le=100)] = 1  # of each pair: a line's first so many
    shard: PositiveInt = 256  # pairs in a file

    def shape(self, base: BaseLike) -> ClipShape:
        """Of every clip. Raises SettingsError for a base that does not say its size, and none is given."""
        if self.frames and self.fps and self.size:
            return ClipShape(self.frames, self.fps, *self.size)
        usual = clip_shape(base, self.size)
        return ClipShape(self.frames or usual.frames, self.fps or usual.fps, usual.height, usual.width)


class _Cut(Settings):
    """Which part of a video a clip is."""

    start: NonNegativeFloat = 0.0  # seconds
    end: PositiveFloat | None = None  # seconds; none = to the end of the file

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"the end {self.end:g} s is not after the start {self.start:g} s")
        return self


class ManifestReference(_Cut):
    """A reference of one line."""

    path: Path
    caption: str = ""


class ManifestLine(_Cut):
    """One pair."""

    target: Path
    caption: str
    action: str = ""  # of both clips; none = as the caption says. Only `evaluate --videos` asks
    references: tuple[ManifestReference, ...] = Field(min_length=1)


@dataclass
class Prepared:
    """The pairs in a folder, and what this preparation did there."""

    pairs: PairSet
    made: int = 0  # pairs of shards that were not there
    remade: int = 0  # pairs of shards that were there, but of other sources or by another autoencoder
    removed: int = 0  # shards of pairs that the manifest no longer has
    too_short: list[str] = field(default_factory=list)  # why a line has no pair, of those read now
    left_out: int = 0  # lines without a pair, of all

    def counts(self) -> dict[str, int]:
        """For --json."""
        names = ("made", "remade", "removed", "left_out")
        return {"pairs": len(self.pairs)} | {name: getattr(self, name) for name in names}

    def told(self) -> list[str]:
        """What this preparation did, in sentences."""
        lines = [f"{self.pairs.name} holds {len(self.pairs)} pairs, {self.made} of them new"]
        if self.remade:
            lines.append(
                f"encoded {self.remade} pairs again: their lines, files or the base's autoencoder had changed"
            )
        if self.removed:
            lines.append(f"removed {self.removed} shards of pairs that the manifest no longer has")
        if self.left_out:
            first = f" (first: {self.too_short[0]})" if self.too_short else ""
            lines.append(f"left out {self.left_out} pairs with a clip that is too short{first}")
        return lines


def prepare_pairs(
    base: BaseLike,
    manifest: Path,
    folder: Path,
    settings: PrepareSettings | None = None,
    root: Path | None = None,
) -> Prepared:
    """Read, encode and store every pair of the manifest. If interrupted, the same call resumes.

    A shard is kept while its lines, their files (size and time) and the base's autoencoder are the same.
    Others are encoded again. Pairs with too short a clip are left out and counted.

    Raises PairSetError for a wrong manifest, or when no pair is left. Raises VideoError's family for a video
    that cannot be used. Both name the line. Raises CheckpointError when the folder holds pairs of other
    settings, OutputError.
    """
    base, settings = base_of(base), settings or PrepareSettings()
    shape = settings.shape(base)
    told = {"frames": shape.frames, "fps": shape.fps, "size": (shape.height, shape.width)}
    settings = settings.model_copy(update=told)
    root = root or manifest.parent
    lines = [*_numbered_lines(manifest, settings.references, root).items()]
    writer, probe = PairSetWriter(folder), probe_of(base)
    counts, kept = {"made": 0, "remade": 0}, list[int]()
    too_short: list[str] = []
    with writer.locked():
        writer.bind(settings)
        for number, first in enumerate(range(0, len(lines), settings.shard)):
            part = dict(lines[first : first + settings.shard])
            origin = Origin(_sources(part.values(), root, settings), probe)
            before = writer.made_of(number)
            if before is None or before.sources != origin.sources or not same_probe(before.probe, probe):
                clips, captions = _encoded_part(base, part, manifest.name, root, settings, too_short)
                if not clips:
                    continue
                pairs = np.stack(clips)
                writer.write(number, pairs[:, 0], pairs[:, 1:], captions, origin)
                counts["made" if before is None else "remade"] += len(pairs)
            kept.append(number)
        removed = writer.keep(kept)
    if not kept:
        raise PairSetError(f"{manifest}: no pair is left; {too_short[0]}")
    found = PairSet.open(folder)
    return Prepared(found, **counts, removed=removed, too_short=too_short, left_out=len(lines) - len(found))


def _sources(lines: Iterable[ManifestLine], root: Path, settings: PrepareSettings) -> str:
    """A digest of all that pairs are made of, but for the base: lines, settings, sizes and times of files."""
    digest = sha256(settings.model_dump_json(exclude={"shard"}).encode())
    for line in lines:
        digest.update(line.model_dump_json(exclude={"action"}).encode())
        for file, _ in _clips_of(line, settings):
            path = root / file
            state = path.stat() if path.exists() else None
            digest.update(f"{state.st_size} {state.st_mtime_ns}".encode() if state else b"missing")
    return digest.hexdigest()


def _encoded_part(
    base: Base,
    part: Mapping[int, ManifestLine],
    manifest: str,
    root: Path,
    settings: PrepareSettings,
    too_short: list[str],
) -> tuple[list[NDArray[np.float16]], list[list[str]]]:
    """Latents (1 + R, C, T, h, w) and captions of each line; `too_short` gets why others have none.

    `part`: lines by their numbers. Raises VideoError's family, naming the line.
    """
    clips, captions = [], []
    for number, line in part.items():
        source = f"{manifest} line {number}"
        try:
            frames = _frames(line, root, source, settings)
        except ClipTooShort as error:
            too_short.append(f"{source}: {error}")
        except VideoError as error:
            raise type(error)(f"{source}: {error}") from error
        else:
            clips.append(_encoded(base, frames))
            captions.append([line.caption, *(r.caption for r in _used(line, settings))])
    return clips, captions


def read_manifest(path: Path, references: int = 1, root: Path | None = None) -> list[ManifestLine]:
    """Every line. Raises PairSetError or SettingsError, naming the line, for one that is wrong or has too few
    references."""
    return [*_numbered_lines(path, references, root or path.parent).values()]


def _numbered_lines(path: Path, references: int, root: Path) -> dict[int, ManifestLine]:
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
        _inside(root, file, source)
    return line


def _inside(root: Path, file: Path, source: str) -> Path:
    """The file in the root folder. Raises PairSetError for a path that points outside it."""
    found = (root / file).resolve()
    if not found.is_relative_to(root.resolve()):
        raise PairSetError(
            f"{source}: {file} points outside {root}, which videos must be in; give another root"
        )
    return found


def _frames(line: ManifestLine, root: Path, source: str, settings: PrepareSettings) -> Frames:
    """Frames (1 + R, T, H, W, 3) of a pair. Raises VideoError's family, ClipTooShort for too few frames."""
    clips, frames = [], settings.frames or 0  # the settings are whole here
    for file, cut in _clips_of(line, settings):
        span = Span(start=cut.start, end=cut.end, fps=settings.fps, frames=frames)
        clip = read_frames(_inside(root, file, source), span, size=settings.size)
        if len(clip.frames) < frames:
            until = "" if cut.end is None else f" to {cut.end:g} s"
            raise ClipTooShort(
                f"{file} gives {len(clip.frames)} frames from {cut.start:g} s{until}, need "
                f"{frames}; lower frames, raise fps, or drop the line"
            )
        clips.append(clip.frames)
    return np.stack(clips)


def _clips_of(line: ManifestLine, settings: PrepareSettings) -> list[tuple[Path, _Cut]]:
    """The files of a line that are used, and which part of each."""
    return [(line.target, line), *((r.path, r) for r in _used(line, settings))]


def _used(line: ManifestLine, settings: PrepareSettings) -> Sequence[ManifestReference]:
    return line.references[: settings.references]


def _encoded(base: Base, clips: Frames) -> NDArray[np.float16]:
    """Latents (1 + R, C, T, h, w)."""
    latents: NDArray[np.float16] = encode_video(base, clips).half().cpu().numpy()
    return latents
