"""Toys of VideoCrafter: the real classes, tiny and with random weights; and OpenCLIP's of torch's parts."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from echoreel.bases.ports.videocrafter_image_tokens import ImageProjection
from echoreel.bases.ports.videocrafter_pipelines import VideoCrafterImagePipeline, VideoCrafterPipeline
from echoreel.bases.ports.videocrafter_scheduler import ScaledDDIMScheduler
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from helpers.toy_models import UNET_3D, quiet, toy_encoders


def toy_videocrafter(seed: int = 0, text_tokens: int = 0) -> VideoCrafterUNet:
    """Latents (B, 4, T, 8, 8), context of width 16; sites of width 8 and 16."""
    torch.manual_seed(seed)
    return VideoCrafterUNet(sample_size=(8, 8), text_tokens=text_tokens, **UNET_3D).eval()


def toy_videocrafter_pipeline(seed: int = 0) -> VideoCrafterPipeline:
    """Videos of 32 x 32 pixels, latents (B, 4, T, 8, 8)."""
    return quiet(
        VideoCrafterPipeline(**toy_encoders(seed), unet=toy_videocrafter(seed), scheduler=scheduler())
    )


def toy_videocrafter_image_pipeline(seed: int = 0) -> VideoCrafterImagePipeline:
    """The same, of an image: 16 tokens of text, then 3 of the image."""
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    pipe = VideoCrafterImagePipeline(
        **toy_encoders(seed),
        unet=toy_videocrafter(seed, text_tokens=16),
        scheduler=scheduler(),
        image_encoder=CLIPVisionModel(config).eval(),
        image_projection=ImageProjection(8, 8, depth=1, heads=2, head_width=4, tokens=3, out_width=16).eval(),
    )
    return quiet(pipe)


def scheduler() -> ScaledDDIMScheduler:
    return ScaledDDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False)


class Block(nn.Module):
    """As OpenCLIP has it."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        parts = [
            ("c_fc", nn.Linear(width, hidden)),
            ("gelu", nn.GELU()),
            ("c_proj", nn.Linear(hidden, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(parts))
        nn.init.normal_(self.attn.in_proj_bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


def text_tower(words: int = 11, width: int = 8, length: int = 5, hidden: int = 12, out: int = 6) -> nn.Module:
    """OpenCLIP's text encoder of 3 layers, the last of which VideoCrafter leaves out."""
    tower = nn.Module()
    tower.token_embedding = nn.Embedding(words, width)
    tower.positional_embedding = nn.Parameter(torch.randn(length, width))
    tower.transformer = nn.Module()
    tower.transformer.resblocks = nn.ModuleList(Block(width, 2, hidden) for _ in range(3))
    tower.ln_final = nn.LayerNorm(width)
    tower.text_projection = nn.Parameter(torch.randn(width, out))
    tower.logit_scale = nn.Parameter(torch.tensor(1.0))
    return tower


def vision_tower(tower: nn.Module, width: int, out: int) -> nn.Module:
    """OpenCLIP's model with an image encoder of 2 layers in the place of the text's layers."""
    del tower.transformer
    vision = tower.visual = nn.Module()
    vision.class_embedding = nn.Parameter(torch.randn(width))
    vision.positional_embedding = nn.Parameter(torch.randn(5, width))
    vision.proj = nn.Parameter(torch.randn(width, out))
    vision.conv1 = nn.Conv2d(3, width, 14, 14, bias=False)
    vision.ln_pre, vision.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
    vision.transformer = nn.Module()
    vision.transformer.resblocks = nn.ModuleList(Block(width, 2, 12) for _ in range(2))
    return tower
