"""Two held-out actions one after the other in a video: is each performed in its half?

    python benchmarks/two_actions.py recipes/actorbench.toml --prompts 4 --out runs/two-actions.md

The reference of the one action acts from 0 to 50 %, that of the other from 50 to 100 %. A half is read as a
whole video, its motion at half speed, since a reference's time fills its part. Beside it: the same
references each alone in all of a video, and each alone in its half, where the other half has none.
Videos are kept: the same command goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.interpolate import make_interp_spline

from echoreel.actors.actor_clips import ActorClip
from echoreel.actors.looks import full_caption
from echoreel.actors.motion_library import MotionLibrary
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, find_motions
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio, as_reference
from echoreel.evaluation.actorbench.judge import Joints, Judge
from echoreel.evaluation.actorbench.pose_metrics import MotionBank, bootstrap
from echoreel.generation.filming import Shot

WHOLE, FIRST, SECOND = (0.0, 1.0), (0.0, 0.5), (0.5, 1.0)


def at_half_speed(joints: Joints) -> Joints:
    """Motions (B, T, J, 3) in twice as many frames."""
    count = joints.shape[1]
    times = (np.arange(2 * count) + 0.5) / 2 - 0.5
    spline = make_interp_spline(np.arange(count), joints, k=1, axis=1)
    return np.asarray(spline(times.clip(0, count - 1)), joints.dtype)


def shot(case: Case, *parts: tuple[ActorClip, tuple[float, float]]) -> Shot:
    """The case's person doing what these references show, each in its part of the video."""
    actions = list(dict.fromkeys(clip.take.action for clip, _ in parts))
    prompt = full_caption(case.look, " and then ".join(actions))
    references = tuple(replace(as_reference(clip), during=part) for clip, part in parts)
    return Shot(prompt, case.seeds[0], references)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--motions", type=Path)
    parser.add_argument("--split", default="heldout")
    parser.add_argument("--prompts", type=int, default=4, help="of each action")
    parser.add_argument("--folder", type=Path, default=Path("runs/two-actions"))
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    recipe = load_settings(options.recipe, EvaluateSettings)
    whole = MotionLibrary.load(find_motions(options.motions or recipe.motions))
    library = choose_actions(whole.split(options.split), recipe.actions, recipe.seed)
    studio = Studio(recipe, options.folder / "videos", recipe.generation)
    settings = studio.clip_settings(recipe.actors)
    cases = make_cases(library, settings, CaseCounts(recipe.actions, options.prompts, 1, 1), recipe.seed)
    judge, bank = Judge.load(recipe.judge), MotionBank(library, settings.frames, recipe.metrics)
    pairs = [(case, case.references[0], case.shuffled[0]) for case in cases]

    rows = {
        "the first alone, all the video": [shot(c, (a, WHOLE)) for c, a, _ in pairs],
        "the second alone, all the video": [shot(c, (b, WHOLE)) for c, _, b in pairs],
        "the first alone, in its half": [shot(c, (a, FIRST)) for c, a, _ in pairs],
        "the second alone, in its half": [shot(c, (b, SECOND)) for c, _, b in pairs],
        "the first, then the second": [shot(c, (a, FIRST), (b, SECOND)) for c, a, b in pairs],
    }
    lines = [
        "| references | videos | read | named the first | named the second |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, shots in rows.items():
        joints = judge.read(studio.film(shots, name).frames).joints
        half = joints.shape[1] // 2
        for read, motion in {
            "all": joints,
            "first half": at_half_speed(joints[:, :half]),
            "second half": at_half_speed(joints[:, half:]),
        }.items():
            found = bank.nearest_actions(motion)
            shares = [
                bootstrap(
                    [float(told == pair[which].take.action) for told, pair in zip(found, pairs, strict=True)],
                    [case.prompt for case in cases],
                    recipe.metrics,
                    0,
                )
                for which in (1, 2)
            ]
            lines.append(f"| {name} | {len(shots)} | {read} | {shares[0]} | {shares[1]} |")
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
