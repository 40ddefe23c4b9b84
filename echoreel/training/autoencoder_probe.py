"""Which autoencoder made these latents: told by what it makes of one test picture.

Not by its weights: the same ones in half precision, compiled or offloaded make the same latents but for
rounding.
"""

import logging
from collections.abc import Callable

import numpy as np
from einops import repeat
from torch import Tensor

from echoreel.bases.base import BaseLike
from echoreel.bases.encoding import encode_video
from echoreel.media.images import Frames
from echoreel.training.pair_cache import PairSet, PairSetError

LOG = logging.getLogger(__name__)
NUMBERS = 256  # of a probe, at most
ROUNDING = 0.05  # distance over length: bfloat16 makes 0.01, another autoencoder around 1


def picture() -> Frames:
    """A clip of one frame (1, 64, 64, 3) uint8: coloured squares with fine noise."""
    rng = np.random.default_rng(0)
    squares = repeat(rng.integers(32, 224, (8, 8, 3)), "h w c -> (h y) (w x) c", y=8, x=8)
    frames: Frames = (squares + rng.integers(-16, 16, (64, 64, 3)))[None].astype(np.uint8)
    return frames


def probe(encode: Callable[[Frames], Tensor]) -> tuple[float, ...]:
    """Some of the latents of the test picture; `encode` makes latents of frames (1, 64, 64, 3) uint8."""
    latents = encode(picture()).flatten().float().cpu()
    chosen = latents[:: max(1, len(latents) // NUMBERS)][:NUMBERS]
    return tuple(float(f"{value:.4g}") for value in chosen.tolist())


def probe_of(base: BaseLike) -> tuple[float, ...]:
    """The probe of a base's autoencoder. Raises BaseUnsupported."""
    return probe(lambda frames: encode_video(base, frames))


def same_probe(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether the same autoencoder made both."""
    if len(one) != len(other):
        return False
    a, b = np.array(one), np.array(other)
    return bool(np.linalg.norm(a - b) <= ROUNDING * np.linalg.norm(a))


def check_pairs(data: PairSet, base: BaseLike, channels: int) -> None:
    """Raises PairSetError unless this base's autoencoder made the pairs; warns where they do not say."""
    if data.shape[1] != channels:
        raise PairSetError(
            f"pairs have {data.shape[1]} latent channels, the base {channels}; prepare them with it"
        )
    if data.probes == {()}:
        LOG.warning(
            "the pairs in %s do not say which base made them; prepare them again if it was not this one",
            data.name,
        )
        return
    now = probe_of(base)
    if not all(same_probe(each, now) for each in data.probes):
        raise PairSetError(
            f"the pairs in {data.name} were made by another base's autoencoder than this one's; run "
            "`echoreel prepare pairs` again with this base, or train on theirs"
        )
