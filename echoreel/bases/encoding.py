"""Frames and captions -> the base's own latents and text tokens, and back."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from echoreel.bases.lookup import Base, base_of
from echoreel.common.errors import BaseUnsupported, VideoError
from echoreel.media.images import fitted
from echoreel.media.reference_video import ReferenceVideo

CAPTION_MEMORY = 2**30  # bytes of text tokens that `CaptionTokens` keeps


@torch.no_grad()
def encode_video(pipe: Any, frames: NDArray[np.uint8]) -> Tensor:
    """Frames (T, H, W, 3) or (B, T, H, W, 3) uint8 -> latents (B, C, T, h, w), times the scaling factor.

    The mean of the autoencoder's distribution, so the same frames always give the same latents.
    Raises VideoError for frames of another shape or type, BaseUnsupported for a base without autoencoder.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (4, 5) or frames.shape[-1] != 3:
        raise VideoError(
            f"got frames {frames.shape} {frames.dtype}, need (T, H, W, 3) or (B, T, H, W, 3) uint8"
        )
    base = _pipeline(pipe)
    frames = frames[None] if frames.ndim == 4 else frames
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "b t h w c -> b c t h w")
    pixels = pixels.to(pipe._execution_device, pipe.vae.dtype) / 127.5 - 1
    return base.family.encode_video(pipe, pixels)


@torch.no_grad()
def decode_video(pipe: Any, latents: Tensor) -> NDArray[np.uint8]:
    """Latents (B, C, T, h, w) -> frames (B, T, H, W, 3) uint8. Raises BaseUnsupported."""
    base = _pipeline(pipe)
    pixels = base.family.decode_video(pipe, latents.to(pipe._execution_device, pipe.vae.dtype))
    pixels = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    frames: NDArray[np.uint8] = rearrange(pixels, "b c t h w -> b t h w c").cpu().numpy()
    return frames


@torch.no_grad()
def encode_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    """B captions -> text tokens (B, L, D), as the base's prompts are encoded. Raises BaseUnsupported."""
    return _pipeline(pipe).family.encode_captions(pipe, captions)


def encoders_of(pipe: Any, size: tuple[int, int]) -> str:
    """Names what encodes videos at `size` (height, width) and captions: other weights, another name.

    Of every tensor some thousand values are read, so that it takes no time for large encoders either.
    """
    digest = hashlib.sha256(repr((size, str(pipe.vae.dtype))).encode())
    for part in sorted(pipe.components):
        if isinstance(module := pipe.components[part], nn.Module) and part not in ("unet", "transformer"):
            for name, tensor in module.state_dict().items():
                flat = tensor.detach().flatten()
                sample = flat[:: max(1, flat.numel() // 1024)].float().cpu().contiguous()
                digest.update(f"{part} {name} {tuple(tensor.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


class CaptionTokens:
    """Text tokens (B, L, D) float32 of captions; each is encoded by itself, once.

    By itself: in another batch its last bits could differ, and a resumed run with it.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def __call__(self, captions: Sequence[str]) -> Tensor:
        return torch.stack([self._encode(caption) for caption in captions])

    def _encode(self, caption: str) -> Tensor:
        if caption in self._known:
            self._known.move_to_end(caption)
            return self._known[caption]
        device = self._pipe._execution_device
        with torch.autocast(device.type, enabled=False):
            tokens = encode_captions(self._pipe, [caption])[0].float().cpu()
        self._known[caption] = tokens
        self._bytes += tokens.nbytes
        while self._bytes > CAPTION_MEMORY:
            self._bytes -= self._known.popitem(last=False)[1].nbytes
        return tokens


def _pipeline(pipe: Any) -> Base:
    base = base_of(pipe)
    if base.pipe is None:
        raise BaseUnsupported(
            f"got a bare {type(pipe).__name__}, need its pipeline: autoencoder and text encoder are there"
        )
    return base


def encode_references(
    pipe: Any, references: Sequence[ReferenceVideo], size: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (1, C, T, h, w), caption tokens (1, L, D) of each: as stored where these encoders made them."""
    maker = encoders_of(pipe, size) if any(each.encoded for each in references) else ""
    for reference in references:
        stored = reference.encoded
        if stored is not None and stored.maker == maker:
            yield torch.from_numpy(stored.latents)[None], torch.from_numpy(stored.caption)[None]
        else:
            frames = np.stack([fitted(frame, size) for frame in reference.frames])
            yield encode_video(pipe, frames), encode_captions(pipe, [reference.caption])
