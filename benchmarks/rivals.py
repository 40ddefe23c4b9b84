"""Which settings of the rivals of ActorBench to take, on trained actions, never held-out ones.

    python benchmarks/rivals.py recipes/rivals.toml --out runs/rivals-chosen.md

Each trained action has one prompt: videos of the reference at several noise levels, and of a LoRA after
several numbers of steps. Videos of levels are kept; a LoRA is tuned once and films on its way.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from echoreel.actors.motion_library import MotionLibrary
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, find_motions
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.evaluation.actorbench.pose_metrics import MotionBank, look_leakage, prompt_appearance
from echoreel.evaluation.actorbench.rivals import LoraSettings, Noised, NoisedSettings, TunedLora
from echoreel.generation.filming import film
from echoreel.generation.settings import resolved
from echoreel.media.images import Frames

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
STEPS = (25, 50, 100)
SEED = 100  # other actions and prompts than the benchmark's


class Measure:
    """Rows of numbers about the videos of the same cases."""

    def __init__(self, cases: Sequence[Case], bank: MotionBank) -> None:
        self._cases, self._bank, self._judge = cases, bank, Judge.load()
        self.lines = ["| what | videos | action accuracy | classifier accuracy | appearance | leakage |"]
        self.lines.append("| --- | --- | --- | --- | --- | --- |")

    def __call__(self, name: str, videos: Frames) -> None:
        reading = self._judge.read(videos)
        known = sorted({*self._bank.actions})
        columns = [self._judge.actions.index(action) for action in known]
        named = self._bank.nearest_actions(reading.joints)
        classified = [known[i] for i in reading.actions[:, columns].argmax(1)]
        rows = [
            (
                float(action == case.action),
                float(told == case.action),
                prompt_appearance(look, case.look),
                look_leakage(look, case.look, [case.references[0].look]),
            )
            for action, told, look, case in zip(named, classified, reading.looks, self._cases, strict=True)
        ]
        means = np.nanmean(rows, 0)
        self.lines.append(f"| {name} | {len(rows)} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
        print(self.lines[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--motions", type=Path)
    parser.add_argument("--prompts", type=int, default=1, help="of each of 16 trained actions")
    parser.add_argument("--every", type=int, default=1, help="only every so many of these cases")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--folder", type=Path, default=Path("runs/rivals-chosen"))
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    recipe = load_settings(options.recipe, EvaluateSettings)
    whole = MotionLibrary.load(find_motions(options.motions or recipe.motions))
    library = choose_actions(whole.split("train"), 16, SEED)
    studio = Studio(recipe, options.folder / "videos", recipe.generation)
    settings = studio.clip_settings(recipe.actors)
    cases = make_cases(library, settings, CaseCounts(16, options.prompts, 1, 1), SEED)[:: options.every]
    shots = [studio.shot(case.prompt, case.seeds[0], case.references, case.target) for case in cases]
    measure = Measure(cases, MotionBank(library, settings.frames, recipe.metrics))
    measure("ours", studio.film(shots, "ours").frames)
    for level in LEVELS:
        rival = Noised(NoisedSettings(level=level, steps=max(4, round(8 * level))))
        measure(f"noised to {level:g}", studio.film(shots, f"level {level:g}", rival).frames)
    lora = TunedLora(LoraSettings(rank=options.rank, steps=max(STEPS), learning_rate=options.rate))
    base, made = studio.base, {steps: [] for steps in STEPS}
    generation = resolved(base, recipe.generation)
    for number, shot in enumerate(shots):
        with lora.added(base, shot.seed) as parameters:
            for steps in lora.tuned(base, shot, parameters):
                if steps in STEPS:
                    made[steps].append(film(base, [shot], generation)[0])
        print(f"{number + 1} of {len(shots)}", flush=True)
    for steps, videos in made.items():
        measure(f"LoRA of rank {options.rank}, {steps} steps at {options.rate:g}", np.stack(videos))
    if options.out:
        options.out.write_text("\n".join(measure.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
