"""How `echoreel prepare pairs` reads videos: their rate, and one shape for all or buckets of several."""

import re
from typing import Annotated, Any, Self

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from echoreel.bases.base import BaseLike
from echoreel.common.settings import MOST_SIDE, Pixels, Settings
from echoreel.media.video_files import MOST_FPS
from echoreel.training.clip_shape import ClipShape, bucket_named, buckets_around, clip_shape

AUTO = ("auto",)
NAME = re.compile(r"[0-9]{2,5}x[0-9]{2,5}x[1-9][0-9]{0,3}")  # of a bucket


class PrepareSettings(Settings):
    """How the videos of a manifest are read. None means: as `clip_shape` has it for the base."""

    frames: Annotated[int, Field(ge=1, le=10_000)] | None = None
    fps: Annotated[float, Field(gt=0, le=MOST_FPS)] | None = None
    size: tuple[Pixels, Pixels] | None = None  # pixels (height, width)
    references: Annotated[int, Field(ge=1, le=100)] = 1  # of each pair: a line's first so many
    shard: PositiveInt = 256  # pairs in a file
    buckets: tuple[str, ...] = ()  # several shapes, such as "416x240x33"; "auto": as suits the base

    @field_validator("buckets", mode="before")
    @classmethod
    def _apart(cls, value: Any) -> Any:
        """Names in one text, with commas, are taken as well."""
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(filter(None, value.split(",")))) or (value,)

    @field_validator("buckets")
    @classmethod
    def _one_way_of_telling_shapes(cls, names: tuple[str, ...], told: ValidationInfo) -> tuple[str, ...]:
        if "auto" in names:
            if names != AUTO:
                raise ValueError("need auto alone, or each bucket")
        elif wrong := [name for name in names if not NAME.fullmatch(name)]:
            raise ValueError(
                f"{wrong[0][:20]} is none; need auto, or width x height x frames as in 416x240x33"
            )
        elif large := [name for name in names if max(map(int, name.split("x")[:2])) > MOST_SIDE]:
            raise ValueError(f"{large[0]} is too large; need at most {MOST_SIDE} pixels a side")
        elif names and (told.data.get("frames") or told.data.get("size")):
            raise ValueError("buckets say their own frames and size; leave out frames and size")
        return names

    def shapes(self, base: BaseLike) -> list[ClipShape]:
        """Of clips; each takes the nearest. Raises SettingsError for a base that does not say its size, and
        none is given, and for buckets that do not fit it."""
        if self.buckets not in ((), AUTO):
            sizes = [bucket_named(base, name, self.fps or 1) for name in self.buckets]
            fps = self.fps or clip_shape(base, (sizes[0].height, sizes[0].width)).fps
            return [each._replace(fps=fps) for each in sizes]
        shape = ClipShape(self.frames or 0, self.fps or 0, *(self.size or (0, 0)))
        if not all(shape):
            usual = clip_shape(base, self.size)
            shape = ClipShape(self.frames or usual.frames, self.fps or usual.fps, usual.height, usual.width)
        return buckets_around(base, shape) if self.buckets else [shape]

    def whole(self, shapes: list[ClipShape]) -> Self:
        """These settings with shapes in place of what they left open."""
        first = shapes[0]
        told: dict[str, Any] = {"frames": first.frames, "size": (first.height, first.width)}
        if self.buckets:
            told = {"frames": None, "size": None, "buckets": tuple(shape.name for shape in shapes)}
        return self.model_copy(update=told | {"fps": first.fps})
