"""Whether a training fits into memory, told before it is taken."""

import sys

import psutil
import torch

from echoreel.common.errors import SettingsError

BYTES_PER_PARAMETER = 20  # float32: itself, its gradient, AdamW's two moments, the averaged one


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            free = min(free, limit - int(psutil.Process().memory_info().vms))
    return free


def check_memory(parameters: int, device: torch.device) -> None:
    """Raises SettingsError when so many trained parameters alone take more memory than is free."""
    need, free = parameters * BYTES_PER_PARAMETER, free_memory(device)
    if need > free:
        raise SettingsError(
            f"got an adapter of {parameters / 1e6:.0f} M parameters, which takes at least {need / 2**30:.1f} "
            f"GiB to train, and {free / 2**30:.1f} GiB are free; take a smaller preset, or smaller sizes"
        )
