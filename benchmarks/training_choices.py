"""What the choices in training an adapter do, each changed alone, on actions that this training never saw.

    python benchmarks/training_choices.py prism --out prism.md      # a Prism alone: some 6 minutes a row
    python benchmarks/training_choices.py adapter --out actions.md  # Prism, integrations, videos: 20 minutes
    python benchmarks/training_choices.py slots --pairs 400 --steps 120  # should a larger grid have more?

16 of the library's `train` actions are set apart as `dev`, by a fixed seed; rows train on the other ones, and
`heldout` is not touched. Runs and pairs stay in the folder, so the same command goes on where it stopped.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from results import Table, parser_of

from echoreel.actors.actor_clips import ActorSettings
from echoreel.bases.loading import load_base
from echoreel.embedded_base.base_recipe import BaseRecipe
from echoreel.embedded_base.film_pairs import make_pairs
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, evaluate
from echoreel.training.loop import load_trained
from echoreel.training.pair_cache import PairSet
from echoreel.training.train_adapter import AdapterRecipe, train
from echoreel.training.train_prism import PrismRecipe, PrismTask, train_prism

DEV_ACTIONS = 16
DEV_PAIRS = 128
ALL = "train-all"  # the split of all other actions


class Variant(NamedTuple):
    """A row: what its pairs and its Prism have that the first row's have not."""

    name: str
    split: str = ALL
    actors: Mapping[str, Any] = MappingProxyType({})
    prism: Mapping[str, Any] = MappingProxyType({})
    recipe: Mapping[str, Any] = MappingProxyType({})


PRISM: tuple[Variant, ...] = (
    Variant("as shipped: 16 slots a frame of 64 channels, width 128, 2 layers, pairs spliced and mirrored"),
    Variant("4 slots a frame", prism={"slots": 4}),
    Variant("tokens of 16 channels", prism={"token_width": 16}),
    Variant("actions never told", actors={"hide_action": 1.0}),
    Variant("actions always told", actors={"hide_action": 0.0}),
    Variant("no splices", actors={"splice": 0.0}),
    Variant("a third of the references disturbed", actors={"disturb": 0.33}),
    Variant("width 256", prism={"width": 256, "heads": 8}),
    Variant("dense", prism={"kind": "dense", "width": 128, "depth": 3, "heads": 4, "caption_width": 128}),
    Variant("cameras up to 30 degrees apart", actors={"camera_spread_degrees": 30.0}),
    Variant("4 layers", prism={"depth": 4}),
    Variant("tokens of 128 channels", prism={"token_width": 128}),
)
LARGER = {"size": 128, "distance": (5.8, 6.6)}  # 16 x 16 latents, and an actor half as tall as the picture
SLOTS: tuple[Variant, ...] = (
    Variant("16x16 latents, 4 x 4 slots", actors=LARGER, prism={"slots": 16, "rows": 4}),
    Variant("16x16 latents, 8 x 8 slots", actors=LARGER, prism={"slots": 64, "rows": 8}),
)
FRAMING = ("size", "distance")  # of a row's actors that its validation pairs share
COUNTS = (4, 16)  # of training actions, beside all
USUAL = {"hide_action": 0.4, "camera_spread_degrees": 8.0}


