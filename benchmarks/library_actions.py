"""ActorBench with references from a library: is what `--library` picks by the prompt alone the right action?

    python benchmarks/library_actions.py recipes/actorbench.toml [--prompts 20] [--film] [--out FILE.json]

The library holds rendered clips of the held-out actions, by other actors, of any moment and camera; the
prompts are those of the benchmark. First, how often the picked clip shows the action of the prompt, by what
was rendered. With `--film` also videos: without reference, with the benchmark's own reference (hand-picked:
the very motion of the judged target), and with the library's. `--folder` keeps all.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from action_bench import Bench, bench_of, options_of
from results import kept_or_lost, machine, tell

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.actors.write_clips import write_clips
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings
from echoreel.evaluation.actorbench.cases import Case
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


def filmed(bench: Bench, clips: list[ActorClip | None]) -> dict[str, str]:
    """Action accuracy of each condition, with 95 % intervals over prompts."""
    cases, studio, found = bench.cases, bench.studio, dict[str, str]()
    given: dict[str, list[tuple[ActorClip, ...]]] = {
        "no reference": [() for _ in cases],
        "hand-picked": [case.references[:1] for case in cases],
        "library": [() if clip is None else (clip,) for clip in clips],
    }
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
        found[name] = bench.share(bench.right(bench.judge.read(film), cases)[0])
        print(name, found[name], flush=True)
    return found


def precise(recipe: EvaluateSettings) -> EvaluateSettings:
    return recipe.model_copy(update={"precision": "fp32"})


def measure(options: argparse.Namespace) -> dict[str, Any]:
    bench = bench_of(options, "heldout", precise)
    plain = bench.settings.model_copy(update={"hide_action": 0.0, "splice": 0.0, "reverse": 0.0})
    library = make_library(bench.library, plain, options.clips, options.folder)
    clips, told = picked(library, ActorDomain(bench.library, plain), bench.cases)
    counts = {"clips": options.clips, "actions": len(bench.library.actions)}
    result = {"machine": machine(), **counts, "picked": told}
    if options.film:
        result["action_accuracy"] = filmed(bench, clips)
    return result | {"load_at_the_end": os.getloadavg()[0]}


def main() -> None:
    parser = options_of(__doc__, None, prompts=20, out="a JSON file")
    parser.add_argument("--clips", type=int, default=400, help="in the library")
    parser.add_argument("--film", action="store_true", help="make videos and judge them, too")
    options = parser.parse_args()
    with kept_or_lost(options.folder) as options.folder:
        tell(measure(options), options.out)


if __name__ == "__main__":
    main()
