"""Ordinary videos in, numbers out: text alignment, consistency, motion, trajectories, Fréchet distance.

For videos of real bases, of which nothing is known but their prompt and their references. A measure whose
needs were not given is left out, and the result says so. docs/metrics.md has the definitions and their traps.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from echoreel.common.errors import ClipTooShort, ModelMissing, SettingsError
from echoreel.evaluation.frechet_distance import frechet_distance
from echoreel.evaluation.measure.clip_and_videomae import (
    CLIP,
    VIDEOMAE,
    ClipEncoder,
    Floats,
    VideoEncoder,
    frame_consistency,
    text_alignment,
)
from echoreel.evaluation.measure.motion import (
    Tracks,
    amount_of_motion,
    opencv,
    paced,
    point_tracks,
    trajectory_fidelity,
)
from echoreel.evaluation.measure.subjects import Part, Subject
from echoreel.media.video_files import Clip, Span, probe, read_frames

SIDE = 256  # pixels of the shorter side at which every video is measured, whatever its own size
SHORTEST, LONGEST = 0.1, 86_400.0  # seconds of a video that may be asked for
ALIKE = 1.25  # how much longer real videos may be before the result warns of it

TITLES = {  # of the columns: field, decimals
    "text alignment": ("text_alignment", 3),
    "frame consistency": ("frame_consistency", 3),
    "motion (px/s)": ("motion_pixels", 1),
    "motion (sides/s)": ("motion", 3),
    "peak (sides/s)": ("peak_motion", 3),
    "trajectory fidelity": ("trajectory_fidelity", 3),
}


@dataclass(frozen=True)
class VideoMeasures:
    """What one video came to. None: not measured, see `Measurement.left_out`."""

    file: str
    seconds: float
    frames: int
    height: int
    width: int
    prompt: str | None
    references: tuple[str, ...]
    text_alignment: float | None  # -1 to 1
    frame_consistency: float | None  # -1 to 1; 1 for a still video
    motion: float  # shorter sides of the frame a second, 0 or more
    motion_pixels: float  # the same in pixels of the video a second
    peak_motion: float  # of the fastest 5 % of the pixels, shorter sides a second
    trajectory_fidelity: float | None  # -1 to 1, the mean over references
    trajectory_fidelities: tuple[float | None, ...]  # each reference's; None where nothing moves in it


@dataclass(frozen=True)
class Measurement:
    """What all videos came to."""

    videos: tuple[VideoMeasures, ...]
    frechet_distance: float | None  # 0 or more, to the real videos
    real_videos: int
    clip: str | None  # the models used
    videomae: str | None
    left_out: tuple[str, ...]  # one sentence for each measure that is missing, why and what to do
    notes: tuple[str, ...]  # what to know when reading the numbers

    def means(self) -> dict[str, float | None]:
        """Of each measure over the videos that have it."""
        return {name: _mean([getattr(video, name) for video in self.videos]) for name, _ in TITLES.values()}

    def details(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"means": self.means()}

    def lines(self) -> list[str]:
        """A table with a row for each video and their mean, then what belongs to all, for people."""
        kept = {title: at for title, at in TITLES.items() if self.means()[at[0]] is not None}
        rows = [["video", *kept]]
        rows += [
            [Path(video.file).name, *(_shown(getattr(video, name), digits) for name, digits in kept.values())]
            for video in self.videos
        ]
        means = self.means()
        rows.append(["mean", *(_shown(means[name], digits) for name, digits in kept.values())])
        lines = _aligned(rows)
        if self.frechet_distance is not None:
            lines.append(
                f"Fréchet distance: {self.frechet_distance:.2f} "
                f"({len(self.videos)} videos, {self.real_videos} real ones, {self.videomae})"
            )
        return (
            lines + [f"note: {note}" for note in self.notes] + [f"left out: {why}" for why in self.left_out]
        )


def measure(
    subjects: Sequence[Subject],
    real: Sequence[Path] = (),
    *,
    clip: str | None = None,
    videomae: str | None = None,
    seconds: float | None = None,
) -> Measurement:
    """Measure videos, at 256 pixels of the shorter side, their first `seconds` or all.

    real: videos to take the Fréchet distance to. clip, videomae: folders or hub ids of the models; without
    `clip` the usual one, or no measure of CLIP's where that cannot be had. Raises VideoError's family,
    ModelMissing for a model that was asked for, MissingExtra, SettingsError for fewer than two videos to
    take a distance of, or `seconds` out of range.
    """
    if real and min(len(subjects), len(real)) < 2:
        raise SettingsError(
            f"Fréchet distance: got {len(subjects)} videos and {len(real)} real ones, need 2 of each at least"
        )
    if seconds is not None and not SHORTEST <= seconds <= LONGEST:
        raise SettingsError(f"seconds: got {seconds}, need {SHORTEST:g} to {LONGEST:g}")
    opencv()
    for path in [*(subject.path for subject in subjects), *real]:
        probe(path)  # a file that cannot be read is told now, not after the others
    meter = _Meter(clip, videomae, seconds, bool(real))
    found = [
        meter.measured(subject)
        for subject in track(
            subjects, "measuring", console=Console(stderr=True), disable=not sys.stderr.isatty()
        )
    ]
    distance = None
    if real:
        steps = track(real, "real videos", console=Console(stderr=True), disable=not sys.stderr.isatty())
        others = np.stack([meter.real_features(path) for path in steps])
        distance = frechet_distance(np.stack(meter.features), others)
    return Measurement(
        videos=tuple(found),
        frechet_distance=distance,
        real_videos=len(real),
        clip=meter.clip.name if meter.clip else None,
        videomae=meter.videomae.name if meter.videomae else None,
        left_out=tuple(meter.left_out(found)),
        notes=tuple(meter.notes(found)),
    )


class _Meter:
    """The models, and what is kept from one video to the next."""

    def __init__(self, clip: str | None, videomae: str | None, seconds: float | None, compared: bool) -> None:
        self._seconds = seconds
        self._tracks: dict[Part, Tracks] = {}  # of references, which videos share
        self._still: set[Part] = set()
        self._real_seconds: list[float] = []
        self._cut: list[str] = []
        self.features: list[Floats] = []  # of the videos, in order
        self.without_clip = ""
        self.clip: ClipEncoder | None = None
        self.videomae = VideoEncoder(videomae or VIDEOMAE) if compared else None
        try:
            self.clip = ClipEncoder(clip or CLIP)
        except ModelMissing as error:
            if clip is not None:  # asked for
                raise
            self.without_clip = str(error)

    def measured(self, subject: Subject) -> VideoMeasures:
        info = probe(subject.path)
        clip = self._read(Part(subject.path))
        motion = amount_of_motion(clip)
        pictures = self.clip.pictures(clip.frames[paced(clip)]) if self.clip else None
        aligned = None
        if self.clip and pictures is not None and subject.prompt:
            aligned = text_alignment(pictures, self.clip.prompt(subject.prompt))
            if self.clip.too_long(subject.prompt):
                self._cut.append(subject.path.name)
        if self.videomae:
            self.features.append(self.videomae.features(clip))
        fidelities = self._fidelities(clip, subject.references)
        return VideoMeasures(
            file=str(subject.path),
            seconds=round(_length(clip), 3),
            frames=len(clip.frames),
            height=info.height,
            width=info.width,
            prompt=subject.prompt,
            references=tuple(str(part.path) for part in subject.references),
            text_alignment=aligned,
            frame_consistency=None if pictures is None else frame_consistency(pictures),
            motion=motion.mean,
            motion_pixels=motion.mean * min(info.height, info.width),
            peak_motion=motion.peak,
            trajectory_fidelity=_mean(fidelities),
            trajectory_fidelities=tuple(fidelities),
        )

    def real_features(self, path: Path) -> Any:
        assert self.videomae is not None
        clip = self._read(Part(path))
        self._real_seconds.append(_length(clip))
        return self.videomae.features(clip)

    def left_out(self, found: Sequence[VideoMeasures]) -> list[str]:
        """Why measures are missing."""
        reasons = []
        if self.clip is None:
            reasons.append(f"text alignment and frame consistency: {self.without_clip}")
        elif without := [Path(video.file).name for video in found if video.prompt is None]:
            reasons.append(
                f"text alignment of {_listed(without)}: no prompt; give --prompt, or NAME.txt beside it"
            )
        if without := [Path(video.file).name for video in found if not video.references]:
            reasons.append(f"trajectory fidelity of {_listed(without)}: no reference; give --reference")
        reasons += [
            f"trajectory fidelity to {part.path.name}: nothing moves in it"
            for part in sorted(self._still, key=str)
        ]
        if self.videomae is None:
            reasons.append("Fréchet distance: no real videos; give --real FOLDER")
        return reasons

    def notes(self, found: Sequence[VideoMeasures]) -> list[str]:
        """What to know when reading the numbers."""
        notes = []
        if self._cut and self.clip:
            notes.append(
                f"CLIP read the first {self.clip.longest} tokens of the prompt of {_listed(self._cut)}"
            )
        if self._real_seconds:
            ours = float(np.median([video.seconds for video in found]))
            real = float(np.median(self._real_seconds))
            if max(ours, real) > ALIKE * min(ours, real):
                notes.append(
                    f"videos last {ours:.1f} s and real ones {real:.1f} s, so their distance is also "
                    f"one of speeds; --seconds {min(ours, real):.2g} compares equal parts"
                )
            width = len(self.features[0])
            if min(len(self.features), len(self._real_seconds)) <= width:
                notes.append(
                    f"a Fréchet distance of {width} features from so few videos is too large; "
                    "compare it only with one of as many"
                )
        return notes

    def _fidelities(self, clip: Clip, references: Sequence[Part]) -> list[float | None]:
        if not references:
            return []
        tracks, found = point_tracks(clip), list[float | None]()
        for part in references:
            if part not in self._tracks:
                self._tracks[part] = point_tracks(self._read(part))
            value = trajectory_fidelity(tracks, self._tracks[part])
            if math.isnan(value):
                self._still.add(part)
            found.append(None if math.isnan(value) else value)
        return found

    def _read(self, part: Part) -> Clip:
        """The part of the video, its shorter side at `SIDE`; without an end, its first seconds if asked."""
        info = probe(part.path)
        scale = SIDE / min(info.height, info.width)
        size = round(info.height * scale), round(info.width * scale)
        end = self._seconds if part.end is None else part.end
        clip = read_frames(part.path, Span(start=part.start, end=end), size)
        if len(paced(clip)) < 2:
            raise ClipTooShort(
                f"{part.path.name}: {len(clip.frames)} frames in {_length(clip):.2f} s, need 2 that are 1/8 "
                "s apart; give a longer part, or a video"
            )
        return clip


def _length(clip: Clip) -> float:
    """Seconds from the first frame to the end of the last."""
    times = clip.timestamps
    return float((times[-1] - times[0]) * len(times) / max(1, len(times) - 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