def write_splits(motions: Path, folder: Path) -> None:
    """A motion library with the splits `dev`, `train-all` and `train-N`, each of the last within the next."""
    with (motions / "motions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    actions = sorted({row["action"] for row in rows})
    order = [actions[i] for i in np.random.default_rng(0).permutation(len(actions))]
    dev, rest = order[:DEV_ACTIONS], order[DEV_ACTIONS:]
    splits = {"dev": dev, ALL: rest} | {f"train-{count}": rest[:count] for count in COUNTS}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "motions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for name, chosen in splits.items():
            writer.writerows(row | {"split": name} for row in rows if row["action"] in chosen)
    if not (folder / "motions.npz").exists():
        (folder / "motions.npz").symlink_to((motions / "motions.npz").resolve())


class Bench:
    """The folder of all rows."""

    def __init__(self, folder: Path, motions: Path, pairs: int, fit: dict[str, Any]) -> None:
        """pairs: how many each row trains on. fit: settings that all trainings have."""
        write_splits(motions, folder / "motion")
        self.folder, self.count, self.fit = folder, pairs, fit

    def pairs(self, split: str, actors: Mapping[str, Any], count: int) -> Path:
        """A folder of pairs of a split; the same ones for the same settings."""
        changed = USUAL | dict(actors)
        name = "-".join([split, *(f"{key}={value}" for key, value in sorted(changed.items()))])
        recipe = BaseRecipe(
            motions=self.folder / "motion",
            split=split,
            folder=self.folder / "pairs" / name,
            pairs=count,
            references=1,
            seed=20_000_000 if split == "dev" else 30_000_000,
            actors=ActorSettings.model_validate(changed),
        )
        pipe: Any = load_base("embedded")
        make_pairs(recipe, pipe.vae)
        return recipe.folder / "pairs"

    def prism(self, variant: Variant, steps: int) -> PrismRecipe:
        """The finished training of a row's Prism."""
        framing = {name: variant.actors[name] for name in FRAMING if name in variant.actors}
        recipe = PrismRecipe.model_validate(
            {
                "folder": self.folder / "prism" / variant.name.replace(" ", "-"),
                "pairs": self.pairs(variant.split, variant.actors, self.count),
                "validation": self.pairs("dev", {"splice": 0.0, "reverse": 0.0, **framing}, DEV_PAIRS),
                "held_back": DEV_PAIRS,
                "batch": 16,
                "moments": 4,
                "prism": {"kind": "compact", **variant.prism},
                "fit": self.fit
                | {"steps": steps, "learning_rate": 1.5e-3, "ema": 0.98, "validate_every": steps},
            }
            | dict(variant.recipe)
        )
        train_prism(recipe)
        return recipe


def minutes(run: Path) -> float:
    """That a finished training took, from its last start on."""
    last: dict[str, float] = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return last["elapsed"] / 60


def prism_row(bench: Bench, variant: Variant, steps: int) -> list[str]:
    """What a reader guesses of pairs of dev actions, with the right reference and with another one."""
    recipe = bench.prism(variant, steps)
    task = PrismTask(load_base("embedded"), PairSet.open(recipe.pairs), recipe)
    load_trained(recipe.folder, task.module)
    task.module.eval()
    with torch.no_grad():
        found = task.validate()
    told = [1 - found[f"{name}_motion"] / found["motion"] for name in ("right", "shuffled")]
    parameters = sum(each.numel() for each in task.adapter.prism.parameters()) / 1e6
    return [
        f"{parameters:.2f} M",
        f"{minutes(recipe.folder):.0f}",
        f"{found['right']:.3f}",
        f"{found['shuffled']:.3f}",
        *(f"{100 * share:.1f} %" for share in told),
    ]


PRISM_COLUMNS = ("Prism", "minutes", "error", "with another reference", "motion explained", "by another one")


def adapter_row(bench: Bench, variant: Variant, steps: int, prompts: int) -> list[str]:
    """Prism, then integrations, then videos of dev actions."""
    prism = bench.prism(variant, steps)
    recipe = AdapterRecipe.model_validate(
        {
            "folder": bench.folder / "adapter" / prism.folder.name,
            "start": str(prism.folder / "adapter"),
            "pairs": prism.pairs,
            "validation": prism.validation,
            "task": {
                "batch": 8,
                "references": 1,
                "swap_roles": True,
                "high_noise": 4.0,
                "motion_loss": 4.0,
                "held_back": 64,
                "validation_levels": [0.8, 0.95, 0.999],
            },
            "fit": bench.fit | {"steps": steps // 2, "learning_rate": 1e-3, "validate_every": steps},
        }
    )
    adapter = train(recipe)
    studied = EvaluateSettings.model_validate(
        {
            "motions": bench.folder / "motion",
            "splits": ["dev"],
            "folder": bench.folder / "videos" / prism.folder.name,
            "adapter": str(adapter),
            "conditions": ["ours", "shuffled"],
            "actions": DEV_ACTIONS,
            "prompts": prompts,
            "seed": 100,
            "generation": {"steps": 8},
        }
    )
    ours, shuffled = evaluate(studied).rows
    return [
        f"{minutes(prism.folder) + minutes(recipe.folder):.0f}",
        str(ours.n),
        str(ours.action_accuracy),
        str(ours.classifier_accuracy),
        str(ours.motion_fidelity),
        str(shuffled.action_accuracy),
    ]


ADAPTER_COLUMNS = (
    "minutes",
    "videos",
    "action accuracy",
    "classifier accuracy",
    "motion fidelity",
    "accuracy with another action's reference",
)


def main() -> None:
    parser = parser_of(__doc__, out="a Markdown file")
    parser.add_argument("what", choices=("prism", "adapter", "slots"))
    parser.add_argument("--motions", type=Path, default=Path("../shared/motion"))
    parser.add_argument("--folder", type=Path, default=Path("runs/training"))
    parser.add_argument("--pairs", type=int, default=2000, help="that a row trains on")
    parser.add_argument("--steps", type=int, default=600, help="of the Prism; half as many of integrations")
    parser.add_argument("--prompts", type=int, default=6, help="of each of 16 actions, for videos")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fit = {"schedule": "cosine", "warmup": 30, "ema": 0.98, "checkpoint_every": 100, "seed": options.seed}
    bench = Bench(options.folder, options.motions, options.pairs, fit)
    if options.what != "adapter":
        variants, columns = PRISM if options.what == "prism" else SLOTS, PRISM_COLUMNS
    else:
        splits = {f"{count} actions": f"train-{count}" for count in COUNTS} | {"all other 107 actions": ALL}
        variants = tuple(Variant(name, split) for name, split in splits.items())
        columns = ADAPTER_COLUMNS
    table = Table("what changes", *columns)
    for variant in variants:
        if options.what != "adapter":
            row = prism_row(bench, variant, options.steps)
        else:
            row = adapter_row(bench, variant, options.steps, options.prompts)
        table.add(variant.name, *row)
    table.write(options.out)


if __name__ == "__main__":
    main()
