"""Ordinary videos in, numbers out: text alignment, consistency, motion, trajectories, Fréchet distance.

For videos of real bases, of which nothing is known but their prompt and their references. A measure whose
needs were not given is left out, and the result says so. docs/metrics.md has the definitions and their traps.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echoreel.common.errors import SettingsError
from echoreel.common.progress import tracked
from echoreel.evaluation.frechet_distance import frechet_distance
from echoreel.evaluation.measure.clip_and_videomae import VIDEOMAE
from echoreel.evaluation.measure.meter import Meter, Models, VideoMeasures, mean
from echoreel.evaluation.measure.motion import opencv
from echoreel.evaluation.measure.subjects import Subject, subjects, videos_of
from echoreel.media.video_files import probe

SHORTEST, LONGEST = 0.1, 86_400.0  # seconds of a video that may be asked for

TITLES = {  # of the columns: field, decimals
    "text alignment": ("text_alignment", 3),
    "frame consistency": ("frame_consistency", 3),
    "motion (px/s)": ("motion_pixels", 1),
    "motion (sides/s)": ("motion", 3),
    "peak (sides/s)": ("peak_motion", 3),
    "trajectory fidelity": ("trajectory_fidelity", 3),
}


@dataclass(frozen=True)
class Measurement:
    """Measures of all videos.

    Attributes:
        videos: one for each video.
        frechet_distance: to the real videos, 0 or more; None without any.
        real_videos: how many those were.
        clip: the CLIP that was used.
        videomae: the VideoMAE that was used.
        left_out: a sentence for each missing measure: why, and what to do.
        notes: what to know when reading the numbers.
    """

    videos: tuple[VideoMeasures, ...]
    frechet_distance: float | None  # 0 or more, to the real videos
    real_videos: int
    clip: str | None  # the models used
    videomae: str | None
    left_out: tuple[str, ...]  # one sentence for each measure that is missing, why and what to do
    notes: tuple[str, ...]  # what to know when reading the numbers

    def means(self) -> dict[str, float | None]:
        """Of each measure over the videos that have it."""
        return {name: mean([getattr(video, name) for video in self.videos]) for name, _ in TITLES.values()}

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
    videos: str | Path | Sequence[str | Path],
    prompts: str | Sequence[str] = (),
    references: str | Path | Sequence[str | Path] = (),
    *,
    real: str | Path | None = None,
    clip: str | None = None,
    videomae: str | None = None,
    seconds: float | None = None,
) -> Measurement:
    """Measure ordinary videos: text alignment, consistency, motion, trajectories, Fréchet distance.

    Videos are measured at 256 pixels of their shorter side. What a measure needs and was not given leaves it
    out; `Measurement.left_out` says why.

    Args:
        videos: files, or folders of videos.
        prompts: what the videos should show, one for all or one for each. Default: the `.txt` or `.json`
            beside each video.
        references: videos whose motion they should show, or one folder with a video of the same name for
            each. Default: what `generate` took, from the `.json` beside each video.
        real: a folder of real videos to take the Fréchet distance to.
        clip: a folder or hub id of CLIP. Default: openai/clip-vit-base-patch32, left out if unavailable.
        videomae: a folder or hub id of a VideoMAE that was fine-tuned on actions.
        seconds: measure only the first so many seconds. Default: all.

    Returns:
        A number for each measure and video, their means, and notes on how to read them.

    Raises:
        VideoError: a file cannot be used.
        SettingsError: prompts or references do not match the videos, or fewer than two videos to compare.
        ModelMissing: a model that was asked for is unavailable.
        MissingExtra: the extra `eval` is not installed.
    """
    chosen = subjects(
        videos_of(_paths(videos)), (prompts,) if isinstance(prompts, str) else prompts, _paths(references)
    )
    others = videos_of([Path(real)]) if real is not None else []
    return measure_subjects(chosen, others, clip=clip, videomae=videomae, seconds=seconds)


def _paths(given: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(path) for path in ((given,) if isinstance(given, str | Path) else given)]


def measure_subjects(
    chosen: Sequence[Subject],
    real: Sequence[Path] = (),
    *,
    clip: str | None = None,
    videomae: str | None = None,
    seconds: float | None = None,
) -> Measurement:
    """Measure videos, at 256 pixels of the shorter side, their first `seconds` or all.

    real: videos to take the Fréchet distance to. clip, videomae: folders or hub ids of the models. Without
    `clip`: the usual one, or none of CLIP's measures if it is unavailable. Raises VideoError's family,
    MissingExtra, and ModelMissing for a model that was asked for. Raises SettingsError for a distance between
    fewer than two videos, or `seconds` out of range.
    """
    if real and min(len(chosen), len(real)) < 2:
        raise SettingsError(
            f"Fréchet distance: got {len(chosen)} videos and {len(real)} real ones, need 2 of each at least"
        )
    if seconds is not None and not SHORTEST <= seconds <= LONGEST:
        raise SettingsError(f"seconds: got {seconds}, need {SHORTEST:g} to {LONGEST:g}")
    opencv()
    for path in [*(subject.path for subject in chosen), *real]:
        probe(path)  # a file that cannot be read is told now, not after the others
    if real:  # asked for: without its model there is no answer
        videomae = videomae or VIDEOMAE
    meter = Meter(Models.load(clip, videomae, compared=bool(real)), seconds)
    found = [meter.measured(subject) for subject in tracked(chosen, "measuring")]
    distance = None
    if real:
        others = np.stack([meter.real_features(path) for path in tracked(real, "real videos")])
        distance = frechet_distance(np.stack(meter.features), others)
    return Measurement(
        videos=tuple(found),
        frechet_distance=distance,
        real_videos=len(real),
        clip=meter.models.clip.name if meter.models.clip else None,
        videomae=meter.models.videomae.name if meter.models.videomae else None,
        left_out=tuple(meter.left_out(found)),
        notes=tuple(meter.notes(found)),
    )


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
