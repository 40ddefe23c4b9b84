"""A released checkpoint file -> a folder with the base's pipeline and, where it has one, the adapter.

Files are memory-mapped and nothing in them is unpickled but tensors, which go through one by one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer

from echoreel.bases.ports.latent_video_pipeline import LatentVideoPipeline
from echoreel.bases.ports.lvdm_pipeline import LVDMPipeline
from echoreel.bases.ports.videocrafter_pipelines import VideoCrafterImagePipeline, VideoCrafterPipeline
from echoreel.bases.ports.videocrafter_scheduler import ScaledDDIMScheduler
from echoreel.common.errors import CheckpointError, SettingsError
from echoreel.common.files import written_beside
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import regular_file
from echoreel.common.torch_file import TorchFileError, load_tensors
from echoreel.generation.settings import RECOMMENDATION, RecommendedSettings
from echoreel.method.adapter import ActionAdapter
from echoreel.released.convert_encoders import (
    AUTOENCODER,
    CLIP_TEXT,
    IMAGE_PROJECTION,
    OPEN_CLIP_TEXT,
    OPEN_CLIP_VISION,
    convert_autoencoder,
    convert_clip_text,
    convert_image_projection,
    convert_open_clip_text,
    convert_open_clip_vision,
)
from echoreel.released.convert_unets import (
    check_tensors,
    convert_echoreel_lvdm,
    convert_lvdm,
    convert_videocrafter,
)

KINDS = ("echoreel-lvdm", "lvdm", "videocrafter2", "videocrafter1-i2v")

MARKS = {  # part of a name that only this kind's tensors have, or those of kinds above it
    "echoreel-lvdm": ".video_inject_",
    "videocrafter1-i2v": ".to_k_ip.",
    "videocrafter2": ".fps_embedding.",
    "lvdm": ".attn1_tmp.",
}
TOKENIZER = "openai/clip-vit-large-patch14"  # its vocabulary, also OpenCLIP's, is not in the files
WRAPPED = ("module", "state_dict")  # keys under which DeepSpeed and Lightning put the tensors
WRAPPER = "_forward_module."
UNET, AUTOENCODER_PREFIX = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
OPEN_CLIP, IMAGE, PROJECTION = "cond_stage_model.model.", "embedder.model.", "image_proj_model."
IGNORED = {  # what can be computed again from the settings below
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
    "scale_arr",
    TEXT + "embeddings.position_ids",
    OPEN_CLIP + "attn_mask",
    IMAGE + "attn_mask",
    "embedder.mean",
    "embedder.std",
}
UNET_SETTINGS: dict[str, dict[str, Any]] = {  # of each kind; the released ones are the defaults
    "echoreel-lvdm": {},
    "lvdm": {},
    "videocrafter2": {},
    "videocrafter1-i2v": {"use_image_attention": True},
}
PRISM_SETTINGS: dict[str, Any] = {}
SCHEDULE: dict[str, Any] = {  # of all three models
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
SHARD = "2GB"  # of written weights, and so of memory while writing


def convert(source: Path | str, kind: str, out: Path | str, tokenizer: str = TOKENIZER) -> list[Path]:
    """Turn a checkpoint that the authors released into a base and an adapter.

    Args:
        source: the checkpoint file, `.safetensors` or torch's own; only tensors are read from it.
        kind: "echoreel-lvdm", "lvdm", "videocrafter2" or "videocrafter1-i2v".
        out: a new folder. `base` in it is a diffusers pipeline, `adapter` an `ActionAdapter`.
        tokenizer: a folder or hub id of CLIP ViT-L/14's tokenizer.

    Returns:
        The folders written: `out/base`, and of an EchoReel checkpoint `out/adapter`.

    Raises:
        CheckpointError: the file cannot be read, holds other tensors, or `out` is not empty.
        OutputError: `out` cannot be written.
        SettingsError: the kind is unknown, or there is no tokenizer.
    """
    source, out = Path(source), Path(out)
    if kind not in KINDS:
        raise SettingsError(f"got kind {kind!r}, need one of {', '.join(KINDS)}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise CheckpointError(f"{out}: already exists; choose another folder or delete it")
    regular_file(source, CheckpointError, "a checkpoint")
    vocabulary = _tokenizer(tokenizer)
    tensors = read_tensors(source)
    _check_kind(tensors, kind, source)
    converted = _lvdm if "lvdm" in kind else _videocrafter
    base, adapter = converted(tensors, kind, vocabulary)
    check_tensors(tensors, {})
    _write(base, adapter, out)
    return [out / "base"] if adapter is None else [out / "base", out / "adapter"]


def read_tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of torch's own, by name, memory-mapped.

    Without what wraps the model and the constants of its schedule. Raises CheckpointError.
    """
    regular_file(source, CheckpointError, "a checkpoint")
    try:
        if source.suffix == ".safetensors":
            loaded: Any = load_file(source)
        else:
            loaded = load_tensors(source, mmap=True)
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read ({error.strerror}); give a file") from error
    except (TorchFileError, SafetensorError) as error:
        raise CheckpointError(
            f"{source}: is not a file of plain tensors ({hint_of(error)}); give the released one, or "
            "save its tensors again with torch.save"
        ) from error
    for key in WRAPPED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(x, Tensor) for x in loaded.values()):
        raise CheckpointError(f"{source}: holds no tensors by name; give a checkpoint of the whole model")
    named = {str(name).removeprefix(WRAPPER): x for name, x in loaded.items() if isinstance(x, Tensor)}
    if odd := next((name for name, x in named.items() if x.layout is not torch.strided), None):
        raise CheckpointError(f"{source}: {odd} is a sparse tensor, need an ordinary one; get the file again")
    return {name: x for name, x in named.items() if name not in IGNORED}


