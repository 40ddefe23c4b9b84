"""A released checkpoint at toy size, as a file, with what `convert` has to take for the originals' sizes."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from echoreel.released import convert_file
from helpers.released_toys import ReleasedToy
from helpers.toy_models import toy_encoders

LDM_NAMES = (  # diffusers' names of an autoencoder's parts -> the originals'
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"group_norm", "norm"),
    (r"to_(q|k|v)\.", r"\1."),
    (r"to_out\.0", "proj_out"),
    (r"(down|up)_blocks\.(\d)\.resnets\.", r"\1_blocks.\2.block."),
    (r"(down|up)samplers\.0\.", r"\1sample."),
    (r"down_blocks\.", "down."),
    (r"up_blocks\.(\d)", lambda m: f"up.{2 - int(m[1])}"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)


def autoencoder_tensors(vae: AutoencoderKL) -> dict[str, Tensor]:
    """By their names in a released file."""
    tensors = {}
    for name, x in vae.state_dict().items():
        for ours, theirs in LDM_NAMES:
            name = re.sub(ours, theirs, name)
        tensors[f"first_stage_model.{name}"] = x
    return tensors


def toy_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Write checkpoint.pt, of DeepSpeed and an LVDM with EchoReel, and the folder tokenizer.

    Returns the tensors, and the constants of `convert_file` by name that fit them.
    """
    toy = ReleasedToy("lvdm")
    torch.manual_seed(0)
    parts = toy_encoders()
    parts["tokenizer"].save_pretrained(folder / "tokenizer")
    text_config = parts["text_encoder"].config.to_dict() | {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
    }
    text = CLIPTextModel(CLIPTextConfig(**text_config))
    tensors = {f"cond_stage_model.transformer.text_model.{name}": x for name, x in text.state_dict().items()}
    tensors |= autoencoder_tensors(parts["vae"])
    for name, x in toy.weights.items():
        tensors[f"model.diffusion_model.{name}"] = x
    tensors["betas"] = torch.zeros(1000)
    wrapped = {f"_forward_module.{name}": x for name, x in tensors.items()}
    torch.save({"module": wrapped, "global_steps": 3}, folder / "checkpoint.pt")
    unet = toy.settings["unet"]
    return tensors, {
        "UNET_SETTINGS": {**convert_file.UNET_SETTINGS, "lvdm": unet, "echoreel-lvdm": unet},
        "PRISM_SETTINGS": toy.settings["prism"],
        "AUTOENCODER": dict(parts["vae"].config),
        "CLIP_TEXT": text_config,
    }
