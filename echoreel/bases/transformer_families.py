"""Bases that are diffusion transformers: every block is a site, after all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    CogVideoXTransformer3DModel,
    HunyuanVideo15Transformer3DModel,
    LTXVideoTransformer3DModel,
    WanTransformer3DModel,
)
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from echoreel.bases.family import Condition, Family
from echoreel.bases.unet_families import says_guidance
from echoreel.common.errors import BaseUnsupported

WAN_TEXT = 512  # tokens that Wan's pipelines ask for when they are called
LTX_ROPE = (8 / 25, 32, 32)  # of its autoencoder, at the frame rate that its pipeline takes unless told


def whole_steps(pixels_BCTHW: Tensor, step: int) -> Tensor:
    """The video with its last frame repeated until there are 1 and a multiple of `step` frames: what an
    autoencoder that compresses time reads, without dropping any."""
    return F.pad(pixels_BCTHW, (0, 0, 0, 0, 0, (1 - pixels_BCTHW.shape[2]) % step), mode="replicate")


def _needs_image(pipe: Any) -> bool:
    return "ImageToVideo" in type(pipe).__name__


def _sizes(_: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
    frames, height, width = arguments["hidden_states"].shape[2:]
    return frames, height, width


# Wan 2.1 and 2.2


def _encode_wan(pipe: Any, pixels_BCTHW: Tensor) -> Tensor:
    pixels_BCTHW = whole_steps(pixels_BCTHW, pipe.vae.config.scale_factor_temporal)
    mean, std = _wan_scale(pipe, pixels_BCTHW)
    latents: Tensor = (pipe.vae.encode(pixels_BCTHW).latent_dist.mode() - mean) / std
    return latents


def _decode_wan(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    mean, std = _wan_scale(pipe, latents_BCTHW)
    pixels: Tensor = pipe.vae.decode(latents_BCTHW * std + mean).sample
    return pixels


def _wan_scale(pipe: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    config = pipe.vae.config
    mean, std = (torch.tensor(x).to(like) for x in (config.latents_mean, config.latents_std))
    return rearrange(mean, "c -> c 1 1 1"), rearrange(std, "c -> c 1 1 1")


def _wan_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    tokens: Tensor = pipe.encode_prompt(
        list(captions), do_classifier_free_guidance=False, max_sequence_length=WAN_TEXT
    )[0]
    return tokens


def _predict_wan(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, condition: Condition
) -> Tensor:
    more = dict(condition)
    if "image_latents" in more:
        noisy_BCTHW = torch.cat([noisy_BCTHW, more.pop("image_latents").to(noisy_BCTHW)], dim=1)
    prediction: Tensor = denoiser(
        hidden_states=noisy_BCTHW, timestep=timesteps, encoder_hidden_states=captions_BLD, **more
    ).sample
    return prediction


def _condition_wan(pipe: Any, latents_BCTHW: Tensor) -> dict[str, Tensor]:
    """What `WanImageToVideoPipeline` makes of a first frame: a mask, the latents of that frame followed by
    grey ones, and for Wan 2.1 CLIP's view of it. Wan 2.2's 5B model is trained as text to video."""
    config = pipe.transformer.config
    if config.in_channels == config.out_channels:
        return {}
    first = _decode_wan(pipe, latents_BCTHW[:, :, :1].to(pipe.vae.dtype))
    step = pipe.vae.config.scale_factor_temporal
    grey = step * (latents_BCTHW.shape[2] - 1)
    image = _encode_wan(pipe, F.pad(first, (0, 0, 0, 0, 0, grey)))
    mask = torch.zeros_like(repeat(image[:, 0], "b t h w -> b s t h w", s=step))
    mask[:, :, 0] = 1
    told = {"image_latents": torch.cat([mask, image], dim=1)}
    if config.image_dim is not None:
        frames = ((first[:, :, 0].float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
        pictures = [Image.fromarray(rearrange(frame, "c h w -> h w c")) for frame in frames]
        told["encoder_hidden_states_image"] = pipe.encode_image(pictures).to(latents_BCTHW)
    return told


def _boundary(pipe: Any) -> float | None:
    ratio = pipe.config.get("boundary_ratio")
    return None if ratio is None else float(ratio) * pipe.scheduler.config.num_train_timesteps


WAN = Family(
    name="Wan",
    denoiser=WanTransformer3DModel,
    component="transformer",
    more=("transformer_2",),
    boundary=_boundary,
    pipelines=("WanPipeline", "WanImageToVideoPipeline", "WanVideoToVideoPipeline"),
    sites=r"blocks\.\d+",
    width="attn1.to_q",
    layout="b (t h w) c",
    output=None,
    sample="hidden_states",
    sizes=_sizes,
    latent_channels=lambda denoiser: int(denoiser.config.out_channels),
    caption_width=lambda denoiser: int(denoiser.config.text_dim),
    latent_size=lambda denoiser: None,
    pixels_per_place=lambda pipe: int(pipe.vae_scale_factor_spatial),
    guided=lambda pipe: False,
    negative=("uncond",),
    encode_video=_encode_wan,
    decode_video=_decode_wan,
    encode_captions=_wan_captions,
    predict=_predict_wan,
    condition=_condition_wan,
    image=_needs_image,
    every=2,
    fps=16.0,
)


# LTX-Video


def _ltx_sizes(_: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
    return arguments["num_frames"], arguments["height"], arguments["width"]


def _encode_ltx(pipe: Any, pixels_BCTHW: Tensor) -> Tensor:
    pixels_BCTHW = whole_steps(pixels_BCTHW, pipe.vae_temporal_compression_ratio)
    latents = pipe.vae.encode(pixels_BCTHW).latent_dist.mode()
    scale = pipe.vae.config.scaling_factor
    normal: Tensor = pipe._normalize_latents(latents, pipe.vae.latents_mean, pipe.vae.latents_std, scale)
    return normal


def _decode_ltx(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    mean, std = (rearrange(x, "c -> c 1 1 1") for x in (pipe.vae.latents_mean, pipe.vae.latents_std))
    latents = latents_BCTHW * std.to(latents_BCTHW) / pipe.vae.config.scaling_factor + mean.to(latents_BCTHW)
    clean = latents.new_zeros(latents.shape[0]) if pipe.vae.config.timestep_conditioning else None
    pixels: Tensor = pipe.vae.decode(latents, clean).sample
    return pixels


def _ltx_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    tokens, mask, *_ = pipe.encode_prompt(list(captions), do_classifier_free_guidance=False)
    found: Tensor = tokens * mask[..., None]
    return found


def _predict_ltx(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, condition: Condition
) -> Tensor:
    frames, height, width = noisy_BCTHW.shape[2:]
    rope = condition["rope"].tolist() if "rope" in condition else LTX_ROPE
    prediction: Tensor = denoiser(
        hidden_states=rearrange(noisy_BCTHW, "b c t h w -> b (t h w) c"),
        encoder_hidden_states=captions_BLD,
        timestep=timesteps,
        encoder_attention_mask=(captions_BLD != 0).any(-1).long(),
        num_frames=frames,
        height=height,
        width=width,
        rope_interpolation_scale=tuple(rope),
    ).sample
    return rearrange(prediction, "b (t h w) c -> b c t h w", t=frames, h=height)


def _condition_ltx(pipe: Any, _: Tensor) -> dict[str, Tensor]:
    """Seconds and pixels of a latent's place, which the pipeline tells at 25 frames a second."""
    side = pipe.vae_spatial_compression_ratio
    return {"rope": torch.tensor([pipe.vae_temporal_compression_ratio / 25, side, side])}


