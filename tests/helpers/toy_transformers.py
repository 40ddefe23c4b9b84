"""Toys of the transformer families; latents and captions are as in toy_bases.py."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    ClassifierFreeGuidance,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    LattePipeline,
    LatteTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import (
    ByT5Tokenizer,
    CLIPVisionModel,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from helpers.quick_copies import quick_copies
from helpers.toy_models import BLOCKS, FRAMES, WORDS_NETWORK, alive, quiet, toy_eye, toy_tokenizer, toy_vae

WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 4,
    "rope_max_seq_len": 32,
}
WAN_VAE: dict[str, Any] = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "latents_mean": [0.1, 0.2, 0.3, 0.4],
    "latents_std": [0.5, 0.6, 0.7, 0.8],
}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@quick_copies
def toy_wan(seed: int = 0, **more: Any) -> WanPipeline:
    """4 blocks of width 24."""
    return quiet(WanPipeline(**wan_parts(seed), transformer=wan_transformer(seed), **more))


def toy_wan_22() -> WanPipeline:
    """Two transformers: the second one takes over below a timestep of 875."""
    return toy_wan(transformer_2=wan_transformer(1), boundary_ratio=0.875)


def toy_wan_i2v() -> WanImageToVideoPipeline:
    transformer = wan_transformer(0, in_channels=12, image_dim=16, added_kv_proj_dim=24)
    return quiet(WanImageToVideoPipeline(**wan_parts(0), **wan_eye(), transformer=transformer))


def wan_eye() -> dict[str, Any]:
    eye = toy_eye()
    encoder = CLIPVisionModel(eye["image_encoder"].config).eval()
    return {"image_encoder": encoder, "image_processor": eye["feature_extractor"]}


def wan_transformer(seed: int, **more: Any) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    return alive(WanTransformer3DModel(**(WAN | more)))


def wan_parts(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(**WAN_VAE, scale_factor_spatial=4)
    tokenizer = toy_tokenizer()
    text_encoder = UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), **T5))
    return {
        "vae": vae.eval(),
        "tokenizer": tokenizer,
        "text_encoder": text_encoder.eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def toy_ltx() -> LTXPipeline:
    """4 blocks of width 16."""
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        cross_attention_dim=16, num_layers=4, caption_channels=16, **BLOCKS
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05)
    return quiet(
        LTXPipeline(**t5_parts(), vae=vae.eval(), transformer=alive(transformer), scheduler=scheduler)
    )


def toy_cog() -> CogVideoXPipeline:
    """4 blocks of width 32."""
    return quiet(CogVideoXPipeline(**cog_parts(), transformer=cog_transformer(4)))


def toy_cog_i2v() -> CogVideoXImageToVideoPipeline:
    return quiet(CogVideoXImageToVideoPipeline(**cog_parts(), transformer=cog_transformer(8)))


def cog_transformer(in_channels: int) -> CogVideoXTransformer3DModel:
    torch.manual_seed(0)
    return alive(
        CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=in_channels,
            out_channels=4,
            time_embed_dim=16,
            text_embed_dim=16,
            num_layers=4,
            sample_width=8,
            sample_height=8,
            sample_frames=13,
            use_rotary_positional_embeddings=True,
        )
    )


def cog_parts() -> dict[str, Any]:
    parts = t5_parts()
    torch.manual_seed(1)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.7,
    )
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        snr_shift_scale=3.0,
    )
    return {**parts, "vae": vae.eval(), "scheduler": scheduler}


def t5_parts() -> dict[str, Any]:
    torch.manual_seed(2)
    tokenizer = toy_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": T5EncoderModel(T5Config(vocab_size=len(tokenizer), **T5)).eval(),
    }


def toy_hunyuan() -> HunyuanVideo15Pipeline:
    """4 blocks of width 16."""
    torch.manual_seed(0)
    transformer = HunyuanVideo15Transformer3DModel(
        num_layers=4,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        text_embed_2_dim=16,
        image_embed_dim=16,
        rope_axes_dim=(2, 2, 4),
        task_type="t2v",
        **(BLOCKS | {"in_channels": 9}),
    )
    vae = AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
    )
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    words = Qwen2_5_VLTextConfig(
        vocab_size=len(tokenizer),
        **(WORDS_NETWORK | {"num_hidden_layers": 3, "num_key_value_heads": 2}),
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    )
    pipe = HunyuanVideo15Pipeline(
        text_encoder=Qwen2_5_VLTextModel(words).eval(),
        tokenizer=tokenizer,
        transformer=alive(transformer),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=T5EncoderModel(T5Config(vocab_size=384, **T5)).eval(),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    )
    return quiet(shorten(pipe))


def toy_latte() -> LattePipeline:
    """2 pairs of blocks of width 16."""
    torch.manual_seed(0)
    transformer = LatteTransformer3DModel(
        num_layers=2,
        cross_attention_dim=16,
        attention_bias=True,
        sample_size=8,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        caption_channels=16,
        video_length=FRAMES,
        **(BLOCKS | {"out_channels": 8}),
    )
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    return quiet(
        LattePipeline(**t5_parts(), vae=toy_vae(), transformer=alive(transformer), scheduler=scheduler)
    )


def shorten(pipe: Any) -> Any:
    """Few tokens, where HunyuanVideo 1.5 has fixed 2,000: its pipeline keeps them in attributes."""
    if isinstance(pipe, HunyuanVideo15Pipeline):
        pipe.system_message, pipe.prompt_template_encode_start_idx = "a person", 3
        pipe.tokenizer_max_length, pipe.tokenizer_2_max_length = 16, 2
        pipe.vision_num_semantic_tokens = 2
    return pipe
