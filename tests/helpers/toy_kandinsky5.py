"""Toys of Kandinsky 5; latents and captions are as in toy_bases.py."""

from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Kandinsky5I2VPipeline,
    Kandinsky5T2VPipeline,
    Kandinsky5Transformer3DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from helpers.toy_hunyuan_video import template_tokenizer, toy_clip, toy_hunyuan_vae
from helpers.toy_models import ENDS, WORDS_NETWORK, alive, quiet, toy_tokenizer

BEFORE = r"(?m)\A.*<\|im_start\|>user\s*"  # a prompt, in 128 tokens


def toy_kandinsky() -> Kandinsky5T2VPipeline:
    """2 blocks of width 16. As the published ones, it has places for a first frame, which stay empty."""
    return quiet(Kandinsky5T2VPipeline(**kandinsky_parts()))


def toy_kandinsky_i2v() -> Kandinsky5I2VPipeline:
    return quiet(Kandinsky5I2VPipeline(**kandinsky_parts()))


def kandinsky_parts() -> dict[str, Any]:
    torch.manual_seed(0)
    transformer = Kandinsky5Transformer3DModel(
        in_text_dim=16,
        in_text_dim2=16,
        time_dim=16,
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 2, 2),
        visual_cond=True,
    )
    for name, parameter in transformer.named_parameters():
        if name.endswith("_norm.weight"):  # of queries and keys, which it rounds to bfloat16 in every dtype
            torch.nn.init.constant_(parameter, 0.1)  # small, so that a batch's last bits do not show
    vae, tokenizer = toy_hunyuan_vae(), template_tokenizer(BEFORE, 128, "<|im_end|>")
    return {
        "transformer": alive(transformer),
        "vae": vae,
        "text_encoder": toy_qwen(len(tokenizer)),
        "tokenizer": tokenizer,
        "text_encoder_2": toy_clip(len(tokenizer)),
        "tokenizer_2": toy_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0),
    }


def toy_qwen(words: int) -> Qwen2_5_VLForConditionalGeneration:
    text = (
        WORDS_NETWORK
        | ENDS
        | {
            "vocab_size": words,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        }
    )
    vision = {"hidden_size": 16, "intermediate_size": 16, "depth": 1, "num_heads": 2, "out_hidden_size": 16}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)).eval()
