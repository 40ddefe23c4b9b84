"""The command itself, which the other modules of this package add theirs to."""

from typing import Annotated, Any

import typer

from echoreel import __version__
from echoreel.cli.commands import Commands, Quiet, Verbose
from echoreel.cli.loudness import as_loud_as

app = Commands(
    name="echoreel",
    help="Teach a frozen video diffusion model a new action by showing it a clip of someone doing it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prepare = Commands(no_args_is_help=True, help="Prepare data for training and evaluation.")
app.add_typer(prepare, name="prepare")


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of any command's error.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    if version:
        typer.echo(f"echoreel {__version__}")
        raise typer.Exit
    context.with_resource(as_loud_as(quiet, verbose))
    if debug:
        context.default_map = _every_command(context.command, {"debug": True})


def _every_command(command: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The same defaults for a command and all below it."""
    below = getattr(command, "commands", {})
    return values | {name: _every_command(each, values) for name, each in below.items()}
