"""`echoreel recipe` and `train`: bases to recipes, recipes to adapters."""

from typing import Annotated

import typer

from echoreel.cli.app import app
from echoreel.cli.options import Overrides, Recipe
from echoreel.cli.output import Answer, hush
from echoreel.common.errors import SettingsError


@app.command(epilog="Example: echoreel recipe wan-1.3b > my.toml")
def recipe(
    answer: Answer,
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="A short name (wan-1.3b, wan-14b, wan2.2-5b, wan2.2-a14b, ltx, cogvideox-2b, cogvideox-5b, "
            "kandinsky5-lite, mochi, sana-video, animatediff, modelscope), a folder or a hub id.",
        ),
    ],
) -> None:
    """Write a recipe for `train` that fits a base: every key, explained. No weights are downloaded."""
    with answer.busy("looking at the base"):
        hush()
        from echoreel.bases.sketch import sketched
        from echoreel.training.write_recipe import recipe_for

        text = recipe_for(sketched(base)[0])
    answer.say(text.rstrip())
    answer.facts = {"recipe": text}


@app.command(
    epilog="Example: echoreel train recipes/adapter.toml --set fit.steps=2000 --set folder=runs/mine"
)
def train(
    answer: Answer,
    recipe: Recipe,
    overrides: Overrides = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="DIR|ID", help="Start from these weights, in place of the recipe's `start`."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only estimate memory and time; exit code 1 if this machine has too little memory. "
            "Downloads small files only. Draws a sheet of encoded pairs.",
        ),
    ] = False,
    gpu: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            min=0.1,
            max=10_000,
            help="With --dry-run: count for a GPU with so much memory, not for this machine.",
        ),
    ] = None,
) -> None:
    """Train an adapter on a base from prepared pairs. If interrupted, rerun to resume."""
    hush()
    from echoreel.common.settings import load_settings
    from echoreel.training import train_adapter as training

    told = [*(overrides or ()), *([f"start={init}"] if init else [])]
    settings = load_settings(recipe, training.AdapterRecipe, told)
    if gpu is not None and not dry_run:
        raise SettingsError("--gpu only counts, with --dry-run; add that, or leave --gpu out")
    if dry_run:
        from echoreel.training.dry_run import dry_run as needs_of

        with answer.busy("counting what a step needs"):
            needs = needs_of(settings, gpu)
        for line in needs.told():
            answer.say(line)
        answer.facts, answer.code = needs.details(), int(not needs.fits)
    else:
        folder = training.train(settings)
        answer.say(f"wrote {folder}; use it with --adapter {folder}")
        answer.facts = {"adapter": str(folder)}
