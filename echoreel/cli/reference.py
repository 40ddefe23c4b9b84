"""`echoreel reference`: a reference as one file, to keep and to share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echoreel.cli.app import app
from echoreel.cli.commands import Commands
from echoreel.cli.generate import read_references
from echoreel.cli.options import Dtype, Size, pixels
from echoreel.cli.output import Answer, hush

if TYPE_CHECKING:
    from echoreel.media.reference_file import StoredReference
    from echoreel.media.reference_video import ReferenceVideo

reference = Commands(no_args_is_help=True, help="A reference as one file, to keep and to share.")
app.add_typer(reference, name="reference")


@reference.command(
    epilog="Example: echoreel reference save cartwheel.safetensors --reference cartwheel.mp4 "
    '--reference-caption "a man doing a cartwheel" --base embedded'
)
def save(
    answer: Answer,
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    video: Annotated[
        Path, typer.Option("--reference", "-r", metavar="FILE", help="A video, or another reference file.")
    ],
    caption: Annotated[
        str | None,
        typer.Option(
            "--reference-caption", metavar="TEXT", help="What it shows. Default: the .txt beside it."
        ),
    ] = None,
    start: Annotated[float | None, typer.Option(metavar="SECONDS", help="Where the action begins.")] = None,
    end: Annotated[float | None, typer.Option(metavar="SECONDS", help="Where it ends.")] = None,
    align: Annotated[
        str | None,
        typer.Option(
            metavar="stretch|start|loop|ping-pong", help="How it is fitted to a video; see generate."
        ),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(metavar="X", help="How fast it plays: 1 as filmed, 2 twice as fast.")
    ] = None,
    crop: Annotated[str, typer.Option(metavar="middle|moving", help="The middle, or what moves.")] = "middle",
    base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|ID",
            help='Encode it for this base ("embedded": the embedded one); repeatable. Default: frames alone.',
        ),
    ] = None,
    dtype: Dtype = None,
    size: Size = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
) -> None:
    """Write the reference's frames, caption and what bases' encoders make of them to one file.

    The file goes wherever a video goes. For a base that it holds nothing for, its frames are encoded again.
    """
    from echoreel.common.places import check_outputs
    from echoreel.media.reference_video import check_reference_name

    check_reference_name(out)
    check_outputs([out], [video], overwrite)
    wanted = pixels(size)
    (taken,) = read_references(
        [video],
        None if caption is None else [caption],
        None if start is None else [start],
        None if end is None else [end],
        None,
        crop,
        None if align is None else [align],
        None if speed is None else [speed],
    )
    taken = taken.read_whole()
    answer.note(f"reference: {taken.describe()}")
    if not taken.caption:
        answer.say("no caption; add --reference-caption, so that the adapter knows the action")
    for name in base or ():
        with answer.busy(f"encoding for {name}"):
            taken = _encoded(taken, name, dtype, wanted)
    taken.save(out, overwrite)
    from echoreel.media.reference_file import read_reference

    answer.facts = _facts(out, read_reference(out))
    answer.say(f"wrote {out} ({answer.facts['bytes'] / 2**20:.1f} MiB)")


@reference.command(epilog="Example: echoreel reference show cartwheel.safetensors --sheet frames.png")
def show(
    answer: Answer,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A reference file.")],
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture of its frames.")] = None,
) -> None:
    """Show what a reference file holds."""
    from echoreel.common.places import check_outputs
    from echoreel.media.reference_file import read_reference
    from echoreel.media.reference_video import ReferenceVideo
    from echoreel.media.video_files import check_picture_name, write_image

    if sheet is not None:
        check_picture_name(sheet)
        check_outputs([sheet], [file], overwrite=True)
    answer.facts = _facts(file, read_reference(file))
    for name, value in answer.facts.items():
        if name != "encoded":
            answer.say(f"{name:8} {value}")
    for each in answer.facts["encoded"]:
        height, width = each["size"]
        answer.say(f"encoded  for {each['family']} at {width}x{height} ({each['base']})")
    if not answer.facts["encoded"]:
        answer.say("encoded  for no base")
    if sheet is not None:
        before = sheet.exists()
        write_image(sheet, ReferenceVideo.load(file).sheet())
        answer.say(f"wrote {sheet}" + (" over the one that was there" if before else ""))


def _encoded(
    taken: "ReferenceVideo", name: str, dtype: str | None, size: tuple[int, int] | None
) -> "ReferenceVideo":
    """With what this base's encoders make of it."""
    hush()
    from echoreel.bases.encoding import encoded_for
    from echoreel.bases.loading import model_name
    from echoreel.cli.generate import checked_loading
    from echoreel.generation.settings import recommended_size

    pipe = checked_loading(dtype, None, None, None)(name)
    return encoded_for(pipe, taken, size or recommended_size(pipe), model_name(pipe))


def _facts(file: Path, stored: "StoredReference") -> dict[str, Any]:
    """What is in the file, for JSON."""
    count, height, width = stored.frames.shape[:3]
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "caption": stored.caption,
        "frames": f"{count} of {width}x{height} at {stored.fps:g} fps",
        "source": stored.source,
        "seconds": [round(float(stored.times[0]), 3), round(float(stored.times[-1]), 3)],
        "crop": "middle" if stored.boxes is None else "moving",
        "align": stored.align,
        "speed": stored.speed,
        "encoded": [
            {"family": each.family, "base": each.base, "size": list(each.size), "encoders": each.maker}
            for each in stored.encoded
        ],
    }
