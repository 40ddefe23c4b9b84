"""Toy bases: the real diffusers and transformers classes, tiny and with random weights, made in a second."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, UNetMotionModel
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerFast,
)

from echoreel.bases.ports.lvdm_pipeline import LVDMPipeline
from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.method.adapter import ActionAdapter
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.integration import IntegrationSettings
from helpers.quick_copies import quick_copies

WORDS = "a man woman person in red blue green coat sweater doing dancing jumping cartwheel on the beach park"
SPECIAL = ("[PAD]", "[UNK]", "[BOS]", "[EOS]")
FRAMES = 4  # of the videos that the toys make in tests
UNET_3D: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "attention_head_dim": 4,
}
"""Of U-Nets with whole blocks of time and space."""
MOTION: dict[str, Any] = {
    "sample_size": 8,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "num_attention_heads": 2,
    "motion_num_attention_heads": 2,
}
"""Of AnimateDiff's U-Nets."""
WORDS_NETWORK = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
"""Of encoders of text and pictures."""
ENDS = {"bos_token_id": 2, "eos_token_id": 3}
"""Of the tokenizer below."""
BLOCKS = {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8}
"""Of transformers of width 16."""


def toy_tokenizer() -> PreTrainedTokenizerFast:
    """Words above, letters for the rest."""
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    pieces = [*SPECIAL, *dict.fromkeys([*WORDS.split(), *letters]), *("##" + letter for letter in letters)]
    tokenizer = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        model_max_length=16,
    )


def toy_unet(seed: int = 0) -> UNetMotionModel:
    """Latents (B, 4, T, 8, 8), captions of width 16; 7 sites of width 8 and 16."""
    torch.manual_seed(seed)
    return UNetMotionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        motion_max_seq_length=32,
        **MOTION,
    ).eval()


def toiest_unet() -> UNetMotionModel:
    """As `toy_unet` with one level and 4 sites: for torch.compile, which is slow."""
    torch.manual_seed(0)
    return UNetMotionModel(
        block_out_channels=(8,),
        down_block_types=("DownBlockMotion",),
        up_block_types=("UpBlockMotion",),
        **MOTION,
    ).eval()


def toy_lvdm(seed: int = 0) -> LVDMUNet:
    """Latents (B, 4, T, 8, 8), captions of width 16; 6 sites of width 8 and 16."""
    torch.manual_seed(seed)
    return LVDMUNet(
        sample_size=8,
        block_out_channels=(8, 16),
        attention_levels=(True, False),
        layers_per_block=2,
        attention_heads=2,
        cross_attention_dim=16,
        reach=2,
        norm_num_groups=4,
    ).eval()


@quick_copies
def toy_pipeline(seed: int = 0, unet: UNetMotionModel | None = None) -> AnimateDiffPipeline:
    """Videos of 32 x 32 pixels, latents (B, 4, T, 8, 8)."""
    unet = unet or toy_unet(seed)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return quiet(
        AnimateDiffPipeline(**toy_encoders(seed), unet=unet, motion_adapter=None, scheduler=scheduler)
    )


@quick_copies
def toy_lvdm_pipeline(seed: int = 0) -> LVDMPipeline:
    """As `toy_pipeline`, on LVDM's U-Net."""
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False)
    return quiet(LVDMPipeline(**toy_encoders(seed), unet=toy_lvdm(seed), scheduler=scheduler))


def toy_encoders(seed: int = 0) -> dict[str, Any]:
    """An autoencoder from 4 x 4 pixels to a place, a tokenizer and a text encoder of width 16."""
    return {"vae": toy_vae(seed), **toy_text(seed)}


def toy_vae(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed + 1)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
        sample_size=32,
        scaling_factor=0.5,
    )
    return vae.eval()


def toy_text(seed: int = 0) -> dict[str, Any]:
    """A tokenizer and a CLIP text encoder of width 16."""
    torch.manual_seed(seed + 2)
    tokenizer = toy_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=16, pad_token_id=0, **WORDS_NETWORK, **ENDS
    )
    return {"text_encoder": CLIPTextModel(text).eval(), "tokenizer": tokenizer}


def toy_eye() -> dict[str, Any]:
    """CLIP's image encoder and what prepares pictures for it."""
    torch.manual_seed(3)
    config = CLIPVisionConfig(projection_dim=16, image_size=224, patch_size=112, **WORDS_NETWORK)
    size = {"height": 224, "width": 224}
    return {
        "image_encoder": CLIPVisionModelWithProjection(config).eval(),
        "feature_extractor": CLIPImageProcessor(crop_size=size, size=size),
    }


def alive(denoiser: Any) -> Any:
    """No weight is zero, as in a trained one: some fresh layers are."""
    for parameter in denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return denoiser.eval()


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def toy_inputs(batch: int = 1, frames: int = FRAMES, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents (B, 4, T, 8, 8), timesteps (B,) and captions (B, 16, 16) for `toy_unet`."""
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(batch, 4, frames, 8, 8, generator=generator)
    timesteps = torch.randint(0, 1000, (batch,), generator=generator)
    return noisy, timesteps, torch.randn(batch, 16, 16, generator=generator)


def toy_adapter(base: object, seed: int = 0) -> ActionAdapter:
    """A small adapter that acts as a trained one does: no layer of it is zero."""
    prism = CompactPrismSettings(width=16, depth=1, heads=2, slots=4, token_width=8)
    torch.manual_seed(seed)
    adapter = ActionAdapter.for_base(
        base, prism=prism, integration=IntegrationSettings(heads=2, feed_forward=6)
    )
    for integration in adapter.integrations.values():
        last = integration.feed or integration.attention
        nn.init.normal_(last.out.weight, std=0.3)
    return adapter


def toy_tokens(adapter: ActionAdapter, batch: int = 1, frames: int = FRAMES, seed: int = 0) -> Tensor:
    """Action tokens of random references, without gradients."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, 4, frames, 8, 8, generator=generator)
    with torch.no_grad():
        return adapter.encode(latents, torch.randn(batch, 5, 16, generator=generator))


def changed(file: Path, **values: Any) -> None:
    """Have a .json say other values."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def save_toys(folder: Path) -> None:
    """A base and an adapter for it, as folders `base` and `adapter`."""
    pipe = toy_pipeline()
    pipe.save_pretrained(folder / "base")
    toy_adapter(pipe).save_pretrained(folder / "adapter")
