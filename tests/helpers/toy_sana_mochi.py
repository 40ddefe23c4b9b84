"""Toys of Sana-Video and Mochi; latents and captions are as in toy_bases.py."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLMochi,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    MochiPipeline,
    MochiTransformer3DModel,
    SanaImageToVideoPipeline,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)
from transformers import Gemma2Config, Gemma2Model

from helpers.toy_models import ENDS, WORDS_NETWORK, alive, quiet
from helpers.toy_transformers import t5_parts, wan_parts


def toy_sana() -> SanaVideoPipeline:
    """2 blocks of width 24."""
    return quiet(SanaVideoPipeline(**sana_parts()))


def toy_sana_i2v() -> SanaImageToVideoPipeline:
    return quiet(SanaImageToVideoPipeline(**sana_parts()))


def sana_parts() -> dict[str, Any]:
    parts = wan_parts(0)
    transformer = SanaVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=16,
        mlp_ratio=1.0,
        rope_max_seq_len=32,
    )
    words = Gemma2Config(
        vocab_size=len(parts["tokenizer"]), num_key_value_heads=1, head_dim=8, **WORDS_NETWORK, **ENDS
    )
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
    )
    return parts | {
        "transformer": alive(transformer),
        "text_encoder": Gemma2Model(words).eval(),
        "scheduler": scheduler,
    }


def toy_mochi() -> MochiPipeline:
    """2 blocks of width 16."""
    torch.manual_seed(0)
    transformer = MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=4,
        text_embed_dim=16,
        time_embed_dim=16,
        max_sequence_length=16,
    )
    vae = AutoencoderKLMochi(
        latent_channels=4,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        add_attention_block=(False,) * 5,
        latents_mean=None,
        latents_std=None,
        scaling_factor=0.7,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    return quiet(
        MochiPipeline(**t5_parts(), vae=vae.eval(), transformer=alive(transformer), scheduler=scheduler)
    )
