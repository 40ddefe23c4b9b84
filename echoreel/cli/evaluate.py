"""`echoreel evaluate`: adapters to tables, on rendered actors or on held-out pairs of videos."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from echoreel.cli.app import app
from echoreel.cli.generate import checked_loading
from echoreel.cli.options import Base, BaseParts, Dtype, Offloading, Overrides, Quantized
from echoreel.cli.output import Answer, hush
from echoreel.common.errors import SettingsError

if TYPE_CHECKING:
    from echoreel.evaluation.actorbench.report import EvaluationReport
    from echoreel.evaluation.heldout.report import HeldoutReport
    from echoreel.training.evaluation_settings import HeldoutSettings


@app.command(epilog="Example: echoreel evaluate recipes/actorbench.toml --prompts 4")
def evaluate(
    answer: Answer,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE.toml]",
            help="Settings of ActorBench; with --videos the recipe of a training, whose adapter is measured.",
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl", help="Held-out pairs, such as `prepare dataset --holdout` writes."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --videos: the folder of its paths. Default: its own."),
    ] = None,
    base: Base = None,
    base_parts: BaseParts = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="An adapter for that base. Default: the recipe's, or embedded."),
    ] = None,
    dtype: Dtype = None,
    offload: Offloading = None,
    quantize: Quantized = None,
    clip: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="With --videos: CLIP. Default: openai/clip-vit-base-patch32."),
    ] = None,
    videomae: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|ID",
            help="With --videos: a VideoMAE, for the Fréchet distance. Default: as `measure`.",
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|ID", help="With --videos: a video classifier that knows the held-out actions."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="With --videos: for videos and report. Default: evaluation/ in the recipe's folder.",
        ),
    ] = None,
    motions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="ActorBench: another motion library than the recipe's.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="ActorBench: the one split to measure.")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=10_000, help="Prompts, or pairs, of each action.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Measure whether references make the base perform their action: a table with 95 % intervals.

    With --videos on held-out pairs of any base, else on rendered actors (ActorBench). If interrupted, rerun
    to resume.
    """
    models = {"clip": clip, "videomae": videomae, "classifier": classifier}
    report: EvaluationReport | HeldoutReport
    hush()
    if videos is None:
        of_base = {"base": base, "base-parts": base_parts, "dtype": dtype, "offload": offload}
        of_base |= {"quantize": quantize, "adapter": adapter}
        check_without(of_base | models | {"root": root, "out": out}, "belongs to --videos; give one")
        report = on_actors(recipe, overrides or (), motions, split, prompts)
    else:
        check_without({"motions": motions, "split": split}, "belongs to ActorBench; leave out --videos")
        run = trained_run(recipe, overrides or (), base)
        load = checked_loading(dtype, offload, None, base_parts or run.base_parts, quantize or run.quantize)
        settings = changed(run.evaluation, models | {"prompts": prompts})
        from echoreel.evaluation.heldout.evaluate_heldout import evaluate_heldout

        report = evaluate_heldout(
            videos, settings, partial(load, run.base), adapter or run.adapter, folder_of(out, run), root
        )
    answer.say(report.markdown())
    answer.say(f"wrote {report.folder}")
    answer.facts = report.details()


def check_without(options: Mapping[str, object], why: str) -> None:
    """Raises SettingsError for an option that was given."""
    for name, value in options.items():
        if value is not None:
            raise SettingsError(f"--{name}: {why}, or leave it out")


def on_actors(
    recipe: Path | None,
    overrides: Sequence[str],
    motions: Path | None,
    split: str | None,
    prompts: int | None,
) -> "EvaluationReport":
    """ActorBench. Raises EchoReelError's family."""
    from echoreel.common.settings import load_settings

    if recipe is None:
        raise SettingsError(
            "got no RECIPE.toml; give recipes/actorbench.toml, or pairs of your own with --videos FILE.jsonl"
        )
    from echoreel.evaluation.actorbench.benchmark import EvaluateSettings
    from echoreel.evaluation.actorbench.benchmark import evaluate as measure

    return measure(load_settings(recipe, EvaluateSettings, overrides), motions, split, prompts)


class Run(NamedTuple):
    """What `--videos` measures."""

    base: str | None
    adapter: str | None
    folder: Path | None
    evaluation: "HeldoutSettings"
    base_parts: str | None = None
    quantize: str | None = None


def trained_run(recipe: Path | None, overrides: Sequence[str], base: str | None) -> Run:
    """Of a training's recipe, or of the options alone. Raises SettingsError."""
    from echoreel.common.settings import load_settings

    if recipe is None:
        from echoreel.training.evaluation_settings import HeldoutRecipe

        return Run(base, None, None, load_settings(None, HeldoutRecipe, overrides).evaluation)
    from echoreel.training.train_adapter import AdapterRecipe

    told = load_settings(recipe, AdapterRecipe, overrides)
    made = Run(told.base, str(told.folder / "adapter"), told.folder / "evaluation", told.evaluation)
    if base is not None:
        return made._replace(base=base)
    return made._replace(base_parts=told.base_parts, quantize=told.quantize)


def changed(settings: "HeldoutSettings", values: Mapping[str, object]) -> "HeldoutSettings":
    """With what the command line says in their place."""
    return settings.model_copy(update={name: value for name, value in values.items() if value is not None})


def folder_of(out: Path | None, run: Run) -> Path:
    """Raises SettingsError where neither --out nor a recipe names one."""
    if folder := out or run.folder:
        return folder
    raise SettingsError("--out: missing; name a folder for videos and report, or give a training's recipe")
