"""What a generation was asked for and what came of it: settings, videos, and the files made of them.

Over 300 lines since one class is what users hold, and its public methods tell their arguments and errors.
"""

import html
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from echoreel.common.errors import OutputError, VideoError
from echoreel.common.files import one_writer, written_beside
from echoreel.common.places import HUB_ID, check_outputs
from echoreel.generation.continuing import WindowFolder
from echoreel.generation.from_library import FromLibrary
from echoreel.generation.notes import VIDEO_SUFFIXES, is_notes
from echoreel.generation.settings import GenerationSettings
from echoreel.media.drawing import contact_sheet, side_by_side
from echoreel.media.images import Frames, middle
from echoreel.media.notebook import film_html
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import Span, video_beside, write_image, write_video

SHORT_SIDE = 256  # pixels: players and people see little in a video of 32x32
CELL = 128  # pixels: height of one frame in sheets and videos side by side


@dataclass(frozen=True, eq=False)
class GenerationResult:
    """Videos of one prompt, one per seed, and how they were made.

    In a notebook the last line of a cell plays them.

    Attributes:
        prompt: what was asked for.
        references: what was read, those of a library as well.
        seeds: one per video.
        settings: what the pipeline got, without gaps.
        fps: frames a second.
        base: its folder or hub id.
        adapter: its folder or hub id; None without references.
        videos: (T, H, W, 3) uint8, one per seed.
        base_videos: the same without references, if `compare` was set.
        seconds: for the videos, without loading models.
        peak_memory: bytes of main memory that the process held at most; 0 if the system does not say.
        threads: of the processor that computed.
        image: the file of the first frame.
        library: where references came from.
        stale: references that the library had encoded with other weights.
        reencoded: reference files that held nothing for this base and size.
        windows: of a longer video, the first frame of each and the one behind its last.
        kept: folders with finished windows, which saving removes.
        read: of each reference the frames that the videos read, to be shown beside them.
    """

    prompt: str
    references: tuple[ReferenceVideo, ...]
    seeds: tuple[int, ...]
    settings: GenerationSettings  # resolved: what the pipeline got
    fps: float
    base: str  # folder or hub id
    adapter: str | None  # None when there were no references
    videos: tuple[Frames, ...]
    base_videos: tuple[Frames, ...]  # empty unless compared
    seconds: float  # for the videos, without loading models
    peak_memory: int  # bytes of main memory that the process held at most; 0 where the system does not say
    threads: int = 1  # of the CPU that torch computed on
    image: str | None = None  # file of the first frame
    library: FromLibrary | None = None  # where some of the references are from
    stale: int = 0  # references that the library has encoded by other weights
    reencoded: tuple[str, ...] = ()  # reference files that hold nothing for this base and size
    windows: tuple[tuple[int, int], ...] = ()  # empty for a video that was made at once
    kept: tuple[WindowFolder, ...] = ()
    read: tuple[Frames, ...] = ()

    def save(self, path: Path | str, short_side: int = SHORT_SIDE, comparison: bool = False) -> list[Path]:
        """Write the videos, and beside them, as .json, how they were made: all of them or none.

        Args:
            path: a name that ends in .mp4, .gif or .webp. Several seeds go to `name-SEED.mp4`.
            short_side: small frames are enlarged by a whole number until their shorter side has so many
                pixels; 1 never enlarges.
            comparison: also write what `save_comparison` does.

        Returns:
            Every file written.

        Raises:
            VideoError: the name ends otherwise.
            OutputError: a file cannot be written, or is one that the videos were made from.
        """
        check_output(path, self.seeds, self.inputs)
        files, beside = output_files(path, self.seeds), Path(path).with_suffix(".json")
        details = self.details() | {"files": [file.name for file in files]}
        text, notes = json.dumps(details, indent=2) + "\n", json.dumps(self.recipe())
        # Made under other names, then put beside each other in one go: else another process that writes the
        # same names, or a full disk, leaves a video with the .json of another one.
        with ExitStack() as turn:
            with ExitStack() as all_or_none:
                all_or_none.enter_context(written_beside(beside)).write_text(text, encoding="utf-8")
                for file, frames in zip(files, self.videos, strict=True):
                    enlarge = math.ceil(short_side / min(frames.shape[1:3]))
                    all_or_none.enter_context(video_beside(file, frames, self.fps, enlarge, notes=notes))
                turn.enter_context(one_writer(beside.parent))
            more = self.save_comparison(path) if comparison else []
        for folder in self.kept:
            folder.remove()
        return [*files, beside, *more]

    def compare(self, path: Path | str) -> Path:
        """Write a picture with a row of frames for every reference, base video and video of ours.

        Args:
            path: a name that ends in .png, .jpg or .webp.

        Returns:
            The path.

        Raises:
            VideoError: the name ends otherwise.
            OutputError: the file cannot be written, or is one that the videos were made from.
        """
        check_outputs([Path(path)], self.inputs, overwrite=True)
        rows = self._references() + [row for index in range(len(self.seeds)) for row in self._made(index)]
        write_image(path, contact_sheet(rows, height=CELL))
        return Path(path)

    def compare_video(self, path: Path | str) -> Path:
        """Write a video of references, base and ours side by side, one row per seed, all equally long.

        Args:
            path: a name that ends in .mp4, .gif or .webp.

        Returns:
            The path.

        Raises:
            VideoError: the name ends otherwise.
            OutputError: the file cannot be written, or is one that the videos were made from.
        """
        check_outputs([Path(path)], self.inputs, overwrite=True)
        count = len(self.videos[0])
        shown = [(label, paced(frames, count)) for label, frames in self._references()]
        parts = [[*shown, *self._made(index)] for index in range(len(self.seeds))]
        rows = [side_by_side(part, height=2 * CELL) for part in parts]
        write_video(path, np.concatenate(rows, axis=1), self.fps)
        return Path(path)

    def save_comparison(self, path: Path | str) -> list[Path]:
        """Write `compare` and `compare_video` beside a video: out-compare.png and out-compare.mp4.

        Args:
            path: of the video, such as out.gif.

        Returns:
            Both files.

        Raises:
            OutputError: a file cannot be written.
        """
        sheet = Path(path).with_name(f"{Path(path).stem}-compare.png")
        return [self.compare(sheet), self.compare_video(sheet.with_suffix(".mp4"))]

    def save_parts(self, folder: Path, name: str, short_side: int = SHORT_SIDE) -> None:
        """Write what is shown beside the video: NAME.gif, reference-1.mp4 and so on, base.mp4 if compared.

        All last as long as the first video, so that they can be played in step.

        Args:
            folder: where to.
            name: of the gif, without its ending.
            short_side: pixels; small frames are enlarged to it by a whole number.

        Raises:
            OutputError: a file cannot be written.
        """
        count = len(self.videos[0])
        parts = {f"reference-{n}": paced(each.frames, count) for n, each in enumerate(self.references, 1)}
        parts |= {"base": self.base_videos[0]} if self.base_videos else {}
        for part, frames in parts.items():
            enlarge = math.ceil(short_side / min(frames.shape[1:3]))
            write_video(folder / f"{part}.mp4", frames, self.fps, enlarge)
        enlarge = math.ceil(short_side / min(self.videos[0].shape[1:3]))
        write_video(folder / f"{name}.gif", self.videos[0], self.fps, enlarge)

    @property
    def inputs(self) -> list[Path | str]:
        """Files that the videos were made from, which are never replaced."""
        files = [each.source for each in self.references if each.source is not None]
        return [*files, *([self.image] if self.image else ())]

    def details(self) -> dict[str, Any]:
        """How the videos were made, for JSON."""
        return {
            "prompt": self.prompt,
            "seeds": list(self.seeds),
            "base": self.base,
            "adapter": self.adapter,
            "image": self.image,
            "references": [reference_details(reference) for reference in self.references],
            **({} if self.library is None else {"library": self.library.details()}),
            **({"reencoded": list(self.reencoded)} if self.reencoded else {}),
            "settings": self.settings.model_dump(mode="json"),
            "fps": self.fps,
            **({"windows": [list(each) for each in self.windows]} if self.windows else {}),
            "seconds": round(self.seconds, 2),
            "peak_memory_bytes": self.peak_memory,
            "threads": self.threads,
        }

    def recipe(self) -> dict[str, Any]:
        """What an .mp4 carries in its comment: of `details` what makes the video again.

        Returns:
            Prompt, seeds, settings, models and references, by names and without this machine's folders.
        """
        details = self.details()
        references = [
            each | {"file": each["file"] and Path(each["file"]).name} for each in details["references"]
        ]
        models = {key: details[key] and _without_folder(details[key]) for key in ("base", "adapter")}
        kept = {key: details[key] for key in ("prompt", "seeds", "settings")}
        return kept | models | {"references": references}

    def summary(self) -> str:
        """One line, such as "16 frames of 32x32, 25 steps, seed 7: 12.3 s, 1.2 GiB of memory at most"."""
        frames, height, width = self.videos[0].shape[:3]
        seeds = ("seed " if len(self.seeds) == 1 else "seeds ") + ", ".join(map(str, self.seeds))
        steps = f"{self.settings.steps} steps, " if self.settings.steps else ""
        memory = f", {self.peak_memory / 2**30:.1f} GiB of memory at most" if self.peak_memory else ""
        windows = f" in {len(self.windows)} windows" if self.windows else ""
        return f"{frames} frames of {width}x{height}{windows}, {steps}{seeds}: {self.seconds:.1f} s{memory}"

    def __repr__(self) -> str:
        return f"<videos of {self.prompt!r}: {self.summary()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the videos beside the references, playing in step, and the summary."""
        count = len(self.videos[0])
        shown = [(label, paced(frames, count)) for label, frames in self._references()]
        shown += [row for index in range(len(self.seeds)) for row in self._made(index)]
        figures = "".join(film_html(label.split(":")[0], frames, self.fps) for label, frames in shown)
        return f"{figures}<p>{html.escape(self.prompt)}<br>{html.escape(self.summary())}</p>"

    def _references(self) -> list[tuple[str, Frames]]:
        """As the base sees them: what it cuts away is left out."""
        many, size = len(self.references) > 1, self.videos[0].shape[1:3]
        return [
            (
                f"reference{f' {index}' if many else ''}: {reference.caption or 'no caption'}",
                frames[:, *middle(frames, size)],
            )
            for index, (reference, frames) in enumerate(zip(self.references, self._read(), strict=True), 1)
        ]

    def _read(self) -> Sequence[Frames]:
        return self.read or [reference.frames for reference in self.references]

    def _made(self, index: int) -> list[tuple[str, Frames]]:
        seed = f", seed {self.seeds[index]}"
        base = [(f"base{seed}: {self.prompt}", self.base_videos[index])] if self.base_videos else []
        name = "ours" if self.references else "base"
        return [*base, (f"{name}{seed}: {self.prompt}", self.videos[index])]


def free_name(stem: str) -> Path:
    """out.mp4, or out2.mp4 and so on: the first that neither a video nor its .json has here."""
    names = (Path(f"{stem}{number if number > 1 else ''}.mp4") for number in count(1))
    return next(each for each in names if not (each.exists() or each.with_suffix(".json").exists()))


def check_output(path: Path | str, seeds: Sequence[int] = (0,), inputs: Sequence[Path | str] = ()) -> None:
    """Raises VideoError or OutputError unless the videos and what goes beside them can be written there.

    Missing folders are made. None of the `inputs` is ever replaced, nor a .json that no generation wrote.
    """
    path = Path(path)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise VideoError(
            f"{path.name}: cannot write '{path.suffix}' videos; end the name in .mp4, .gif or .webp"
        )
    notes = path.with_suffix(".json")
    beside = [path.with_name(f"{path.stem}-compare{suffix}") for suffix in (".png", ".mp4")]
    check_outputs([*output_files(path, seeds), notes, *beside], inputs, overwrite=True)
    if notes.exists() and not is_notes(notes):
        raise OutputError(
            f"{notes}: already exists, and no generation wrote it; choose another name for {path.name}"
        )


def output_files(path: Path | str, seeds: Sequence[int]) -> list[Path]:
    """Where the video of each seed is written: `out.mp4`, or `out-7.mp4`, `out-8.mp4` for several."""
    path = Path(path)
    return [path] if len(seeds) == 1 else [path.with_stem(f"{path.stem}-{seed}") for seed in seeds]


