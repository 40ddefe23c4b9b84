"""A frozen base whose weights several processes share: each keeps a part, and fetches the rest to compute.

torch's FSDP2, for the base alone. The adapter is small, so every process has all of it (DDP), and checkpoints
and the optimizer are as with one process.
"""

import os
import re

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.common.errors import BaseUnsupported, SettingsError


def launched() -> tuple[int, int, int]:
    """(number, count, number on this machine) of this process, as torchrun says; (0, 1, 0) for one alone.

    Raises SettingsError for variables that no launcher sets so.
    """
    usual = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    told = {name: os.environ.get(name, value) for name, value in usual.items()}
    try:
        number, count, here = map(int, told.values())
    except ValueError:
        number, count, here = 0, 0, 0
    if not 0 <= number < count:
        got = ", ".join(f"{name}={value[:40]}" for name, value in told.items())
        raise SettingsError(
            f"got {got} in the environment, need numbers, RANK below WORLD_SIZE; unset them, or start with "
            "torchrun"
        )
    return number, count, here


def process_device() -> torch.device:
    """Where this process computes: under torchrun each has a GPU of its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", launched()[2])


def spread_over_processes(base: BaseLike, device: torch.device) -> None:
    """Spread the denoiser's weights, block by block, for good. All processes must call it.

    Raises BaseUnsupported for a base with two denoisers: each process chooses one of them by itself, and
    would wait for weights of the other.
    """
    base = base_of(base)
    if len(base.denoisers) > 1:
        raise BaseUnsupported(
            f"spread_base: got a {base.name} with {len(base.denoisers)} denoisers, need one; leave it out, "
            "and set quantize or stream_base to save memory"
        )
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    denoiser = base.denoiser
    blocks = re.compile(base.checkpoints or base.sites)
    for path, module in [*denoiser.named_modules()]:
        if blocks.fullmatch(path) and not isinstance(module, FSDPModule):
            fully_shard(module, mesh=mesh)
    fully_shard(denoiser, mesh=mesh)
