"""Which settings of the rivals of ActorBench to take, on trained actions, never held-out ones.

    python benchmarks/rivals.py recipes/rivals.toml --out runs/rivals-chosen.md

Each trained action has one prompt: videos of the reference at several noise levels, and of a LoRA after
several numbers of steps. Videos of levels are kept; a LoRA is tuned once and films on its way.
"""

from collections.abc import Sequence

import numpy as np
from action_bench import Bench, bench_of, options_of
from results import Table

from echoreel.evaluation.actorbench.cases import Case
from echoreel.evaluation.actorbench.pose_metrics import look_leakage, prompt_appearance
from echoreel.evaluation.actorbench.rivals import LoraSettings, Noised, NoisedSettings, TunedLora
from echoreel.generation.filming import film
from echoreel.generation.settings import resolved
from echoreel.media.images import Frames

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
STEPS = (25, 50, 100)
SEED = 100  # other actions and prompts than the benchmark's


def row_of(bench: Bench, cases: Sequence[Case], videos: Frames) -> list[object]:
    """Numbers about videos of the cases."""
    reading = bench.judge.read(videos)
    looks = [
        (prompt_appearance(look, case.look), look_leakage(look, case.look, [case.references[0].look]))
        for look, case in zip(reading.looks, cases, strict=True)
    ]
    means = np.nanmean(np.stack([*bench.right(reading, cases), *zip(*looks, strict=True)]), 1)
    return [len(cases), *(f"{mean:.2f}" for mean in means)]


def main() -> None:
    parser = options_of(__doc__, "rivals-chosen", prompts=1)
    parser.add_argument("--every", type=int, default=1, help="only every so many of these cases")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    bench = bench_of(options, "train", actions=16, seed=SEED)
    studio, cases = bench.studio, bench.cases[:: options.every]
    shots = [studio.shot(case.prompt, case.seeds[0], case.references, case.target) for case in cases]
    table = Table("what", "videos", "action accuracy", "classifier accuracy", "appearance", "leakage")
    table.add("ours", *row_of(bench, cases, studio.film(shots, "ours").frames))
    for level in LEVELS:
        rival = Noised(NoisedSettings(level=level, steps=max(4, round(8 * level))))
        videos = studio.film(shots, f"level {level:g}", rival).frames
        table.add(f"noised to {level:g}", *row_of(bench, cases, videos))
    lora = TunedLora(LoraSettings(rank=options.rank, steps=max(STEPS), learning_rate=options.rate))
    base, made = studio.base, {steps: [] for steps in STEPS}
    generation = resolved(base, bench.recipe.generation)
    for number, shot in enumerate(shots):
        with lora.added(base, shot.seed) as parameters:
            for steps in lora.tuned(base, shot, parameters):
                if steps in STEPS:
                    made[steps].append(film(base, [shot], generation)[0])
        print(f"{number + 1} of {len(shots)}", flush=True)
    for steps, films in made.items():
        name = f"LoRA of rank {options.rank}, {steps} steps at {options.rate:g}"
        table.add(name, *row_of(bench, cases, np.stack(films)))
    table.write(options.out)


if __name__ == "__main__":
    main()
