"""Groups of commands: what every command has beside its own options, and the answer that it gives."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from echoreel.cli.loudness import as_loud_as
from echoreel.cli.output import answering

Function = TypeVar("Function", bound=Callable[..., Any])

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and results, nothing else.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also print versions, what is loaded from where, times, and warnings of libraries.",
    ),
]
OPTIONS: dict[str, Any] = {"as_json": AsJson, "debug": Debug, "quiet": Quiet, "verbose": Verbose}


class Commands(typer.Typer):
    """A group whose commands all have these options, and take an `Answer` first."""

    def command(self, *args: Any, as_json: bool = True, **kwargs: Any) -> Callable[[Function], Function]:
        """As typer's. as_json: has it the option --json?"""
        add = super().command(*args, **kwargs)
        options = {name: kind for name, kind in OPTIONS.items() if as_json or name != "as_json"}

        def added(function: Function) -> Function:
            add(_answering(function, options))
            return function

        return added


def _answering(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """The command's function with parameters for the options, in place of its answer."""

    @wraps(function)
    def called(debug: bool, quiet: bool, verbose: bool, as_json: bool = False, **own: Any) -> None:
        with as_loud_as(quiet, verbose), answering(as_json, debug) as answer:
            function(answer, **own)

    signature = inspect.signature(function)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in options.items()
    ]
    parameters = [*signature.parameters.values()][1:]
    vars(called)["__signature__"] = signature.replace(parameters=[*parameters, *more])
    hints = {name: kind for name, kind in function.__annotations__.items() if name != "answer"}
    called.__annotations__ = hints | options
    return called
