"""Frames and captions -> the base's own latents and text tokens, and back."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.finite import check_made
from echoreel.bases.lookup import base_of
from echoreel.bases.missing_tensors import is_finite
from echoreel.common.errors import VideoError, VideoUnreadable
from echoreel.common.loading_errors import blamed
from echoreel.media.images import fitted
from echoreel.media.reference_file import EncodedFrames, wrong_numbers
from echoreel.media.reference_video import ReferenceVideo

CAPTION_MEMORY = 2**30  # bytes of text tokens that `CaptionTokens` keeps


@torch.no_grad()
@blamed("the base's")
def encode_video(base: BaseLike, frames: NDArray[np.uint8]) -> Tensor:
    """Frames (T, H, W, 3) or (B, T, H, W, 3) uint8 -> latents (B, C, T, h, w), times the scaling factor.

    The mean of the autoencoder's distribution, so the same frames always give the same latents.
    Raises VideoError for frames of another shape or type, BaseUnsupported for a base without autoencoder,
    EchoReelError for one that makes NaN.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (4, 5) or frames.shape[-1] != 3:
        raise VideoError(
            f"got frames {frames.shape} {frames.dtype}, need (T, H, W, 3) or (B, T, H, W, 3) uint8"
        )
    base = base_of(base).whole()
    frames = frames[None] if frames.ndim == 4 else frames
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "b t h w c -> b c t h w")
    pixels = pixels.to(base.device, base.pipe.vae.dtype) / 127.5 - 1
    latents = base.encode_video(pixels)
    check_made(base, latents, "autoencoder")
    return latents


@torch.no_grad()
@blamed("the base's")
def decode_video(base: BaseLike, latents: Tensor) -> NDArray[np.uint8]:
    """Latents (B, C, T, h, w) -> frames (B, T, H, W, 3) uint8. Raises as `encode_video`."""
    base = base_of(base).whole()
    pixels = base.decode_video(latents.to(base.device, base.pipe.vae.dtype))
    if is_finite(latents):
        check_made(base, pixels, "autoencoder")
    pixels = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    frames: NDArray[np.uint8] = rearrange(pixels, "b c t h w -> b t h w c").cpu().numpy()
    return frames


@torch.no_grad()
@blamed("the base's")
def encode_captions(base: BaseLike, captions: Sequence[str]) -> Tensor:
    """B captions -> text tokens (B, L, D), as the base's prompts are encoded. Raises as `encode_video`."""
    base = base_of(base).whole()
    tokens = base.encode_captions(captions)
    check_made(base, tokens, "text encoder")
    return tokens


def encoders_of(base: BaseLike, size: tuple[int, int]) -> str:
    """Names what encodes videos at `size` (height, width) and captions: other weights, another name.

    Of every tensor some thousand values are read, so that it takes no time for large encoders either.
    """
    pipe = base_of(base).whole().pipe
    digest = hashlib.sha256(repr((size, str(pipe.vae.dtype))).encode())
    for part in sorted(pipe.components):
        if isinstance(module := pipe.components[part], nn.Module) and part not in ("unet", "transformer"):
            for name, tensor in module.state_dict().items():
                flat = tensor.detach().flatten()
                sample = flat[:: max(1, flat.numel() // 1024)].float().cpu().contiguous()
                digest.update(f"{part} {name} {tuple(tensor.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def weights_of(*modules: nn.Module) -> str:
    """Names the weights of modules, by some thousand values of every parameter.

    Those that are not at hand (offloaded layer by layer) or cannot be read (some quantised ones) count by
    their names and shapes alone.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, parameter in module.named_parameters():
            digest.update(f"{name} {tuple(parameter.shape)}".encode())
            with suppress(RuntimeError, NotImplementedError):
                flat = parameter.detach().flatten()
                digest.update(flat[:: max(1, flat.numel() // 1024)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class CaptionTokens:
    """Text tokens (B, L, D) float32 of captions; each is encoded by itself, once.

    By itself: in another batch its last bits could differ, and a resumed run with it.
    """

    def __init__(self, base: BaseLike, stored: Callable[[str], Tensor | None] | None = None) -> None:
        """stored: tokens (L, D) of captions that were encoded before; None for others."""
        self._base, self._stored = base_of(base), stored
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def __call__(self, captions: Sequence[str]) -> Tensor:
        return torch.stack([self._encode(caption) for caption in captions])

    def _encode(self, caption: str) -> Tensor:
        if caption in self._known:
            self._known.move_to_end(caption)
            return self._known[caption]
        tokens = None if self._stored is None else self._stored(caption)
        if tokens is None:
            with torch.autocast(self._base.device.type, enabled=False):
                tokens = encode_captions(self._base, [caption])[0].float().cpu()
        self._known[caption] = tokens
        self._bytes += tokens.nbytes
        while self._bytes > CAPTION_MEMORY:
            self._bytes -= self._known.popitem(last=False)[1].nbytes
        return tokens


def encode_references(
    base: BaseLike, references: Sequence[ReferenceVideo], size: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (1, C, T, h, w), caption tokens (1, L, D) of each: as stored where these encoders made them.

    Raises VideoUnreadable for what is stored but cannot be of this base: files of others say what they like.
    """
    maker = encoders_of(base, size) if any(each.encoded for each in references) else ""
    for reference in references:
        if stored := next((each for each in reference.encoded if each.maker == maker), None):
            _check_stored(base_of(base), reference.name, stored)
            yield torch.from_numpy(stored.latents)[None], torch.from_numpy(stored.caption)[None]
        else:
            frames = np.stack([fitted(frame, size) for frame in reference.frames])
            yield encode_video(base, frames), encode_captions(base, [reference.caption])


def _check_stored(base: Base, name: str, stored: EncodedFrames) -> None:
    shapes = stored.latents.shape, stored.caption.shape
    ranks = tuple(map(len, shapes))
    fits = ranks == (4, 2) and (shapes[0][0], shapes[1][1]) == (base.latent_channels, base.caption_width)
    wrong = f"latents {shapes[0]}, caption {shapes[1]}"
    if not fits or (wrong := wrong_numbers(stored.latents, stored.caption)):
        raise VideoUnreadable(
            f"{name}: what is stored for this base is damaged ({wrong}); make it again with `echoreel "
            "reference save` or `echoreel library embed`"
        )


def encoded_for(
    base: BaseLike, reference: ReferenceVideo, size: tuple[int, int], name: str
) -> ReferenceVideo:
    """The reference with what the encoders of this base, `name`, make of it at `size` (height, width)."""
    base = base_of(base)
    maker = encoders_of(base, size)
    ((latents, caption),) = encode_references(base, [reference], size)
    shown, said = (np.ascontiguousarray(each[0].float().cpu().numpy()) for each in (latents, caption))
    made = EncodedFrames(shown, said, maker, base.name, name, size)
    others = tuple(each for each in reference.encoded if each.maker != maker)
    return replace(reference, encoded=(*others, made))


def encoded_elsewhere(
    base: BaseLike, references: Sequence[ReferenceVideo], size: tuple[int, int]
) -> list[ReferenceVideo]:
    """Those from reference files that hold nothing for this base at this size: their kept frames are used."""
    stored = [each for each in references if each.stored is not None]
    maker = encoders_of(base, size) if stored else ""
    return [each for each in stored if maker not in [known.maker for known in each.encoded]]
