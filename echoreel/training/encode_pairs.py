"""Ordinary videos -> cached training pairs of a base: a manifest in, a folder of shards out.

Any number of processes may do so at once, with the same call: each shard is encoded by one of them.
"""

from collections import defaultdict
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from echoreel.bases.base import BaseLike
from echoreel.bases.encoding import encode_video
from echoreel.bases.lookup import base_of
from echoreel.common.errors import ClipTooShort, VideoError
from echoreel.media.images import Frames, cut_away
from echoreel.media.video_files import Span, probe, read_frames
from echoreel.training.autoencoder_probe import probe_of, same_probe
from echoreel.training.clip_shape import ClipShape, nearest_first
from echoreel.training.manifest import ManifestLine, inside, numbered_lines
from echoreel.training.pair_cache import PairSet, PairSetWriter
from echoreel.training.pair_shards import Latents, Origin, PairSetError, Part
from echoreel.training.prepare_settings import PrepareSettings

BINDING = -1  # the turn of settings, beside those of shards
MUCH_CUT = 0.1  # share of a picture


@dataclass
class Encoded:
    """What a process did for some shards."""

    shards: list[int] = field(default_factory=list)  # that have pairs now
    made: int = 0  # pairs of shards that were not there
    remade: int = 0  # pairs of shards that were there, but of other sources or by another autoencoder
    too_short: list[str] = field(default_factory=list)  # why a line has no pair, of those read now

    def add(self, other: "Encoded") -> None:
        """Count what was done for other shards, too."""
        self.shards += other.shards
        self.made, self.remade = self.made + other.made, self.remade + other.remade
        self.too_short += other.too_short


@dataclass
class Prepared:
    """The pairs in a folder, and what this preparation did there."""

    pairs: PairSet
    made: int = 0  # as in `Encoded`
    remade: int = 0
    removed: int = 0  # shards of pairs that the manifest no longer has
    too_short: list[str] = field(default_factory=list)
    left_out: int = 0  # lines without a pair, of all

    def counts(self) -> dict[str, int]:
        """For --json."""
        names = ("made", "remade", "removed", "left_out")
        return {"pairs": len(self.pairs)} | {name: getattr(self, name) for name in names}

    def buckets(self) -> dict[str, int]:
        """How many pairs each bucket holds; nothing where all are of one shape."""
        return {name: len(bucket.numbers) for name, bucket in self.pairs.buckets.items() if name}

    def told(self) -> list[str]:
        """What this preparation did, in sentences."""
        lines = [f"{self.pairs.name} holds {len(self.pairs)} pairs, {self.made} of them new"]
        for name, bucket in self.pairs.buckets.items():
            lines += _bucket_told(name, len(bucket.numbers), self.pairs.cropped(name))
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


def _bucket_told(name: str, pairs: int, cropped: tuple[float, float] | None) -> list[str]:
    if not name and (cropped is None or max(cropped) < MUCH_CUT):
        return []
    cut = (
        ""
        if cropped is None
        else f"{cropped[0]:.0%} of a target's picture and {cropped[1]:.0%} of a reference's"
    )
    if not name:
        return [f"cropping cut away {cut}; `--buckets auto` in another folder may keep more"]
    return [f"{name}: {pairs} pairs" + (f"; cropping cut away {cut}" if cut else "")]


