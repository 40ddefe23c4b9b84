"""`--replay FILE.json`: what made a video becomes the default of each option of `echoreel generate`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echoreel.common.errors import SettingsError

if TYPE_CHECKING:
    from echoreel.media.reference_video import ReferenceVideo

MOST_REFERENCES, MOST_SEEDS = 100, 1000  # of a .json, which may be somebody else's
MOST_NUMBER = 1e6  # of a time, a rate and a strength; what is out of range below is told by its option
SAME_TIME = 2e-3  # seconds: the .json has three decimals


def defaults_from(ctx: typer.Context, file: Path | None) -> Path | None:
    """Makes what the .json tells the defaults of this call's options. Raises typer.BadParameter."""
    if file is not None:
        try:
            ctx.default_map = dict(_options(told_by(file), ctx))
        except SettingsError as error:
            raise typer.BadParameter(str(error)) from None
    return file


Replay = Annotated[
    Path | None,
    typer.Option(
        "--replay",
        metavar="FILE.json",
        is_eager=True,
        callback=defaults_from,
        help="Make that video again: its .json gives what you leave out here, PROMPT as well.",
    ),
]


def told_by(file: Path) -> dict[str, Any]:
    """What the .json beside a video tells of how it was made. Raises SettingsError for any other file."""
    from echoreel.common.places import regular_file
    from echoreel.generation.notes import is_notes, read_details

    regular_file(file, SettingsError, "the .json beside a video")
    told = read_details(file)
    parts = {"prompt": str, "seeds": list, "settings": dict, "references": list}
    fits = all(isinstance(told.get(key), kind) for key, kind in parts.items())
    if not (file.is_file() and is_notes(file) and fits):
        raise SettingsError(
            f"{file}: is not the .json of a video; give one that `generate` wrote beside its video"
        )
    if not isinstance(told["settings"].get("negative_prompt"), str | None):
        raise SettingsError(f"{file}: its negative_prompt is not text; leave out --replay")
    if len(told["references"]) > MOST_REFERENCES or len(told["seeds"]) > MOST_SEEDS:
        raise SettingsError(
            f"{file}: got {len(told['references'])} references and {len(told['seeds'])} seeds, need at most "
            f"{MOST_REFERENCES} and {MOST_SEEDS}; leave out --replay"
        )
    if not all(isinstance(each, dict) and _whole(each) for each in told["references"]):
        raise SettingsError(
            f"{file}: a reference was not a file, or has numbers that cannot be; leave out --replay, and "
            "give --reference"
        )
    return told


def _whole(reference: Mapping[str, Any]) -> bool:
    """Whether it tells a file that can be read again, with numbers where they belong."""
    times, during = reference.get("timestamps"), reference.get("during")
    numbers = [
        *(times if isinstance(times, list) else [None]),
        *(during if isinstance(during, list) else [None]),
    ]
    numbers += [
        reference.get("strength"),
        reference.get("start"),
        0 if reference.get("end", "") is None else reference.get("end"),
        reference.get("fps"),
    ]
    return (
        isinstance(reference.get("file"), str)
        and isinstance(reference.get("caption"), str)
        and all(isinstance(each, int | float) and abs(each) <= MOST_NUMBER for each in numbers)
        and reference["fps"] > 0
        and bool(times)
        and len(during or ()) == 2
    )


def settings_of(file: Path | None) -> dict[str, Any]:
    """Settings that no option of the command has, such as the window. Raises SettingsError."""
    if file is None:
        return {}
    return {
        key: value for key, value in told_by(file)["settings"].items() if key in ("fps", "guidance", "window")
    }


def check_same_frames(file: Path | None, references: "Sequence[ReferenceVideo]") -> list[str]:
    """A line for each reference whose file now gives other frames than the video was made from."""
    if file is None:
        return []
    before = {each["file"]: each["timestamps"] for each in told_by(file)["references"]}
    return [
        f"warning: {each.name} gives other frames than the video of {file.name} was made from"
        for each in references
        if (times := before.get(str(each.source))) is not None
        and (
            len(times) != len(each.timestamps)
            or any(abs(a - b) > SAME_TIME for a, b in zip(times, each.timestamps, strict=True))
        )
    ]


def _options(told: Mapping[str, Any], ctx: typer.Context) -> Mapping[str, Any]:
    """A value, or what finds it, by the name of the command's parameter."""
    settings, references = told["settings"], told["references"]
    height, width = settings.get("height"), settings.get("width")

    def given(*names: str) -> bool:
        sources = [ctx.get_parameter_source(name) for name in names]
        return any(source is not None and source.name == "COMMANDLINE" for source in sources)

    def of_references(values: list[Any]) -> Callable[[], list[Any] | None]:
        # Options given by the user are read before any default is asked for: other references, other values.
        return lambda: None if given("reference", "library") or not values else values

    return {
        "prompt": lambda: None if given("prompts") else told["prompt"],
        "seed": told["seeds"],
        "reference": of_references([_named(each) for each in references]),
        "caption": of_references([each["caption"] for each in references]),
        "start": of_references([each["start"] for each in references]),
        "end": of_references(_ends(references)),
        "strength": of_references([each["strength"] for each in references]),
        "align": of_references([each.get("align", "stretch") for each in references]),
        "speed": of_references([each.get("speed", 1.0) for each in references]),
        "crop": "moving" if any(each.get("crop") == "moving" for each in references) else "middle",
        "base": None if told.get("base") == "embedded" else told.get("base"),
        "adapter": None if told.get("adapter") == "embedded" else told.get("adapter"),
        "image": told.get("image"),
        "frames": settings.get("num_frames"),
        "size": f"{width}x{height}" if width and height else None,
        "seconds": settings.get("seconds"),
        **{key: settings.get(key) for key in ("steps", "guidance_scale", "negative_prompt")},
        **{key: settings[key] for key in ("preset", "scale", "compare") if key in settings},
    }


def _named(reference: Mapping[str, Any]) -> str:
    first, last = reference["during"]
    return (
        reference["file"]
        if (first, last) == (0, 1)
        else f"{reference['file']}@{100 * first:.15f}-{100 * last:.15f}%"  # no exponents; {:g} rounds
    )


def _ends(references: Sequence[Mapping[str, Any]]) -> list[float]:
    """Where each reference ends; the middle after its last frame if only some were given an end."""
    if all(each["end"] is None for each in references):
        return []
    return [
        each["timestamps"][-1] + 0.5 / each["fps"] if each["end"] is None else each["end"]
        for each in references
    ]
