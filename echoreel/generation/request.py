"""A generation as it is asked for, in names and numbers: what a page sends, and what its files restore."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from echoreel.common.errors import SettingsError
from echoreel.common.places import regular_file
from echoreel.common.settings import Settings, validated
from echoreel.common.text import HALVES
from echoreel.generation.settings import GenerationSettings
from echoreel.media.reference_times import Align
from echoreel.media.reference_video import CropKind, ReferenceVideo
from echoreel.media.video_files import NOTES_READ, read_notes

NO_DETAILS = "holds no settings of a generation; give the .json or .mp4 that `generate` or the page wrote"


class ReferenceRequest(Settings):
    """One reference video: which part of which file; see `ReferenceVideo.from_file`."""

    file: Path
    caption: str | None = None
    start: float | None = None  # seconds
    end: float | None = None
    strength: float = 1.0
    during: tuple[float, float] = (0.0, 1.0)  # the part of the video made that it acts in
    crop: CropKind = "middle"
    align: Align = "stretch"  # with another speed than 1 as "start"
    speed: float = 1.0

    def read(self) -> ReferenceVideo:
        """The frames. Raises VideoError's family, SettingsError."""
        read = ReferenceVideo.from_file(
            self.file,
            self.caption,
            start=self.start,
            end=self.end,
            strength=self.strength,
            crop=self.crop,
            align=None if self.align == "stretch" else self.align,
            speed=self.speed,
        )
        return replace(read, during=self.during)


class GenerationRequest(Settings):
    """What `generate` is called with. base, adapter: folders or hub ids; None: the embedded ones."""

    prompt: str
    references: tuple[ReferenceRequest, ...] = ()
    base: str | None = None
    adapter: str | None = None
    seed: int = Field(default=0, ge=0)
    settings: GenerationSettings = GenerationSettings()

    @classmethod
    def restored(cls, path: Path) -> Self:
        """The request that made a result, from its .json or the comment of its .mp4.

        References are named, or lie where they lay. Of several seeds the first counts. Raises
        SettingsError for a file without settings, VideoError for anything but a video.
        """
        if path.suffix.lower() == ".json":
            regular_file(path, SettingsError, "the .json of a result")
            with path.open("rb") as stream:
                text = stream.read(NOTES_READ).decode("utf-8", "replace")
        else:
            text = read_notes(path)
        try:
            details = _as_text(json.loads(text))
        except (ValueError, RecursionError):
            details = None
        if not isinstance(details, dict) or not {"prompt", "seeds", "settings"} <= details.keys():
            raise SettingsError(f"{path.name}: {NO_DETAILS}")
        return validated(cls, _as_request(details), path.name)


def _as_text(told: Any) -> Any:
    """What a .json tells, with \ufffd for halves of characters: it is shown, to be put right."""
    if isinstance(told, str):
        return HALVES.sub("\ufffd", told)
    if isinstance(told, list):
        return [_as_text(each) for each in told]
    return {key: _as_text(each) for key, each in told.items()} if isinstance(told, dict) else told


def _as_request(details: Mapping[str, Any]) -> dict[str, Any]:
    """`GenerationResult.details` or `recipe`, in the names of a request; what else they tell is dropped."""
    kept = set(ReferenceRequest.model_fields)
    references, seeds = details.get("references"), details["seeds"]
    return {
        "prompt": details["prompt"],
        "references": [
            {key: value for key, value in each.items() if key in kept}
            for each in (references if isinstance(references, list) else ())
            if isinstance(each, dict) and each.get("file")
        ],
        "base": details.get("base"),
        "adapter": details.get("adapter"),
        "seed": seeds[0] if isinstance(seeds, list) and seeds else 0,
        "settings": details["settings"],
    }
