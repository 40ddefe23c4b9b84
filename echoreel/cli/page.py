"""`echoreel ui`: the page, in a browser on this machine."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.output import Answer, hush
from echoreel.common.extras import needs


@app.command(epilog="Example: echoreel ui --library references --outputs outputs", as_json=False)
def ui(
    answer: Answer,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=65535, help="Port. Default: the first free one from 7860 on."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    library: Annotated[
        Path, typer.Option(metavar="DIR", help="Library of references; made when you add the first clip.")
    ] = Path("references"),
    outputs: Annotated[Path, typer.Option(metavar="DIR", help="Folder of results.")] = Path("outputs"),
    bench: Annotated[
        Path, typer.Option(metavar="DIR", help="Where `echoreel evaluate` wrote its report.")
    ] = Path("runs/actorbench"),
    base: Annotated[
        list[str] | None, typer.Option(metavar="DIR|ID", help="A further base to choose from; repeatable.")
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="DIR|ID", help="A further adapter to choose from; repeatable.")
    ] = None,
) -> None:
    """Open the page: prompt, references and settings in a browser, on this machine alone."""
    with needs("gradio", "the page"):
        import gradio  # noqa: F401 - said before the rest is loaded

    with answer.busy("starting the page"):
        hush()
        from echoreel.common.settings import checked
        from echoreel.page.page import PageSettings, served

        settings = checked(
            PageSettings,
            outputs=outputs,
            library=library,
            bench=bench,
            bases=base or (),
            adapters=adapter or (),
            port=port,
            browser=not no_browser,
        )
    with served(settings) as address:
        answer.say(f"the page is at {address}; Ctrl-C ends it")
        threading.Event().wait()