LTX = replace(
    WAN,
    name="LTX-Video",
    denoiser=LTXVideoTransformer3DModel,
    more=(),
    boundary=lambda pipe: None,
    pipelines=("LTXPipeline", "LTXImageToVideoPipeline"),
    sites=r"transformer_blocks\.\d+",
    sizes=_ltx_sizes,
    latent_channels=lambda denoiser: int(denoiser.config.in_channels),
    caption_width=lambda denoiser: int(denoiser.config.caption_channels),
    pixels_per_place=lambda pipe: int(pipe.vae_spatial_compression_ratio),
    guided=says_guidance,
    negative=(),
    encode_video=_encode_ltx,
    decode_video=_decode_ltx,
    encode_captions=_ltx_captions,
    predict=_predict_ltx,
    condition=_condition_ltx,
    fps=25.0,
)


# CogVideoX


def _cog_sizes(denoiser: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
    frames, _, height, width = arguments["hidden_states"].shape[1:]
    return -(-frames // (denoiser.config.patch_size_t or 1)), height, width


def _encode_cog(pipe: Any, pixels_BCTHW: Tensor) -> Tensor:
    pixels_BCTHW = whole_steps(pixels_BCTHW, pipe.vae_scale_factor_temporal)
    latents: Tensor = pipe.vae.encode(pixels_BCTHW).latent_dist.mode() * pipe.vae.config.scaling_factor
    return latents


def _decode_cog(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    pixels: Tensor = pipe.vae.decode(latents_BCTHW / pipe.vae.config.scaling_factor).sample
    return pixels


def _cog_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    tokens: Tensor = pipe.encode_prompt(list(captions), do_classifier_free_guidance=False)[0]
    return tokens


def _predict_cog(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, condition: Condition
) -> Tensor:
    """CogVideoX 1.5 takes an even number of frames: further ones go before the first, as in its pipeline."""
    more: dict[str, Any] = dict(condition)
    image = more.pop("image_latents", None)
    sample = noisy_BCTHW if image is None else torch.cat([noisy_BCTHW, image.to(noisy_BCTHW)], dim=1)
    extra = -sample.shape[2] % (denoiser.config.patch_size_t or 1)
    sample = torch.cat([sample[:, :, :1]] * extra + [sample], dim=2)
    if "rope_cos" in more:
        more["image_rotary_emb"] = (more.pop("rope_cos"), more.pop("rope_sin"))
    prediction: Tensor = denoiser(
        hidden_states=rearrange(sample, "b c t h w -> b t c h w"),
        encoder_hidden_states=captions_BLD,
        timestep=timesteps,
        **more,
    ).sample
    return rearrange(prediction[:, extra:], "b t c h w -> b c t h w")


def _condition_cog(pipe: Any, latents_BCTHW: Tensor) -> dict[str, Tensor]:
    """Rotary positions, and of a first frame its latents, followed by zeros."""
    told: dict[str, Tensor] = {}
    config, latents = pipe.transformer.config, latents_BCTHW
    if config.in_channels != config.out_channels:
        told["image_latents"] = F.pad(latents[:, :, :1], (0, 0, 0, 0, 0, latents.shape[2] - 1))
        if pipe.vae.config.invert_scale_latents:  # as it was trained
            told["image_latents"] = told["image_latents"] / pipe.vae.config.scaling_factor**2
    if config.use_rotary_positional_embeddings:
        frames = latents.shape[2] + -latents.shape[2] % (config.patch_size_t or 1)
        height, width = (side * pipe.vae_scale_factor_spatial for side in latents.shape[3:])
        told["rope_cos"], told["rope_sin"] = pipe._prepare_rotary_positional_embeddings(
            height, width, frames, latents.device
        )
    if config.ofs_embed_dim is not None:
        told["ofs"] = latents.new_full((1,), 2.0)
    return told


def _cog_limit(pipe: Any) -> int | None:
    """Learned places in time end where training ended."""
    config = pipe.transformer.config
    return int(config.sample_frames) if config.use_learned_positional_embeddings else None


COGVIDEOX = replace(
    LTX,
    name="CogVideoX",
    denoiser=CogVideoXTransformer3DModel,
    pipelines=("CogVideoXPipeline", "CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline"),
    output=0,
    sizes=_cog_sizes,
    latent_channels=lambda denoiser: int(denoiser.config.out_channels),
    caption_width=lambda denoiser: int(denoiser.config.text_embed_dim),
    latent_size=lambda denoiser: (denoiser.config.sample_height, denoiser.config.sample_width),
    pixels_per_place=lambda pipe: int(pipe.vae_scale_factor_spatial),
    encode_video=_encode_cog,
    decode_video=_decode_cog,
    encode_captions=_cog_captions,
    predict=_predict_cog,
    condition=_condition_cog,
    most_frames=_cog_limit,
    fps=8.0,
)


# HunyuanVideo 1.5


def _encode_hunyuan(pipe: Any, pixels_BCTHW: Tensor) -> Tensor:
    pixels_BCTHW = whole_steps(pixels_BCTHW, pipe.vae_scale_factor_temporal)
    latents: Tensor = pipe.vae.encode(pixels_BCTHW).latent_dist.mode() * pipe.vae.config.scaling_factor
    return latents


def _decode_hunyuan(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    pixels: Tensor = pipe.vae.decode(latents_BCTHW / pipe.vae.config.scaling_factor).sample
    return pixels


def _hunyuan_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    """Of its language model; the second encoder reads only words in quotation marks, to be written."""
    tokens, mask, *_ = pipe.encode_prompt(list(captions), batch_size=len(captions))
    found: Tensor = tokens * mask[..., None]
    return found


def _predict_hunyuan(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, _: Condition
) -> Tensor:
    """Without image and without words to be written: one token of each, masked."""
    batch, config, latents = noisy_BCTHW.shape[0], denoiser.config, noisy_BCTHW
    nothing = latents.new_zeros(batch, config.in_channels - latents.shape[1], *latents.shape[2:])
    prediction: Tensor = denoiser(
        hidden_states=torch.cat([latents, nothing], dim=1),
        timestep=timesteps.to(latents.dtype),
        encoder_hidden_states=captions_BLD,
        encoder_attention_mask=(captions_BLD != 0).any(-1),
        encoder_hidden_states_2=captions_BLD.new_zeros(batch, 1, config.text_embed_2_dim),
        encoder_attention_mask_2=captions_BLD.new_zeros(batch, 1, dtype=torch.bool),
        image_embeds=captions_BLD.new_zeros(batch, 1, config.image_embed_dim),
    ).sample
    return prediction


def _condition_hunyuan(pipe: Any, _: Tensor) -> dict[str, Tensor]:
    if _needs_image(pipe):
        raise BaseUnsupported(
            f"cannot train with a {type(pipe).__name__}; train with HunyuanVideo15Pipeline, whose adapter "
            "fits it as well"
        )
    return {}


def _call_hunyuan(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Guidance is a part of the pipeline, not an argument of its call."""
    scale = arguments.pop("guidance_scale", None)
    if scale is not None and scale != pipe.guider.guidance_scale:
        pipe.guider = pipe.guider.new(guidance_scale=scale)
    return arguments


HUNYUAN = replace(
    WAN,
    name="HunyuanVideo 1.5",
    denoiser=HunyuanVideo15Transformer3DModel,
    more=(),
    boundary=lambda pipe: None,
    pipelines=("HunyuanVideo15Pipeline", "HunyuanVideo15ImageToVideoPipeline"),
    sites=r"transformer_blocks\.\d+",
    width="attn.to_q",
    output=0,
    caption_width=lambda denoiser: int(denoiser.config.text_embed_dim),
    negative=("pred_uncond",),
    encode_video=_encode_hunyuan,
    decode_video=_decode_hunyuan,
    encode_captions=_hunyuan_captions,
    predict=_predict_hunyuan,
    condition=_condition_hunyuan,
    call=_call_hunyuan,
    translated={"guidance_scale": None},
    fps=24.0,
)
