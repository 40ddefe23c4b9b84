"""Cases -> videos in a folder, made as `generate` makes them; what is there already is not made again.

The .json of each holds a CRC-32 of the video. One that does not fit is made again.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from echoreel.bases.base import Base
from echoreel.bases.encoding import weights_of
from echoreel.common.files import file_sum, write_atomic
from echoreel.common.places import small_file
from echoreel.common.progress import tracked
from echoreel.common.text import CONTROLS, json_value
from echoreel.evaluation.heldout.cases import Case, References, Shown, first_of
from echoreel.evaluation.measure.subjects import Part
from echoreel.generation.continuing import key_of
from echoreel.generation.generate import generate
from echoreel.generation.notes import read_details
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.generation.windows import plan_of
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import Span, read_frames
from echoreel.method.adapter import ActionAdapter

LOG = logging.getLogger(__name__)
NAME = 40  # letters of an action in a file's name
SUM = "crc32"  # in the .json: of the video


class Condition(NamedTuple):
    """base without references, ours with so many right ones, shuffled with those of another action."""

    name: str
    references: int

    def given(self, case: Case) -> References:
        """Those of the right action, or of another."""
        return case.shuffled if self.name == "shuffled" else case.right

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.references}" if self.references else self.name


class Studio:
    """A base and its adapter, which film cases into a folder."""

    def __init__(self, base: Base, adapter: ActionAdapter, generation: GenerationSettings) -> None:
        self._base, self._adapter, self._settings = base, adapter, generation
        video = plan_of(base, resolved(base, generation)).video
        self.seconds = video.frames / video.fps  # of a video: as much of a reference is read
        parts = [part for part in base.pipe.components.values() if isinstance(part, nn.Module)]
        self.weights = {"base": weights_of(*parts), "adapter": weights_of(adapter)}
        base.pipe.set_progress_bar_config(disable=True)  # there is one for all videos

    def film(self, cases: Sequence[Case], conditions: Sequence[Condition], folder: Path) -> None:
        """Make what is missing. Raises OutputError, VideoError's family and what `generate` raises."""
        wanted = [
            (condition, case, seed) for condition in conditions for case in cases for seed in case.seeds
        ]
        missing = [each for each in wanted if not _is_made(self.file(*each, folder))]
        told = f"{len(missing)} of {len(wanted)} videos"
        for condition, case, seed in tracked(missing, told):
            shown = condition.given(case).shown[: condition.references]
            result = generate(
                case.prompt,
                [self._read(each) for each in shown],
                base=self._base,
                adapter=self._adapter,
                seed=seed,
                settings=self._settings,
                image=self._first_frame(case.target),
            )
            _write(result, self.file(condition, case, seed, folder))

    def file(self, condition: Condition, case: Case, seed: int, folder: Path) -> Path:
        """Of a video, named by all that it is made from."""
        shown = condition.given(case).shown[: condition.references]
        told: list[Any] = [self.weights["base"], self._settings.model_dump(mode="json"), case.prompt, seed]
        told += [self.weights["adapter"]] if shown else []
        told += [(_state(each.part), first_of(each.part, self.seconds)[1:], each.caption) for each in shown]
        told += [_state(case.target)] if self._base.needs_image else []
        action = "".join(c if c.isalnum() else "-" for c in CONTROLS.sub("", case.action))[:NAME]
        return folder / condition.folder / f"{case.number:04}-{action}-{key_of(*told)[:12]}.mp4"

    def _read(self, shown: Shown) -> ReferenceVideo:
        path, start, end = first_of(shown.part, self.seconds)
        return ReferenceVideo.from_file(path, shown.caption, start=start, end=end)

    def _first_frame(self, target: Part) -> Frames | None:
        """Of the target, where the base starts from a picture."""
        if not self._base.needs_image:
            return None
        first: Frames = read_frames(target.path, Span(start=target.start, frames=1)).frames[0]
        return first


def _write(result: GenerationResult, file: Path) -> None:
    """The video and its .json, which gets the checksum last. Raises what `save` raises."""
    notes = file.with_suffix(".json")
    if _is_half(notes):
        notes.unlink()  # `save` would take it for somebody else's
    result.save(file)
    if details := read_details(notes):
        details[SUM] = file_sum(file)
        write_atomic(notes, (json.dumps(details, indent=2) + "\n").encode())


def _is_made(file: Path) -> bool:
    """Whether the video is there as it was written. `generate` writes the .json last."""
    notes = file.with_suffix(".json")
    if not (file.is_file() and notes.is_file()):
        return False
    if _is_half(notes):
        LOG.warning("%s is damaged; its video is made again", notes)
        return False
    told = read_details(notes).get(SUM)  # none: of an older version
    try:
        if told is None or file_sum(file) == told:
            return True
    except OSError:  # whoever measures it tells
        return True
    LOG.warning("%s is not the video that was made here; it is made again", file)
    return False


def _is_half(notes: Path) -> bool:
    """Whether a .json is there that is none."""
    try:
        json_value(small_file(notes).decode())
    except OSError:
        return False
    except ValueError:
        return True
    return False


def _state(part: Part) -> tuple[str, int, int]:
    """Of a file that may be replaced by another one of its name."""
    state = part.path.stat()
    return part.path.name, state.st_size, state.st_mtime_ns
