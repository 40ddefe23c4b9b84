"""Every committed recipe is read by the command that its first lines name; commands of the docs fit them."""

import re
import shlex

import pytest
from helpers.places import RECIPES, ROOT

from echoreel.common.settings import Settings, load_settings
from echoreel.embedded_base.base_recipe import BaseRecipe
from echoreel.embedded_base.train_prompts import PromptRecipe
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings
from echoreel.evaluation.actorbench.train_judge import JudgeRecipe
from echoreel.training.train_adapter import AdapterRecipe
from echoreel.training.train_prism import PrismRecipe

KINDS: dict[str, type[Settings]] = {
    "actorbench": EvaluateSettings,
    "adapter": AdapterRecipe,
    "animatediff": AdapterRecipe,
    "embedded": BaseRecipe,
    "judges": JudgeRecipe,
    "ltx": AdapterRecipe,
    "more": BaseRecipe,
    "paper": AdapterRecipe,
    "prism": PrismRecipe,
    "prompts": PromptRecipe,
    "rivals": EvaluateSettings,
    "wan": AdapterRecipe,
    "wan2.2": AdapterRecipe,
}
"""By the first word of its name."""


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_it_has_settings_that_exist(name: str) -> None:
    load_settings(RECIPES / f"{name}.toml", KINDS[name.split("-")[0]])


def commands_of_the_docs() -> list[list[str]]:
    pages = [*(ROOT / "docs").rglob("*.md")]
    blocks = [
        block for page in pages for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S)
    ]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [
        words
        for line in lines
        if "--set" in line
        for words in [shlex.split(line, comments=True)]
        if any(w.startswith("recipes/") for w in words)
    ]


def test_commands_of_the_docs_set_what_there_is() -> None:
    """Those that take hours are run by nobody else."""
    commands = commands_of_the_docs()
    assert len(commands) > 5
    for words in commands:
        recipe = next(ROOT / word for word in words if word.startswith("recipes/"))
        changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        load_settings(recipe, KINDS[recipe.stem.split("-")[0]], changes)
