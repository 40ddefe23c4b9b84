"""`echoreel doctor` and `adapters`: what this machine has."""

from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.output import Answer, hush


@app.command(epilog="Example: echoreel doctor")
def doctor(answer: Answer) -> None:
    """Check this machine: versions, GPU, memory, extras, models, write access; and what to do about each.

    The exit code is 1 when there is a problem.
    """
    with answer.busy("looking"):
        hush()
        from dataclasses import asdict

        from echoreel.generation.this_machine import examined

        found = examined()
    for finding in found:
        answer.say(finding.line())
    answer.facts = {"findings": [asdict(finding) for finding in found]}
    answer.code = int(any(finding.state == "problem" for finding in found))


@app.command(epilog="Example: echoreel adapters runs/")
def adapters(
    answer: Answer,
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to look as well; the current one by default.")
    ] = Path(),
) -> None:
    """List adapters: the packaged one, those below FOLDER, and those in the hub's cache."""
    with answer.busy("looking"):
        hush()
        from echoreel.generation.this_machine import adapters as found_in

        found = found_in(folder)
    for adapter in found:
        answer.say(
            f"{adapter.name}: for {adapter.family}, {adapter.sites} sites, {adapter.size / 1e6:.1f} MB "
            f"({adapter.source})"
        )
    answer.facts = {"adapters": [adapter.details() for adapter in found]}
