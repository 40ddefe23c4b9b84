"""Action accuracy by what is done to the reference (clutter, blur, other bodies), on trained actions.

    python benchmarks/references.py recipes/actorbench.toml --prompts 4 --out runs/references.md

Of each case the reference is filmed anew from the same camera in the same look, with one disturbance or none;
plain and shaken ones are also steadied, as an editor would, by each frame's shift against the last.
Videos are kept: the same command goes on. `--adapter` and another `--folder` measure another adapter than the
packaged one.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from action_bench import Bench, bench_of, options_of
from results import Table

from echoreel.actors.actor_clips import ActorDomain
from echoreel.actors.disturb_references import DISTURBANCES, Disturbance, disturbed, other_style
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings
from echoreel.evaluation.actorbench.cases import Case
from echoreel.evaluation.actorbench.pose_metrics import prompt_appearance
from echoreel.media.images import Frames

SEED = 100  # other actions and prompts than the benchmark's
LARGEST_STEP = 0.1  # of the picture's side between two frames; more is no shake


def disturbed_in(case: Case, domain: ActorDomain, kinds: tuple[Disturbance, ...], number: int) -> Case:
    """The case with its reference as these disturbances leave it: one take, camera, look and light in all."""
    before = case.references[0]
    chance = np.random.default_rng([SEED, 6, number])
    style = other_style(kinds, chance)
    filmed = domain.film(
        before.take,
        np.random.default_rng([SEED, 5, number]),
        azimuth=before.camera.azimuth,
        look=before.look,
        style=style,
    )
    clip = replace(filmed, frames=disturbed(filmed.frames, filmed.person, kinds, chance))
    return replace(case, references=(clip,))


def steadied(frames: Frames) -> Frames:
    """Frames (T, S, S, 3) moved back by their shifts, found by phase correlation; edges are repeated."""
    side = frames.shape[1]
    grey = frames.mean(-1)
    window = np.outer(np.hanning(side), np.hanning(side))
    spectra = np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    peaks = np.fft.ifft2(cross / (np.abs(cross) + 1e-9)).real.reshape(len(cross), -1).argmax(1)
    steps = (np.stack(np.unravel_index(peaks, (side, side)), 1) + side // 2) % side - side // 2  # (T - 1, 2)
    steps[np.abs(steps).max(1) > LARGEST_STEP * side] = 0
    places = np.concatenate([np.zeros((1, 2), int), steps.cumsum(0)])
    places -= np.median(places, 0).round().astype(int)
    rows, columns = (np.arange(side) + places[:, :, None]).clip(0, side - 1).transpose(1, 0, 2)
    moved: Frames = frames[np.arange(len(frames))[:, None, None], rows[:, :, None], columns[:, None]]
    return moved


def measured(bench: Bench, cases: Sequence[Case], label: str) -> list[str]:
    """Action accuracy, classifier accuracy and prompt appearance of these cases' videos, as in a table."""
    reading = bench.judge.read(bench.film(cases, label))
    looks = [
        prompt_appearance(look, case.target.look) for look, case in zip(reading.looks, cases, strict=True)
    ]
    return [bench.share(each, cases) for each in (*bench.right(reading, cases), looks)]


def main() -> None:
    parser = options_of(__doc__, "references")
    parser.add_argument("--adapter", type=Path)
    options = parser.parse_args()

    def chosen(recipe: EvaluateSettings) -> EvaluateSettings:
        return recipe.model_copy(update={"adapter": str(options.adapter)}) if options.adapter else recipe

    bench = bench_of(options, "train", chosen, actions=16, seed=SEED)
    domain = ActorDomain(bench.library, bench.settings)
    table = Table("reference", "videos", "action accuracy", "classifier accuracy", "prompt appearance")
    for kinds in ((), *((kind,) for kind in DISTURBANCES)):
        cases = [disturbed_in(case, domain, kinds, number) for number, case in enumerate(bench.cases)]
        label = " ".join(kinds) or "as filmed"
        table.add(label, len(cases), *measured(bench, cases, label))
        if kinds in ((), ("shaken",)):
            clips = [case.references[0] for case in cases]
            steady = [replace(clip, frames=steadied(clip.frames)) for clip in clips]
            again = [replace(case, references=(clip,)) for case, clip in zip(cases, steady, strict=True)]
            table.add(f"{label}, steadied", len(again), *measured(bench, again, f"{label}, steadied"))
    table.write(bench.options.out)


if __name__ == "__main__":
    main()
