"""What the nodes need of ComfyUI's models: which networks fit, their sizes, and memory for our own parts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.model_management as memory
import comfy.model_patcher
import comfyui_version
import torch
from torch import Tensor, nn

from echoreel.common.errors import AdapterMismatch

from .action import Network
from .adapters import Adapter
from .joining import Way

LISTS_SINCE = (0, 29)  # ComfyUI's version from which on Wan's networks call lists of patches after each block


@dataclass(frozen=True)
class Kind:
    """A family of EchoReel in ComfyUI."""

    networks: tuple[str, ...]  # exact names of classes; their subclasses lay tokens out in other ways
    blocks: str  # name of the list of blocks
    width: str  # name of the number of channels
    text: int  # tokens that texts are padded to with zeros, as in training


KINDS = {
    "Wan": Kind(("WanModel", "VaceWanModel"), "blocks", "dim", 512),
    "LTX-Video": Kind(("LTXVModel",), "transformer_blocks", "inner_dim", 128),
    "HunyuanVideo 1.5": Kind(("HunyuanVideo",), "double_blocks", "hidden_size", 1000),
}


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


def family_of(model: Any) -> str:
    """Of a MODEL. Raises AdapterMismatch for one that no adapter can join."""
    network = model.get_model_object("diffusion_model")
    name = type(network).__name__
    for family, kind in KINDS.items():
        if name in kind.networks and not len(getattr(network, "single_blocks", ())):
            return family
    raise AdapterMismatch(
        f"got a model whose network is {name}, need Wan 2.1 or 2.2 (text or image to video, VACE, Fun), "
        "LTX-Video or HunyuanVideo 1.5; others lay their tokens out in ways that are not tested"
    )


def check_fits(model: Any, loaded: Loaded) -> None:
    """Raises AdapterMismatch unless the adapter was made for such a model."""
    adapter, family = loaded.adapter, family_of(model)
    if family != adapter.family:
        raise AdapterMismatch(
            f"got a model of the family {family}, need {adapter.family}, which {loaded.name} was trained for"
        )
    network, kind = model.get_model_object("diffusion_model"), KINDS[family]
    blocks = len(getattr(network, kind.blocks))
    channels = model.get_model_object("latent_format").latent_channels
    last = max(network_of(model, adapter).sites.values())
    got = (int(getattr(network, kind.width)), channels)
    for width in set(adapter.sites.values()):
        if got != (width, adapter.latent_channels) or last >= blocks:
            raise AdapterMismatch(
                f"got a model of {got[0]} channels in {blocks} blocks and {got[1]} latent channels, need "
                f"{width}, at least {last + 1} and {adapter.latent_channels}; {loaded.name} was trained for "
                f"another size of {family}"
            )


def network_of(model: Any, adapter: Adapter) -> Network:
    """Where the adapter adds in a MODEL's network."""
    patch = getattr(model.get_model_object("diffusion_model"), "patch_size", (1, 1, 1))
    return Network.of(patch, [*adapter.sites])


def way_of(model: Any) -> Way:
    """Lists where this ComfyUI has them for the network: nobody overwrites those."""
    numbers = re.findall(r"\d+", comfyui_version.__version__)
    version = tuple(map(int, numbers[:2]))
    return "list" if family_of(model) == "Wan" and version >= LISTS_SINCE else "replace"


def text_tokens(conditioning: Any) -> Tensor:
    """Tokens (1, L, D) of a CONDITIONING's first prompt; those of padding are 0."""
    tokens: Tensor = conditioning[0][0][:1]
    more: Mapping[str, Any] = conditioning[0][1]
    mask = more.get("attention_mask")
    return tokens if mask is None else tokens * mask[:1].reshape(1, -1, 1).to(tokens)


def check_latents(latents: Tensor, channels: int) -> None:
    """Raises AdapterMismatch unless a VAE for videos, of so many channels, made them."""
    if latents.ndim != 5 or latents.shape[1] != channels:
        got = f"{latents.shape[1]} latent channels" if latents.ndim == 5 else "a VAE for images"
        raise AdapterMismatch(
            f"got a reference of {got}, need {channels} latent channels; encode it with the VAE of the model"
        )


def check_text(what: str, tokens: Tensor, width: int) -> None:
    """Raises AdapterMismatch unless a text encoder of this width made them."""
    if tokens.shape[-1] != width:
        raise AdapterMismatch(
            f"got {what} of width {tokens.shape[-1]}, need {width}; encode it with the model's text encoder"
        )


def padded(tokens: Tensor, family: str) -> Tensor:
    """With zeros up to the number of tokens that texts had in training."""
    more = KINDS[family].text - tokens.shape[1]
    return tokens if more <= 0 else torch.nn.functional.pad(tokens, (0, 0, 0, more))
