"""`echoreel convert` and `info`: what models are, and the released ones to ours."""

from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.options import BaseParts
from echoreel.cli.output import Answer, hush


@app.command(epilog="Example: echoreel convert checkpoint.pt --kind echoreel-lvdm -o paper")
def convert(
    answer: Answer,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A released checkpoint file.")],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="echoreel-lvdm, lvdm, videocrafter2 or videocrafter1-i2v.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Output folder; gets base/ and adapter/.")
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|ID", help="Tokenizer of CLIP ViT-L/14. Default: openai/clip-vit-large-patch14."
        ),
    ] = None,
) -> None:
    """Turn the paper's own weights into a base and an adapter for `generate`."""
    hush()
    from echoreel.released.convert_file import TOKENIZER
    from echoreel.released.convert_file import convert as converted

    with answer.busy("converting"):
        folders = converted(source, kind, out, tokenizer or TOKENIZER)
    for folder in folders:
        answer.say(f"wrote {folder}; use it with --{folder.name} {folder}")
    answer.facts = {folder.name: str(folder) for folder in folders}


@app.command(epilog="Example: echoreel info --adapter runs/mine/adapter")
def info(
    answer: Answer,
    base: Annotated[
        str | None,
        typer.Argument(metavar="[DIR|ID|FILE]", help="A diffusers pipeline. Default: the embedded one."),
    ] = None,
    base_parts: BaseParts = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="An adapter. Default: the embedded one, or a fresh one."),
    ] = None,
) -> None:
    """Say what a base and its adapter are: family, sites, parameters, size of the videos."""
    with answer.busy("loading the models"):
        hush()
        from echoreel.generation.model_facts import describe, lines
        from echoreel.training.run_facts import published_facts

        answer.facts = describe(base, adapter, base_parts)
        trained = published_facts(adapter) if adapter else None
    for line in lines(answer.facts):
        answer.say(line)
    if trained:
        answer.say(f"trained     {trained.told()}")
        answer.facts["training"] = trained.model_dump(mode="json")
