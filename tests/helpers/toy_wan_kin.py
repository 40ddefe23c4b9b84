"""Toys of Wan's kin; latents and captions are as in toy_bases.py."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2ImageToVideoPipeline,
    SkyReelsV2Pipeline,
    SkyReelsV2Transformer3DModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)

from helpers.toy_models import alive, quiet
from helpers.toy_transformers import WAN, WAN_VAE, wan_eye, wan_parts, wan_transformer


def toy_wan_5b() -> WanPipeline:
    """Wan 2.2's smallest: its autoencoder makes places of patches, and each token has a timestep."""
    return quiet(WanPipeline(**patch_parts(), transformer=wan_transformer(0), expand_timesteps=True))


def toy_wan_5b_i2v() -> WanImageToVideoPipeline:
    """The same weights, that start from a first frame of timestep 0."""
    return quiet(
        WanImageToVideoPipeline(**patch_parts(), transformer=wan_transformer(0), expand_timesteps=True)
    )


def patch_parts() -> dict[str, Any]:
    torch.manual_seed(4)
    vae = AutoencoderKLWan(
        **WAN_VAE, decoder_base_dim=4, is_residual=True, in_channels=12, out_channels=12, patch_size=2
    )
    return wan_parts(0) | {"vae": vae.eval(), "scheduler": unipc(5.0)}


def toy_vace() -> WanVACEPipeline:
    """4 blocks of width 24, the first and third of which are joined by a control block."""
    torch.manual_seed(0)
    control = 2 * 4 + 4**2  # latents twice, and the mask's pixels of a place
    transformer = WanVACETransformer3DModel(**WAN, vace_layers=[0, 2], vace_in_channels=control)
    return quiet(WanVACEPipeline(**wan_parts(0), transformer=alive(transformer)))


def toy_skyreels() -> SkyReelsV2Pipeline:
    """4 blocks of width 24."""
    return quiet(SkyReelsV2Pipeline(**sky_parts(), transformer=sky_transformer()))


def toy_skyreels_i2v() -> SkyReelsV2ImageToVideoPipeline:
    transformer = sky_transformer(in_channels=12, image_dim=16, added_kv_proj_dim=24)
    return quiet(SkyReelsV2ImageToVideoPipeline(**sky_parts(), **wan_eye(), transformer=transformer))


def toy_skyreels_df() -> SkyReelsV2DiffusionForcingPipeline:
    """It is told the frame rate, and a timestep for each frame."""
    return quiet(
        SkyReelsV2DiffusionForcingPipeline(
            **sky_parts(), transformer=sky_transformer(inject_sample_info=True)
        )
    )


def sky_transformer(**more: Any) -> SkyReelsV2Transformer3DModel:
    torch.manual_seed(0)
    return alive(SkyReelsV2Transformer3DModel(**(WAN | more)))


def sky_parts() -> dict[str, Any]:
    return wan_parts(0) | {"scheduler": unipc(8.0)}


def unipc(shift: float) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
