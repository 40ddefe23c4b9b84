"""`echoreel prepare`: what trainings and tests read."""

from pathlib import Path
from typing import Annotated

import typer

from echoreel.cli.app import prepare
from echoreel.cli.options import Base, BaseParts, Overrides, Recipe, Size, pixels
from echoreel.cli.output import Answer, hush

References = Annotated[int, typer.Option(metavar="N", min=1, help="References per target.")]
PerAction = Annotated[int, typer.Option("--per-action", metavar="N", min=2, help="Most clips of one action.")]
Shortest = Annotated[float, typer.Option(metavar="SECONDS", help="Drop shorter clips.")]
Longest = Annotated[float, typer.Option(metavar="SECONDS", help="Drop longer clips.")]
Still = Annotated[float, typer.Option(metavar="X", help="Drop clips that move less, 0 to 1.")]
Similar = Annotated[float, typer.Option(metavar="X", help="Drop pairs that look more alike, 0 to 1.")]


@prepare.command(epilog="Example: echoreel prepare pairs videos/pairs.jsonl runs/pairs")
def pairs(
    answer: Answer,
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST.jsonl", help="JSON lines, one pair each.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Output folder.")],
    base: Base = None,
    base_parts: BaseParts = None,
    frames: Annotated[
        int | None,
        typer.Option(metavar="N", help="Frames of each video. Default: as `echoreel recipe` has it."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(metavar="X", help="Frames a second. Default: the base's own.")
    ] = None,
    references: Annotated[
        int, typer.Option(metavar="N", help="References per pair: the first ones of each line.")
    ] = 1,
    size: Size = None,
    buckets: Annotated[
        str | None,
        typer.Option(
            metavar="auto|WxHxN,…",
            help="Shapes for clips of any size and length, such as 416x240x33. Each pair takes the nearest.",
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that paths are relative to. Default: the manifest's."),
    ] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Distribute the work over Ray's workers.")] = False,
) -> None:
    """Encode pairs of ordinary videos, of one action each, for `train`. If interrupted, rerun to resume.

    Run the same command several times at once, and they share the work.
    """
    hush()
    from echoreel.bases.sketch import only_autoencoder
    from echoreel.common.settings import checked
    from echoreel.training.encode_pairs import prepare_pairs
    from echoreel.training.prepare_settings import PrepareSettings

    settings = checked(
        PrepareSettings,
        frames=frames,
        fps=fps,
        references=references,
        size=pixels(size),
        buckets=buckets or (),
    )
    with answer.busy("encoding"):
        if ray:
            from echoreel.training.prepare_with_ray import prepare_with_ray

            found = prepare_with_ray((base, base_parts), manifest, folder, settings, root)
        else:
            found = prepare_pairs(only_autoencoder(base, base_parts), manifest, folder, settings, root)
    for line in found.told():
        answer.say(line)
    answer.facts = {"folder": str(folder), "buckets": found.buckets()} | found.counts()


@prepare.command(epilog="Example: echoreel prepare manifest my-library pairs.jsonl --references 2")
def manifest(
    answer: Answer,
    library: Annotated[str, typer.Argument(metavar="LIBRARY", help="A reference library.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.jsonl", help="Output file; a report is written beside it.")
    ],
    references: References = 1,
    per_action: PerAction = 256,
    shortest: Shortest = 2.0,
    longest: Longest = 30.0,
    still: Still = 0.004,
    similar: Similar = 0.03,
    urls: Annotated[bool, typer.Option("--urls", help="Include clips that are only URLs.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed that chooses the pairs.")] = 0,
) -> None:
    """Choose pairs of the same action, in another look and from another video, for `prepare pairs`."""
    from collections import Counter

    from echoreel.common.settings import checked
    from echoreel.library.choose_pairs import PairSettings, choose_pairs, write_manifest
    from echoreel.library.reference_library import ReferenceLibrary

    settings = checked(
        PairSettings,
        references=references,
        per_action=per_action,
        shortest=shortest,
        longest=longest,
        still=still,
        similar=similar,
        urls=urls,
        seed=seed,
    )
    with answer.busy("choosing pairs"):
        not_read = Counter[str]()
        chosen = choose_pairs(ReferenceLibrary.open(library).readable(not_read), settings)
        chosen.dropped.update(not_read)
        root = write_manifest(chosen, out)
    answer.say(f"wrote {len(chosen.chosen)} pairs of {chosen.actions} actions to {out}")
    for reason, count in chosen.dropped.most_common():
        answer.note(f"dropped {count}: {reason}")
    answer.note(f"next: echoreel prepare pairs {out} FOLDER --root {root} --references {references}")
    answer.facts = chosen.details() | {"manifest": str(out), "root": str(root)}


@prepare.command(epilog="Example: echoreel prepare dataset ucf101 UCF-101 ucf --holdout 10")
def dataset(
    answer: Answer,
    name: Annotated[
        str,
        typer.Argument(
            metavar="LAYOUT", help="ucf101, hmdb51, kinetics, ssv2, folders (one a class) or table."
        ),
    ],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of the data set, or its table.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for train.jsonl, heldout.jsonl and report.json.")
    ],
    holdout: Annotated[
        int,
        typer.Option(
            "--holdout", metavar="N", min=0, max=1_000_000, help="Number of actions kept out of training."
        ),
    ] = 0,
    references: References = 1,
    per_action: PerAction = 256,
    shortest: Shortest = 2.0,
    longest: Longest = 30.0,
    still: Still = 0.004,
    similar: Similar = 0.03,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed that chooses pairs and actions.")] = 0,
) -> None:
    """Choose pairs from a data set as it lies on disk, for `prepare pairs`; says what it dropped and why."""
    from echoreel.common.settings import checked
    from echoreel.library.choose_pairs import PairSettings
    from echoreel.library.datasets import dataset_pairs, layout_of, write_dataset

    settings = checked(
        PairSettings,
        references=references,
        per_action=per_action,
        shortest=shortest,
        longest=longest,
        still=still,
        similar=similar,
        seed=seed,
    )
    layout = layout_of(name)
    with answer.busy("looking at the clips"):
        made = dataset_pairs(layout, root, settings, holdout)
        roots = write_dataset(made, out)
    for line in made.told():
        answer.say(line)
    for file, top in roots.items():
        told = f"next: echoreel prepare pairs {file} FOLDER --root {top} --references {references}"
        if file.stem == "heldout":
            told = f"once trained: echoreel evaluate RECIPE.toml --videos {file} --root {top}"
        answer.note(told)
    answer.facts = made.details() | {"roots": {str(file): str(top) for file, top in roots.items()}}


@prepare.command(epilog="Example: echoreel prepare clips clips --motions motion --split heldout --count 20")
def clips(
    answer: Answer,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Output folder: 000000.mp4, 000000.txt and so on.")
    ],
    motions: Annotated[Path, typer.Option(metavar="DIR", help="A motion library.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="Which recordings of the library.")] = "train",
    count: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="How many clips.")] = 16,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=10**12, help="Number of the first clip.")] = 0,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Height and width.")] = 64,
) -> None:
    """Film people performing recorded actions: videos and their captions."""
    from echoreel.actors.actor_clips import ActorDomain, ActorSettings
    from echoreel.actors.motion_library import MotionLibrary
    from echoreel.actors.write_clips import write_clips
    from echoreel.common.settings import checked

    settings = checked(ActorSettings, size=size)
    domain = ActorDomain(MotionLibrary.load(motions).split(split), settings)
    with answer.busy("filming"):
        files = write_clips(domain, folder, count, seed)
    answer.say(f"wrote {len(files)} clips with captions to {folder}")
    answer.facts = {"files": [str(file) for file in files]}


