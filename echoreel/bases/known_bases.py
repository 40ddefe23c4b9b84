"""Published bases by short names, with the configurations of their parts: sized without any download.

What is not told here is as diffusers has it by default, which for most classes is the published model. None
was compared with the files on the hub; docs/bases.md says which sizes were compared with what.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import transformers

Parts = dict[str, Any]
d: Any = diffusers  # both load what they are asked for, untyped
t: Any = transformers


@dataclass(frozen=True)
class KnownBase:
    """A published base. make: its pipeline without tokenizers; call it where weights take no memory."""

    hub_id: str
    make: Callable[[], Any]


def _umt5() -> Any:
    return t.UMT5EncoderModel(t.UMT5Config(vocab_size=256384, **_XXL))


def _t5() -> Any:
    return t.T5EncoderModel(t.T5Config(vocab_size=32128, **_XXL))


_XXL: Parts = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}


def _clip(width: int, layers: int, heads: int) -> Any:
    config = t.CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads
    )
    return t.CLIPTextModel(config)


def _sd_vae() -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return d.AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **blocks)


WAN_1_3B: Parts = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
WAN_5B: Parts = {
    "num_attention_heads": 24,
    "ffn_dim": 14336,
    "num_layers": 30,
    "in_channels": 48,
    "out_channels": 48,
}
_WAN_5B_VAE: Parts = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}


def _wan(config: Parts, vae: Parts, two: bool = False, **more: Any) -> Any:
    return d.WanPipeline(
        tokenizer=None,
        text_encoder=_umt5(),
        vae=d.AutoencoderKLWan(**vae),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
        transformer=d.WanTransformer3DModel(**config),
        transformer_2=d.WanTransformer3DModel(**config) if two else None,
        **more,
    )


def _ltx() -> Any:
    return d.LTXPipeline(
        d.FlowMatchEulerDiscreteScheduler(),
        d.AutoencoderKLLTXVideo(),
        _t5(),
        None,
        d.LTXVideoTransformer3DModel(),
    )


def _kandinsky5() -> Any:
    text = {
        **{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "vocab_size": 152064},
        **{"num_attention_heads": 28, "num_key_value_heads": 4},
    }
    vision = {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}
    return d.Kandinsky5T2VPipeline(
        transformer=d.Kandinsky5Transformer3DModel(**KANDINSKY_LITE),
        vae=d.AutoencoderKLHunyuanVideo(),
        text_encoder=t.Qwen2_5_VLForConditionalGeneration(
            t.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
        ),
        tokenizer=None,
        text_encoder_2=_clip(768, 12, 12),
        tokenizer_2=None,
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=5.0),
    )


KANDINSKY_LITE: Parts = {
    "in_visual_dim": 16,
    "out_visual_dim": 16,
    "model_dim": 1792,
    "ff_dim": 7168,
    "visual_cond": True,
}


def _mochi() -> Any:
    return d.MochiPipeline(
        scheduler=d.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        vae=d.AutoencoderKLMochi(),
        text_encoder=_t5(),
        tokenizer=None,
        transformer=d.MochiTransformer3DModel(),
    )


def _sana_video() -> Any:
    return d.SanaVideoPipeline(
        tokenizer=None,
        text_encoder=t.Gemma2Model(t.Gemma2Config()),
        vae=d.AutoencoderKLWan(),
        transformer=d.SanaVideoTransformer3DModel(mlp_ratio=3.0),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=8.0),
    )


def _cogvideox(**config: Any) -> Any:
    transformer = d.CogVideoXTransformer3DModel(**config)
    return d.CogVideoXPipeline(
        None, _t5(), d.AutoencoderKLCogVideoX(), transformer, d.CogVideoXDDIMScheduler()
    )


def _animatediff() -> Any:
    unet = d.UNetMotionModel(sample_size=64, cross_attention_dim=768)
    return d.AnimateDiffPipeline(_sd_vae(), _clip(768, 12, 12), None, unet, None, d.DDIMScheduler())


def _modelscope() -> Any:
    unet = d.UNet3DConditionModel(sample_size=32)
    return d.TextToVideoSDPipeline(_sd_vae(), _clip(1024, 23, 16), None, unet, d.DDIMScheduler())


KNOWN: dict[str, KnownBase] = {
    "wan-1.3b": KnownBase("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", lambda: _wan(WAN_1_3B, {})),
    "wan-14b": KnownBase("Wan-AI/Wan2.1-T2V-14B-Diffusers", lambda: _wan({}, {})),
    "wan2.2-5b": KnownBase("Wan-AI/Wan2.2-TI2V-5B-Diffusers", lambda: _wan(WAN_5B, _WAN_5B_VAE)),
    "wan2.2-a14b": KnownBase(
        "Wan-AI/Wan2.2-T2V-A14B-Diffusers", lambda: _wan({}, {}, two=True, boundary_ratio=0.875)
    ),
    "ltx": KnownBase("Lightricks/LTX-Video", _ltx),
    "cogvideox-2b": KnownBase("zai-org/CogVideoX-2b", _cogvideox),
    "cogvideox-5b": KnownBase(
        "zai-org/CogVideoX-5b",
        lambda: _cogvideox(num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True),
    ),
    "kandinsky5-lite": KnownBase("kandinskylab/Kandinsky-5.0-T2V-Lite-sft-5s-Diffusers", _kandinsky5),
    "mochi": KnownBase("genmo/mochi-1-preview", _mochi),
    "sana-video": KnownBase("Efficient-Large-Model/SANA-Video_2B_480p_diffusers", _sana_video),
    "animatediff": KnownBase("./animatediff", _animatediff),  # a folder that users put together
    "modelscope": KnownBase("ali-vilab/text-to-video-ms-1.7b", _modelscope),
}


def known_base(name: str) -> KnownBase | None:
    """By its short name or its hub id."""
    ids = {each.hub_id: each for each in KNOWN.values()}
    return KNOWN.get(name.lower()) or ids.get(name)
