"""A base of twice the size grows from a smaller one, so that what the small one learned is not learned again.

The first latent channels of the large autoencoder are those of the small one, of the picture averaged two by
two (its encoder learns to give them); the others tell what is finer. The denoiser reads and draws more
channels, and what it does to the first ones is at first what it did. So does an adapter of the small base.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from echoreel.common.errors import AdapterMismatch, SettingsError
from echoreel.embedded_base.architecture import BaseSettings, build_autoencoder
from echoreel.method.adapter import ActionAdapter

SHY = 0.1
"""How much of their usual size the first weights have that read the new channels."""

DETAILS = 0.6
"""Standard deviation of the new channels of latents, where the old ones have some 1: noise hides them first,
so that they are drawn last, when the coarse picture is there."""


def enlarged_autoencoder(small: Any, settings: BaseSettings, size: int) -> Any:
    """An autoencoder with a level more than `small`, which has its weights wherever both have the same layer.

    Raises SettingsError unless `size`, in pixels, is twice the small one's, and `settings` have its channels
    behind one more level, and more latent channels.
    """
    channels, latents = tuple(small.config.block_out_channels), small.config.latent_channels
    if size != 2 * small.config.sample_size:
        raise SettingsError(
            f"actors.size: got {size}, need {2 * small.config.sample_size}, twice the size of the base that "
            "this one grows from"
        )
    if settings.autoencoder_channels[1:] != channels or settings.latent_channels <= latents:
        raise SettingsError(
            f"base.autoencoder_channels, base.latent_channels: got {settings.autoencoder_channels} and "
            f"{settings.latent_channels}, need one level in front of {channels} and more than {latents} "
            "latent channels to grow from this base"
        )
    large: Any = build_autoencoder(settings, size)
    weights = large.state_dict()
    for name, old in small.state_dict().items():
        place = name
        if name.startswith("encoder.down_blocks."):
            level, rest = name.removeprefix("encoder.down_blocks.").split(".", 1)
            place = f"encoder.down_blocks.{int(level) + 1}.{rest}"
        if place in weights and weights[place].shape == old.shape:
            weights[place] = old
    _share_latents(weights, small.state_dict(), latents, settings.latent_channels)
    large.load_state_dict(weights)
    large.register_to_config(scaling_factor=small.config.scaling_factor)
    return large


def _share_latents(weights: dict[str, Tensor], small: Mapping[str, Tensor], old: int, new: int) -> None:
    """Where latents come out and go in, the first `old` of `new` channels are the small autoencoder's."""
    moments = torch.tensor([*range(old), *range(new, new + old)])  # means and variances
    into = weights["encoder.conv_out.weight"], weights["encoder.conv_out.bias"]
    into[0][moments], into[1][moments] = small["encoder.conv_out.weight"], small["encoder.conv_out.bias"]
    weights["quant_conv.weight"] = _beside(small["quant_conv.weight"], moments, 2 * new)
    weights["quant_conv.bias"].zero_()[moments] = small["quant_conv.bias"]
    first = moments[:old]
    weights["post_quant_conv.weight"] = _beside(small["post_quant_conv.weight"], first, new)
    weights["post_quant_conv.bias"].zero_()[first] = small["post_quant_conv.bias"]
    weights["decoder.conv_in.weight"] *= SHY
    weights["decoder.conv_in.weight"][:, :old] = small["decoder.conv_in.weight"]
    weights["decoder.conv_in.bias"] = small["decoder.conv_in.bias"]


def _beside(kernel: Tensor, places: Tensor, size: int) -> Tensor:
    """A 1x1 kernel (K, K, 1, 1) at these places of an identity (size, size, 1, 1)."""
    whole = torch.eye(size).to(kernel)[..., None, None]
    whole[places[:, None], places[None]] = kernel
    return whole


class SmallLatents(nn.Module):
    """What the small autoencoder says of frames of twice its size; frozen."""

    def __init__(self, small: Any) -> None:
        super().__init__()
        self.autoencoder = small.eval().requires_grad_(False)
        self.count: int = small.config.latent_channels

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Latents (N, C, h / 2, w / 2), unscaled, of frames (N, 3, H, W) in [-1, 1]."""
        latents: Tensor = self.autoencoder.encode(F.avg_pool2d(frames, 2)).latent_dist.mode()
        return latents

    def error(self, latents: Tensor, frames: Tensor) -> Tensor:
        """Mean squared error of the first channels of `latents`, in units of the latents' variance."""
        scale = self.autoencoder.config.scaling_factor
        return F.mse_loss(latents[:, : self.count].float() * scale, self(frames).float() * scale)


@torch.no_grad()
def scale_details(autoencoder: Any, first: int, latents: Tensor) -> None:
    """Give the channels from `first` on a standard deviation of `DETAILS` each after scaling, and mean 0.

    Args:
        autoencoder: whose latents are to be scaled; its pictures stay the same.
        first: number of channels that stay as they are.
        latents: (N, C, h, w), unscaled, of many frames.
    """
    new = autoencoder.config.latent_channels
    factors = DETAILS / (latents[:, first:].std((0, 2, 3)) * autoencoder.config.scaling_factor)
    into, out = autoencoder.quant_conv, autoencoder.post_quant_conv
    means = latents[:, first:].mean((0, 2, 3))
    into.weight[first:new] *= factors[:, None, None, None]
    into.bias[first:new] = (into.bias[first:new] - means) * factors
    into.bias[new + first :] += 2 * factors.log()
    out.bias += out.weight[:, first:, 0, 0] @ means
    out.weight[:, first:] /= factors[None, :, None, None]


def enlarged_denoiser(small: Any, latents: int) -> Any:
    """The denoiser `small` with `latents` channels; it draws the first ones as before, the others not yet."""
    large: Any = type(small).from_config({**small.config, "in_channels": latents, "out_channels": latents})
    weights = small.state_dict()
    old = small.config.in_channels
    fresh = large.state_dict()
    reads = fresh["conv_in.weight"] * SHY
    reads[:, :old] = weights["conv_in.weight"]
    draws, bias = torch.zeros_like(fresh["conv_out.weight"]), torch.zeros_like(fresh["conv_out.bias"])
    draws[:old], bias[:old] = weights["conv_out.weight"], weights["conv_out.bias"]
    large.load_state_dict(
        weights | {"conv_in.weight": reads, "conv_out.weight": draws, "conv_out.bias": bias}
    )
    return large


def enlarged_adapter(small: ActionAdapter, latents: int) -> ActionAdapter:
    """The adapter `small` for a base of so many latent channels, of which it reads the first ones as before.

    Raises AdapterMismatch for a Prism of the paper's own form, whose tokens are as wide as its latents.
    """
    old, config = small.config["latent_channels"], dict(small.config)
    if (kind := config["prism_config"]["kind"]) != "compact":
        raise AdapterMismatch(
            f'grow_adapter: got a Prism of the kind "{kind}", need "compact"; leave grow_adapter out, and '
            "train another"
        )
    made: Any = type(small).from_config(config | {"latent_channels": latents})
    large: ActionAdapter = made
    weights = small.state_dict()
    reads = rearrange(weights["prism.patchify.weight"], "w (two c p) -> w two c p", two=2, c=old)
    more = torch.zeros(*reads.shape[:2], latents - old, reads.shape[3]).to(reads)
    weights["prism.patchify.weight"] = rearrange(torch.cat([reads, more], 2), "w two c p -> w (two c p)")
    large.load_state_dict(weights)
    return large
