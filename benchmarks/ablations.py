"""What the settings of generation and the depth of Integration do, on trained actions, never held-out ones.

    python benchmarks/ablations.py recipes/actorbench.toml --prompts 4 --out docs/ablations-generation.md

Every row changes one thing against the first. Videos are kept, so the same command goes on where it stopped.
"""

import platform
import tempfile
from pathlib import Path
from typing import Any

import torch
from results import Table, parser_of

from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, evaluate
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter

VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as shipped: 8 steps, guidance 2, references on its positive branch, scale 1", {}),
    ("1 step, which shows the mean of all that the base thinks possible", {"steps": 1}),
    ("4 steps", {"steps": 4}),
    ("guidance 3", {"guidance_scale": 3.0}),
    ("guidance 4", {"guidance_scale": 4.0}),
    ("guidance 6", {"guidance_scale": 6.0}),
    ("references on both branches of guidance", {"guidance": "both"}),
    ("no guidance", {"guidance_scale": 1.0}),
    ("scale 0.7", {"scale": 0.7}),
    ("scale 1.5", {"scale": 1.5}),
    ("references in the first half of the steps only", {"window": (0.0, 0.5)}),
    ("references in the second half only", {"window": (0.5, 1.0)}),
    ("12 steps", {"steps": 12}),
    ("20 steps", {"steps": 20}),
)
DEPTHS = {
    "Integration on the way down and in the middle only": ("down_blocks", "mid_block"),
    "Integration on the way up only": ("up_blocks",),
    "Integration at the coarsest places only": ("down_blocks.2", "mid_block", "up_blocks.0"),
}
COLUMNS = ("action_accuracy", "classifier_accuracy", "motion_fidelity", "prompt_appearance", "look_leakage")


def only_at(adapter: ActionAdapter, places: tuple[str, ...]) -> ActionAdapter:
    """The adapter with what the other sites add set to nothing."""
    for path in adapter.config["sites"]:
        if not path.startswith(places):
            layer: Any = adapter.integrations[path.replace(".", "-")]
            last = layer.attention.out if layer.feed is None else layer.feed.out
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
    return adapter


def main() -> None:
    parser = parser_of(__doc__, out="a Markdown file")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--prompts", type=int, default=4, help="of each of 16 trained actions")
    options = parser.parse_args()
    recipe = load_settings(options.recipe, EvaluateSettings).model_copy(
        update={
            "splits": ("train",),
            "prompts": options.prompts,
            "prompts_in": {},
            "seeds": 1,
            "references": (1,),
            "conditions": ("ours",),
            "seed": 100,  # other actions and prompts than the benchmark's
            "folder": Path("runs/ablations"),
        }
    )
    table = Table("what changes", "videos", *(name.replace("_", " ") for name in COLUMNS))

    def measure(name: str, changed: EvaluateSettings) -> None:
        row = evaluate(changed).rows[0]
        table.add(name, row.n, *(getattr(row, column) for column in COLUMNS))

    for condition, name in (("base", "no references"), ("shuffled", "references of another action")):
        measure(name, recipe.model_copy(update={"conditions": (condition,)}))
    for name, change in VARIANTS:
        generation = recipe.generation.model_copy(update=change)
        measure(name, recipe.model_copy(update={"generation": generation}))
    for name, places in DEPTHS.items():
        with tempfile.TemporaryDirectory() as folder:
            only_at(load_adapter(recipe.adapter), places).save_pretrained(folder)
            measure(name, recipe.model_copy(update={"adapter": folder}))
    machine = f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    table.write(options.out, "", f"Machine: {machine}.")


if __name__ == "__main__":
    main()
