"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe; repeatable."),
]
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="Settings; see recipes/.")]
Base = Annotated[
    str | None, typer.Option(metavar="DIR|ID", help="A diffusers pipeline. Default: the embedded one.")
]
