"""How far videos of one seed differ where we do not promise the same: python benchmarks/sameness.py.

The embedded model makes one video with its reference, and again with one thing changed. Prints the greatest
and the mean difference of a pixel's values, 0 to 255.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from echoreel.bases.loading import load_base
from echoreel.common.randomness import seeded
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.loading import load_adapter

PROMPT = "a person with brown hair in a red sweater and blue trousers doing a cartwheel on a grassy field"
OTHER = "a person with black hair in a yellow t-shirt and black trousers jumping on a sandy beach"
STEPS = 8


def film(threads: int = 1, batch: int = 1, dtype: torch.dtype = torch.float32) -> Frames:
    """The video of seed 0, made so: frames (T, H, W, 3) uint8."""
    torch.set_num_threads(threads)
    pipe = load_base(dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    adapter = load_adapter()
    clip = Path(str(files("echoreel") / "assets" / "cartwheel.mp4"))
    prompts, seeds = [PROMPT, OTHER, OTHER, OTHER][:batch], range(batch)
    with torch.no_grad(), adapter.reading(pipe, [ReferenceVideo.from_file(clip)], prompts):
        made = pipe(
            prompt=prompts,
            generator=[seeded(seed) for seed in seeds],
            num_inference_steps=STEPS,
            guidance_scale=2.0,
            output_type="np",
        )
    return np.asarray((made.frames[0] * 255).round(), np.uint8)


def main() -> None:
    usual = film()
    changes = {
        "the same again": film(),
        "2 threads instead of 1": film(threads=2),
        "in a batch of 2": film(batch=2),
        "in a batch of 4": film(batch=4),
        "bfloat16 instead of float32": film(dtype=torch.bfloat16),
    }
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; {STEPS} steps, {usual.shape}"
    )
    for name, video in changes.items():
        apart = np.abs(video.astype(int) - usual)
        print(f"{name:<30} greatest {apart.max():>3}  mean {apart.mean():.4f}")


if __name__ == "__main__":
    main()
