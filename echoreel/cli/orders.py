"""The videos that a call of `echoreel generate` makes: of PROMPT, or of each line of `--prompts FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echoreel.cli.output import Answer
from echoreel.cli.replay import check_same_frames
from echoreel.common.errors import SettingsError

if TYPE_CHECKING:
    from echoreel.bases.base import Base
    from echoreel.generation.from_library import FromLibrary
    from echoreel.generation.settings import GenerationSettings
    from echoreel.generation.windows import Plan
    from echoreel.media.reference_video import ReferenceVideo
    from echoreel.method.adapter import ActionAdapter

MOST_BYTES = 2**20  # of a file of prompts
MOST = 10_000

Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="A text file, one prompt a line, in place of PROMPT: one video each. If interrupted, rerun to "
        "resume.",
    ),
]


@dataclass
class Order:
    """One prompt, where its video goes, and what the library gave for it."""

    prompt: str
    out: Path
    picked: "FromLibrary | None" = None

    def shown(self, references: "Sequence[ReferenceVideo]") -> "list[ReferenceVideo]":
        """All references of the video: those given, then the library's."""
        return [*references, *(self.picked.references if self.picked else ())]

    def is_made(self, seeds: Sequence[int], facts: dict[str, Any]) -> bool:
        """Whether the videos are there, and the .json beside them tells just these facts."""
        from echoreel.generation.notes import notes_of
        from echoreel.generation.result import output_files

        files = output_files(self.out, seeds)
        facts = facts | {"files": [file.name for file in files]}
        told = [notes_of(file) for file in files]
        return all(file.is_file() for file in files) and all(
            {key: each.get(key) for key in facts} == facts for each in told
        )


def orders(prompt: str | None, file: Path | None, out: Path) -> list[Order]:
    """A video for PROMPT, or for each line of the file. Raises SettingsError for both or neither."""
    if (prompt is None) == (file is None):
        got = "no prompt" if prompt is None else "both PROMPT and --prompts"
        raise SettingsError(f'got {got}; give one: "what the video should show", or --prompts FILE')
    if file is None:
        assert prompt is not None
        return [Order(prompt, out)]
    lines = _lines(file)
    width = len(str(len(lines)))
    return [
        Order(line, out.with_stem(f"{out.stem}-{number:0{width}}")) for number, line in enumerate(lines, 1)
    ]


def _lines(file: Path) -> list[str]:
    from echoreel.common.places import regular_file, small_file
    from echoreel.common.text import decoded, one_line

    regular_file(file, SettingsError, "a text file, one prompt a line")
    try:
        text, problem = decoded(small_file(file, MOST_BYTES))
    except OSError as error:
        raise SettingsError(
            f"{file}: cannot be read ({error.strerror}); give a text file of prompts"
        ) from None
    if problem:
        raise SettingsError(f"{file}: is not UTF-8; save it as UTF-8")
    lines = [line for each in text.splitlines() if (line := one_line(each))]
    if not 1 <= len(lines) <= MOST:
        raise SettingsError(f"{file}: got {len(lines)} prompts, need 1 to {MOST}, one a line")
    return lines


def inputs_of(shown: "Sequence[ReferenceVideo]", image: Path | None) -> "list[Path | str]":
    """Files that a video is made from."""
    return [*(each.source for each in shown if each.source), *([image] if image else ())]


def tell_references(references: "Sequence[ReferenceVideo]", answer: Answer) -> None:
    """Which frames are taken, and whether the camera cuts in them, where that does not wait for the base."""
    from echoreel.media.reference_windows import is_timed

    for taken in references:
        answer.note(f"reference: {taken.describe()}")
        if not is_timed(taken):
            tell_cuts(taken, answer)


def tell_cuts(taken: "ReferenceVideo", answer: Answer) -> None:
    """Warns where the camera cuts in the frames taken."""
    from echoreel.media.cuts import cut_times

    if cuts := cut_times(taken.frames, taken.timestamps):
        answer.say(
            f"warning: the camera cuts at {cuts[0]:.1f} s of {taken.name}; take a part of one shot "
            "(--start, --end), or --skip-bad with --library"
        )


