"""Held-out pairs, a base and its adapter -> a table: do references bring their action, and only that?

Conditions: `base` without references, `ours` with them, `shuffled` with references of another action,
`copied` (the first reference as if it were the output) and `real` (the pair's own clip of the prompt). The
last two cost no filming and say how high and low a number can be. docs/metrics.md has the definitions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from diffusers import DiffusionPipeline

from echoreel.bases.lookup import base_of
from echoreel.common.files import locked, remove_leftovers
from echoreel.common.progress import tracked
from echoreel.evaluation.heldout.cases import Case, first_of, heldout_cases
from echoreel.evaluation.heldout.filming import Condition, Studio
from echoreel.evaluation.heldout.measuring import Measured, Measuring
from echoreel.evaluation.heldout.report import HeldoutReport, HeldoutRow
from echoreel.evaluation.measure.meter import Meter, Models, too_few
from echoreel.evaluation.measure.motion import opencv
from echoreel.evaluation.measure.subjects import Part
from echoreel.generation.generate import adapter_for
from echoreel.media.drawing import blank, contact_sheet
from echoreel.media.images import Frames
from echoreel.media.video_files import Span, read_frames, write_image
from echoreel.training.evaluation_settings import HeldoutSettings

SHEET_ACTIONS, SHEET_FRAMES, SHEET_HEIGHT = 20, 6, 64
COPIED, REAL = Condition("copied", 0), Condition("real", 0)


def evaluate_heldout(
    manifest: Path,
    settings: HeldoutSettings,
    load: Callable[[], DiffusionPipeline],
    adapter: str | Path | None,
    folder: Path,
    root: Path | None = None,
) -> HeldoutReport:
    """Film the pairs into `folder`/videos, measure them, and write report.json, report.md and a sheet.

    Stopped at any moment, the same call resumes; at most the video in work is made again. What can be seen
    as wrong is told before the base is loaded. load: gives the pipeline. root: of paths in the manifest;
    default: its folder. Raises EchoReelError's family.
    """
    opencv()
    HeldoutReport.check_places(folder)
    cases = heldout_cases(manifest, root, settings)
    actions = sorted({case.action for case in cases})
    models = partial(Models.load, settings.clip, settings.videomae, settings.classifier)
    _places(models(), actions)  # what is missing is told now; kept while filming they would take memory
    with locked(folder / "evaluation.lock", f"another process evaluates in {folder}"):
        for place, names in ((folder, "report"), (folder / "sheets", "heldout")):
            remove_leftovers(place, names)
        filmed = _filmed(cases, settings, load, adapter, folder / "videos")
        meter = Meter(models())
        found = _measured(filmed, Measuring(meter, filmed.seconds, _places(meter.models, actions)), folder)
        report = HeldoutReport(
            rows=_rows(found, settings.seed),
            actions=tuple(actions),
            videos=tuple(video for each in found.values() for video in each.videos),
            models=_names(meter.models),
            settings=settings.model_dump(mode="json") | {"manifest": manifest.name},
            weights=filmed.weights,
            left_out=tuple(_left_out(meter, cases)),
            notes=tuple(_notes(found, actions)),
            folder=folder,
        )
        report.write()
        write_image(folder / "sheets" / "heldout.png", _sheet(filmed.videos))
    return report


class _Filmed(NamedTuple):
    """What was filmed. The base is no longer held."""

    videos: dict[Condition, list[tuple[Case, Part]]]
    seconds: float  # of a video
    weights: dict[str, str]


def _filmed(
    cases: Sequence[Case],
    settings: HeldoutSettings,
    load: Callable[[], DiffusionPipeline],
    adapter: str | Path | None,
    folder: Path,
) -> _Filmed:
    """The videos of each condition with their cases. Raises AdapterMismatch before anything is filmed."""
    base = base_of(load()).whole()
    found = adapter_for(base, adapter)
    found.check_fits(base)
    studio = Studio(base, found, settings.generation)
    conditions = [Condition("base", 0)]
    conditions += [Condition(name, n) for name in ("ours", "shuffled") for n in settings.references]
    for condition in conditions:
        remove_leftovers(folder / condition.folder, r"\d+-.*")
    studio.film(cases, conditions, folder)
    videos = {
        condition: [
            (case, Part(studio.file(condition, case, seed, folder))) for case in cases for seed in case.seeds
        ]
        for condition in conditions
    }
    videos[COPIED] = [(case, first_of(case.right.shown[0].part, studio.seconds)) for case in cases]
    videos[REAL] = [(case, first_of(case.target, studio.seconds)) for case in cases]
    return _Filmed(videos, studio.seconds, studio.weights)


def _measured(filmed: _Filmed, measuring: Measuring, folder: Path) -> dict[Condition, Measured]:
    conditions = tracked([*filmed.videos], "measuring")
    return {each: measuring.measure(each, filmed.videos[each], folder) for each in conditions}


def _rows(found: Mapping[Condition, Measured], seed: int) -> tuple[HeldoutRow, ...]:
    """The Fréchet distance is taken to the real videos; that of these to the references."""
    return tuple(
        each.row(found[COPIED if condition == REAL else REAL], seed) for condition, each in found.items()
    )


def _places(models: Models, actions: Sequence[str]) -> dict[str, int]:
    """Raises ModelMissing for actions that the classifier does not know."""
    return models.classifier.places_of(actions) if models.classifier else {}


def _names(models: Models) -> dict[str, str | None]:
    named = {"clip": models.clip, "videomae": models.videomae, "classifier": models.classifier}
    return {kind: None if model is None else model.name for kind, model in named.items()}


def _left_out(meter: Meter, cases: Sequence[Case]) -> list[str]:
    """Why measures are missing."""
    models, reasons = meter.models, list[str]()
    if models.classifier is None:
        reasons.append("action accuracy: no classifier; give --classifier, one that knows these actions")
    if models.clip is None:
        reasons.append(f"text alignment, frame consistency and leakage: {models.without_clip}")
    if models.videomae is None:
        reasons.append(f"Fréchet distance: {models.without_videomae}")
    alone = [case for case in cases if None in (case.right.unseen, case.shuffled.unseen)]
    if alone and models.clip:
        reasons.append(
            f"leakage of {len(alone)} pairs: the manifest has no further clip of an action that they show"
        )
    if meter.lost:
        reasons.append(
            f"motion fidelity of {len(meter.lost)} videos: too few points can be followed; need frames with "
            "more detail, such as 128 pixels or more"
        )
    if meter.still:
        reasons.append(
            f"motion fidelity to {len(meter.still)} clips: no moving point can be followed in them"
        )
    return reasons


def _notes(found: Mapping[Condition, Measured], actions: Sequence[str]) -> list[str]:
    notes = [
        f"intervals: 95 % of repetitions with other actions would lie there; these are {len(actions)} actions"
    ]
    if features := found[REAL].features:
        fewest = min(len(each.features) for each in found.values())
        notes += too_few(len(features[0]), fewest)
    return notes


def _sheet(videos: Mapping[Condition, list[tuple[Case, Part]]]) -> Frames:
    """A picture: of each action the first pair: frames of its reference, then of its videos."""
    shown = [COPIED, *(each for each in videos if each not in (COPIED, REAL))]
    label = " | ".join("reference" if each == COPIED else each.folder for each in shown)
    first = {case.action: case.number for case, _ in reversed(videos[COPIED])}
    size, rows = None, list[tuple[str, Frames]]()
    for action, number in [*first.items()][::-1][:SHEET_ACTIONS]:
        strips: list[Frames] = []
        for condition in reversed(shown):
            part = next(part for case, part in videos[condition] if case.number == number)
            frames = read_frames(part.path, Span(start=part.start, end=part.end), size).frames
            size = size or (frames.shape[1], frames.shape[2])
            chosen = frames[np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)]
            strips = [chosen, blank(size)[None], *strips]
        rows.append((f"{action}: {label}", np.concatenate(strips[:-1])))
    return contact_sheet(rows, columns=len(shown) * (SHEET_FRAMES + 1), height=SHEET_HEIGHT)
