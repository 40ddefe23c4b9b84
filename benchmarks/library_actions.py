"""ActorBench with references from a library: is what `--library` picks by the prompt alone the right action?

    python benchmarks/library_actions.py recipes/actorbench.toml [--prompts 20] [--film] [--out FILE.json]

The library holds rendered clips of the held-out actions, by other actors, of any moment and camera; the
prompts are those of the benchmark. First, how often the picked clip shows the action of the prompt, by what
was rendered. With `--film` also videos: without reference, with the benchmark's own reference (hand-picked:
the very motion of the judged target), and with the library's. `--folder` keeps all.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from library import machine

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.actors.write_clips import write_clips
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, find_motions
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.evaluation.actorbench.pose_metrics import MotionBank
from echoreel.evaluation.intervals import bootstrap
from echoreel.library.reference_library import ReferenceLibrary

FIRST_SEED = 1_000_000  # of the library's clips: none is a clip of the benchmark


def make_library(motions: MotionLibrary, actors: ActorSettings, clips: int, folder: Path) -> ReferenceLibrary:
    """The clips as files with captions that tell the action, added as a user adds them."""
    domain = ActorDomain(motions, actors)
    write_clips(domain, folder / "clips", clips, FIRST_SEED)
    library = ReferenceLibrary.open(folder / "library", create=True)
    library.add([folder / "clips"], quiet=True)
    return library


def picked(
    library: ReferenceLibrary, domain: ActorDomain, cases: list[Case]
) -> tuple[list[ActorClip | None], dict[str, Any]]:
    """The clip that the library picks for each prompt, read from its file; and how often it is right."""
    clips: list[ActorClip | None] = []
    times = []
    for case in cases:
        began = time.perf_counter()
        taken = library.take(case.prompt, 1).references
        times.append(1e3 * (time.perf_counter() - began))
        if not taken:
            clips.append(None)
            continue
        ((found, reference),) = taken
        clip = domain.clip(int(Path(found.clip.path).stem))
        clips.append(replace(clip, frames=reference.frames))
    right = [
        clip is not None and clip.take.action == case.action for clip, case in zip(clips, cases, strict=True)
    ]
    wrong = [
        {"prompt": case.prompt, "picked": clip.take.action if clip else None}
        for clip, case, good in zip(clips, cases, right, strict=True)
        if not good
    ]
    told = {"prompts": len(cases), "right_action": round(float(np.mean(right)), 4), "wrong": wrong[:20]}
    return clips, told | {"pick_and_read_ms": round(float(np.median(times)), 1)}


def filmed(
    recipe: EvaluateSettings,
    motions: MotionLibrary,
    cases: list[Case],
    clips: list[ActorClip | None],
    studio: Studio,
) -> dict[str, str]:
    """Action accuracy of each condition, with 95 % intervals over prompts."""
    frames = studio.clip_settings(recipe.actors).frames
    bank, judge = MotionBank(motions, frames, recipe.metrics), Judge.load(recipe.judge)
    given: dict[str, list[tuple[ActorClip, ...]]] = {
        "no reference": [() for _ in cases],
        "hand-picked": [case.references[:1] for case in cases],
        "library": [() if clip is None else (clip,) for clip in clips],
    }
    prompts, found = [case.prompt for case in cases], {}
    for name, references in given.items():
        shots = [
            studio.shot(case.prompt, case.seeds[0], each, case.target)
            for case, each in zip(cases, references, strict=True)
        ]
        with_one = [shot for shot in shots if shot.references]  # a batch has references or has none
        without = [shot for shot in shots if not shot.references]
        videos = iter(studio.film(with_one, name).frames) if with_one else iter(())
        others = iter(studio.film(without, name).frames) if without else iter(())
        film = np.stack([next(videos if shot.references else others) for shot in shots])
        named = bank.nearest_actions(judge.read(film).joints)
        good = [float(one == case.action) for one, case in zip(named, cases, strict=True)]
        found[name] = str(bootstrap(good, prompts, recipe.metrics, recipe.seed))
        print(name, found[name], flush=True)
    return found


def measure(recipe: EvaluateSettings, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    whole = MotionLibrary.load(find_motions(recipe.motions))
    motions = choose_actions(whole.split("heldout"), recipe.actions, recipe.seed)
    studio = Studio(recipe, folder / "videos", recipe.generation)
    actors = studio.clip_settings(recipe.actors)
    plain = actors.model_copy(update={"hide_action": 0.0, "splice": 0.0, "reverse": 0.0})
    counts = CaseCounts(recipe.actions, options.prompts, 1, 1)
    cases = make_cases(motions, actors, counts, recipe.seed)
    library = make_library(motions, plain, options.clips, folder)
    clips, told = picked(library, ActorDomain(motions, plain), cases)
    result = {"machine": machine(), "clips": options.clips, "actions": len(motions.actions), "picked": told}
    if options.film:
        result["action_accuracy"] = filmed(recipe, motions, cases, clips, studio)
    return result | {"load_at_the_end": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--prompts", type=int, default=20, help="of each action")
    parser.add_argument("--clips", type=int, default=400, help="in the library")
    parser.add_argument("--film", action="store_true", help="make videos and judge them, too")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    recipe = load_settings(options.recipe, EvaluateSettings).model_copy(update={"precision": "fp32"})
    if options.folder:
        result = measure(recipe, options, options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(recipe, options, Path(folder))
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