@dataclass
class Work:
    """Makes and writes the videos of one order after the other.

    loading: seconds that loading the models took. prompts: a file of prompts, with which what an earlier run
    made in the same way is left as it is. replay: the .json of a video that is made again.
    """

    base: "Base"
    adapter: "ActionAdapter | None"
    references: "Sequence[ReferenceVideo]"
    seeds: Sequence[int]
    settings: "GenerationSettings"
    plan: "Plan"
    image: Path | None
    show_frames: bool
    loading: float
    prompts: Path | None
    replay: Path | None
    told: set[str] = field(default_factory=set)  # each line about the base is told once

    def do(self, order: Order, answer: Answer) -> dict[str, Any]:
        """Facts about the videos. Raises EchoReelError."""
        from echoreel.generation import generate
        from echoreel.generation.model_facts import introduction
        from echoreel.generation.reference_checks import off_the_picture
        from echoreel.generation.result import output_files
        from echoreel.generation.settings import recommended_size
        from echoreel.generation.windows import taken_for, too_slow

        shown, asked = order.shown(self.references), self._asked(order)
        if self.prompts is not None and order.is_made(self.seeds, asked):
            answer.say(f"{order.out} already exists, made in the same way")
            return asked | {"files": [str(file) for file in output_files(order.out, self.seeds)]}
        for line in introduction(
            self.base, self.adapter if shown else None, order.prompt, self.settings.size
        ):
            if line not in self.told:
                answer.note(line)
                self.told.add(line)
        whole = [taken_for(each, self.plan) for each in shown]
        height, width = recommended_size(self.base, self.settings)
        for first, taken in zip(shown, whole, strict=True):
            for line in too_slow(first, self.plan.video):
                answer.note(line)
            if first is not taken:
                tell_cuts(taken, answer)
            if off := off_the_picture(taken, width / height):
                answer.say(f"warning: {taken.name}: {off}; --show-frames shows it")
        for line in check_same_frames(self.replay, whole):
            answer.say(line)
        before, files = {*order.out.parent.glob("*")}, []
        if self.show_frames:
            files += write_sheets(whole, order.out, (height, width), inputs_of(shown, self.image))
        result = generate.generate(
            order.prompt,
            self.references,
            base=self.base,
            adapter=self.adapter if shown else None,
            seed=self.seeds,
            settings=self.settings,
            image=self.image,
            library=order.picked,
            windows_folder=order.out.with_name(f"{order.out.stem}-windows"),
        )
        if result.stale:
            answer.note(
                f"{result.stale} references were encoded with other weights; run "
                "`echoreel library embed` to encode them again"
            )
        for name in result.reencoded:
            answer.note(
                f"{name} holds nothing for this base, size and caption; encoded its kept frames. `echoreel "
                "reference save` with --base stores that"
            )
        files += result.save(order.out, comparison=self.settings.compare)
        for file in files:
            answer.say(f"wrote {file}" + (" over the one that was there" if file in before else ""))
        answer.note(f"{result.summary()} ({self.loading:.1f} s to load)")
        return result.details() | {
            "files": [str(file) for file in files],
            "loading_seconds": round(self.loading, 2),
        }

    def _asked(self, order: Order) -> dict[str, Any]:
        """What the .json beside the videos will tell of how they were made."""
        from echoreel.bases.loading import model_name
        from echoreel.generation.result import reference_details
        from echoreel.generation.settings import resolved
        from echoreel.generation.windows import taken_for

        shown = order.shown(self.references)
        return {
            "prompt": order.prompt,
            "seeds": list(self.seeds),
            "base": model_name(self.base.pipe),
            "adapter": model_name(self.adapter) if shown and self.adapter else None,
            "image": None if self.image is None else str(self.image),
            "references": [reference_details(taken_for(each, self.plan)) for each in shown],
            "settings": resolved(self.base, self.settings).model_dump(mode="json"),
        }


def write_sheets(
    references: "Sequence[ReferenceVideo]", out: Path, size: tuple[int, int], inputs: Sequence[Path | str]
) -> list[Path]:
    """Pictures of the frames taken, beside the output: out-frames.png, or out-frames-1.png and so on.

    What a video of this (height, width) does not show is greyed. Raises OutputError for one of the inputs.
    """
    from echoreel.common.places import check_outputs
    from echoreel.media.video_files import write_image

    many = len(references) > 1
    suffixes = [f"-{number}" if many else "" for number in range(1, len(references) + 1)]
    files = [out.with_name(f"{out.stem}-frames{suffix}.png") for suffix in suffixes]
    check_outputs(files, inputs, overwrite=True)
    for file, reference in zip(files, references, strict=True):
        write_image(file, reference.sheet(size=size))
    return files
