"""A toy of every family, and how its pipeline is called: latents are (B, 4, 4, 8, 8), captions 16 wide."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    I2VGenXLPipeline,
    I2VGenXLUNet,
    StableVideoDiffusionPipeline,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from toys import FRAMES, toy_lvdm_pipeline, toy_pipeline, toy_text, toy_vae
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection


@dataclass(frozen=True)
class Toy:
    """How to make a toy, and what a call of it needs beside the usual."""

    make: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=lambda: {"num_frames": FRAMES})
    loaded: Callable[[Any], None] = lambda pipe: None  # what to do again after loading


def toy_modelscope() -> TextToVideoSDPipeline:
    """ModelScope and ZeroScope."""
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    encoders = {"vae": toy_vae(), **toy_text()}
    return quiet(TextToVideoSDPipeline(**encoders, unet=alive(unet), scheduler=ddim()))


def toy_i2vgenxl() -> I2VGenXLPipeline:
    torch.manual_seed(0)
    unet = I2VGenXLUNet(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    encoders = {"vae": toy_vae(), **toy_text(), **toy_eye()}
    with torch.no_grad():  # its pipeline draws the image's latents: here from a distribution without width
        encoders["vae"].quant_conv.weight[4:] = 0
        encoders["vae"].quant_conv.bias[4:] = -30
    return quiet(I2VGenXLPipeline(**encoders, unet=alive(unet), scheduler=ddim()))


def toy_svd() -> StableVideoDiffusionPipeline:
    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        cross_attention_dim=16,
        num_attention_heads=2,
        num_frames=FRAMES,
    )
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3, latent_channels=4
    )
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        interpolation_type="linear",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_type="continuous",
    )
    return quiet(
        StableVideoDiffusionPipeline(vae=vae.eval(), unet=alive(unet), scheduler=scheduler, **toy_eye())
    )


def toy_eye() -> dict[str, Any]:
    """CLIP's image encoder and what prepares pictures for it."""
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=224,
        patch_size=112,
    )
    size = {"height": 224, "width": 224}
    return {
        "image_encoder": CLIPVisionModelWithProjection(config).eval(),
        "feature_extractor": CLIPImageProcessor(crop_size=size, size=size),
    }


def ddim() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)


def alive(denoiser: Any) -> Any:
    """No weight is zero, as in a trained one: some fresh layers are."""
    for parameter in denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return denoiser.eval()


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


SMALL = {"height": 32, "width": 32}

TOYS: dict[str, Toy] = {
    "AnimateDiff": Toy(toy_pipeline),
    "LVDM": Toy(toy_lvdm_pipeline),
    "ModelScope": Toy(toy_modelscope),
    "I2VGen-XL": Toy(toy_i2vgenxl, {"num_frames": FRAMES, **SMALL}),
    "Stable Video Diffusion": Toy(toy_svd, {"num_frames": FRAMES, **SMALL, "decode_chunk_size": 2}),
}
