"""A base's denoiser in fewer bits: by the quantisers that diffusers has, or stored as fp8."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, TypeAlias, cast, get_args

import diffusers
import torch
from diffusers.hooks.layerwise_casting import apply_layerwise_casting
from torch import nn

from echoreel.common.errors import BaseUnsupported, SettingsError
from echoreel.common.extras import needs

Quantize: TypeAlias = Literal["int8", "fp8", "nf4", "fp8-storage"]
BYTES: dict[Quantize, float] = {"int8": 1.0, "fp8": 1.0, "nf4": 0.5625, "fp8-storage": 1.0}
"""Of a weight, with its scales."""


def checked_quantize(name: str | None) -> Quantize | None:
    """Raises SettingsError for what is none of them."""
    if name is not None and name not in get_args(Quantize):
        raise SettingsError(f"quantize: got {name!r:.40}, need one of {', '.join(get_args(Quantize))}")
    return cast(Quantize | None, name)


def quantization(kind: Quantize, dtype: torch.dtype, device: torch.device) -> Any:
    """What diffusers loads a denoiser with; None for fp8-storage, which acts on a loaded one.

    Raises MissingExtra without the package. Raises BaseUnsupported for what needs a GPU where there is none.
    """
    own: Any = diffusers  # which has no types
    if kind == "fp8-storage":
        return None
    if kind == "nf4":
        if device.type != "cuda":
            raise BaseUnsupported("quantize nf4 needs a GPU, and this machine has none; take int8 or fp8")
        with needs("bitsandbytes", "quantize nf4"):
            import_module("bitsandbytes")
        return own.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    with needs("torchao", f"quantize {kind}"):
        torchao: Any = import_module("torchao.quantization")
    return own.TorchAoConfig(
        torchao.Int8WeightOnlyConfig() if kind == "int8" else torchao.Float8WeightOnlyConfig()
    )


def store_as_fp8(denoisers: Iterable[nn.Module], blocks: str, dtype: torch.dtype) -> None:
    """Keep weights of modules whose whole path is of this pattern as fp8, and compute with them in dtype."""
    for denoiser in denoisers:
        for path, module in [*denoiser.named_modules()]:
            if re.fullmatch(blocks, path):
                apply_layerwise_casting(module, torch.float8_e4m3fn, dtype, skip_modules_pattern=("norm",))


def quantized_bytes(denoiser: nn.Module, kind: Quantize | None, whole: int) -> int:
    """Bytes of a denoiser's weights; whole: of a number that is not quantised."""
    linear = sum(m.weight.numel() for m in denoiser.modules() if isinstance(m, nn.Linear))
    every = sum(parameter.numel() for parameter in denoiser.parameters())
    if kind is None:
        return every * whole
    fewer = linear if kind != "fp8-storage" else sum(p.numel() for p in denoiser.parameters() if p.ndim > 1)
    return int(fewer * BYTES[kind] + (every - fewer) * whole)


def names_of(
    parts: Mapping[str, Any], names: Sequence[str] = ("transformer", "transformer_2", "unet")
) -> list[str]:
    """The denoisers among the parts of a `model_index.json`."""
    return [name for name in names if isinstance(parts.get(name), list | tuple) and parts[name][0]]


def for_denoisers(few: Any, parts: Mapping[str, Any]) -> Any:
    """What diffusers loads a pipeline with, so that its denoisers alone are quantised."""
    own: Any = diffusers
    return own.PipelineQuantizationConfig(quant_mapping=dict.fromkeys(names_of(parts), few))
