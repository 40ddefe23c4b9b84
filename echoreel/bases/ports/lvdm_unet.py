"""LVDM's text-to-video U-Net (He et al. 2022, arXiv 2211.13221), as a diffusers model.

An image U-Net whose transformer blocks attend to space, time, text and time again, one after the other.
Convolutions see single frames; group norms take their statistics over all frames of a video. Between modules
a video is (B, C, T, H, W) in memory with channels last, so that every fold of axes is a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.outputs import BaseOutput
from einops import rearrange
from torch import Tensor, nn

from echoreel.common.attention import (
    Attention,
    GatedFeedForward,
    RelativeAttention,
    over_caption,
    over_places,
    over_time,
)
from echoreel.common.errors import SettingsError

FEW_PLACES = 64  # of a picture, up to which CPUs convolve faster with channels first: the kernels weigh most


@dataclass
class LVDMUNetOutput(BaseOutput):
    """sample: predicted noise (B, C, T, H, W)."""

    sample: Tensor


class ResNet(nn.Module):
    """Two convolutions of each frame, with the timestep between them, and a residual."""

    def __init__(self, channels: int, out_channels: int, time_width: int, groups: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_width, out_channels)
        self.norm_out = nn.GroupNorm(groups, out_channels)
        self.conv_out = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x_BCTHW: Tensor, time_BD: Tensor) -> Tensor:
        """Video (B, C, T, H, W) and timestep embedding (B, D): video (B, C', T, H, W)."""
        inner = over_frames(self.conv_in, F.silu(self.norm_in(x_BCTHW)))
        inner = inner + rearrange(self.time(F.silu(time_BD)), "b c -> b c 1 1 1")
        inner = over_frames(self.conv_out, F.silu(self.norm_out(inner)))
        return over_frames(self.skip, x_BCTHW) + inner


class SpaceTimeAttentions(nn.Module):
    """Attention to the frame, to time, to the text, and to time again: each pre-norm with a residual.

    What follows in the block is its feed-forward, so this module's output is where Action Integration adds
    (EchoReel, section 3.3).
    """

    def __init__(self, width: int, heads: int, text_width: int, reach: int) -> None:
        super().__init__()
        head_width = width // heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.space = Attention(width, heads, head_width)
        self.time = RelativeAttention(width, heads, head_width, reach)
        self.text = Attention(width, heads, head_width, text_width)
        self.time_again = RelativeAttention(width, heads, head_width, reach)

    def forward(self, x_BTSD: Tensor, text_BLD: Tensor) -> Tensor:
        """Tokens (B, T, S, D) and text tokens (B, L, D'): tokens (B, T, S, D)."""
        norms = self.norms
        x_BTSD = x_BTSD + over_places(self.space, norms[0](x_BTSD))
        x_BTSD = x_BTSD + over_time(self.time, norms[1](x_BTSD))
        x_BTSD = x_BTSD + over_caption(self.text, norms[2](x_BTSD), text_BLD)
        return x_BTSD + over_time(self.time_again, norms[3](x_BTSD))


class SpaceTimeBlock(nn.Module):
    """The attentions, then a feed-forward."""

    def __init__(self, width: int, heads: int, text_width: int, reach: int) -> None:
        super().__init__()
        self.attentions = SpaceTimeAttentions(width, heads, text_width, reach)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = GatedFeedForward(width, 4)

    def forward(self, x_BTSD: Tensor, text_BLD: Tensor) -> Tensor:
        """Tokens (B, T, S, D) and text tokens (B, L, D'): tokens (B, T, S, D)."""
        x_BTSD = self.attentions(x_BTSD, text_BLD)
        out: Tensor = x_BTSD + self.feed(self.norm_feed(x_BTSD))
        return out


class SpaceTimeTransformer(nn.Module):
    """Blocks of attention over a video, with a residual around them all."""

    def __init__(self, width: int, heads: int, depth: int, groups: int, text_width: int, reach: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.blocks = nn.ModuleList(SpaceTimeBlock(width, heads, text_width, reach) for _ in range(depth))
        self.proj_out = nn.Linear(width, width)

    def forward(self, x_BCTHW: Tensor, text_BLD: Tensor) -> Tensor:
        """Video (B, C, T, H, W) and text tokens (B, L, D): video (B, C, T, H, W)."""
        x_BTSD = self.proj_in(rearrange(self.norm(x_BCTHW), "b c t h w -> b t (h w) c"))
        for block in self.blocks:
            x_BTSD = block(x_BTSD, text_BLD)
        found: Tensor = rearrange(self.proj_out(x_BTSD), "b t (h w) c -> b c t h w", h=x_BCTHW.shape[-2])
        return x_BCTHW + found


class Step(nn.Module):
    """One step down, in the middle or up: each part is there or not, and they run in this order."""

    def __init__(
        self,
        resnet: ResNet | None = None,
        transformer: SpaceTimeTransformer | None = None,
        resnet_after: ResNet | None = None,
        resample: nn.Conv2d | None = None,
    ) -> None:
        super().__init__()
        self.resnet = resnet
        self.transformer = transformer
        self.resnet_after = resnet_after
        self.resample = resample

    def forward(
        self, x_BCTHW: Tensor, time_BD: Tensor, text_BLD: Tensor, size: Sequence[int] | None = None
    ) -> Tensor:
        """Video, timestep embedding and text tokens: video.

        size: (T, H, W) to enlarge to before `resample`.
        """
        if self.resnet is not None:
            x_BCTHW = self.resnet(x_BCTHW, time_BD)
        if self.transformer is not None:
            x_BCTHW = self.transformer(x_BCTHW, text_BLD)
        if self.resnet_after is not None:
            x_BCTHW = self.resnet_after(x_BCTHW, time_BD)
        if self.resample is not None:
            if size is not None:
                x_BCTHW = F.interpolate(x_BCTHW, tuple(size), mode="nearest")
            x_BCTHW = over_frames(self.resample, x_BCTHW)
        return x_BCTHW


class LVDMUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The U-Net. The defaults are those of LVDM's text-to-video model at 256 x 256 pixels.

    sample_size: places to a side of the latents it was trained on; any others work. block_out_channels,
    attention_levels: a level's channels, and whether it has transformers. layers_per_block: steps of a level
    on the way down; one more on the way up. reach: frames, beyond which relative positions are all alike.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["Step"]  # type: ignore[assignment]  # noqa: RUF012  # diffusers' own name and form

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 32,
        in_channels: int = 4,
        out_channels: int = 4,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        attention_levels: Sequence[bool] = (True, True, True, False),
        layers_per_block: int = 2,
        transformer_layers: int = 1,
        attention_heads: int = 8,
        cross_attention_dim: int = 768,
        reach: int = 16,
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if len(block_out_channels) != len(attention_levels):
            raise SettingsError(
                f"got {len(block_out_channels)} block_out_channels and {len(attention_levels)} "
                f"attention_levels, need one of each per level"
            )
        first, groups = block_out_channels[0], norm_num_groups
        time_width = 4 * first

        def resnet(channels: int, out_channels: int) -> ResNet:
            return ResNet(channels, out_channels, time_width, groups)

        def transformer(width: int) -> SpaceTimeTransformer:
            return SpaceTimeTransformer(
                width, attention_heads, transformer_layers, groups, cross_attention_dim, reach
            )

        levels = [*zip(block_out_channels, attention_levels, strict=True)]
        self.time_embedding = TimestepEmbedding(first, time_width)
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        down, kept = [], [first]  # kept: channels that go over to the way up
        for level, (channels, attends) in enumerate(levels):
            if level:
                down.append(Step(resample=nn.Conv2d(kept[-1], kept[-1], 3, stride=2, padding=1)))
                kept.append(kept[-1])
            for _ in range(layers_per_block):
                down.append(Step(resnet(kept[-1], channels), transformer(channels) if attends else None))
                kept.append(channels)
        self.down = nn.ModuleList(down)
        last = kept[-1]
        self.middle = Step(resnet(last, last), transformer(last), resnet(last, last))
        up = []
        for level, (channels, attends) in reversed([*enumerate(levels)]):
            for layer in range(layers_per_block + 1):
                enlarges = level > 0 and layer == layers_per_block
                up.append(
                    Step(
                        resnet(last + kept.pop(), channels),
                        transformer(channels) if attends else None,
                        resample=nn.Conv2d(channels, channels, 3, padding=1) if enlarges else None,
                    )
                )
                last = channels
        self.up = nn.ModuleList(up)
        self.norm_out = nn.GroupNorm(groups, first)
        self.conv_out = nn.Conv2d(first, out_channels, 3, padding=1)
        self.gradient_checkpointing = False

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        return_dict: bool = True,
    ) -> LVDMUNetOutput | tuple[Tensor]:
        """Noisy latents (B, C, T, H, W), timesteps (B,) or one for all, text tokens (B, L, D): noise."""
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])
        width = self.conv_in.out_channels
        sinusoids = get_timestep_embedding(timesteps, width, flip_sin_to_cos=True, downscale_freq_shift=0)
        time_BD = self.time_embedding(sinusoids.to(sample.dtype))
        text_BLD = encoder_hidden_states.to(sample.dtype)
        x_BCTHW = sample.contiguous(memory_format=torch.channels_last_3d)

        x_BCTHW = over_frames(self.conv_in, x_BCTHW)
        kept = [x_BCTHW]
        for step in self.down:
            x_BCTHW = self._run(step, x_BCTHW, time_BD, text_BLD)
            kept.append(x_BCTHW)
        x_BCTHW = self._run(self.middle, x_BCTHW, time_BD, text_BLD)
        for step in self.up:
            x_BCTHW = torch.cat([x_BCTHW, kept.pop()], dim=1)
            size = kept[-1].shape[2:] if step.resample is not None else None
            x_BCTHW = self._run(step, x_BCTHW, time_BD, text_BLD, size)
        noise = over_frames(self.conv_out, F.silu(self.norm_out(x_BCTHW)))
        noise = noise.contiguous()
        return LVDMUNetOutput(sample=noise) if return_dict else (noise,)

    def _run(self, step: nn.Module, *inputs: Any) -> Tensor:
        """One step, whose activations are thrown away until backward with gradient checkpointing."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            checkpoint: Any = self._gradient_checkpointing_func
            checkpointed: Tensor = checkpoint(step, *inputs)
            return checkpointed
        out: Tensor = step(*inputs)
        return out


def over_frames(layer: nn.Module, x_BCTHW: Tensor) -> Tensor:
    """A layer for pictures, on each frame of a video (B, C, T, H, W)."""
    frames: Tensor = rearrange(x_BCTHW, "b c t h w -> (b t) c h w")
    if frames.device.type == "cpu" and frames.shape[-2] * frames.shape[-1] <= FEW_PLACES:
        frames = layer(frames.contiguous()).contiguous(memory_format=torch.channels_last)
    else:
        frames = layer(frames)
    return rearrange(frames, "(b t) c h w -> b c t h w", t=x_BCTHW.shape[2])