def paced(frames: Frames, count: int) -> Frames:
    """`count` of the frames, evenly from the first to the last, repeated where there are fewer."""
    return frames[np.arange(count) * len(frames) // count]


def _without_folder(model: str) -> str:
    """A hub id as it is; of a folder's path the last part."""
    return model if HUB_ID.fullmatch(model) and not Path(model).exists() else Path(model).name


def reference_details(reference: ReferenceVideo) -> dict[str, Any]:
    """Which file and frames a reference is of, for JSON."""
    return {
        "file": None if reference.source is None else str(reference.source),
        "caption": reference.caption,
        "strength": reference.strength,
        "during": list(reference.during),
        "align": reference.align,
        "speed": reference.speed,
        "start": reference.span and reference.span.start,
        "end": reference.span and _end(reference, reference.span),
        "crop": "middle" if reference.crop is None else "moving",
        "fps": reference.fps,
        "frames": len(reference.frames),
        "timestamps": [round(float(time), 3) for time in reference.timestamps],
        "description": reference.describe(),
    }


def _end(reference: ReferenceVideo, span: Span) -> float | None:
    """Where its part ends; of one that plays at its own speed also where that was left to the file's end."""
    if span.end is not None or reference.align == "stretch":
        return span.end
    return round(span.start + reference.seconds, 3)
