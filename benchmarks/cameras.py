"""Action accuracy by how far apart the cameras of reference and prompt stand, on trained actions.

    python benchmarks/cameras.py recipes/actorbench.toml --prompts 4 --out runs/cameras.md

Of each case the reference is filmed anew from exactly so many degrees to the left or right of where the
prompt's own render is seen from; nothing else changes. Videos are kept: the same command goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from action_bench import Bench, bench_of, options_of

from echoreel.actors.actor_clips import ActorDomain
from echoreel.evaluation.actorbench.cases import Case
from echoreel.evaluation.actorbench.pose_metrics import motion_fidelity
from echoreel.evaluation.intervals import bootstrap

DEGREES = (0, 15, 30, 60, 90)
SEED = 100  # other actions and prompts than the benchmark's


def seen_from(case: Case, domain: ActorDomain, degrees: float, number: int) -> Case:
    """The case with a reference from so many degrees beside its target, of the look it had."""
    rng = np.random.default_rng([SEED, 4, number])
    turn = math.radians(degrees) * rng.choice([-1, 1])
    before = case.references[0]
    clip = domain.film(before.take, rng, azimuth=case.target.camera.azimuth + turn, look=before.look)
    return replace(case, references=(clip,))


def measured(bench: Bench, cases: Sequence[Case], label: str) -> list[str]:
    """Action accuracy, classifier accuracy and fidelity of these cases' videos, as in a table."""
    studio, judge, bank, recipe = bench.studio, bench.judge, bench.bank, bench.recipe
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
    bench = bench_of(options_of(__doc__, "cameras").parse_args(), "train", actions=16, seed=SEED)
    domain = ActorDomain(bench.library, bench.settings)
    lines = ["| cameras apart | videos | action accuracy | classifier accuracy | motion fidelity |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for degrees in DEGREES:
        turned = [seen_from(case, domain, degrees, number) for number, case in enumerate(bench.cases)]
        row = measured(bench, turned, f"{degrees} degrees")
        lines.append(f"| {degrees} degrees | {len(turned)} | {' | '.join(row)} |")
        print(lines[-1], flush=True)
    bench.write(lines)


if __name__ == "__main__":
    main()
