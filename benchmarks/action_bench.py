"""What benchmarks on ActorBench's actions share: options, cases, a studio, a judge, and their tables."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from results import parser_of

from echoreel.actors.actor_clips import ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, find_motions
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio
from echoreel.evaluation.actorbench.judge import Judge, Reading
from echoreel.evaluation.actorbench.pose_metrics import MotionBank
from echoreel.evaluation.intervals import bootstrap
from echoreel.media.images import Frames


@dataclass(frozen=True)
class Bench:
    """One benchmark's cases and all that films and judges them."""

    recipe: EvaluateSettings
    options: argparse.Namespace
    library: MotionLibrary
    settings: ActorSettings
    studio: Studio
    cases: list[Case]
    judge: Judge
    bank: MotionBank

    def share(self, right: Sequence[float], cases: Sequence[Case] | None = None) -> str:
        """A mean with its interval over prompts, of all cases or these."""
        prompts = [case.prompt for case in cases or self.cases]
        return str(bootstrap([float(each) for each in right], prompts, self.recipe.metrics, 0))

    def film(self, cases: Sequence[Case], label: str) -> Frames:
        """Videos of the cases, with their references."""
        shots = [self.studio.shot(case.prompt, case.seeds[0], case.references, case.target) for case in cases]
        return self.studio.film(shots, label).frames

    def right(self, reading: Reading, cases: Sequence[Case]) -> tuple[list[float], list[float]]:
        """Of each video 1 or 0: is the case's action named, by retrieval and by the classifier?"""
        named = self.bank.nearest_actions(reading.joints)
        opinions = named, self.judge.likeliest(reading, self.library.actions)
        found = [[float(a == case.action) for a, case in zip(each, cases, strict=True)] for each in opinions]
        return found[0], found[1]


def options_of(
    doc: str | None, name: str | None, prompts: int = 4, out: str = "a Markdown file"
) -> argparse.ArgumentParser:
    """The options that all have. name: of the usual folder, where there is one."""
    parser = parser_of(doc, out)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--motions", type=Path)
    parser.add_argument("--prompts", type=int, default=prompts, help="of each action")
    parser.add_argument("--folder", type=Path, default=name and Path("runs") / name)
    return parser


def bench_of(
    options: argparse.Namespace,
    split: str,
    change: Callable[[EvaluateSettings], EvaluateSettings] = lambda recipe: recipe,
    actions: int | None = None,
    seed: int | None = None,
) -> Bench:
    """Cases of a split's actions, as many and drawn by the seed as the recipe says, unless told."""
    recipe = change(load_settings(options.recipe, EvaluateSettings))
    actions, seed = actions or recipe.actions, recipe.seed if seed is None else seed
    whole = MotionLibrary.load(find_motions(options.motions or recipe.motions))
    library = choose_actions(whole.split(split), actions, seed)
    studio = Studio(recipe, options.folder / "videos", recipe.generation)
    settings = studio.clip_settings(recipe.actors)
    cases = make_cases(library, settings, CaseCounts(actions, options.prompts, 1, 1), seed)
    bank = MotionBank(library, settings.frames, recipe.metrics)
    return Bench(recipe, options, library, settings, studio, cases, Judge.load(recipe.judge), bank)
