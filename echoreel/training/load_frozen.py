"""A base as a training needs it: captions encoded first, text encoders gone, its weights made small."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echoreel.bases.base import Base
from echoreel.bases.encoding import encode_captions
from echoreel.bases.loading import load_base, load_parts
from echoreel.bases.lookup import base_of
from echoreel.bases.quantize import Quantize
from echoreel.bases.single_file import parts_around, single_file
from echoreel.bases.sketch import sketched
from echoreel.common.errors import SettingsError
from echoreel.training.caption_store import CaptionStore, encode_ahead
from echoreel.training.held_blocks import hold_blocks
from echoreel.training.spread_base import launched, process_device

NO_TEXT = ("vae", "audio_vae", "vocoder", "image_encoder")  # parts that captions are encoded without


@dataclass(frozen=True)
class FrozenWeights:
    """How a base's weights are held."""

    name: str
    parts: str | None = None  # of a single file: a pipeline with the rest of it
    quantize: Quantize | None = None
    stream: bool = False  # blocks wait in main memory
    spread: bool = False  # each process keeps a part of them

    @property
    def packed(self) -> Quantize | None:
        """How a quantiser makes them."""
        return None if self.quantize == "fp8-storage" else self.quantize

    def check(self, checkpointing: bool, here: bool = True) -> None:
        """Raises SettingsError for what does not go together, or, if `here`, not on this machine."""
        if (self.quantize and self.spread) or (self.packed and self.stream):
            other = "spread_base" if self.spread else "stream_base"
            raise SettingsError(
                f"quantize: {self.quantize} and {other} do not go together; leave one of them out"
            )
        if self.stream and self.spread:
            raise SettingsError("stream_base and spread_base do not go together; leave one of them out")
        for name, asked in (("stream_base", self.stream), ("fp8-storage", self.quantize == "fp8-storage")):
            if asked and not checkpointing:
                raise SettingsError(
                    f"{name} needs gradient_checkpointing = true in [task], so set that as well"
                )
        if here and self.stream and not torch.cuda.is_available():
            raise SettingsError("stream_base needs a GPU, and this machine has none; leave it out")


@dataclass(frozen=True)
class Loaded:
    """A base without text encoders, and what stands for them. stored: None where they are there."""

    base: Base
    stored: CaptionStore | None = None
    text: "TextEncoders | None" = None


class TextEncoders:
    """Those of a base, which come back for a moment when videos are to be made of prompts."""

    def __init__(self, weights: FrozenWeights, names: Sequence[str]) -> None:
        self._weights, self._names = weights, names

    @contextmanager
    def present(self, base: Base) -> Iterator[None]:
        """Within, the base has them."""
        others = [name for name, part in base.pipe.components.items() if isinstance(part, nn.Module)]
        device = process_device()
        read = load_parts(self._weights.name, others, None, device, self._weights.parts)
        base.pipe.register_modules(**{name: getattr(read, name).to(device) for name in self._names})
        del read
        try:
            yield
        finally:
            base.pipe.register_modules(**dict.fromkeys(self._names))
            _free()


def load_frozen(
    weights: FrozenWeights,
    captions: Callable[[], Sequence[str]],
    folder: Path,
    check: Callable[[Base], object] | None = None,
) -> Loaded:
    """The base on this process's device, or where its blocks wait.

    check: is called with the base before any work, perhaps without its weights; what it raises ends all.
    Its text encoders first encode all captions into `folder`, and are freed before the denoiser is loaded. A
    base of ours is small enough to be loaded whole, and HunyuanVideo 1.5 can only be. Raises as `load_base`
    does.
    """
    device = process_device()
    place = torch.device("cpu") if weights.spread or weights.stream else device
    dtype = torch.bfloat16 if device.type == "cuda" else None
    file = single_file(weights.name)
    sketch, _ = sketched(str(weights.name if file is None else weights.parts or parts_around(file)))
    if check is not None:
        check(sketch)
    names = [name for name, part in sketch.pipe.components.items() if _is_text(name, part)]
    if (
        not names
        or not (sketch.reads_text and sketch.encodes_alone)
        or not next(sketch.denoiser.parameters()).is_meta
    ):
        usual = None if place == device else dtype  # of a base of ours by itself, also on a GPU
        pipe = load_base(weights.name, usual, place, parts=weights.parts, quantize=weights.packed)
        return Loaded(_placed(pipe, weights, device))
    store = CaptionStore(folder / "captions", sketch.caption_width)
    rank, world, _ = launched()
    encode_ahead(store, captions(), lambda: _encoder(sketch, weights, dtype, device), rank, world)
    _free()
    pipe = load_parts(weights.name, names, dtype, device, weights.parts, weights.packed)
    return Loaded(_placed(pipe, weights, device), store, TextEncoders(weights, names))


def _placed(pipe: Any, weights: FrozenWeights, device: torch.device) -> Base:
    """The base where it is to be, its blocks held as asked for."""
    base, as_fp8 = base_of(pipe), weights.quantize == "fp8-storage"
    if weights.stream or as_fp8:
        hold_blocks(base, device, weights.stream, as_fp8)
    elif not weights.spread:
        pipe.to(device)
    return base


def _encoder(
    sketch: Base, weights: FrozenWeights, dtype: torch.dtype | None, device: torch.device
) -> Callable[[str], Tensor]:
    """The base's text encoders alone, as what encodes a caption to (L, D)."""
    without = [n for n in (sketch.component, *sketch.more, *NO_TEXT) if n in sketch.pipe.components]
    pipe = load_parts(weights.name, without, dtype, device, weights.parts).to(device)
    nn.Module.to(sketch.denoiser, dtype or torch.float32)  # some ask it for its precision
    base = type(sketch)(sketch.denoiser, pipe)

    def encode(caption: str) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            return encode_captions(base, [caption])[0].float()

    return encode


def _is_text(name: str, part: Any) -> bool:
    return name.startswith("text_encoder") and isinstance(part, nn.Module)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
