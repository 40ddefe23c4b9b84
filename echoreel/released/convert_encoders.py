"""The encoders in released checkpoints -> diffusers' and transformers' models, strictly, as `convert` does.

Stable Diffusion's autoencoder, CLIP ViT-L/14's text encoder (LVDM), OpenCLIP ViT-H/14's text and image
encoder (VideoCrafter; settings and names as in the public code of open_clip and VideoCrafter), and
VideoCrafter 1's projection of images to context tokens.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from echoreel.bases.ports.videocrafter_image_tokens import ImageProjection
from echoreel.released.convert_unets import fill
from echoreel.released.original_names import original_names

AUTOENCODER: dict[str, Any] = {  # Stable Diffusion's, at 256 x 256 pixels
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 256,
    "scaling_factor": 0.18215,
}
CLIP_TEXT: dict[str, Any] = {  # CLIP ViT-L/14's
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
OPEN_CLIP_TEXT: dict[str, Any] = {  # ViT-H/14's, but its last layer, which VideoCrafter leaves out
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 1024,
}
OPEN_CLIP_VISION: dict[str, Any] = {  # ViT-H/14's
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
}
IMAGE_PROJECTION: dict[str, Any] = {}  # the released ones are the defaults

AUTOENCODER_NAMES = (  # diffusers' names, as regular expressions, and the originals'
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_([qkv])\.", r"attn_1.\1."),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"\.resnets\.", ".block."),
    (r"(down|up)samplers\.0", r"\1sample"),
    (r"down_blocks", "down"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)
OPEN_CLIP_NAMES = (  # transformers' names and OpenCLIP's, both of text and of vision
    (r"embeddings\.token_embedding", "token_embedding"),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"embeddings\.class_embedding", "class_embedding"),
    (r"embeddings\.patch_embedding", "conv1"),
    (r"encoder\.layers\.", "transformer.resblocks."),
    (r"self_attn\.([qkv])_proj\.(weight|bias)", r"attn.in_proj_\2.\1"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"final_layer_norm", "ln_final"),
    (r"pre_layrnorm", "ln_pre"),  # sic
    (r"post_layernorm", "ln_post"),
)


def convert_autoencoder(state_dict: Mapping[str, Tensor], settings: Mapping[str, Any]) -> AutoencoderKL:
    """The autoencoder, in the tensors' own dtype. Raises CheckpointError, as all functions here."""
    with torch.device("meta"):
        vae: AutoencoderKL = AutoencoderKL(**settings)
    fill(state_dict, [(vae, autoencoder_names(vae))], None)
    return vae.eval()


def autoencoder_names(vae: AutoencoderKL) -> dict[str, str]:
    """Its names of tensors -> the originals'."""
    names = _renamed(vae, AUTOENCODER_NAMES)
    levels = len(vae.config["block_out_channels"])
    for ours, theirs in names.items():  # its levels are numbered from the picture's side on the way up, too
        names[ours] = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", theirs)
    return names


def convert_clip_text(state_dict: Mapping[str, Tensor], settings: Mapping[str, Any]) -> CLIPTextModel:
    """CLIP's text encoder, whose names are those of transformers."""
    encoder = CLIPTextModel(CLIPTextConfig(**settings))
    fill(state_dict, [(encoder, {name: name for name in encoder.state_dict()})], None)
    encoder.eval()
    return encoder


def convert_open_clip_text(state_dict: Mapping[str, Tensor], settings: Mapping[str, Any]) -> CLIPTextModel:
    """OpenCLIP's text encoder without its last layer: what it gives is the penultimate one, normalised."""
    encoder = CLIPTextModel(CLIPTextConfig(**settings))
    names = _renamed(encoder, OPEN_CLIP_NAMES)
    width, last = settings["hidden_size"], settings["num_hidden_layers"]
    unused = {
        names[ours].replace("resblocks.0", f"resblocks.{last}"): tuple(tensor.shape)
        for ours, tensor in encoder.state_dict().items()
        if ".layers.0." in ours
    }
    unused |= {"text_projection": (width, settings["projection_dim"]), "logit_scale": ()}
    fill(_unfused(state_dict), [(encoder, names)], None, unused)
    encoder.eval()
    return encoder


def convert_open_clip_vision(
    state_dict: Mapping[str, Tensor], settings: Mapping[str, Any], text: Mapping[str, Any]
) -> CLIPVisionModel:
    """OpenCLIP's image encoder, from its model without the text's layers. text: that encoder's settings."""
    encoder = CLIPVisionModel(CLIPVisionConfig(**settings))
    names = {ours: f"visual.{theirs}" for ours, theirs in _renamed(encoder, OPEN_CLIP_NAMES).items()}
    width, out = text["hidden_size"], settings["projection_dim"]
    words, length = (CLIPTextConfig(**text).vocab_size, CLIPTextConfig(**text).max_position_embeddings)
    unused: dict[str, tuple[int, ...]] = {
        "visual.proj": (settings["hidden_size"], out),
        "token_embedding.weight": (words, width),
        "positional_embedding": (length, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, out),
        "logit_scale": (),
    }
    fill(_unfused(state_dict), [(encoder, names)], None, unused)
    encoder.eval()
    return encoder


def convert_image_projection(
    state_dict: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> ImageProjection:
    """VideoCrafter 1's projection of an image's features to context tokens."""
    with torch.device("meta"):
        projection: ImageProjection = ImageProjection(**settings)
    fill(state_dict, [(projection, original_names(projection))], None)
    return projection.eval()


def open_clip_attention_names(state_dict: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """OpenCLIP's fused projections -> the names that `_unfused` gives their thirds."""
    return {
        name: [f"{name}.{part}" for part in "qkv"]
        for name in state_dict
        if name.endswith((".attn.in_proj_weight", ".attn.in_proj_bias"))
    }


def _unfused(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries', keys' and values' projections, which are one tensor there, as three views of it."""
    fused = open_clip_attention_names(state_dict)
    apart = {name: tensor for name, tensor in state_dict.items() if name not in fused}
    for name, thirds in fused.items():
        apart |= dict(zip(thirds, state_dict[name].chunk(3), strict=True))
    return apart


def _renamed(model: nn.Module, table: tuple[tuple[str, str], ...]) -> dict[str, str]:
    names = {}
    for ours in model.state_dict():
        theirs = ours
        for mine, other in table:
            theirs = re.sub(mine, other, theirs)
        names[ours] = theirs
    return names