@prepare.command(epilog="Example: echoreel prepare actors recipes/embedded-base.toml")
def actors(
    answer: Answer,
    recipe: Recipe,
    overrides: Overrides = None,
    pairs_only: Annotated[
        bool, typer.Option("--pairs-only", help="Only encode pairs, with the autoencoder of `start`.")
    ] = False,
) -> None:
    """Train the embedded base and encode pairs for its adapter. If interrupted, rerun to resume."""
    hush()
    from echoreel.common.settings import load_settings
    from echoreel.embedded_base.base_recipe import BaseRecipe
    from echoreel.embedded_base.train_base import more_pairs, train_base

    settings = load_settings(recipe, BaseRecipe, overrides or ())
    if pairs_only:
        folder = more_pairs(settings)
        answer.say(f'wrote {settings.pairs} pairs; use them with pairs = "{folder}" in a recipe of train')
        answer.facts = {"pairs": str(folder)}
        return
    folder = train_base(settings)
    answer.say(f"wrote {folder}; use it with --base {folder}")
    answer.facts = {"base": str(folder)}


@prepare.command(epilog="Example: echoreel prepare prism recipes/prism.toml")
def prism(answer: Answer, recipe: Recipe, overrides: Overrides = None) -> None:
    """Teach a fresh adapter's Prism alone, for `train` to go on from. If interrupted, rerun to resume."""
    hush()
    from echoreel.common.settings import load_settings
    from echoreel.training.train_prism import PrismRecipe, train_prism

    folder = train_prism(load_settings(recipe, PrismRecipe, overrides or ()))
    answer.say(f'wrote {folder}; use it with start = "{folder}" in a recipe of train')
    answer.facts = {"adapter": str(folder)}


@prepare.command(epilog="Example: echoreel prepare prompts recipes/prompts.toml")
def prompts(answer: Answer, recipe: Recipe, overrides: Overrides = None) -> None:
    """Teach a base's text encoder to read prompts as people write them. If interrupted, rerun to resume."""
    hush()
    from echoreel.common.settings import load_settings
    from echoreel.embedded_base.train_prompts import PromptRecipe, train_prompts

    folder = train_prompts(load_settings(recipe, PromptRecipe, overrides or ()))
    answer.say(f"wrote {folder}; use it with --base {folder}")
    answer.facts = {"base": str(folder)}


@prepare.command(epilog="Example: echoreel prepare judges recipes/judges.toml")
def judges(answer: Answer, recipe: Recipe, overrides: Overrides = None) -> None:
    """Train the judge that `evaluate` measures actions and looks with. If interrupted, rerun to resume."""
    hush()
    from echoreel.common.settings import load_settings
    from echoreel.evaluation.actorbench.train_judge import JudgeRecipe, train_judges

    folder = train_judges(load_settings(recipe, JudgeRecipe, overrides or ()))
    answer.say(f'wrote {folder}; use it with judge = "{folder}" in a recipe of evaluate')
    answer.facts = {"judge": str(folder)}
