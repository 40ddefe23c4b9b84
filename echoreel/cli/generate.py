"""`echoreel generate`: prompt and references to videos.

Over 300 lines since each of its options is a parameter of its own, with its help.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echoreel.cli.app import app
from echoreel.cli.library_answers import NO_ACTION, tell_others
from echoreel.cli.options import (
    Alignments,
    Base,
    BaseParts,
    Dtype,
    FirstFrame,
    Frames,
    Lora,
    Offloading,
    Quantized,
    Seconds,
    Size,
    Speeds,
    clock,
    pixels,
)
from echoreel.cli.orders import Prompts, Work, inputs_of, orders, tell_references
from echoreel.cli.output import Answer, hush
from echoreel.cli.replay import Replay, settings_of
from echoreel.common.errors import EchoReelError, SettingsError

if TYPE_CHECKING:
    from echoreel.library.clips import Taken
    from echoreel.media.reference_video import ReferenceVideo

PART = re.compile(r"(?P<file>.+)@(?P<first>\d{1,3}(\.\d+)?)-(?P<last>\d{1,3}(\.\d+)?)%", re.DOTALL)
QUANTIZE = ("int8", "fp8", "nf4", "fp8-storage")
EACH = "Once for all references, or once for each."


@app.command(
    epilog='Example: echoreel generate "a person with brown hair in a red sweater and blue trousers doing a '
    'cartwheel on a grassy field" --reference echoreel/assets/cartwheel.mp4 --compare -o out.mp4'
)
def generate(
    answer: Answer,
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="What the video should show; or --prompts.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Output file: .mp4, .gif or .webp. Default: out.mp4, or the next free number.",
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference",
            "-r",
            metavar="FILE",
            help="A video that shows the action, or a reference file; repeatable. a.mp4@0-50% acts in the "
            "first half of the video made.",
        ),
    ] = None,
    caption: Annotated[
        list[str] | None,
        typer.Option(
            "--reference-caption",
            metavar="TEXT",
            help=f"What the reference shows. Default: the .txt beside it. {EACH}",
        ),
    ] = None,
    start: Annotated[
        list[float] | None,
        typer.Option(
            metavar="TIME",
            parser=clock,
            help=f"Where in the reference the action begins: seconds, or 1:15.5. {EACH}",
        ),
    ] = None,
    end: Annotated[
        list[float] | None, typer.Option(metavar="TIME", parser=clock, help=f"Where it ends. {EACH}")
    ] = None,
    strength: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help=f"Weight of the reference: 0 none, 1 as trained. {EACH}"),
    ] = None,
    align: Alignments = None,
    speed: Speeds = None,
    crop: Annotated[
        str, typer.Option(metavar="middle|moving", help="Crop references to the middle, or to what moves.")
    ] = "middle",
    library: Annotated[
        str | None,
        typer.Option(metavar="LIBRARY", help="Take references from this library, by the prompt's action."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--references",
            metavar="N",
            min=1,
            max=100,
            help="With --library: how many references. Default: 1.",
        ),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="With --library: the action, if the prompt does not name it."),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", metavar="X", min=0, max=1, help="With --library: the least score. Default: 0.42."
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="With --library: skip clips in which the camera cuts.")
    ] = False,
    require_reference: Annotated[
        bool,
        typer.Option("--require-reference", help="Fail if no reference is found, instead of going without."),
    ] = False,
    show_frames: Annotated[
        bool,
        typer.Option("--show-frames", help="Write FILE-frames.png: the frames taken from each reference."),
    ] = False,
    base: Base = None,
    base_parts: BaseParts = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="An adapter for that base. Default: the embedded one."),
    ] = None,
    dtype: Dtype = None,
    offload: Offloading = None,
    quantize: Quantized = None,
    lora: Lora = None,
    image: FirstFrame = None,
    frames: Frames = None,
    seconds: Seconds = None,
    size: Size = None,
    seed: Annotated[
        list[int] | None, typer.Option(metavar="N", help="One video per seed; repeatable. Default: 0.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="draft|normal|best", help="Number of steps: 0.4 times the base's, the base's, or twice."
        ),
    ] = "normal",
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Denoising steps. Default: the preset's.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(metavar="X", help="Classifier-free guidance. Default: the base's.")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the video should not show.")
    ] = None,
    scale: Annotated[
        float, typer.Option(metavar="X", help="Weight of all references: 0 none, 1 as trained.")
    ] = 1.0,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also make the base's own video; write FILE-compare.png and .mp4."),
    ] = False,
    prompts: Prompts = None,
    replay: Replay = None,
) -> None:
    """Make a video of PROMPT that shows the action of the reference videos.

    FILE.json beside it says how it was made. The videos of several seeds are named FILE-SEED, those of
    several prompts FILE-1, FILE-2 and so on.
    """
    from echoreel.common.settings import checked
    from echoreel.generation.result import check_output, free_name
    from echoreel.generation.settings import GenerationSettings, checked_request

    out = out or (free_name("out") if prompts is None else Path(f"{prompts.stem}.mp4"))
    files, during = parts_of(reference or [])
    wanted = orders(prompt, prompts, out)
    for order in wanted:
        read_here = [each for each in (*files, image, prompts, replay) if each is not None]
        check_output(order.out, tuple(dict.fromkeys(seed or (0,))), read_here)
    height, width = pixels(size) or (None, None)
    settings = checked(
        GenerationSettings,
        preset=preset,
        steps=steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        num_frames=frames,
        seconds=seconds,
        height=height,
        width=width,
        scale=scale,
        compare=compare,
        **settings_of(replay),
    )
    loading_options = checked_loading(dtype, offload, lora, base_parts, quantize)
    of_library = {"--references": count, "--action": action, "--min-score": min_score}
    check_needs_library(library, of_library | {"--skip-bad": skip_bad or None})
    many = len(files) + (library is not None)
    for order in wanted:
        seeds = checked_request(order.prompt, many, seed or (0,), settings)
    read = read_references(files, caption, start, end, strength, crop, align, speed)
    references = [replace(each, during=part) for each, part in zip(read, during, strict=True)]
    for order in wanted:
        if library is not None:
            from echoreel.generation.from_library import FromLibrary

            with answer.busy("searching the library"):
                order.picked = FromLibrary.take(
                    library, order.prompt, count or 1, action, min_score, skip_bad
                )
            tell_taken(order.picked.taken, count or 1, answer)
        shown = order.shown(references)
        check_output(order.out, seeds, inputs_of(shown, image))  # now with what the library gave
        tell_references(shown if order is wanted[0] else order.shown(()), answer)
        if require_reference and not shown:
            raise EchoReelError(
                "no reference; add videos of the action to the library, or name it with --action"
            )
        if order.picked is not None and not shown:
            checked_request(order.prompt, 0, seeds, settings)  # there is nothing to compare with
            answer.note("generating without reference")
    began = time.perf_counter()
    with answer.busy("loading the models"):
        hush()
        from echoreel.bases.lookup import base_of
        from echoreel.generation import generate
        from echoreel.generation.settings import resolved
        from echoreel.generation.windows import plan_of

        pipe = base_of(loading_options(base))
        plan = plan_of(pipe, resolved(pipe, settings))
        reads = any(order.shown(references) for order in wanted)
        loaded = generate.adapter_for(pipe, adapter) if reads else None
    loading = time.perf_counter() - began
    for line in plan.lines():
        answer.note(line)
    work = Work(pipe, loaded, references, seeds, settings, plan, image, show_frames, loading, prompts, replay)
    facts = [work.do(order, answer) for order in wanted]
    answer.facts = facts[0] if prompts is None else {"videos": facts}


def checked_loading(
    dtype: str | None,
    offload: str | None,
    loras: Sequence[str] | None,
    parts: str | None,
    quantize: str | None = None,
) -> "Callable[[str | None], Any]":
    """`load_base` with these options. Raises SettingsError."""
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise SettingsError(f"--dtype: got {dtype}, need float32, bfloat16 or float16")
    if offload not in (None, "model", "layers"):
        raise SettingsError(f"--offload: got {offload}, need model or layers")
    if quantize not in (None, *QUANTIZE):
        raise SettingsError(f"--quantize: got {quantize}, need one of {', '.join(QUANTIZE)}")

    def load(base: str | None) -> Any:
        import torch

        from echoreel.bases.loading import load_base

        kind = None if dtype is None else getattr(torch, dtype)
        more: Any = {"loras": loras or (), "parts": parts, "quantize": quantize, "offload": offload}
        return load_base(base, kind, **more)

    return load


def check_needs_library(library: str | None, options: Mapping[str, object]) -> None:
    """Raises SettingsError for an option that says something of a library where none is given."""
    given = [name for name, value in options.items() if value is not None]
    if library is None and given:
        raise SettingsError(f"{given[0]}: is about --library; give one, or leave it out")


def tell_taken(taken: "Taken", wanted: int, answer: Answer) -> None:
    """Each reference of the library with why it was taken; or that there are none, or fewer."""
    understood = taken.answer.action
    tell_others(answer, taken.answer)
    for place, why in taken.problems:
        answer.note(f"skipped {place}: {why}")
    for found, _ in taken.references:
        clip = found.clip
        answer.note(f'took {clip.id} "{clip.caption}" ({clip.phrase}: {found.why}, {found.score:.2f})')
    if understood is None:
        answer.note(NO_ACTION)
    elif not taken.references:
        answer.note(f'nothing in the library matches "{understood.phrase}"')
    elif len(taken.references) < wanted:
        answer.note(f'{len(taken.references)} of {wanted} references: no more match "{understood.phrase}"')


def read_references(
    files: Sequence[Path],
    captions: Sequence[str] | None,
    starts: Sequence[float] | None,
    ends: Sequence[float] | None,
    strengths: Sequence[float] | None,
    crop: str = "middle",
    alignments: Sequence[str] | None = None,
    speeds: Sequence[float] | None = None,
) -> "list[ReferenceVideo]":
    """The references, each with its own options or those given for all. Raises SettingsError, VideoError."""
    from echoreel.media.reference_video import ReferenceVideo

    each = zip(
        files,
        _each("reference-caption", captions, len(files)),
        _each("start", starts, len(files)),
        _each("end", ends, len(files)),
        _each("strength", strengths, len(files), otherwise=1.0),
        _each("align", alignments, len(files)),
        _each("speed", speeds, len(files)),
        strict=True,
    )
    return [
        ReferenceVideo.from_file(
            file,
            caption,
            start=start,
            end=end,
            strength=strength,
            crop=crop,  # type: ignore[arg-type]
            align=align,
            speed=speed,
        )
        for file, caption, start, end, strength, align, speed in each
    ]


def parts_of(named: Sequence[Path]) -> tuple[list[Path], list[tuple[float, float]]]:
    """Files, and the parts of the video made as in "a.mp4@0-50%"; a file that has such a name is a file."""
    files, during = [], []
    for name in named:
        found = None if name.exists() else PART.fullmatch(str(name))
        files.append(Path(found["file"]) if found else name)
        during.append((float(found["first"]) / 100, float(found["last"]) / 100) if found else (0.0, 1.0))
    return files, during


def _each(option: str, values: Sequence[Any] | None, count: int, otherwise: Any = None) -> list[Any]:
    """One value per reference. Raises SettingsError unless there are none, one, or as many as references."""
    if not values:
        return [otherwise] * count
    if not count:
        raise SettingsError(f"--{option}: belongs to --reference; give one, or leave it out")
    if len(values) == 1:
        return [values[0]] * count
    if len(values) != count:
        raise SettingsError(
            f"--{option}: got {len(values)} for {count} references, need one, or one for each"
        )
    return list(values)