def _check_kind(tensors: Mapping[str, Tensor], kind: str, source: Path) -> None:
    """Raises CheckpointError for a file of another kind, or of none that is known."""
    marked = (found for found, mark in MARKS.items() if any(mark in name for name in tensors))
    found = next(marked, None)
    if found is None:
        raise CheckpointError(
            f"{source}: got unknown tensors, such as {next(iter(tensors), 'none')}, "
            f"need those of {kind}; give the released file"
        )
    if found != kind:
        raise CheckpointError(f"{source}: got tensors of {found}, need those of {kind}; give --kind {found}")


def _lvdm(
    tensors: dict[str, Tensor], kind: str, vocabulary: Any
) -> tuple[LatentVideoPipeline, ActionAdapter | None]:
    """LVDM's pipeline, and the adapter where the kind has one; what they need is taken out of the tensors."""
    unet_tensors, adapter = _taken(tensors, UNET), None
    if kind == "lvdm":
        unet = convert_lvdm(unet_tensors, UNET_SETTINGS[kind], dtype=None)
    else:
        unet, adapter = convert_echoreel_lvdm(unet_tensors, UNET_SETTINGS[kind], PRISM_SETTINGS, dtype=None)
    vae = convert_autoencoder(_taken(tensors, AUTOENCODER_PREFIX), AUTOENCODER)
    text_encoder = convert_clip_text(_taken(tensors, TEXT), CLIP_TEXT)
    return LVDMPipeline(vae, text_encoder, vocabulary, unet, DDIMScheduler(**SCHEDULE)), adapter


def _videocrafter(
    tensors: dict[str, Tensor], kind: str, vocabulary: Any
) -> tuple[LatentVideoPipeline, ActionAdapter | None]:
    """VideoCrafter's pipeline; what it needs is taken out of the tensors."""
    vocabulary.pad_token = vocabulary.convert_ids_to_tokens(0)  # OpenCLIP pads with zeros
    unet = convert_videocrafter(_taken(tensors, UNET), UNET_SETTINGS[kind], dtype=None)
    vae = convert_autoencoder(_taken(tensors, AUTOENCODER_PREFIX), AUTOENCODER | {"sample_size": 512})
    text_encoder = convert_open_clip_text(_taken(tensors, OPEN_CLIP), OPEN_CLIP_TEXT)
    scheduler = ScaledDDIMScheduler(**SCHEDULE)
    if kind == "videocrafter2":
        return VideoCrafterPipeline(vae, text_encoder, vocabulary, unet, scheduler), None
    image_encoder = convert_open_clip_vision(_taken(tensors, IMAGE), OPEN_CLIP_VISION, OPEN_CLIP_TEXT)
    projection = convert_image_projection(_taken(tensors, PROJECTION), IMAGE_PROJECTION)
    pipe = VideoCrafterImagePipeline(
        vae, text_encoder, vocabulary, unet, scheduler, image_encoder, projection
    )
    return pipe, None


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, without the beginning; they are taken out."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def _tokenizer(name: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # the hub, the disk, or what the folder holds: no common type
        raise SettingsError(
            f"tokenizer {name}: not available; give the folder or hub id of {TOKENIZER}"
        ) from error


def _write(base: LatentVideoPipeline, adapter: ActionAdapter | None, out: Path) -> None:
    """Save beside, then rename: a folder of that name is whole."""
    recommended = RecommendedSettings(num_inference_steps=50, guidance_scale=12.0, num_frames=16, fps=8.0)
    with written_beside(out) as beside:
        base.save_pretrained(beside / "base", max_shard_size=SHARD)
        text = recommended.model_dump_json(indent=2, exclude_none=True)
        (beside / "base" / RECOMMENDATION).write_text(text, encoding="utf-8")
        if adapter is not None:
            adapter.save_pretrained(beside / "adapter", max_shard_size=SHARD)
