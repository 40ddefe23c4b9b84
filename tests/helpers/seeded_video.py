"""The packaged weights' video that tests compare with a recorded one.

`python tests/helpers/seeded_video.py`, with the package importable, records it anew: do that where weights or
sampler change, and say so in the commit.
"""

from importlib import resources
from pathlib import Path

import numpy as np
from einops import reduce
from numpy.typing import NDArray

import echoreel
from echoreel.generation.settings import GenerationSettings
from echoreel.media.images import Frames

PROMPT = "a person with brown hair in a red sweater and blue trousers doing a cartwheel on a grassy field"
SEEDS = (0, 1)


def settings(compare: bool = False) -> GenerationSettings:
    return GenerationSettings(steps=8, compare=compare)


def demo_reference() -> echoreel.ReferenceVideo:
    folder = Path(str(resources.files("echoreel")))
    return echoreel.ReferenceVideo.from_file(folder / "assets" / "cartwheel.mp4")


def pooled(video: Frames) -> NDArray[np.float64]:
    """Frames (T, H, W, 3) in pictures of 8 x 8, 0 to 255."""
    return reduce(video.astype(float), "t (h a) (w b) c -> t h w c", "mean", h=8, w=8)


if __name__ == "__main__":
    made = echoreel.generate(PROMPT, [demo_reference()], seed=SEEDS, settings=settings())
    target = Path(__file__).resolve().parents[1] / "data" / "seeded_video.npy"
    np.save(target, pooled(made.videos[0]).round().astype(np.uint8))
