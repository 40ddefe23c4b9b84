"""Videos of one condition -> a row: each video measured, and means with intervals over actions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from echoreel.common.errors import EchoReelError, OutputError, VideoError
from echoreel.evaluation.frechet_distance import frechet_distance
from echoreel.evaluation.heldout.cases import Case, first_of
from echoreel.evaluation.heldout.filming import Condition
from echoreel.evaluation.heldout.report import HeldoutRow
from echoreel.evaluation.intervals import BootstrapSettings, Interval, bootstrap
from echoreel.evaluation.measure.clip_and_videomae import Floats
from echoreel.evaluation.measure.meter import Meter
from echoreel.evaluation.measure.subjects import Part, Subject

MEASURES = (
    "action_accuracy",
    "accuracy_among",
    "motion_fidelity",
    "text_alignment",
    "leakage",
    "frame_consistency",
    "motion",
)


@dataclass
class Measured:
    """All videos of one condition."""

    condition: Condition
    videos: list[dict[str, Any]] = field(default_factory=list)  # file, action, and a value for each measure
    features: list[Floats] = field(default_factory=list)

    def row(self, real: "Measured | None", seed: int) -> HeldoutRow:
        """`real`: what the Fréchet distance is taken to."""
        actions = [video["action"] for video in self.videos]
        intervals: dict[str, Interval] = {
            name: bootstrap([video[name] for video in self.videos], actions, BootstrapSettings(), seed)
            for name in MEASURES
        }
        distance = math.nan
        if real is not None and real.features:
            distance = frechet_distance(np.stack(self.features), np.stack(real.features))
        name, count = self.condition
        return HeldoutRow(name, count, len(self.videos), frechet_distance=distance, **intervals)


@dataclass(frozen=True)
class Measuring:
    """How videos are measured. seconds: of each; so much of a clip is compared. places: of the held-out
    actions among the classifier's labels; empty without one."""

    meter: Meter
    seconds: float
    places: Mapping[str, int]

    def measure(self, condition: Condition, videos: Sequence[tuple[Case, Part]], folder: Path) -> Measured:
        """`folder`: names of files are told relative to it."""
        found = Measured(condition)
        for case, video in videos:
            shown = case.right.shown[: max(1, condition.references)]
            right = [first_of(each.part, self.seconds) for each in shown]
            subject = Subject(video.path, case.prompt, tuple(right), video.start, video.end)
            try:
                told = self.meter.measured(subject)
            except VideoError as error:
                raise _to_make_again(error, video.path, folder) from error
            accuracy, among = self._named(case.action)
            name = video.path.relative_to(folder) if video.path.is_relative_to(folder) else video.path
            values = {
                "action_accuracy": accuracy,
                "accuracy_among": among,
                "motion_fidelity": _number(told.trajectory_fidelity),
                "text_alignment": _number(told.text_alignment),
                "leakage": self._leakage(condition, case),
                "frame_consistency": _number(told.frame_consistency),
                "motion": told.motion,
            }
            facts = {"condition": condition.name, "references": condition.references, "file": str(name)}
            found.videos.append(facts | {"action": case.action, "prompt": case.prompt} | values)
            if self.meter.models.videomae:
                found.features.append(self.meter.features[-1])
        return found

    def _named(self, action: str) -> tuple[float, float]:
        """Whether the classifier names the last video's action, of all it knows and of those held out."""
        if not self.places:
            return math.nan, math.nan
        scores, place = self.meter.scores[-1], self.places[action]
        among = [*self.places.values()]
        return float(int(scores.argmax()) == place), float(among[int(scores[among].argmax())] == place)

    def _leakage(self, condition: Condition, case: Case) -> float:
        """Of the last video: mean cosine of its look with the references shown, less that with the clip of
        their action that it did not see."""
        given = condition.given(case)
        if self.meter.models.clip is None or given.unseen is None:
            return math.nan
        look, count = self.meter.looks[-1], max(1, condition.references)
        shown = [look @ self._look(each.part) for each in given.shown[:count]]
        return float(np.mean(shown) - look @ self._look(given.unseen))

    def _look(self, part: Part) -> Floats:
        return self.meter.look(first_of(part, self.seconds))


def _to_make_again(error: VideoError, video: Path, folder: Path) -> EchoReelError:
    """Of a video in work, which EchoReel filmed: that it can be deleted. Of one of the user's, the error."""
    if not video.is_relative_to(folder / "videos"):
        return error
    return OutputError(f"{video}: is damaged; delete it, and run the same command to make it again")


def _number(value: float | None) -> float:
    return math.nan if value is None else value
