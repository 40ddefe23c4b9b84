"""Action accuracy by how far apart the cameras of reference and prompt stand, on trained actions.

    python benchmarks/cameras.py recipes/actorbench.toml --prompts 4 --out runs/cameras.md

Of each case the reference is filmed anew from exactly so many degrees to the left or right of where the
prompt's own render is seen from; nothing else changes. Videos are kept: the same command goes on.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, find_motions
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.evaluation.actorbench.pose_metrics import MotionBank, bootstrap, motion_fidelity

DEGREES = (0, 15, 30, 60, 90)
SEED = 100  # other actions and prompts than the benchmark's


def seen_from(case: Case, domain: ActorDomain, degrees: float, number: int) -> Case:
    """The case with a reference from so many degrees beside its target, of the look it had."""
    rng = np.random.default_rng([SEED, 4, number])
    turn = math.radians(degrees) * rng.choice([-1, 1])
    before = case.references[0]
    clip = domain.film(before.take, rng, azimuth=case.target.camera.azimuth + turn, look=before.look)
    return replace(case, references=(clip,))


def measured(
    cases: Sequence[Case],
    studio: Studio,
    judge: Judge,
    bank: MotionBank,
    recipe: EvaluateSettings,
    label: str,
) -> list[str]:
    """Action accuracy, classifier accuracy and fidelity of these cases' videos, as in a table."""
    shots = [studio.shot(case.prompt, case.seeds[0], case.references, case.target) for case in cases]
    reading = judge.read(studio.film(shots, label).frames)
    known = sorted({*bank.actions})
    columns = [judge.actions.index(action) for action in known]
    named = bank.nearest_actions(reading.joints)
    classified = [known[i] for i in reading.actions[:, columns].argmax(1)]
    values = (
        [float(name == case.action) for name, case in zip(named, cases, strict=True)],
        [float(name == case.action) for name, case in zip(classified, cases, strict=True)],
        [
            motion_fidelity(joints, case.target.take.joints, recipe.metrics)
            for joints, case in zip(reading.joints, cases, strict=True)
        ],
    )
    prompts = [case.prompt for case in cases]
    return [str(bootstrap(each, prompts, recipe.metrics, 0)) for each in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--motions", type=Path)
    parser.add_argument("--prompts", type=int, default=4, help="of each of 16 trained actions")
    parser.add_argument("--folder", type=Path, default=Path("runs/cameras"))
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    recipe = load_settings(options.recipe, EvaluateSettings)
    whole = MotionLibrary.load(find_motions(options.motions or recipe.motions))
    library = choose_actions(whole.split("train"), 16, SEED)
    studio = Studio(recipe, options.folder / "videos", recipe.generation)
    settings: ActorSettings = studio.clip_settings(recipe.actors)
    cases = make_cases(library, settings, CaseCounts(16, options.prompts, 1, 1), SEED)
    domain, judge = ActorDomain(library, settings), Judge.load(recipe.judge)
    bank = MotionBank(library, settings.frames, recipe.metrics)
    lines = ["| cameras apart | videos | action accuracy | classifier accuracy | motion fidelity |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for degrees in DEGREES:
        turned = [seen_from(case, domain, degrees, number) for number, case in enumerate(cases)]
        row = measured(turned, studio, judge, bank, recipe, f"{degrees} degrees")
        lines.append(f"| {degrees} degrees | {len(turned)} | {' | '.join(row)} |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
