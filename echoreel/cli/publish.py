"""`echoreel publish`: from a run to a folder or a page that others can load."""

from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.output import Answer, hush


@app.command(epilog="Example: echoreel publish runs/mine my-adapter --license apache-2.0 --sample out.mp4")
def publish(
    answer: Answer,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished training.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The card's title.")],
    license: Annotated[
        str, typer.Option("--license", metavar="ID", help="How others may use it, such as apache-2.0.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Output folder. Default: one named NAME.")
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="TEXT", help="Which videos it learned from, and their licences.")
    ] = "not told",
    sample: Annotated[
        list[Path] | None, typer.Option("--sample", metavar="FILE", help="A video to show; repeatable.")
    ] = None,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="ID", help="Upload it to the Hugging Face hub as well.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Only you can see it on the hub.")] = False,
) -> None:
    """Write an adapter's folder with a model card made from its run; nothing is uploaded without --hub."""
    hush()
    from echoreel.training import publish as publishing

    folder = to or Path(name)
    facts = publishing.publish(run, name, license, folder, data, sample or ())
    answer.say(
        f"wrote {folder}: README.md is its card, from {facts.steps} steps; use it with --adapter {folder}"
    )
    if facts.evaluation is None:
        answer.say(
            "the card has no evaluation of these weights; run `echoreel evaluate RECIPE --videos` first"
        )
    answer.facts = facts.model_dump(mode="json") | {"folder": str(folder)}
    if hub:
        with answer.busy("uploading"):
            address = publishing.push(folder, hub, private)
        answer.say(f"uploaded to {address}")
        answer.facts["address"] = address
