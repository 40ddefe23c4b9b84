"""The embedded base: an AnimateDiff pipeline of diffusers classes, trained from scratch on the actor domain.

Stages, each one `fit` of one task in a resumable run folder: autoencoder -> latents of pairs, cached on disk
-> denoiser and text encoder on single frames (16 times cheaper) -> the whole denoiser on clips -> pipeline.
"""

from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from echoreel.common.settings import Settings


class BaseSettings(Settings):
    """Shape of the embedded base."""

    autoencoder_channels: tuple[int, ...] = (32, 64, 96)  # one factor of two between neighbours
    latent_channels: int = 8
    denoiser_channels: tuple[int, ...] = (48, 96, 160)
    text_width: int = 128
    text_layers: int = 3
    attention_from: int = 1  # first level whose blocks read the caption
    max_frames: int = 32


def build_autoencoder(settings: BaseSettings, size: int) -> Any:
    """Untrained; frames of `size` pixels become latents of `size / 2 ** (levels - 1)`."""
    levels = len(settings.autoencoder_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=settings.autoencoder_channels,
        layers_per_block=1,
        latent_channels=settings.latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=size,
    )


def build_text_encoder(settings: BaseSettings, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Untrained CLIP text model over the word vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.text_width,
            intermediate_size=4 * settings.text_width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_frame_denoiser(settings: BaseSettings, size: int) -> Any:
    """Untrained spatial layers of the denoiser; `size` is that of the latents."""
    reads = [level >= settings.attention_from for level in range(len(settings.denoiser_channels))]
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=settings.latent_channels,
        out_channels=settings.latent_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if read else "DownBlock2D" for read in reads),
        up_block_types=tuple("CrossAttnUpBlock2D" if read else "UpBlock2D" for read in reversed(reads)),
        block_out_channels=settings.denoiser_channels,
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=settings.text_width,
        attention_head_dim=4,
    )


def inflate(frame_denoiser: Any, settings: BaseSettings) -> Any:
    """The same denoiser with motion modules that start as the identity (zero output projections)."""
    motion: Any = MotionAdapter(
        block_out_channels=settings.denoiser_channels,
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=settings.max_frames,
        use_motion_mid_block=True,
    )
    for name, module in motion.named_modules():
        if name.endswith("proj_out") and isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return UNetMotionModel.from_unet2d(frame_denoiser, motion)


def build_scheduler() -> Any:
    """Velocity prediction with zero terminal SNR: sampling starts where training ended, at pure noise."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
