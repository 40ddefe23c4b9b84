"""A toy of LTX-2; latents and captions are as in toy_bases.py."""

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from helpers.toy_models import BLOCKS, alive, quiet, toy_tokenizer

LAYERS = 2  # of the language model


def toy_ltx2() -> LTX2Pipeline:
    """4 blocks of width 16 for video and 8 for audio, whose latents are 2 channels of 2 bins."""
    torch.manual_seed(0)
    transformer = LTX2VideoTransformer3DModel(
        cross_attention_dim=16,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=4,
        caption_channels=16,
        vae_scale_factors=(4, 4, 4),
        perturbed_attn=True,
        **BLOCKS,
    )
    return quiet(
        LTX2Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05
            ),
            vae=toy_video_vae(),
            audio_vae=toy_audio_vae(),
            text_encoder=toy_gemma(),
            tokenizer=toy_tokenizer(),
            connectors=toy_connectors(),
            transformer=alive(transformer),
            vocoder=toy_vocoder(),
        )
    )


def toy_video_vae() -> AutoencoderKLLTX2Video:
    vae = AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8),
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal",) * 2,
        upsample_type=("spatiotemporal",) * 2,
        upsample_residual=(False, False),
        upsample_factor=(1, 1),
        patch_size=1,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
    )
    return vae.eval()


def toy_audio_vae() -> AutoencoderKLLTX2Audio:
    vae = AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1, 1, 1), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=8
    )
    return vae.eval()


def toy_gemma() -> Gemma3ForConditionalGeneration:
    text = {
        "vocab_size": len(toy_tokenizer()),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 16,
        "patch_size": 8,
    }
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    ).eval()


def toy_connectors() -> LTX2TextConnectors:
    heads = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_learnable_registers": 8}
    return LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=LAYERS + 1,
        **{
            f"{stream}_connector_{name}": value
            for stream in ("video", "audio")
            for name, value in heads.items()
        },
    ).eval()


def toy_vocoder() -> LTX2Vocoder:
    return LTX2Vocoder(
        in_channels=16,
        hidden_channels=8,
        upsample_kernel_sizes=[4],
        upsample_factors=[2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1]],
    ).eval()
