"""A toy of every family, and how its pipeline is called: latents are (B, 4, 4, 8, 8), captions 16 wide."""

from collections.abc import Callable
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

from echoreel.bases.lookup import base_of
from helpers.quick_copies import quick_copies
from helpers.toy_hunyuan_video import toy_hunyuan_video
from helpers.toy_kandinsky5 import toy_kandinsky, toy_kandinsky_i2v
from helpers.toy_ltx2 import toy_ltx2
from helpers.toy_models import (
    FRAMES,
    UNET_3D,
    alive,
    quiet,
    toy_eye,
    toy_lvdm_pipeline,
    toy_pipeline,
    toy_text,
    toy_vae,
)
from helpers.toy_sana_mochi import toy_mochi, toy_sana, toy_sana_i2v
from helpers.toy_transformers import (
    toy_cog,
    toy_cog_i2v,
    toy_hunyuan,
    toy_latte,
    toy_ltx,
    toy_wan,
    toy_wan_22,
    toy_wan_i2v,
)
from helpers.toy_videocrafter import toy_videocrafter_image_pipeline, toy_videocrafter_pipeline
from helpers.toy_wan_kin import (
    toy_skyreels,
    toy_skyreels_df,
    toy_skyreels_i2v,
    toy_vace,
    toy_wan_5b,
    toy_wan_5b_i2v,
)


def toy_modelscope() -> TextToVideoSDPipeline:
    """ModelScope and ZeroScope."""
    torch.manual_seed(0)
    unet = UNet3DConditionModel(sample_size=8, **UNET_3D)
    encoders = {"vae": toy_vae(), **toy_text()}
    return quiet(TextToVideoSDPipeline(**encoders, unet=alive(unet), scheduler=ddim()))


def toy_i2vgenxl() -> I2VGenXLPipeline:
    torch.manual_seed(0)
    unet = I2VGenXLUNet(sample_size=8, **UNET_3D)
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


def ddim() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)


DRAWN = {"num_frames": FRAMES}
BRIEF = {"complex_human_instruction": None}  # Sana-Video puts 800 words before a prompt
FILMED = {"num_frames": 1 + 4 * (FRAMES - 1)}  # time is compressed, too

TOYS: dict[str, Callable[[], Any]] = {
    "AnimateDiff": toy_pipeline,
    "LVDM": toy_lvdm_pipeline,
    "VideoCrafter": toy_videocrafter_pipeline,
    "VideoCrafter I2V": toy_videocrafter_image_pipeline,
    "ModelScope": toy_modelscope,
    "I2VGen-XL": toy_i2vgenxl,
    "SVD": toy_svd,
    "Wan 2.1": toy_wan,
    "Wan 2.1 I2V": toy_wan_i2v,
    "Wan 2.2": toy_wan_22,
    "Wan 2.2 5B": toy_wan_5b,
    "Wan 2.2 5B I2V": toy_wan_5b_i2v,
    "Wan VACE": toy_vace,
    "SkyReels V2": toy_skyreels,
    "SkyReels V2 I2V": toy_skyreels_i2v,
    "SkyReels V2 DF": toy_skyreels_df,
    "LTX": toy_ltx,
    "LTX-2": toy_ltx2,
    "CogVideoX": toy_cog,
    "CogVideoX I2V": toy_cog_i2v,
    "HunyuanVideo 1.0": toy_hunyuan_video,
    "HunyuanVideo 1.5": toy_hunyuan,
    "Kandinsky 5": toy_kandinsky,
    "Kandinsky 5 I2V": toy_kandinsky_i2v,
    "Mochi": toy_mochi,
    "Sana-Video": toy_sana,
    "Sana-Video I2V": toy_sana_i2v,
    "Latte": toy_latte,
}
TOYS = {name: quick_copies(make) for name, make in TOYS.items()}

CALLS: dict[str, dict[str, Any]] = {
    # Its first noise is so large that two steps end in numbers far from 1.
    "StableVideoDiffusionPipeline": {**DRAWN, "decode_chunk_size": 2, "num_inference_steps": 3},
    "WanPipeline": FILMED,
    "WanImageToVideoPipeline": FILMED,
    "WanVACEPipeline": FILMED,
    "SkyReelsV2Pipeline": FILMED,
    "SkyReelsV2ImageToVideoPipeline": FILMED,
    "SkyReelsV2DiffusionForcingPipeline": FILMED,
    "LTXPipeline": FILMED,
    "LTX2Pipeline": {
        **FILMED,
        **{"stg_scale": 0.0, "audio_stg_scale": 0.0, "modality_scale": 1.0, "audio_modality_scale": 1.0},
    },
    "CogVideoXPipeline": FILMED,
    "CogVideoXImageToVideoPipeline": FILMED,
    "HunyuanVideoPipeline": FILMED,
    "HunyuanVideo15Pipeline": FILMED,
    "Kandinsky5T2VPipeline": FILMED,
    "Kandinsky5I2VPipeline": {"num_frames": 17, "height": 32, "width": 32},
    "MochiPipeline": {"num_frames": 1 + 6 * (FRAMES - 1)},
    "SanaVideoPipeline": {**FILMED, **BRIEF},
    "SanaImageToVideoPipeline": {**FILMED, **BRIEF},
    # Otherwise it cuts the padding of a single prompt and not of several, so that a batch is no two videos.
    "LattePipeline": {**DRAWN, "mask_feature": False, "clean_caption": False},
}
"""How each pipeline is called; `DRAWN` unless listed."""


def call_of(pipe: Any) -> dict[str, Any]:
    """Arguments of a call that makes latents of the shape above, of few words."""
    side = 8 * base_of(pipe).pixels_per_place
    size = {"height": side, "width": side, "max_sequence_length": 16}
    return size | CALLS.get(type(pipe).__name__, DRAWN)


KIN = ("Kandinsky 5 I2V", "Sana-Video I2V")
"""Further pipelines of a toy above: of its contract they run what is about pipelines."""

ALONE = ("Wan VACE", "SkyReels V2 DF", "Kandinsky 5", "Kandinsky 5 I2V")
SEVERAL = [name for name in TOYS if name not in (*ALONE, *KIN)]
"""Those whose pipeline makes several videos in a call."""

ONE_IMAGE = {"Wan", "SkyReels V2", "Sana-Video"}
"""Families whose pipelines take one image for all videos of a call."""
