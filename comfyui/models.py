"""What the nodes need of ComfyUI itself: memory for our own parts, and which patches its version has."""

import re
from typing import Any

import comfy.model_management as memory
import comfy.model_patcher
import comfyui_version
from torch import Tensor, nn

from echoreel.common.errors import AdapterMismatch

from .adapters import Adapter
from .families import families_of
from .joining import Way

LISTS_SINCE = (0, 29)  # ComfyUI's version from which on Wan's networks call lists of patches after each block


class Whole(comfy.model_patcher.ModelPatcher):
    """Loaded and unloaded as a whole: our layers cannot work with weights that are elsewhere."""

    def partially_load(self, device_to: Any, extra_memory: float = 0, *args: Any, **kwargs: Any) -> Any:
        return super().partially_load(device_to, 1e32, *args, **kwargs)

    def partially_unload(self, *args: Any, **kwargs: Any) -> int:
        return 0


class Loaded:
    """An adapter with a patcher for each of its two parts: the Prism leaves memory while the model works."""

    def __init__(self, adapter: Adapter, name: str) -> None:
        self.adapter, self.name = adapter, name
        self.prism, self.integrations = _patcher(adapter.prism), _patcher(adapter.integrations)


def _patcher(module: nn.Module) -> Whole:
    return Whole(module, load_device=memory.get_torch_device(), offload_device=memory.unet_offload_device())


def way_of(model: Any) -> Way:
    """Lists where this ComfyUI has them for the network: nobody overwrites those."""
    numbers = re.findall(r"\d+", comfyui_version.__version__)
    version = tuple(map(int, numbers[:2]))
    return "list" if families_of(model)[0] == "Wan" and version >= LISTS_SINCE else "replace"


def check_latents(latents: Tensor, channels: int) -> None:
    """Raises AdapterMismatch unless a VAE for videos, of so many channels, made them."""
    if latents.ndim != 5 or latents.shape[1] != channels:
        got = f"{latents.shape[1]} latent channels" if latents.ndim == 5 else "a VAE for images"
        raise AdapterMismatch(
            f"got a reference of {got}, need {channels} latent channels; encode it with the VAE of the model"
        )
