"""The released models as their authors named things: constructor settings and the names of tensors.

Written from the names and shapes in the files alone. Every tensor of theirs is one of ours, with the same
numbers in the same order; only axes of length 1 come and go. Longer than other files: it is a list of names.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from diffusers.models.attention_processor import Attention as TheirAttention
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import ResnetBlock2D
from pydantic import PositiveInt
from torch import Tensor, nn

from echoreel.bases.ports.lvdm_unet import (
    LVDMUNet,
    ResNet,
    SpaceTimeAttentions,
    SpaceTimeBlock,
    SpaceTimeTransformer,
)
from echoreel.bases.ports.videocrafter_image_tokens import ImageProjection, ProjectionLayer, QueriesRead
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from echoreel.common.attention import Attention, GatedFeedForward, RelativeAttention
from echoreel.common.settings import Settings
from echoreel.method.adapter import ActionAdapter
from echoreel.method.dense_prism import DenseLayer, DensePrism
from echoreel.method.integration import FrameIntegration


class OriginalUNet(Settings):
    """What LVDM's and VideoCrafter's have in common."""

    in_channels: PositiveInt = 4
    out_channels: PositiveInt = 4
    model_channels: PositiveInt = 320
    channel_mult: tuple[PositiveInt, ...] = (1, 2, 4, 4)
    attention_resolutions: tuple[PositiveInt, ...] = (4, 2, 1)  # divisors of the size, not sizes
    num_res_blocks: PositiveInt = 2
    transformer_depth: PositiveInt = 1
    temporal_length: PositiveInt = 16
    """of the clips it was trained on; says nothing about VideoCrafter's weights"""
    use_checkpoint: bool = False  # how it was trained; says nothing about the weights


class OriginalLVDM(OriginalUNet):
    """Constructor settings of LVDM's U-Net; the defaults are those of the released text-to-video model."""

    image_size: PositiveInt = 32
    num_heads: PositiveInt = 8
    context_dim: PositiveInt = 768
    legacy: Literal[False] = False
    kernel_size_t: Literal[1] = 1
    padding_t: Literal[0] = 0
    use_temporal_transformer: Literal[True] = True
    use_relative_position: Literal[True] = True
    dims: Literal[3] = 3


class OriginalVideoCrafter(OriginalUNet):
    """Constructor settings of VideoCrafter's U-Nets; the defaults are those of VideoCrafter 2."""

    num_head_channels: PositiveInt = 64
    context_dim: PositiveInt = 1024
    use_image_attention: bool = False
    use_linear: Literal[True] = True
    temporal_conv: Literal[True] = True
    temporal_attention: Literal[True] = True
    temporal_selfatt_only: Literal[True] = True
    use_relative_position: Literal[False] = False
    use_causal_attention: Literal[False] = False
    addition_attention: Literal[True] = True
    fps_cond: Literal[True] = True


class OriginalPrism(Settings):
    """Constructor settings of EchoReel's Action Prism; the defaults are the released ones."""

    latent_query_dim: PositiveInt = 640
    n_heads: PositiveInt = 8
    d_head: PositiveInt = 80
    layers: PositiveInt = 18
    input_context_dim: PositiveInt = 768
    latent_context_dim: PositiveInt = 768


