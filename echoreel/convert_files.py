"""A released checkpoint file -> a folder with the base's pipeline and the adapter, in safetensors.

Files are memory-mapped and nothing in them is unpickled but tensors, which go through one by one.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

from echoreel.adapter import ActionAdapter
from echoreel.backbones.lvdm import LVDMUNet
from echoreel.backbones.lvdm_pipeline import LVDMPipeline
from echoreel.convert import check_tensors, convert_echoreel_lvdm, convert_lvdm
from echoreel.errors import CheckpointError, SettingsError
from echoreel.generation import RECOMMENDATION, RecommendedSettings

KINDS = ("echoreel-lvdm", "lvdm")

TOKENIZER = "openai/clip-vit-large-patch14"  # its vocabulary is not in the files
WRAPPED = ("module", "state_dict")  # keys under which DeepSpeed and Lightning put the tensors
WRAPPER = "_forward_module."
UNET, AUTOENCODER = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
SCHEDULE = {  # what can be computed again from the settings below
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
    "scale_factor",
    TEXT + "embeddings.position_ids",
}
UNET_SETTINGS: dict[str, Any] = {}  # the released ones are the defaults
PRISM_SETTINGS: dict[str, Any] = {}
AUTOENCODER_SETTINGS: dict[str, Any] = {  # Stable Diffusion's, at 256 x 256 pixels
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 256,
    "scaling_factor": 0.18215,
}
TEXT_SETTINGS: dict[str, Any] = {  # CLIP ViT-L/14's
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
SHARD = "2GB"  # of written weights, and so of memory while writing


def convert_file(source: Path, kind: str, out: Path, tokenizer: str = TOKENIZER) -> list[Path]:
    """Write `out`/base, and for an EchoReel checkpoint `out`/adapter; returns the folders.

    tokenizer: folder or hub id of CLIP ViT-L/14's. Raises CheckpointError for files that cannot be read,
    hold other tensors or would be overwritten, SettingsError for an unknown kind or no tokenizer.
    """
    if kind not in KINDS:
        raise SettingsError(f"got kind {kind!r}, need one of {', '.join(KINDS)}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise CheckpointError(f"{out}: is there already; give another folder or remove it")
    vocabulary = _tokenizer(tokenizer)
    tensors = read_tensors(source)
    unet_tensors = _taken(tensors, UNET)
    adapter = None
    if kind == "lvdm":
        unet = convert_lvdm(unet_tensors, UNET_SETTINGS, dtype=None)
    else:
        unet, adapter = convert_echoreel_lvdm(unet_tensors, UNET_SETTINGS, PRISM_SETTINGS, dtype=None)
    vae, text_encoder = _autoencoder(_taken(tensors, AUTOENCODER)), _text_encoder(_taken(tensors, TEXT))
    check_tensors(tensors, {})
    _write(lvdm_pipeline(vae, text_encoder, vocabulary, unet), adapter, out)
    return [out / "base"] if adapter is None else [out / "base", out / "adapter"]


def read_tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of torch's own, by name, memory-mapped.

    Without what wraps the model and the constants of its schedule. Raises CheckpointError.
    """
    try:
        if source.suffix == ".safetensors":
            loaded: Any = load_file(source)
        else:
            loaded = torch.load(source, map_location="cpu", mmap=True, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read ({error.strerror}); give a file") from error
    except (RuntimeError, UnpicklingError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"{source}: is no file of tensors alone that can be memory-mapped ({reason}); give the released "
            f"one, or save its tensors again with torch.save"
        ) from error
    for key in WRAPPED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(x, Tensor) for x in loaded.values()):
        raise CheckpointError(f"{source}: holds no tensors by name; give a checkpoint of the whole model")
    named = {str(name).removeprefix(WRAPPER): x for name, x in loaded.items() if isinstance(x, Tensor)}
    return {name: x for name, x in named.items() if name not in SCHEDULE}


def lvdm_pipeline(
    vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: Any, unet: LVDMUNet
) -> LVDMPipeline:
    """The pipeline with LVDM's noise schedule."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return LVDMPipeline(vae, text_encoder, tokenizer, unet, scheduler)


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, without the beginning; they are taken out."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def _autoencoder(tensors: Mapping[str, Tensor]) -> AutoencoderKL:
    vae: AutoencoderKL = AutoencoderKL(**AUTOENCODER_SETTINGS)
    ours = convert_ldm_vae_checkpoint(dict(tensors), vae.config)  # type: ignore[no-untyped-call]
    used = {tensor.data_ptr() for tensor in ours.values()}
    ours |= {name: tensor for name, tensor in tensors.items() if tensor.data_ptr() not in used}
    _load(vae, ours)
    return vae


def _text_encoder(tensors: Mapping[str, Tensor]) -> CLIPTextModel:
    encoder = CLIPTextModel(CLIPTextConfig(**TEXT_SETTINGS))
    _load(encoder, tensors)
    return encoder


def _load(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    expected = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    check_tensors(tensors, expected)
    filled = {name: tensors[name].reshape(shape) for name, shape in expected.items()}
    model.load_state_dict(filled, strict=True, assign=True)
    model.eval()


def _tokenizer(name: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"tokenizer {name}: cannot be had; give the folder or hub id of {TOKENIZER}"
        ) from error


def _write(base: LVDMPipeline, adapter: ActionAdapter | None, out: Path) -> None:
    """Save beside, then rename: a folder of that name is whole."""
    beside = out.with_name(out.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    base.save_pretrained(beside / "base", max_shard_size=SHARD)
    recommended = RecommendedSettings(num_inference_steps=50, guidance_scale=12.0, num_frames=16, fps=8.0)
    text = recommended.model_dump_json(indent=2, exclude_none=True)
    (beside / "base" / RECOMMENDATION).write_text(text, encoding="utf-8")
    if adapter is not None:
        adapter.save_pretrained(beside / "adapter", max_shard_size=SHARD)
    os.replace(beside, out)
