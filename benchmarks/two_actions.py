"""Two held-out actions one after the other in a video: is each performed in its half?

    python benchmarks/two_actions.py recipes/actorbench.toml --prompts 4 --out runs/two-actions.md

The reference of the one action acts from 0 to 50 %, that of the other from 50 to 100 %. A half is read as a
whole video, its motion at half speed, since a reference's time fills its part. Beside it: the same
references each alone in all of a video, and each alone in its half, where the other half has none.
Videos are kept: the same command goes on.
"""

from dataclasses import replace

import numpy as np
from action_bench import bench_of, options_of
from results import Table
from scipy.interpolate import make_interp_spline

from echoreel.actors.actor_clips import ActorClip
from echoreel.actors.looks import full_caption
from echoreel.evaluation.actorbench.cases import Case
from echoreel.evaluation.actorbench.filming import as_reference
from echoreel.evaluation.actorbench.judge import Joints
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
    parser = options_of(__doc__, "two-actions")
    parser.add_argument("--split", default="heldout")
    options = parser.parse_args()
    bench = bench_of(options, options.split)
    pairs = [(case, case.references[0], case.shuffled[0]) for case in bench.cases]

    rows = {
        "the first alone, all the video": [shot(c, (a, WHOLE)) for c, a, _ in pairs],
        "the second alone, all the video": [shot(c, (b, WHOLE)) for c, _, b in pairs],
        "the first alone, in its half": [shot(c, (a, FIRST)) for c, a, _ in pairs],
        "the second alone, in its half": [shot(c, (b, SECOND)) for c, _, b in pairs],
        "the first, then the second": [shot(c, (a, FIRST), (b, SECOND)) for c, a, b in pairs],
    }
    table = Table("references", "videos", "read", "named the first", "named the second")
    for name, shots in rows.items():
        joints = bench.judge.read(bench.studio.film(shots, name).frames).joints
        half = joints.shape[1] // 2
        for read, motion in {
            "all": joints,
            "first half": at_half_speed(joints[:, :half]),
            "second half": at_half_speed(joints[:, half:]),
        }.items():
            found = bench.bank.nearest_actions(motion)
            shares = [
                bench.share(
                    [told == pair[which].take.action for told, pair in zip(found, pairs, strict=True)]
                )
                for which in (1, 2)
            ]
            table.add(name, len(shots), read, *shares)
    table.write(options.out)


if __name__ == "__main__":
    main()
