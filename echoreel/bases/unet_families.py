"""U-Net bases with temporal transformer blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import I2VGenXLUNet, UNetMotionModel, UNetSpatioTemporalConditionModel
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from einops import parse_shape, rearrange, repeat
from torch import Tensor

from echoreel.bases.family import Condition, Family
from echoreel.bases.frame_autoencoder import decode_frames, encode_frames
from echoreel.bases.ports.lvdm_unet import LVDMUNet

BLOCKS = r".*\.(resnets|attentions|temp_attentions|temp_convs|motion_modules)\.\d+"


def sizes_of(layout: str, argument: str) -> Callable[[Any, Mapping[str, Any]], tuple[int, int, int]]:
    """`Family.sizes` of a denoiser whose latents lie so, and whose sites have their frames."""

    def sizes(_: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        found = parse_shape(arguments[argument], layout)
        return found["t"], found["h"], found["w"]

    return sizes


def says_guidance(pipe: Any) -> bool | None:
    """What pipelines keep of their last call, False before the first; None for those that keep nothing."""
    for name in ("do_classifier_free_guidance", "guidance_scale"):
        if hasattr(type(pipe), name):
            kept = getattr(pipe, name, None)
            return kept is not None and bool(kept if name.startswith("do") else kept > 1)
    return None


def _encode_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    tokens: Tensor = pipe.encode_prompt(
        list(captions), pipe._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0]
    return tokens


def _clip_tokens(pipe: Any, captions: Sequence[str]) -> Tensor:
    """As I2VGen-XL encodes prompts with `clip_skip=None`; its own method wants to know of guidance."""
    ids = pipe.tokenizer(
        list(captions),
        padding="max_length",
        max_length=pipe.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    tokens: Tensor = pipe.text_encoder(ids.to(pipe._execution_device))[0]
    return tokens


def _no_text(pipe: Any, captions: Sequence[str]) -> Tensor:
    """Stable Video Diffusion reads no text: one zero token."""
    return torch.zeros(
        len(captions), 1, _cross_attention_dim(pipe.unet), dtype=pipe.dtype, device=pipe._execution_device
    )


def _predict_motion(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, _: Condition
) -> Tensor:
    """UNetMotionModel wants the captions of every frame."""
    captions = captions_BLD.repeat_interleave(noisy_BCTHW.shape[2], dim=0)
    prediction: Tensor = denoiser(noisy_BCTHW, timesteps, captions).sample
    return prediction


def _predict(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, condition: Condition
) -> Tensor:
    prediction: Tensor = denoiser(
        noisy_BCTHW, timesteps, encoder_hidden_states=captions_BLD, **condition
    ).sample
    return prediction


def _predict_svd(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, _: Tensor, condition: Condition
) -> Tensor:
    image = condition["image_latents"].expand_as(noisy_BCTHW)
    sample = rearrange(torch.cat([noisy_BCTHW, image], dim=1), "b c t h w -> b t c h w")
    prediction: Tensor = denoiser(
        sample,
        timesteps,
        encoder_hidden_states=condition["image_embeddings"],
        added_time_ids=condition["added_time_ids"],
    ).sample
    return rearrange(prediction, "b t c h w -> b c t h w")


def _image_embeddings(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    """CLIP's view of the first frames: (B, D)."""
    frames = rearrange(_decoded(pipe)(pipe, latents_BCTHW[:, :, :1]), "b c 1 h w -> b c h w")
    side = pipe.image_encoder.config.image_size
    frames = F.interpolate(frames.float(), (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    mean, std = (
        rearrange(torch.tensor(x, device=frames.device), "c -> c 1 1")
        for x in (pipe.feature_extractor.image_mean, pipe.feature_extractor.image_std)
    )
    pixels = ((frames + 1) / 2 - mean) / std
    embeddings: Tensor = pipe.image_encoder(pixels.to(pipe.image_encoder.dtype)).image_embeds
    return embeddings


def _decoded(pipe: Any) -> Callable[[Any, Tensor], Tensor]:
    return _decode_svd if "Temporal" in type(pipe.vae).__name__ else decode_frames


def _decode_svd(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    """SVD's decoder sees the frames of a video together."""
    videos = latents_BCTHW / pipe.vae.config.scaling_factor
    parts = [rearrange(video, "c t h w -> t c h w") for video in videos]
    pixels = [pipe.vae.decode(part, num_frames=len(part)).sample for part in parts]
    return rearrange(torch.stack(pixels), "b t c h w -> b c t h w")


def _condition_i2vgen(pipe: Any, latents_BCTHW: Tensor) -> dict[str, Tensor]:
    """Its first frame's latents, then each frame's place in time in their stead; CLIP's view; 16 fps."""
    batch, _, frames = latents_BCTHW.shape[:3]
    places = torch.arange(frames).to(latents_BCTHW) / max(frames - 1, 1)
    image = repeat(places, "t -> b c t h w", **parse_shape(latents_BCTHW[:, :, 0], "b c h w")).clone()
    image[:, :, 0] = latents_BCTHW[:, :, 0]
    return {
        "fps": torch.full((batch,), 16, device=latents_BCTHW.device),
        "image_latents": image,
        "image_embeddings": _image_embeddings(pipe, latents_BCTHW)[:, None],
    }


def _condition_svd(pipe: Any, latents_BCTHW: Tensor) -> dict[str, Tensor]:
    """Unscaled latents of the first frame; CLIP's view; frame rate, motion and noise as its pipeline's."""
    ids = torch.tensor([6.0, 127.0, 0.02]).to(latents_BCTHW)
    return {
        "image_latents": latents_BCTHW[:, :, :1] / pipe.vae.config.scaling_factor,
        "image_embeddings": _image_embeddings(pipe, latents_BCTHW)[:, None],
        "added_time_ids": repeat(ids, "n -> b n", b=latents_BCTHW.shape[0]),
    }


def _call_i2vgen(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Its own default of `clip_skip` fails with transformers 5, whose CLIP has another shape."""
    return {"clip_skip": None} | arguments


def _call_svd(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """No text, and guidance that rises from the first frame to the last."""
    texts = ("prompt", "negative_prompt")
    arguments = {name: value for name, value in arguments.items() if name not in texts}
    if (scale := arguments.pop("guidance_scale", None)) is not None:
        arguments |= {"min_guidance_scale": min(1.0, scale), "max_guidance_scale": scale}
    return arguments


def _most_frames(pipe: Any) -> int | None:
    """Motion modules know so many places in time, and go in windows with FreeNoise."""
    if getattr(pipe, "free_noise_enabled", False):
        return None
    return int(pipe.unet.config.motion_max_seq_length)


def _sample_size(denoiser: Any) -> tuple[int, int] | None:
    size: int | tuple[int, int] | None = denoiser.config.sample_size
    return (size, size) if isinstance(size, int) else size


def _cross_attention_dim(denoiser: Any) -> int:
    width: int | tuple[int, ...] = denoiser.config.cross_attention_dim
    return width if isinstance(width, int) else width[0]


def _out_channels(denoiser: Any) -> int:
    return int(denoiser.config.out_channels)


ANIMATEDIFF = Family(
    name="AnimateDiff",
    denoiser=UNetMotionModel,
    component="unet",
    pipelines=("AnimateDiffPipeline",),
    sites=r"((down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+",
    width="proj_in",
    layout="(b t) c h w",
    output=None,
    sample="sample",
    sizes=sizes_of("b c t h w", "sample"),
    latent_channels=_out_channels,
    caption_width=_cross_attention_dim,
    latent_size=_sample_size,
    pixels_per_place=lambda pipe: int(pipe.vae_scale_factor),
    guided=says_guidance,
    encode_video=encode_frames,
    decode_video=decode_frames,
    encode_captions=_encode_captions,
    predict=_predict_motion,
    most_frames=_most_frames,
    checkpoints=BLOCKS,
)

LVDM = replace(
    ANIMATEDIFF,
    name="LVDM",
    denoiser=LVDMUNet,
    pipelines=("LVDMPipeline",),
    sites=r"((down|up)\.\d+|middle)\.transformer\.blocks\.\d+\.attentions",
    width="space.query",
    layout="b t (h w) c",
    predict=_predict,
    most_frames=lambda pipe: None,
    checkpoints=None,
)

MODELSCOPE = replace(
    ANIMATEDIFF,
    name="ModelScope",
    denoiser=UNet3DConditionModel,
    pipelines=("TextToVideoSDPipeline",),
    sites=r"transformer_in|((down|up)_blocks\.\d+|mid_block)\.temp_attentions\.\d+",
    output=0,
    predict=_predict,
    most_frames=lambda pipe: None,
)

I2VGENXL = replace(
    MODELSCOPE,
    name="I2VGen-XL",
    denoiser=I2VGenXLUNet,
    pipelines=("I2VGenXLPipeline",),
    encode_captions=_clip_tokens,
    condition=_condition_i2vgen,
    call=_call_i2vgen,
    image=lambda pipe: True,
    fps=16.0,
)

SVD = replace(
    MODELSCOPE,
    name="Stable Video Diffusion",
    denoiser=UNetSpatioTemporalConditionModel,
    pipelines=("StableVideoDiffusionPipeline",),
    sites=r"((down|up)_blocks\.\d+|mid_block)\.attentions\.\d+",
    sizes=sizes_of("b t c h w", "sample"),
    shared=lambda sample: sample[:, :, : sample.shape[2] // 2],  # the rest is the image, or nothing
    encode_captions=_no_text,
    decode_video=_decode_svd,
    predict=_predict_svd,
    condition=_condition_svd,
    call=_call_svd,
    translated={"guidance_scale": "max_guidance_scale"},
    image=lambda pipe: True,
    reads_text=False,
    fps=7.0,
)
