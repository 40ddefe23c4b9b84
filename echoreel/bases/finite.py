"""NaN in a base is told as soon as it acts, with the part that it is in.

Weights of small parts are looked at when they are loaded. Of large ones that would take seconds, so what they
make is looked at instead: captions, latents and each denoising step, which are small.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from echoreel.bases.base import Base
from echoreel.bases.missing_tensors import STATISTICS, is_finite
from echoreel.common.errors import CheckpointError, EchoReelError

SMALL = 2**30  # bytes of a part that are looked at in a tenth of a second or two


def check_small_parts(parts: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a part of a pipeline, unless it is large, with NaN in its weights."""
    if told := fault_of_weights(parts, SMALL):
        raise CheckpointError(told)


def fault_of_weights(parts: Mapping[str, Any], most: float = float("inf")) -> str | None:
    """Which tensor of a pipeline's parts holds NaN or infinite values, and what to do.

    most: bytes of a part, more of which are not looked at. Nor are weights in fewer bits.
    """
    for part, module in parts.items():
        weights = dict(_weights(module)) if isinstance(module, nn.Module) else {}
        if sum(tensor.nbytes for tensor in weights.values()) <= most:
            for name, tensor in weights.items():
                if not is_finite(tensor):
                    found = f"the weights of its {part} hold NaN or infinite values, in {name}"
                    return f"{found}; get its files again"
    return None


def check_made(base: Base, made: Tensor, maker: str) -> None:
    """Raises EchoReelError, naming the base, where what it made is NaN or infinite.

    maker: what of it made that, such as "autoencoder".
    """
    if not is_finite(made):
        raise not_finite(base, maker)


def not_finite(base: Base, maker: str) -> EchoReelError:
    """The error for what is not, with the part to blame where it has a name."""
    name = getattr(base.pipe, "config", {}).get("_name_or_path") or type(base.denoiser).__name__
    told = fault_of_weights(base.pipe.components)
    if told is None:
        again = "get its files again" if base.pipe.dtype == torch.float32 else "load it in float32"
        told = f"its {maker} produced NaN or infinite values in {base.pipe.dtype}; {again}"
    return EchoReelError(f"base {name}: {told}")


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Those that a few bits stand for, or that are elsewhere, are left out."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        is_counted = isinstance(tensor, nn.Parameter) or name.rpartition(".")[2] in STATISTICS
        is_plain = (
            type(tensor) in (Tensor, nn.Parameter) and tensor.is_floating_point() and not tensor.is_meta
        )
        if is_counted and is_plain and tensor.itemsize > 1:
            yield name, tensor.detach()
