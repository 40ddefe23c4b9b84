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

from helpers.toy_models import BLOCKS, ENDS, WORDS_NETWORK, alive, quiet, toy_tokenizer


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
        **BLOCKS,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        pooled_projection_dim=16,
        rope_axes_dim=(2, 2, 4),
    )
    vae, tokenizer = toy_hunyuan_vae(), template_tokenizer()
    size = WORDS_NETWORK | {"num_hidden_layers": 3, "num_key_value_heads": 2}
    words = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, **size)
    return quiet(
        HunyuanVideoPipeline(
            text_encoder=LlamaModel(words).eval(),
            tokenizer=tokenizer,
            transformer=alive(transformer),
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
            text_encoder_2=toy_clip(len(tokenizer)),
            tokenizer_2=toy_tokenizer(),
        )
    )


def toy_clip(words: int) -> CLIPTextModel:
    """That of HunyuanVideo 1.0 and of Kandinsky 5."""
    return CLIPTextModel(CLIPTextConfig(vocab_size=words, **WORDS_NETWORK, **ENDS)).eval()


def template_tokenizer(
    before: str = r"(?m)\A.*user<\|end_header_id\|>\s*", tokens: int = 95, after: str = "<|eot_id|>"
) -> PreTrainedTokenizerFast:
    """To which the words before a prompt are so many tokens, as to the real one: they are cut off."""
    tokenizer = toy_tokenizer()
    cut = normalizers.Replace(Regex(before), "the " * (tokens - 1))
    steps = [cut, normalizers.Replace(after, ""), normalizers.Lowercase()]
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer
