"""What bounds a base and its adapter, on trained actions.

    python benchmarks/limits.py --out runs/limits.md

How much of a target's motion its reference can tell: of takes that are filmed several times, the share of
what changes over time in the latents that is alike in all films of a take. And how much of an action the base
keeps when it goes on from a noisy real render, whose noise level is that of its first step: alone, with the
reference, and with the render itself for a reference.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import Table, parser_of

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.looks import sample_look
from echoreel.actors.motion_library import MotionLibrary
from echoreel.bases.encoding import decode_video, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.evaluation.actorbench.benchmark import find_motions
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import as_reference
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.evaluation.actorbench.pose_metrics import MetricSettings, MotionBank, prompt_appearance
from echoreel.evaluation.actorbench.sdedit import sdedit
from echoreel.media.images import Frames
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter
from echoreel.training.motion_loss import changing

FILMS = 8  # of each take
USUAL: dict[str, Any] = {"elevation": (0.05, 0.35), "distance": (2.9, 3.3), "camera_spread_degrees": 8.0}
VARIANTS: tuple[tuple[str, bool, dict[str, Any]], ...] = (
    ("as in training pairs, another look in each film", False, {}),
    ("the same look in all", True, {}),
    ("the same look, cameras up to 30 degrees apart", True, {"camera_spread_degrees": 30.0}),
    (
        "the same look and camera, another light",
        True,
        {"elevation": (0.2, 0.2), "distance": (3.1, 3.1), "camera_spread_degrees": 0.0},
    ),
)
SHOWN: dict[str, Callable[[Case], ActorClip]] = {
    "with the reference": lambda case: case.references[0],
    "with the render itself for a reference": lambda case: case.target,
}
LEVELS = (
    (0.999, 8),
    (0.95, 8),
    (0.9, 8),
    (0.8, 7),
    (0.7, 6),
    (0.5, 5),
    (0.3, 4),
)  # noise level, denoising steps


def alike(pipe: Any, library: MotionLibrary, settings: ActorSettings, same_look: bool, takes: int) -> float:
    """Share of the motion's variance in latents that films of one take have in common."""
    domain, spread = ActorDomain(library, settings), math.radians(settings.camera_spread_degrees)
    films = []
    for number in range(takes):
        rng = np.random.default_rng([number, 5])
        take, azimuth, look = domain.sample_take(rng), rng.uniform(0, 2 * math.pi), sample_look(rng)
        clips = [
            domain.film(
                take, rng, azimuth=azimuth + rng.uniform(-spread, spread), look=look if same_look else None
            )
            for _ in range(FILMS)
        ]
        films.append(changing(encode_video(pipe, np.stack([clip.frames for clip in clips]))))
    motion = torch.stack(films)  # (takes, FILMS, C, T, h, w)
    within = (motion - motion.mean(1, keepdim=True)).square().mean() * FILMS / (FILMS - 1)
    return 1 - (within / motion.square().mean()).item()


def finished(
    pipe: Any,
    cases: Sequence[Case],
    level: float,
    steps: int,
    reading: tuple[ActionAdapter, str] | None = None,
    batch: int = 16,
) -> Frames:
    """Videos (B, T, H, W, 3) that the base makes of the cases' noisy real renders: alone, or with an adapter
    that reads what `SHOWN` names."""
    made = []
    for first in range(0, len(cases), batch):
        part = cases[first : first + batch]
        clean = encode_video(pipe, np.stack([case.target.frames for case in part]))
        prompts = [case.prompt for case in part]
        reads = None
        if reading is not None:
            adapter, shown = reading
            with adapter.reading(pipe):
                references = [[as_reference(SHOWN[shown](case))] for case in part]
                reads = adapter, adapter.reference_set(references, prompts)
        generator = torch.Generator().manual_seed(first)
        latents = sdedit(pipe, clean, prompts, level, steps, generator, reads)
        made.append(decode_video(pipe, latents))
    return np.concatenate(made)


def named(videos: Frames, cases: Sequence[Case], library: MotionLibrary, judge: Judge) -> list[str]:
    """Action accuracy by retrieval and by the classifier, and prompt appearance, as in a table."""
    reading = judge.read(videos)
    bank = MotionBank(library, videos.shape[1], MetricSettings())
    opinions = bank.nearest_actions(reading.joints), judge.likeliest(reading, library.actions)
    shares = [np.mean([a == case.action for a, case in zip(each, cases, strict=True)]) for each in opinions]
    looks = [prompt_appearance(look, case.look) for look, case in zip(reading.looks, cases, strict=True)]
    return [f"{share:.2f}" for share in [*shares, np.mean(looks)]]


def main() -> None:
    parser = parser_of(__doc__, out="a Markdown file")
    parser.add_argument("--motions", type=Path, default=Path("../shared/motion"))
    parser.add_argument("--base", default="embedded", help="an AnimateDiff one that predicts velocities")
    parser.add_argument("--adapter", default="embedded")
    parser.add_argument("--takes", type=int, default=24, help="each filmed 8 times")
    parser.add_argument("--prompts", type=int, default=4, help="of each of 16 trained actions")
    options = parser.parse_args()
    library = MotionLibrary.load(find_motions(options.motions)).split("train")
    pipe: Any = load_base(options.base)
    size = base_of(pipe).video_size()[0]
    table = Table("films of a take", "motion that is alike in all")
    for name, same_look, change in VARIANTS:
        settings = ActorSettings.model_validate({"frames": 16, "size": size} | USUAL | change)
        share = alike(pipe, library, settings, same_look, options.takes)
        table.add(name, f"{100 * share:.0f} %")
    part, judge = choose_actions(library, 16, 100), Judge.load()
    counts = CaseCounts(actions=16, prompts=options.prompts, references=1, seeds=1)
    cases = make_cases(part, ActorSettings(frames=16, size=size), counts, 100)
    table.head("what the base starts from", "action accuracy", "classifier accuracy", "prompt appearance")
    real = np.stack([case.target.frames for case in cases])
    as_they_are = {"real renders, judged as they are": real}
    as_they_are["real renders through the autoencoder"] = decode_video(pipe, encode_video(pipe, real))
    for name, frames in as_they_are.items():
        table.add(name, *named(frames, cases, part, judge))
    adapter = load_adapter(options.adapter)
    readings: dict[str, tuple[ActionAdapter, str] | None] = {"alone": None}
    readings |= {shown: (adapter, shown) for shown in SHOWN}
    for (level, steps), (name, reading) in itertools.product(LEVELS, readings.items()):
        with torch.no_grad():
            videos = finished(pipe, cases, level, steps, reading)
        table.add(f"real renders at noise level {level:g}, {name}", *named(videos, cases, part, judge))
    table.write(options.out)


if __name__ == "__main__":
    main()
