"""What computes fast on a device: bfloat16 where it has instructions for it, and on a CPU then other kernels
of attention than torch's own choice, which is the slow one for short sequences."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

Precision: TypeAlias = Literal["fp32", "bf16"]
"""bf16: autocast, parameters stay float32; fp32 on a machine that would have to emulate it."""

LONG = 256 * 256
"""Products of lengths above which the fused kernel is faster; see `CPUAttention`."""


EMULATED = (
    "this CPU has no bfloat16 instructions, and emulating them takes ten times as long: computing in fp32"
)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def fast_kernels(device: torch.device, precision: Precision) -> Iterator[None]:
    """Computations within run in this precision (see `Precision`) by the kernels that are fast for it.

    Weights may change within: none is kept in bfloat16 from one use to the next.
    """
    bf16 = precision == "bf16" and computes_in_bf16(device)
    attention = CPUAttention() if bf16 and device.type == "cpu" else nullcontext()
    with attention, torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
        yield


class CPUAttention(TorchFunctionMode):
    """Within it, attention without a mask is two products and a softmax, or fused where sequences are long.

    Forward and backward on one core of an AMD EPYC (Zen 4), bfloat16, 8 clips of 16 frames, in milliseconds:
    64 places of 128 frames 19, fused 77, torch's plain kernel 38; 16 frames of 512 places 12, 127, 13; 1024
    tokens that read 256 action tokens 78, 58, 128. In float32 torch's own choice is as fast or faster.
    """

    _within = 0  # how many are at work

    def __enter__(self) -> Self:
        CPUAttention._within += 1
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: object) -> None:
        CPUAttention._within -= 1
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    @classmethod
    def as_now(cls) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """For a checkpoint's forward, and for computing it again in the backward pass, where no mode acts."""
        return nullcontext(), cls() if cls._within else nullcontext()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and _plain(kwargs):
            query, key, value = args
            if query.shape[-2] * key.shape[-2] <= LONG:
                scale = kwargs.get("scale")
                query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
                return torch.softmax(query @ key.transpose(-1, -2), dim=-1) @ value
        return func(*args, **kwargs)


def _plain(options: Mapping[str, Any]) -> bool:
    """No mask, no dropout, every token reads all, as many heads of keys as of queries."""
    if options.get("attn_mask") is not None or options.get("is_causal") or options.get("enable_gqa"):
        return False
    return not options.get("dropout_p")
