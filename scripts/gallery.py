"""Make docs/actions.gif, the picture at the top of the README: reference | base | ours of four actions.

    python scripts/gallery.py [--motions ../shared/motion] [--out docs/actions.gif]

Each is the first prompt of a held-out action in ActorBench's cases (seed 0) with its first seed. No
video was chosen by its look; the actions were.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import echoreel
from echoreel.actors.actor_clips import ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, make_cases
from echoreel.generation.settings import GenerationSettings
from echoreel.media.drawing import label_band
from echoreel.media.images import Frames
from echoreel.media.video_files import write_video

ACTIONS = ("doing a cartwheel", "doing jumping jacks", "crawling", "doing a forward roll")
CELL, GAP = 128, 4  # pixels
COLUMNS = ("reference", "base", "with EchoReel")


def main() -> None:
    """Film the four actions and write the gif."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--motions", type=Path, default=Path("../shared/motion"))
    parser.add_argument("--out", type=Path, default=Path("docs/actions.gif"))
    arguments = parser.parse_args()
    library = MotionLibrary.load(arguments.motions).split("heldout")
    cases = make_cases(library, ActorSettings(), CaseCounts(16, 1, 1, 1), seed=0)
    chosen = [next(case for case in cases if case.action == action) for action in ACTIONS]
    blocks = [block(case) for case in chosen]
    rows = [np.concatenate(blocks[i : i + 2], axis=2) for i in range(0, len(blocks), 2)]
    write_video(arguments.out, np.concatenate(rows, axis=1), fps=8)


def block(case: Case) -> Frames:
    """Reference, base and ours of one case under their labels: (T, H, W, 3)."""
    shown = case.references[0]
    reference = echoreel.ReferenceVideo(shown.frames, caption=shown.caption)
    settings = GenerationSettings(compare=True)
    result = echoreel.generate(case.prompt, [reference], seed=case.seeds[0], settings=settings)
    videos = (shown.frames, result.base_videos[0], result.videos[0])
    cells = [np.stack([enlarged(frame) for frame in video]) for video in videos]
    strip = np.concatenate(cells, axis=2)
    title = label_band(case.action, strip.shape[2], lines=1, size=15)
    names = np.concatenate([label_band(name, CELL + GAP, lines=1) for name in COLUMNS], axis=1)
    label = np.concatenate([title, names])
    return np.concatenate([np.repeat(label[None], len(strip), axis=0), strip], axis=1)


def enlarged(frame: Frames) -> Frames:
    """A frame at the cell's size with a white margin at its right and lower edge."""
    picture = Image.fromarray(frame).resize((CELL, CELL), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(picture), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
