"""Options that several commands have."""

import re
from pathlib import Path
from typing import Annotated

import typer

from echoreel.common.errors import SettingsError


def clock(text: str | float) -> float:
    """Seconds of 75.5, 1:15.5 or 0:01:15.5. Raises typer.BadParameter."""
    if isinstance(text, str) and (found := CLOCK.fullmatch(text)):
        return 3600 * int(found[1] or 0) + 60 * int(found[2]) + float(found[3])
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{str(text)[:40]!r} is not a time; give seconds (75.5) or minutes:seconds (1:15.5)"
        ) from None


CLOCK = re.compile(r"(?:([0-9]{1,3}):)?([0-9]{1,3}):([0-9]{1,2}(?:\.[0-9]*)?)")
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe; repeatable."),
]
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="A file of settings; see recipes/.")]
Base = Annotated[
    str | None, typer.Option(metavar="DIR|ID|FILE", help="A diffusers pipeline. Default: the embedded one.")
]
BaseParts = Annotated[
    str | None,
    typer.Option(
        "--base-parts",
        metavar="DIR|ID",
        help="For a base in one file: a pipeline with text encoder and autoencoder. Default: its folder.",
    ),
]
Dtype = Annotated[
    str | None, typer.Option(metavar="NAME", help="float32, bfloat16 or float16. Default: bfloat16 on GPUs.")
]
Offloading = Annotated[
    str | None,
    typer.Option(
        "--offload",
        metavar="HOW",
        help="Save GPU memory: keep one part of the base there at a time (model), or one layer (layers; "
        "slowest, least memory).",
    ),
]
Quantized = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        metavar="HOW",
        help="Save memory: the base's denoiser in fewer bits, by int8, fp8 or nf4 (extra quantize), or "
        "fp8-storage.",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE|DIR|ID",
        help="A LoRA for the base; repeatable. For a second denoiser: transformer_2=FILE.",
    ),
]
Frames = Annotated[
    int | None, typer.Option("--frames", metavar="N", help="Frames of the video. Default: the base's.")
]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="Size in pixels, such as 832x480. Default: the base's.")
]
Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        help="Length of the video. More than the base makes at once is made in windows, on bases that can; "
        "--frames is then the length of a window.",
    ),
]
Alignments = Annotated[
    list[str] | None,
    typer.Option(
        "--align",
        metavar="stretch|start|loop|ping-pong",
        help="Where the reference is longer or shorter than the video: fit all of it, or play it once, in a "
        "loop, or to and fro. Once for all references, or once for each. Default: stretch.",
    ),
]
Speeds = Annotated[
    list[float] | None,
    typer.Option(
        "--speed",
        metavar="X",
        help="How fast the reference plays: 1 as filmed, 2 twice as fast; alone as with --align start. Once "
        "for all references, or once for each.",
    ),
]
FirstFrame = Annotated[
    Path | None, typer.Option("--image", metavar="FILE", help="The first frame, for image-to-video bases.")
]


def pixels(size: str | None) -> tuple[int, int] | None:
    """Height and width of "832x480". Raises SettingsError."""
    if size is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", size.lower())
    if found is None:
        raise SettingsError(f"--size: got {size[:40]}, need width x height in pixels, such as 832x480")
    return int(found[2]), int(found[1])
