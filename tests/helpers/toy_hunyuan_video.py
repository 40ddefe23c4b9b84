"""A toy of HunyuanVideo; latents and captions are as in toy_bases.py."""

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from tokenizers import Regex, normalizers
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from helpers.toy_models import alive, quiet, toy_tokenizer


def toy_hunyuan_vae() -> AutoencoderKLHunyuanVideo:
    """That of HunyuanVideo 1.0 and of Kandinsky 5."""
    return AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    ).eval()


def toy_hunyuan_video() -> HunyuanVideoPipeline:
    """2 blocks with two streams and 2 with one, of width 16."""
    torch.manual_seed(0)
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        pooled_projection_dim=16,
        rope_axes_dim=(2, 2, 4),
    )
    vae = toy_hunyuan_vae()
    tokenizer = template_tokenizer()
    words = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    summary = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=2,
        eos_token_id=3,
    )
    return quiet(
        HunyuanVideoPipeline(
            text_encoder=LlamaModel(words).eval(),
            tokenizer=tokenizer,
            transformer=alive(transformer),
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
            text_encoder_2=CLIPTextModel(summary).eval(),
            tokenizer_2=toy_tokenizer(),
        )
    )


def template_tokenizer(
    before: str = r"(?m)\A.*user<\|end_header_id\|>\s*", tokens: int = 95, after: str = "<|eot_id|>"
) -> PreTrainedTokenizerFast:
    """To which the words before a prompt are so many tokens, as to the real one: they are cut off."""
    tokenizer = toy_tokenizer()
    cut = normalizers.Replace(Regex(before), "the " * (tokens - 1))
    steps = [cut, normalizers.Replace(after, ""), normalizers.Lowercase()]
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer
