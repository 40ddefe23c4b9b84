"""Every committed recipe is read by the command that its first lines name."""

import pytest
from helpers.places import RECIPES

from echoreel.common.settings import Settings, load_settings
from echoreel.embedded_base.train_base import BaseRecipe
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
