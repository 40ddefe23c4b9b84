"""Denoisers at their published sizes, from configuration alone: random weights, nothing is downloaded."""

from collections.abc import Callable
from typing import Any

from diffusers import (
    CogVideoXTransformer3DModel,
    HunyuanVideo15Transformer3DModel,
    I2VGenXLUNet,
    LTXVideoTransformer3DModel,
    UNet3DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
    WanTransformer3DModel,
)

from echoreel.backbones.lvdm import LVDMUNet
from echoreel.backbones.videocrafter import VideoCrafterUNet


def modelscope() -> Any:
    return UNet3DConditionModel()


def animatediff() -> Any:
    """Stable Diffusion 1.5 with motion modules of version 2."""
    return UNetMotionModel(cross_attention_dim=768, motion_num_attention_heads=8, use_motion_mid_block=True)


def wan_1b(**more: Any) -> Any:
    return WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30, **more)


def wan_14b(**more: Any) -> Any:
    return WanTransformer3DModel(**more)


def wan_14b_i2v() -> Any:
    return wan_14b(in_channels=36, image_dim=1280, added_kv_proj_dim=5120)


def cogvideox_5b() -> Any:
    return CogVideoXTransformer3DModel(
        num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True
    )


FULL: dict[str, Callable[[], Any]] = {
    "LVDM": LVDMUNet,
    "VideoCrafter": VideoCrafterUNet,
    "AnimateDiff": animatediff,
    "ModelScope": modelscope,
    "I2VGen-XL": I2VGenXLUNet,
    "Stable Video Diffusion": UNetSpatioTemporalConditionModel,
    "Wan 2.1 1.3B": wan_1b,
    "Wan 2.1 14B": wan_14b,
    "Wan 2.1 14B I2V": wan_14b_i2v,
    "LTX-Video": LTXVideoTransformer3DModel,
    "CogVideoX 2B": CogVideoXTransformer3DModel,
    "CogVideoX 5B": cogvideox_5b,
    "HunyuanVideo 1.5": HunyuanVideo15Transformer3DModel,
}
"""Wan 2.2 A14B is two of Wan 2.1 14B, which share one adapter."""
