"""FreeNoise (Qiu et al. 2023) as diffusers has it, for a `with` block: afterwards the base is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from echoreel.common.errors import EchoReelError


@contextmanager
def free_noise(pipe: Any, length: int, stride: int) -> Iterator[None]:
    """Within, motion modules look at windows of `length` frames, the next one `stride` frames on.

    Raises EchoReelError for motion modules that diffusers cannot wrap.
    """
    lists = [
        module.transformer_blocks for module in pipe.unet.modules() if hasattr(module, "transformer_blocks")
    ]
    before, context = [[*each] for each in lists], getattr(pipe, "_free_noise_context_length", None)
    lacks_adapter = (
        pipe.motion_adapter is None
    )  # whose longest sequence FreeNoise asks for; the U-Net has it too
    try:
        if lacks_adapter:
            pipe.motion_adapter = pipe.unet
        try:
            pipe.enable_free_noise(length, stride)
        except (RuntimeError, AssertionError) as error:
            raise EchoReelError(
                "FreeNoise cannot make windows in these motion modules; fuse LoRAs into them first "
                "(pipe.fuse_lora()), or leave seconds out"
            ) from error
        finally:
            if lacks_adapter:
                pipe.motion_adapter = None
        for blocks in lists:
            blocks.eval().requires_grad_(False)
        yield
    finally:
        for blocks, were in zip(lists, before, strict=True):
            for place, block in enumerate(were):
                blocks[place] = block
        pipe._free_noise_context_length = context
