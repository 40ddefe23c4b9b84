"""Ordinary videos -> cached training pairs of a base: a manifest in, a folder of shards out.

A manifest is JSON lines, a pair on each: paths are relative to its folder, or `root`, and stay in it:
`{"target": "a.mp4", "caption": "…", "references": [{"path": "b.mp4", "caption": "…"}]}`
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from echoreel.bases.encoding import encode_video
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError, VideoError
from echoreel.common.settings import Settings, validated
from echoreel.media.images import Frames
from echoreel.media.video_files import Span, read_frames
from echoreel.training.pair_cache import PairSet, PairSetError, PairSetWriter


class PrepareSettings(Settings):
    """How the videos of a manifest are read."""

    frames: PositiveInt = 16
    fps: PositiveFloat = 8.0
    size: tuple[PositiveInt, PositiveInt] | None = None  # pixels (height, width); none = the base's own
    references: PositiveInt = 1  # of each pair: a line's first so many
    shard: PositiveInt = 256  # pairs in a file


class ManifestReference(Settings):
    """A reference of one line."""

    path: Path
    caption: str = ""
    start: NonNegativeFloat = 0.0  # seconds


class ManifestLine(Settings):
    """One pair."""

    target: Path
    caption: str
    start: NonNegativeFloat = 0.0  # seconds
    references: tuple[ManifestReference, ...] = Field(min_length=1)


def prepare_pairs(
    pipe: Any, manifest: Path, folder: Path, settings: PrepareSettings | None = None, root: Path | None = None
) -> PairSet:
    """Read, encode and store every pair of the manifest. Killed at any moment, the same call goes on.

    Raises PairSetError for a wrong manifest, VideoError's family for a video that cannot be used (both name
    the line), CheckpointError when the folder holds pairs made otherwise.
    """
    settings = _with_size(pipe, settings or PrepareSettings())
    root = root or manifest.parent
    lines = read_manifest(manifest, settings.references, root)
    writer = PairSetWriter(folder)
    writer.bind(settings)
    for number, first in enumerate(range(0, len(lines), settings.shard)):
        if writer.has(number):
            continue
        part = lines[first : first + settings.shard]
        clips = np.stack(
            [
                _encoded(pipe, _frames(line, root, f"{manifest.name} line {first + row + 1}", settings))
                for row, line in enumerate(part)
            ]
        )
        captions = [[line.caption, *(r.caption for r in _used(line, settings))] for line in part]
        writer.write(number, clips[:, 0], clips[:, 1:], captions)
    return PairSet.open(folder)


def read_manifest(path: Path, references: int = 1, root: Path | None = None) -> list[ManifestLine]:
    """Every line. Raises PairSetError, naming the line, for one that is wrong or has too few references."""
    try:
        rows = [row for row in path.read_text(encoding="utf-8").splitlines() if row.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PairSetError(f"manifest {path} cannot be read ({error}); need a file of JSON lines") from error
    if not rows:
        raise PairSetError(f"manifest {path} is empty; need a JSON line for each pair")
    lines = []
    for number, row in enumerate(rows, 1):
        source = f"{path.name} line {number}"
        try:
            line = validated(ManifestLine, json.loads(row), source)
        except json.JSONDecodeError as error:
            raise PairSetError(f"{source}: not JSON: {error}") from error
        if len(line.references) < references:
            raise PairSetError(f"{source}: got {len(line.references)} references, need {references}")
        for file in (line.target, *(r.path for r in line.references)):
            _inside(root or path.parent, file, source)
        lines.append(line)
    return lines


def _inside(root: Path, file: Path, source: str) -> Path:
    """The file in the root folder. Raises PairSetError for a path that leads out of it."""
    found = (root / file).resolve()
    if not found.is_relative_to(root.resolve()):
        raise PairSetError(
            f"{source}: {file} leads out of {root}, which videos must be in; give another root"
        )
    return found


def _frames(line: ManifestLine, root: Path, source: str, settings: PrepareSettings) -> Frames:
    """Frames (1 + R, T, H, W, 3) of a pair."""
    wanted = [(line.target, line.start), *((r.path, r.start) for r in _used(line, settings))]
    clips = []
    for file, start in wanted:
        span = Span(start=start, fps=settings.fps, frames=settings.frames)
        try:
            clip = read_frames(_inside(root, file, source), span, size=settings.size)
        except VideoError as error:
            raise type(error)(f"{source}: {error}") from error
        if len(clip.frames) < settings.frames:
            raise PairSetError(
                f"{source}: {file} gives {len(clip.frames)} frames from {start:g} s, need {settings.frames}; "
                "lower frames, raise fps, or drop the line"
            )
        clips.append(clip.frames)
    return np.stack(clips)


def _used(line: ManifestLine, settings: PrepareSettings) -> Sequence[ManifestReference]:
    return line.references[: settings.references]


def _encoded(pipe: Any, clips: Frames) -> NDArray[np.float16]:
    """Latents (1 + R, C, T, h, w)."""
    latents: NDArray[np.float16] = encode_video(pipe, clips).half().cpu().numpy()
    return latents


def _with_size(pipe: Any, settings: PrepareSettings) -> PrepareSettings:
    """Settings with the base's own frame size where none is given. Raises EchoReelError when it has none."""
    base = base_of(pipe)
    places = base.family.latent_size(base.denoiser)
    if settings.size is None and places is None:
        raise EchoReelError(f"{type(pipe).__name__} does not say its frame size; give size = [height, width]")
    if settings.size is not None or places is None:
        return settings
    pixels = base.family.pixels_per_place(pipe)
    return settings.model_copy(update={"size": (places[0] * pixels, places[1] * pixels)})