@dataclass(frozen=True)
class FixedLengths:
    """What EchoReel's settings do not say, so that the tensors themselves must; the defaults are as released.

    prism_reach, integration_reach: frames that relative positions reach. frame, place: channels of a frame in
    all places, and of a place in all frames.
    """

    prism_reach: int = 16
    integration_reach: int = 16
    frame: int = 4096
    place: int = 64

    @classmethod
    def of(cls, state_dict: Mapping[str, Tensor]) -> Self:
        """Those of a checkpoint by its original names; the released ones where it lacks the tensors."""

        def length(start: str, end: str, axis: int) -> int | None:
            for name, tensor in state_dict.items():
                if name.startswith(start) and name.endswith(end) and tensor.ndim > axis:
                    return tensor.shape[axis]
            return None

        table = "relative_position_k.embeddings_table"
        rows = {
            "prism_reach": length("video_inject_process.", table, 0),
            "integration_reach": length("", f"video_inject_attn3_tmp.{table}", 0),
        }
        channels = {
            "frame": length("", "video_inject_attn3_tmp.to_k.weight", 1),
            "place": length("", "video_inject_attn3.to_k.weight", 1),
        }
        found = {name: max(count // 2, 1) for name, count in rows.items() if count}
        return cls(**found, **{name: count for name, count in channels.items() if count})

    def latent_size(self, channels: int) -> tuple[int, int]:
        """Places (height, width) of the square that a frame of so many channels a place has."""
        side = max(math.isqrt(self.frame // channels), 1)
        return side, side


Parts: TypeAlias = dict[str, str]  # path in a module of ours -> path in theirs

ATTENTION: Parts = {"query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
PARTS: dict[type[nn.Module], Parts] = {
    Attention: ATTENTION,
    RelativeAttention: ATTENTION
    | {
        "relative_keys": "relative_position_k.embeddings_table",
        "relative_values": "relative_position_v.embeddings_table",
    },
    GatedFeedForward: {"gated": "net.0.proj", "out": "net.2"},
    TimestepEmbedding: {"linear_1": "0", "linear_2": "2"},
    ResNet: {
        "norm_in": "in_layers.0",
        "conv_in": "in_layers.2",
        "time": "emb_layers.1",
        "norm_out": "out_layers.0",
        "conv_out": "out_layers.3",
        "skip": "skip_connection",
    },
    SpaceTimeTransformer: {
        "norm": "norm",
        "proj_in": "proj_in",
        "blocks": "transformer_blocks",
        "proj_out": "proj_out",
    },
    SpaceTimeBlock: {"attentions": "", "norm_feed": "norm3", "feed": "ff"},
    SpaceTimeAttentions: {
        "norms.0": "norm1",
        "space": "attn1",
        "norms.1": "norm4",
        "time": "attn1_tmp",
        "norms.2": "norm2",
        "text": "attn2",
        "norms.3": "norm5",
        "time_again": "attn2_tmp",
    },
    DensePrism: {
        "captions_in": "input_to_latent",
        "latents_in": "video_to_latent",
        "layers": "net",
        "out": "latent_to_T",
    },
    DenseLayer: {
        "space": "attn1",
        "time": "attn1_tmp",
        "caption": "attn2",
        "time_again": "attn2_tmp",
        **{f"feeds.{i}": f"ff{i + 1}" for i in range(4)},
        **{f"norms.{i}": f"norm{i + 1}" for i in range(8)},
    },
    ResnetBlock2D: {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    },
    TheirAttention: {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out", "processor": ""},
    FrameIntegration: {"norm": "video_inject_norm7", "attention": "video_inject_attn3_tmp"},
    ImageProjection: {
        "queries": "latents",
        **{name: name for name in ("proj_in", "layers", "proj_out", "norm_out")},
    },
    ProjectionLayer: {"attention": "0", "feed": "1"},
    QueriesRead: {
        "norm_features": "norm1",
        "norm_queries": "norm2",
        "query": "to_q",
        "key_value": "to_kv",
        "out": "to_out",
    },
}
"""What the parts of a module are called; modules that are not here call theirs as torch does."""


def original_names(module: nn.Module, theirs: str = "", ours: str = "") -> dict[str, str]:
    """Name of each parameter of a module -> its name in a released file, where the module is `theirs`."""
    if isinstance(module, LVDMUNet):
        parts = _lvdm_parts(module)
    elif isinstance(module, VideoCrafterUNet):
        parts = _videocrafter_parts(module)
    else:
        own = [*module.named_parameters(recurse=False), *module.named_children()]
        parts = PARTS.get(type(module), {name: name for name, _ in own})
    names: dict[str, str] = {}
    for mine, other in parts.items():
        found = _part(module, mine)
        path, name = _joined(ours, mine), _joined(theirs, other)
        if isinstance(found, nn.Parameter):
            names[path] = name
        elif found is not None:
            names |= original_names(found, name, path)
    return names


def adapter_names(adapter: ActionAdapter, unet: LVDMUNet) -> dict[str, str]:
    """The same for an adapter for LVDM, whose tensors a released file has inside the U-Net."""
    base = original_names(unet)
    names = original_names(adapter.prism, "video_inject_process", "prism")
    for path, (key, layer) in zip(adapter.config["sites"], adapter.integrations.items(), strict=True):
        block = base[f"{path}.space.query.weight"].removesuffix(".attn1.to_q.weight")
        names |= original_names(layer, block, f"integrations.{key}")
    return names


def unused_names(
    adapter: ActionAdapter, unet: LVDMUNet, place: int = FixedLengths.place
) -> dict[str, tuple[int, ...]]:
    """Name and shape of what a released file has and nothing ever reads: a spatial path of the method.

    place: channels of a place in all frames.
    """
    names = adapter_names(adapter, unet)
    shapes = {name: tuple(parameter.shape) for name, parameter in adapter.named_parameters()}
    unused = {}
    for ours, theirs in names.items():
        shape = shapes[ours]
        if ".latent_to_T." in theirs:
            unused[theirs.replace("latent_to_T", "latent_to_S")] = shape
        if ".video_inject_norm7." in theirs:
            unused[theirs.replace("norm7", "norm6")] = shape
        if ".video_inject_attn3_tmp." in theirs and ".relative_position_" not in theirs:
            wide = theirs.endswith(("to_k.weight", "to_v.weight"))
            unused[theirs.replace("attn3_tmp", "attn3")] = (shape[0], place) if wide else shape
    return unused


def _lvdm_parts(unet: LVDMUNet) -> Parts:
    """The steps' numbers are one higher on the way down, and resampling has no module of its own there."""
    parts = {
        "time_embedding": "time_embed",
        "conv_in": "input_blocks.0.0",
        "middle.resnet": "middle_block.0",
        "middle.transformer": "middle_block.1",
        "middle.resnet_after": "middle_block.2",
        "norm_out": "out.0",
        "conv_out": "out.2",
    }
    for number in range(len(unet.down)):
        parts |= {f"down.{number}.resnet": f"input_blocks.{number + 1}.0"}
        parts |= {f"down.{number}.transformer": f"input_blocks.{number + 1}.1"}
        parts |= {f"down.{number}.resample": f"input_blocks.{number + 1}.0.op"}
    for number, step in enumerate(unet.up):
        last = 1 if step.transformer is None else 2
        parts |= {f"up.{number}.resnet": f"output_blocks.{number}.0"}
        parts |= {f"up.{number}.transformer": f"output_blocks.{number}.1"}
        parts |= {f"up.{number}.resample": f"output_blocks.{number}.{last}.conv"}
    return parts


def _videocrafter_parts(unet: VideoCrafterUNet) -> Parts:
    """diffusers numbers a level's layers anew; there all layers and resamplings are one list."""
    parts = {
        "time_embedding.timestep": "time_embed",
        "time_embedding.fps": "fps_embedding",
        "conv_in": "input_blocks.0.0",
        "transformer_in": "init_attn.0",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.temp_convs.0": "middle_block.0.temopral_conv",  # sic
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.temp_attentions.0": "middle_block.2",
        "mid_block.resnets.1": "middle_block.3",
        "mid_block.temp_convs.1": "middle_block.3.temopral_conv",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    for way, theirs, count in (("down_blocks", "input_blocks", 1), ("up_blocks", "output_blocks", 0)):
        for level, block in enumerate(getattr(unet, way)):
            ours, attends = f"{way}.{level}", hasattr(block, "attentions")
            for layer in range(len(block.resnets)):
                parts[f"{ours}.resnets.{layer}"] = f"{theirs}.{count}.0"
                parts[f"{ours}.temp_convs.{layer}"] = f"{theirs}.{count}.0.temopral_conv"
                if attends:
                    parts[f"{ours}.attentions.{layer}"] = f"{theirs}.{count}.1"
                    parts[f"{ours}.temp_attentions.{layer}"] = f"{theirs}.{count}.2"
                count += 1
            if getattr(block, "downsamplers", None) is not None:
                parts[f"{ours}.downsamplers.0.conv"] = f"{theirs}.{count}.0.op"
                count += 1
            if getattr(block, "upsamplers", None) is not None:  # in the list entry of the layer before
                parts[f"{ours}.upsamplers.0.conv"] = f"{theirs}.{count - 1}.{3 if attends else 1}.conv"
    return parts


def _part(module: nn.Module, path: str) -> nn.Module | nn.Parameter | None:
    owner, _, name = path.rpartition(".")
    found = getattr(module.get_submodule(owner), name)
    return found if isinstance(found, nn.Module | nn.Parameter) else None


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)