class Preparation:
    """Encodes a manifest's pairs shard by shard, beside any other processes that do the same."""

    def __init__(
        self,
        base: BaseLike,
        manifest: Path,
        folder: Path,
        settings: PrepareSettings | None = None,
        root: Path | None = None,
    ) -> None:
        """Raises as `prepare_pairs`."""
        settings = settings or PrepareSettings()
        self._base, self._manifest, self._root = base_of(base), manifest, root or manifest.parent
        self._shapes = settings.shapes(self._base)
        self._settings = settings.whole(self._shapes)
        self._lines = [*numbered_lines(manifest, settings.references, self._root).items()]
        self._writer, self._probe = PairSetWriter(folder), probe_of(self._base)
        self.shards = range(-(-len(self._lines) // settings.shard))
        with self.undone(), self._writer.turn(BINDING, wait=True):
            self._writer.bind(self._settings)

    def undone(self) -> AbstractContextManager[None]:
        """A preparation that is refused within, before there is a pair, leaves nothing."""
        return self._writer.undone()

    def encode(self, number: int, wait: bool) -> Encoded | None:
        """Have shard `number` encoded, by this process if need be. Without `wait`, None where another one
        is at it. Raises as `prepare_pairs`."""
        if self._is_done(number):
            return Encoded([number])
        with self._writer.turn(number, wait) as mine:
            if not mine:
                return None
            if self._is_done(number):  # by now
                return Encoded([number])
            found, origin = Encoded(), self._origin(number)
            parts = self._parts(self._part(number), found.too_short)
            if parts:
                count = sum(len(part.captions) for part in parts.values())
                self._writer.check_bound(self._settings)  # before there are shards, others may bind theirs
                name = "made" if self._writer.made_of(number) is None else "remade"
                self._writer.write_parts(number, parts, origin)
                found.shards.append(number)
                setattr(found, name, count)
            return found

    def finish(self, done: Encoded) -> Prepared:
        """Once all shards are: remove others, and open the pairs. Raises PairSetError when there are none."""
        with self._writer.turn(BINDING, wait=True):
            self._writer.check_bound(self._settings)
            removed = self._writer.keep(done.shards)
            self._writer.clear()
        if not done.shards:
            raise PairSetError(f"{self._manifest}: no pair is left; {done.too_short[0]}")
        pairs = PairSet.open(self._writer.folder)
        left_out = len(self._lines) - len(pairs)
        return Prepared(pairs, done.made, done.remade, removed, done.too_short, left_out)

    def _part(self, number: int) -> dict[int, ManifestLine]:
        """The lines of a shard, by their numbers in the manifest."""
        size = self._settings.shard
        return dict(self._lines[number * size : (number + 1) * size])

    def _is_done(self, number: int) -> bool:
        made, wanted = self._writer.made_of(number), self._origin(number)
        return made is not None and made.sources == wanted.sources and same_probe(made.probe, wanted.probe)

    def _origin(self, number: int) -> Origin:
        """All that pairs are made of: lines, settings, sizes and times of files, and the autoencoder."""
        kept = {"shard"} if self._settings.buckets else {"shard", "buckets"}
        digest = sha256(self._settings.model_dump_json(exclude=kept).encode())
        for line in self._part(number).values():
            digest.update(line.model_dump_json(exclude={"action"}).encode())
            for file, _ in line.clips(self._settings.references):
                path = self._root / file
                state = path.stat() if path.exists() else None
                digest.update(f"{state.st_size} {state.st_mtime_ns}".encode() if state else b"missing")
        return Origin(digest.hexdigest(), self._probe)

    def _parts(self, lines: dict[int, ManifestLine], too_short: list[str]) -> dict[str, Part]:
        """Pairs of these lines by the names of their buckets; `too_short` gets why others have none.

        Raises VideoError's family, naming the line.
        """
        found: dict[str, list[_Pair]] = defaultdict(list)
        for number, line in lines.items():
            source = f"{self._manifest.name} line {number}"
            try:
                shape, frames, cropped = self._read(line, source)
            except ClipTooShort as error:
                too_short.append(f"{source}: {error}")
            except VideoError as error:
                raise type(error)(f"{source}: {error}") from error
            else:
                latents: Latents = encode_video(self._base, frames).half().cpu().numpy()
                pair = _Pair(latents, line.captions(self._settings.references), cropped)
                found[shape.name if self._settings.buckets else ""].append(pair)
        return {name: _part(pairs) for name, pairs in found.items()}

    def _read(self, line: ManifestLine, source: str) -> tuple[ClipShape, Frames, list[float]]:
        """The bucket of a pair, its frames (1 + R, T, H, W, 3), and what was cut away of each clip.

        The bucket is the one nearest to the target for which all its clips are long enough: `generate`, too,
        crops references to the video's shape, and reads them moment by moment. Raises VideoError's family.
        """
        shapes, failed = self._shapes, None
        if len(shapes) > 1:
            target = probe(inside(self._root, line.target, source))
            shapes = nearest_first(shapes, (target.height, target.width))
        lacking = float("inf")
        for shape in shapes:
            if shape.frames < lacking:
                try:
                    return shape, *self._frames(line, source, shape)
                except ClipTooShort as error:
                    failed, lacking = error, shape.frames
        raise failed or AssertionError("there is no bucket")

    def _frames(self, line: ManifestLine, source: str, shape: ClipShape) -> tuple[Frames, list[float]]:
        """As `_read`, for one bucket."""
        clips, cropped, size = [], [], (shape.height, shape.width)
        for file, cut in line.clips(self._settings.references):
            span = Span(start=cut.start, end=cut.end, fps=shape.fps, frames=shape.frames)
            clip = read_frames(inside(self._root, file, source), span, size=size)
            if len(clip.frames) < shape.frames:
                until = "" if cut.end is None else f" to {cut.end:g} s"
                ways = "lower frames" if len(self._shapes) == 1 else "add a shorter bucket"
                raise ClipTooShort(
                    f"{file} gives {len(clip.frames)} frames from {cut.start:g} s{until}, need "
                    f"{shape.frames}; {ways}, raise fps, or drop the line"
                )
            clips.append(clip.frames)
            cropped.append(cut_away(clip.filmed or size, size))
        return np.stack(clips), cropped


class _Pair(NamedTuple):
    latents: Latents  # (1 + R, C, T, h, w)
    captions: list[str]
    cropped: list[float]


def _part(pairs: list[_Pair]) -> Part:
    latents = np.stack([pair.latents for pair in pairs])
    cropped = np.array([pair.cropped for pair in pairs], np.float16)
    return Part(latents[:, 0], latents[:, 1:], [pair.captions for pair in pairs], cropped)


def prepare_pairs(
    base: BaseLike,
    manifest: Path,
    folder: Path,
    settings: PrepareSettings | None = None,
    root: Path | None = None,
) -> Prepared:
    """Read, encode and store every pair of the manifest. If interrupted, the same call resumes.

    Other processes with the same call take part; it returns when all is done. A shard is kept while its
    lines, their files (size and time) and the base's autoencoder are the same. Others are encoded again.
    Pairs with too short a clip are left out and counted.

    Raises PairSetError for a wrong manifest, or when no pair is left. Raises VideoError's family for a video
    that cannot be used. Both name the line. Raises CheckpointError when the folder holds pairs of other
    settings, OutputError.
    """
    work, done = Preparation(base, manifest, folder, settings, root), Encoded()
    left = [*work.shards]
    with work.undone():
        for wait in (False, True):  # first those that nobody else is at
            found = {number: work.encode(number, wait) for number in left}
            left = [number for number, encoded in found.items() if encoded is None]
            for encoded in filter(None, found.values()):
                done.add(encoded)
        return work.finish(done)
