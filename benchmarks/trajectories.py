"""Does trajectory fidelity tell the motion that a video was to show from another? On rendered pairs, of which
the truth is known: a video against its own reference (other person, clothes, place, camera within 30 degrees)
and against the references of the other pairs.

    python benchmarks/trajectories.py MOTIONS [--split heldout] [--pairs 16] [--size 128]
"""

import argparse

import numpy as np

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.evaluation.measure.meter import SIDE
from echoreel.evaluation.measure.motion import Tracks, point_tracks, trajectory_fidelity
from echoreel.media.images import Frames, fitted
from echoreel.media.video_files import Clip


def tracks_of(frames: Frames, fps: float) -> Tracks:
    """As `echoreel measure` makes them of a file."""
    large = np.stack([fitted(frame, (SIDE, SIDE)) for frame in frames])
    return point_tracks(Clip(large, np.arange(len(frames)) / fps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("motions")
    parser.add_argument("--split", default="heldout")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", type=int, default=128, help="pixels of the renders")
    asked = parser.parse_args()
    settings = ActorSettings(size=asked.size, splice=0, reverse=0)
    domain = ActorDomain(MotionLibrary.load(asked.motions).split(asked.split), settings)
    videos, references = [], []
    for seed in range(asked.pairs):
        target, (reference,) = domain.pair(seed)
        videos.append(tracks_of(target.frames, settings.fps))
        references.append(tracks_of(reference.frames, settings.fps))
    found = np.array([[trajectory_fidelity(video, other) for other in references] for video in videos])
    own, others = np.diag(found), found[~np.eye(len(found), dtype=bool)].reshape(len(found), -1)
    beaten = np.where(np.isnan(others), np.nan, own[:, None] > others)
    print(
        f"own reference {np.nanmean(own):.3f}, others' {np.nanmean(others):.3f}, "
        f"own beats another {np.nanmean(beaten):.3f} ({len(own)} pairs, {np.isnan(own).sum()} without motion)"
    )


if __name__ == "__main__":
    main()
