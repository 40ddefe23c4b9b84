"""What judges read from fresh renders, and from these through a base's autoencoder.

    python benchmarks/judges.py embedded runs/judges-64/judge --base runs/base-64/base --out runs/judges.md

A judge of half the size sees the means of 2x2 pixels. Joints, looks and which of all actions: on clips that
no judge learned from. Which of 16 actions, by retrieval and by the classifier: on renders of the evaluation's
kind, of other seeds than its own.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from results import Table, parser_of

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.actors.renderer import camera_joints
from echoreel.bases.encoding import decode_video, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.evaluation.actorbench.benchmark import find_motions
from echoreel.evaluation.actorbench.cases import CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.judge import PARTS, Judge
from echoreel.evaluation.actorbench.pose_metrics import MetricSettings, MotionBank
from echoreel.evaluation.actorbench.train_judge import VALIDATION_SEED
from echoreel.media.images import Frames

FIRST = 101  # seed of draws of 16 trained actions, and of renders; the evaluation's own is 0
NAMED = tuple(f"{how}, {split}" for split in ("trained", "held-out") for how in ("retrieval", "classifier"))
COLUMNS = ("joint error (m)", *PARTS, "action of all", *NAMED)


@dataclass(frozen=True, eq=False)
class Films:
    """Videos of clips, and the library whose actions they are named from."""

    clips: Sequence[ActorClip]
    frames: Frames  # (B, T, H, W, 3)
    library: MotionLibrary


def seen_by(judge: Judge, frames: Frames) -> Frames:
    """Frames (B, T, H, W, 3) as they are or, for a judge of half the size, means of 2x2."""
    if judge.settings.size * 2 != frames.shape[2]:
        return frames
    quarters = [frames[:, :, i::2, j::2].astype(np.uint16) for i in (0, 1) for j in (0, 1)]
    means: Frames = ((np.sum(quarters, 0) + 2) // 4).astype(np.uint8)
    return means


def read_rightly(judge: Judge, films: Films) -> list[float]:
    """Joint error in metres, then shares: of each part of the look, and of the action of all it knows."""
    reading = judge.read(seen_by(judge, films.frames))
    true = np.stack([camera_joints(clip.take.joints, clip.camera) for clip in films.clips])
    looks = list(zip(reading.looks, films.clips, strict=True))
    right = [np.mean([look[part] == getattr(clip.look, part) for look, clip in looks]) for part in PARTS]
    named = judge.likeliest(reading, judge.actions)
    action = np.mean([name == clip.take.action for name, clip in zip(named, films.clips, strict=True)])
    error = np.linalg.norm(reading.joints - true, axis=-1).mean()
    return [float(value) for value in (error, *right, action)]


def named_rightly(judge: Judge, draws: Sequence[Films]) -> list[float]:
    """Share of actions named, by retrieval and by the classifier."""
    right: list[list[bool]] = [[], []]
    for films in draws:
        reading = judge.read(seen_by(judge, films.frames))
        bank = MotionBank(films.library, films.frames.shape[1], MetricSettings())
        opinions = bank.nearest_actions(reading.joints), judge.likeliest(reading, films.library.actions)
        for told, names in zip(right, opinions, strict=True):
            told += [name == clip.take.action for name, clip in zip(names, films.clips, strict=True)]
    return [float(np.mean(told)) for told in right]


def draws_of(library: MotionLibrary, settings: ActorSettings, seeds: Sequence[int]) -> Iterator[Films]:
    """Eight renders of each of 16 actions, for every seed."""
    for seed in seeds:
        part = choose_actions(library, 16, seed)
        clips = [case.target for case in make_cases(part, settings, CaseCounts(16, 8, 1, 1), seed)]
        yield Films(clips, np.stack([clip.frames for clip in clips]), part)


def through(base: str, films: Films, batch: int = 16) -> Films:
    """The films as a base's autoencoder hands them back."""
    loaded = base_of(load_base(base))
    chunks = np.array_split(films.frames, range(batch, len(films.frames), batch))
    passed = [decode_video(loaded, encode_video(loaded, chunk)) for chunk in chunks]
    return Films(films.clips, np.concatenate(passed), films.library)


def options() -> argparse.Namespace:
    parser = parser_of(__doc__, "a Markdown file")
    parser.add_argument("judges", nargs="+", help="folders, or embedded")
    parser.add_argument("--size", type=int, default=64, help="of the renders, in pixels")
    parser.add_argument("--base", help="embedded or a folder: the renders pass through its autoencoder, too")
    parser.add_argument("--motions", type=Path, default=Path("../shared/motion"))
    parser.add_argument("--clips", type=int, default=512, help="of all actions")
    parser.add_argument("--draws", type=int, default=3, help="of 16 trained actions, 128 renders each")
    return parser.parse_args()


def main() -> None:
    asked = options()
    library = MotionLibrary.load(find_motions(asked.motions))
    settings = ActorSettings(size=asked.size, splice=0.0, reverse=0.0)
    domain = ActorDomain(library, settings)
    clips = [domain.clip(VALIDATION_SEED + number) for number in range(asked.clips)]
    everything = Films(clips, np.stack([clip.frames for clip in clips]), library)
    trained = [*draws_of(library.split("train"), settings, range(FIRST, FIRST + asked.draws))]
    heldout = [*draws_of(library.split("heldout"), settings, [FIRST])]
    shown = {"as they are": (everything, trained, heldout)}
    if asked.base:
        again = [
            [through(asked.base, films) for films in group] for group in ([everything], trained, heldout)
        ]
        shown["autoencoded"] = again[0][0], again[1], again[2]
    table = Table("renders", "judge", *COLUMNS)
    for name in asked.judges:
        judge = Judge.load(None if name == "embedded" else name)
        for kind, (all_of_them, *groups) in shown.items():
            values = read_rightly(judge, all_of_them)
            for group in groups:
                values += named_rightly(judge, group)
            table.add(kind, name, *(f"{value:.3f}" for value in values))
    table.write(asked.out)


if __name__ == "__main__":
    main()
