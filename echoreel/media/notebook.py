"""What notebooks show of a video: small, since they keep it."""

import base64
import html

import numpy as np

from echoreel.media.images import Frames, fitted
from echoreel.media.video_files import animated_webp

SIDE, MOST_FRAMES = 160, 48  # pixels, frames
LONGEST_SIDE = 2048  # pixels: a webp has at most 16383


def film_html(label: str, frames: Frames, fps: float) -> str:
    """Frames (T, H, W, 3) uint8 as a figure that plays in a notebook.

    Notebooks keep what they show, so its shorter side has some 160 pixels, its longer 2048 at most, and it
    has 48 frames at most.
    """
    scale = min(SIDE / min(frames.shape[1:3]), LONGEST_SIDE / max(frames.shape[1:3]))
    frames = frames[:MOST_FRAMES]
    if scale < 1:
        size = max(1, round(frames.shape[1] * scale)), max(1, round(frames.shape[2] * scale))
        frames = np.stack([fitted(frame, size) for frame in frames])
    film = base64.b64encode(animated_webp(frames, fps, max(1, round(scale)))).decode()
    name = html.escape(label, quote=True)
    return (
        f'<figure style="display:inline-block;margin:0 8px 0 0"><img src="data:image/webp;base64,{film}" '
        f'alt="{name}"><figcaption>{name}</figcaption></figure>'
    )
