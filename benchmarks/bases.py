"""Denoisers at their published sizes, from configuration alone: random weights, nothing is downloaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diffusers import (
    CogVideoXTransformer3DModel,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoTransformer3DModel,
    I2VGenXLUNet,
    Kandinsky5Transformer3DModel,
    LatteTransformer3DModel,
    LTX2VideoTransformer3DModel,
    LTXVideoTransformer3DModel,
    MochiTransformer3DModel,
    SanaVideoTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    UNet3DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)

from echoreel.bases.known_bases import KANDINSKY_LITE, WAN_1_3B, WAN_5B
from echoreel.bases.loading import load_base
from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet

RELEASED = "names and shapes of the released file"
AUTHORS = "compared with the authors' configuration"
DEFAULT = "diffusers' default of its class"
MEMORY = "from memory"


@dataclass(frozen=True)
class Full:
    """A denoiser at its published size. told: where that is from."""

    kind: Callable[..., Any]
    told: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        return self.kind(**self.config)


LATTE = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "cross_attention_dim": 1152,
    "attention_bias": True,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
    "caption_channels": 4096,
}

FULL: dict[str, Full] = {
    "LVDM": Full(LVDMUNet, RELEASED),
    "VideoCrafter": Full(VideoCrafterUNet, RELEASED),
    "AnimateDiff": Full(
        UNetMotionModel,
        MEMORY,  # Stable Diffusion 1.5 with motion modules of version 2
        {"cross_attention_dim": 768, "motion_num_attention_heads": 8, "use_motion_mid_block": True},
    ),
    "ModelScope": Full(UNet3DConditionModel, DEFAULT),
    "I2VGen-XL": Full(I2VGenXLUNet, DEFAULT),
    "Stable Video Diffusion": Full(UNetSpatioTemporalConditionModel, DEFAULT),
    "Wan 2.1 1.3B": Full(WanTransformer3DModel, AUTHORS, WAN_1_3B),
    "Wan 2.1 14B": Full(WanTransformer3DModel, AUTHORS),
    "Wan 2.1 14B I2V": Full(
        WanTransformer3DModel, MEMORY, {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
    ),
    "Wan 2.2 5B": Full(WanTransformer3DModel, AUTHORS, WAN_5B),
    "Wan VACE 1.3B": Full(WanVACETransformer3DModel, MEMORY, {**WAN_1_3B, "vace_layers": [*range(0, 30, 2)]}),
    "SkyReels V2 14B": Full(
        SkyReelsV2Transformer3DModel, MEMORY, {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
    ),
    "LTX-Video": Full(LTXVideoTransformer3DModel, DEFAULT),
    "LTX-2": Full(LTX2VideoTransformer3DModel, DEFAULT),
    "CogVideoX 2B": Full(CogVideoXTransformer3DModel, DEFAULT),
    "CogVideoX 5B": Full(
        CogVideoXTransformer3DModel,
        AUTHORS,
        {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True},
    ),
    "HunyuanVideo": Full(HunyuanVideoTransformer3DModel, DEFAULT),
    "HunyuanVideo 1.5": Full(HunyuanVideo15Transformer3DModel, DEFAULT),
    "Kandinsky 5 Lite": Full(Kandinsky5Transformer3DModel, AUTHORS, KANDINSKY_LITE),
    "Mochi": Full(MochiTransformer3DModel, DEFAULT),
    "Sana-Video 2B": Full(SanaVideoTransformer3DModel, AUTHORS, {"mlp_ratio": 3.0}),
    "Latte": Full(LatteTransformer3DModel, MEMORY, LATTE),
}
"""Wan 2.2 A14B is two of Wan 2.1 14B, which share one adapter."""


@dataclass(frozen=True)
class Case:
    """A denoiser and the shape of what it is shown."""

    build: Callable[[], Any]
    latents: tuple[int, int, int, int]  # channels, frames, height, width
    captions: tuple[int, int]  # tokens, width


UNET = {"block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 64, "sample_size": 16}


def toy_modelscope() -> Any:
    blocks = ("CrossAttnDownBlock3D", "DownBlock3D"), ("UpBlock3D", "CrossAttnUpBlock3D")
    return UNet3DConditionModel(**UNET, down_block_types=blocks[0], up_block_types=blocks[1])


def toy_animatediff() -> Any:
    blocks = ("CrossAttnDownBlockMotion", "DownBlockMotion"), ("UpBlockMotion", "CrossAttnUpBlockMotion")
    return UNetMotionModel(**UNET, down_block_types=blocks[0], up_block_types=blocks[1])


def toy_wan() -> Any:
    return WanTransformer3DModel(num_attention_heads=4, attention_head_dim=32, ffn_dim=512, num_layers=6)


def toy_ltx() -> Any:
    return LTXVideoTransformer3DModel(
        num_attention_heads=4, attention_head_dim=32, cross_attention_dim=128, num_layers=6
    )


CASES: dict[str, dict[str, Case]] = {
    "full": {
        "modelscope": Case(FULL["ModelScope"].build, (4, 16, 32, 32), (77, 1024)),  # 16 frames of 256 x 256
        "animatediff": Case(FULL["AnimateDiff"].build, (4, 16, 64, 64), (77, 768)),  # 16 frames of 512 x 512
        "wan": Case(FULL["Wan 2.1 1.3B"].build, (16, 21, 60, 104), (512, 4096)),  # 81 frames of 480 x 832
        "ltx": Case(LTXVideoTransformer3DModel, (128, 21, 16, 22), (128, 4096)),  # 161 frames of 512 x 704
    },
    "small": {  # whole models on a quarter or less of the places, for a CPU
        "modelscope": Case(FULL["ModelScope"].build, (4, 16, 16, 16), (77, 1024)),  # 16 frames of 128 x 128
        "wan": Case(FULL["Wan 2.1 1.3B"].build, (16, 5, 30, 52), (512, 4096)),  # 17 frames of 240 x 416
    },
    "toy": {
        "modelscope": Case(toy_modelscope, (4, 8, 16, 16), (77, 64)),
        "animatediff": Case(toy_animatediff, (4, 8, 16, 16), (77, 64)),
        "wan": Case(toy_wan, (16, 5, 16, 16), (64, 4096)),
        "ltx": Case(toy_ltx, (128, 5, 8, 8), (64, 4096)),
        "embedded": Case(lambda: load_base(device="cpu").unet, (8, 16, 8, 8), (32, 128)),
    },
}
CASES["full"]["embedded"] = CASES["toy"]["embedded"]
