"""Measures one video after the other, with the models and references that they share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from echoreel.common.errors import ClipTooShort, ModelMissing
from echoreel.evaluation.measure.action_classifier import ActionClassifier
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
    paced,
    point_tracks,
    trajectory_fidelity,
)
from echoreel.evaluation.measure.subjects import Part, Subject
from echoreel.media.reference_file import is_reference_file
from echoreel.media.video_files import Clip, Span, probe, read_frames

Model = TypeVar("Model")
SIDE = 256  # pixels of the shorter side at which every video is measured, whatever its own size
MOVES = 0.01  # sides a second: a video in which no points can be followed is not still above that
FEWEST = 8  # points that must be followed in a moving video to tell how it moves
ALIKE = 1.25  # how much longer real videos may be before the result warns of it


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
    trajectory_fidelities: tuple[float | None, ...]  # each reference's; None where nothing can be followed


@dataclass(frozen=True)
class Models:
    """What sees the videos; None leaves its measures out."""

    clip: ClipEncoder | None = None
    videomae: VideoEncoder | None = None
    classifier: ActionClassifier | None = None
    without_clip: str = ""  # why there is none
    without_videomae: str = ""

    @classmethod
    def load(
        cls,
        clip: str | None,
        videomae: str | None = None,
        classifier: str | None = None,
        *,
        compared: bool = True,
    ) -> Self:
        """Folders or hub ids; None: the usual CLIP and VideoMAE, if they are available, and no classifier.

        compared: without it no VideoMAE. Raises ModelMissing for one that was asked for.
        """
        seen, without_clip = _usual(ClipEncoder, clip, CLIP)
        features, without_videomae = _usual(VideoEncoder, videomae, VIDEOMAE) if compared else (None, "")
        named = None if classifier is None else ActionClassifier(classifier)
        return cls(seen, features, named, without_clip, without_videomae)


class Meter:
    """The models, and what is kept from one video to the next."""

    def __init__(self, models: Models, seconds: float | None = None) -> None:
        """`seconds`: of a video without an end, the first so many are measured."""
        self.models, self._seconds = models, seconds
        self._tracks: dict[Part, Tracks] = {}  # of references, which videos share
        self._part_looks: dict[Part, Floats] = {}
        self.still: set[Part] = set()  # references in which no moving point can be followed
        self.lost: list[str] = []  # videos that move, though no point of them can be followed
        self._real_seconds: list[float] = []
        self._cut: list[str] = []
        self.features: list[Floats] = []  # VideoMAE's of the videos, in order
        self.looks: list[Floats] = []  # CLIP's mean over the frames of each video, of length 1
        self.scores: list[Floats] = []  # the classifier's

    def measured(self, subject: Subject) -> VideoMeasures:
        """Measures of a video; also its look, features and scores, where there is a model for them."""
        info, clip, seen = probe(subject.path), self._read(subject.part), self.models.clip
        motion = amount_of_motion(clip)
        pictures = seen.pictures(clip.frames[paced(clip)]) if seen else None
        aligned = None
        if seen and pictures is not None:
            self.looks.append(_mean_look(pictures))
            if subject.prompt:
                aligned = text_alignment(pictures, seen.prompt(subject.prompt))
                if seen.too_long(subject.prompt):
                    self._cut.append(subject.path.name)
        if self.models.videomae:
            self.features.append(self.models.videomae.features(clip))
        if self.models.classifier:
            self.scores.append(self.models.classifier.scores(clip))
        fidelities = self._fidelities(clip, subject, motion.mean > MOVES)
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
            trajectory_fidelity=mean(fidelities),
            trajectory_fidelities=tuple(fidelities),
        )

    def real_features(self, path: Path) -> Floats:
        assert self.models.videomae is not None
        clip = self._read(Part(path))
        self._real_seconds.append(_length(clip))
        return self.models.videomae.features(clip)

    def look(self, part: Part) -> Floats:
        """CLIP's mean over the frames of a part of a video, (D,) of length 1; kept for the next time."""
        assert self.models.clip is not None
        if part not in self._part_looks:
            clip = self._read(part)
            self._part_looks[part] = _mean_look(self.models.clip.pictures(clip.frames[paced(clip)]))
        return self._part_looks[part]

    def left_out(self, found: Sequence[VideoMeasures]) -> list[str]:
        """Why measures are missing."""
        reasons = []
        if self.models.clip is None:
            reasons.append(f"text alignment and frame consistency: {self.models.without_clip}")
        elif without := [Path(video.file).name for video in found if video.prompt is None]:
            reasons.append(
                f"text alignment of {_listed(without)}: no prompt; give --prompt, or NAME.txt beside it"
            )
        if without := [Path(video.file).name for video in found if not video.references]:
            reasons.append(f"trajectory fidelity of {_listed(without)}: no reference; give --reference")
        for part in sorted(self.still, key=str):
            kept = is_reference_file(part.path)
            where = "the few frames that a reference file keeps; give the video" if kept else "it"
            reasons.append(
                f"trajectory fidelity to {part.path.name}: no moving point can be followed in {where}"
            )
        if self.lost:
            reasons.append(
                f"trajectory fidelity of {_listed(self.lost)}: too few points can be followed; need frames "
                "with more detail, such as 128 pixels or more"
            )
        if self.models.videomae is None:
            reasons.append("Fréchet distance: no real videos; give --real FOLDER")
        return reasons

    def notes(self, found: Sequence[VideoMeasures]) -> list[str]:
        """What to know when reading the numbers."""
        notes = []
        if self._cut and self.models.clip:
            notes.append(
                f"CLIP read the first {self.models.clip.longest} tokens of the prompt of {_listed(self._cut)}"
            )
        if self._real_seconds:
            ours = float(np.median([video.seconds for video in found]))
            real = float(np.median(self._real_seconds))
            if max(ours, real) > ALIKE * min(ours, real):
                notes.append(
                    f"videos last {ours:.1f} s and real ones {real:.1f} s, so their distance is also "
                    f"one of speeds; --seconds {min(ours, real):.2g} compares equal parts"
                )
            notes += too_few(len(self.features[0]), min(len(self.features), len(self._real_seconds)))
        return notes

    def _fidelities(self, clip: Clip, subject: Subject, moves: bool) -> list[float | None]:
        if not subject.references:
            return []
        tracks, found = point_tracks(clip), list[float | None]()
        if moves and sum(map(len, tracks)) < FEWEST:
            self.lost.append(subject.path.name)
            return [None] * len(subject.references)
        for part in subject.references:
            if part not in self._tracks:
                self._tracks[part] = point_tracks(self._read(part))
            value = trajectory_fidelity(tracks, self._tracks[part])
            if math.isnan(value):
                self.still.add(part)
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


def too_few(features: int, videos: int) -> list[str]:
    """A note where there are fewer videos than a Fréchet distance of so many features needs."""
    if videos > features:
        return []
    return [
        f"a Fréchet distance of {features} features from so few videos is too large; "
        "compare it only with one of as many"
    ]


def _usual(kind: Callable[[str], Model], name: str | None, usual: str) -> tuple[Model | None, str]:
    """The model, or None and why the usual one is unavailable. Raises ModelMissing for one asked for."""
    try:
        return kind(usual if name is None else name), ""
    except ModelMissing as error:
        if name is not None:
            raise
        return None, str(error)


def _mean_look(pictures: Floats) -> Floats:
    """Mean (D,) of pictures (T, D), of length 1."""
    look = pictures.mean(0)
    unit: Floats = look / np.linalg.norm(look)
    return unit


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
