"""`echoreel measure`: numbers for ordinary videos."""

from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.output import Answer, hush


@app.command(
    epilog='Example: echoreel measure out.mp4 --prompt "a raccoon playing the guitar" --reference guitar.mp4'
)
def measure(
    answer: Answer,
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO|FOLDER...", help="Videos to measure.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What the video should show; once for all, or once for each. "
            "Default: NAME.txt beside it, or the NAME.json of generate.",
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference",
            "-r",
            metavar="FILE|FOLDER",
            help="A video whose motion it should show; repeatable; or a folder with one of the same name for "
            "each. Default: what generate took, from its NAME.json.",
        ),
    ] = None,
    real: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Real videos to take the Fréchet distance to.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="DIR|ID", help="CLIP model. Default: openai/clip-vit-base-patch32.")
    ] = None,
    videomae: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|ID",
            help="A VideoMAE fine-tuned on actions. Default: MCG-NJU/videomae-base-finetuned-ssv2.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0.1, max=86_400, help="Measure only the first X seconds. Default: all."
        ),
    ] = None,
) -> None:
    """Measure videos: text alignment, frame consistency, motion, trajectory fidelity, Fréchet distance.

    docs/metrics.md says what each number is. What a measure needs and was not given leaves it out.
    """
    with answer.busy("loading"):
        hush()
        from echoreel.evaluation.measure.measure import measure as measured
    found = measured(
        videos, prompt or (), reference or (), real=real, clip=clip, videomae=videomae, seconds=seconds
    )
    for line in found.lines():
        answer.say(line)
    answer.facts = found.details()
