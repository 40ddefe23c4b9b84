"""Text to video with VideoCrafter 2 and image to video with VideoCrafter 1: the usual diffusers calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from transformers import CLIPTextModel, CLIPVisionModel, PreTrainedTokenizerBase

from echoreel.bases.ports.latent_video_pipeline import (
    Generators,
    LatentVideoOutput,
    LatentVideoPipeline,
    OnStepEnd,
)
from echoreel.bases.ports.videocrafter_image_tokens import ImageProjection, for_clip

# diffusers loads only classes that have been imported
from echoreel.bases.ports.videocrafter_scheduler import ScaledDDIMScheduler  # noqa: F401
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from echoreel.common.errors import EchoReelError


class VideoCrafterPipeline(LatentVideoPipeline):
    """VideoCrafter 2's text to video; defaults (50 steps of DDIM, eta 1, guidance 12) are its authors'."""

    unet: VideoCrafterUNet

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 16,
        num_inference_steps: int = 50,
        guidance_scale: float = 12.0,
        negative_prompt: str | Sequence[str] | None = None,
        num_videos_per_prompt: int = 1,
        eta: float = 1.0,
        fps: float | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LatentVideoOutput | tuple[np.ndarray[Any, Any] | Tensor | list[Any]]:
        """Videos of the prompts. Arguments are as `LVDMPipeline`'s, which see, but for

        fps: the frame rate that the U-Net is asked for; None: its own default. Raises EchoReelError.
        """
        self._guidance_scale = guidance_scale
        contexts = self.encode_prompt(
            prompt,
            self._execution_device,
            num_videos_per_prompt,
            self.do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
        )
        latents = self._noise(contexts[0].shape[0], num_frames, (height, width), latents, generator)
        on_step_end = (callback_on_step_end, callback_on_step_end_tensor_inputs)
        latents = self._denoise(latents, contexts, num_inference_steps, eta, generator, on_step_end, fps=fps)
        return self._result(latents, output_type, return_dict)


class VideoCrafterImagePipeline(LatentVideoPipeline):
    """VideoCrafter 1's image to video: the U-Net reads the text, and an image by CLIP's features of it.

    The image is a likeness to keep to, not the first frame.
    """

    model_cpu_offload_seq = "text_encoder->image_encoder->image_projection->unet->vae"
    image_encoder: Any
    image_projection: Any

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        unet: VideoCrafterUNet,
        scheduler: DDIMScheduler,
        image_encoder: CLIPVisionModel,
        image_projection: ImageProjection,
    ) -> None:
        super().__init__(vae, text_encoder, tokenizer, unet, scheduler)
        self._register(image_encoder=image_encoder, image_projection=image_projection)

    def encode_image(self, images_BCHW: Tensor) -> Tensor:
        """Context tokens (B, Q, D) of images (B, 3, H, W) in [-1, 1] of any size."""
        pixels = for_clip(images_BCHW.float(), self.image_encoder.config.image_size)
        features = self.image_encoder(
            pixels.to(self._execution_device, self.image_encoder.dtype)
        ).last_hidden_state
        tokens: Tensor = self.image_projection(features)
        return tokens

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        image: Any = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 16,
        num_inference_steps: int = 50,
        guidance_scale: float = 12.0,
        negative_prompt: str | Sequence[str] | None = None,
        num_videos_per_prompt: int = 1,
        eta: float = 1.0,
        fps: float | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LatentVideoOutput | tuple[np.ndarray[Any, Any] | Tensor | list[Any]]:
        """Videos of the prompts and the image. Arguments are as `VideoCrafterPipeline`'s, but for

        image: one for all prompts or one of each, as PIL images, arrays in [0, 1] or tensors in [-1, 1].
        Raises EchoReelError.
        """
        self._guidance_scale = guidance_scale
        positive, negative = self.encode_prompt(
            prompt,
            self._execution_device,
            num_videos_per_prompt,
            self.do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
        )
        shown = self._shown(image, positive, num_videos_per_prompt)
        contexts = (
            torch.cat([positive, shown], dim=1),
            None if negative is None else torch.cat([negative, self._nothing_shown(negative)], dim=1),
        )
        latents = self._noise(positive.shape[0], num_frames, (height, width), latents, generator)
        on_step_end = (callback_on_step_end, callback_on_step_end_tensor_inputs)
        latents = self._denoise(latents, contexts, num_inference_steps, eta, generator, on_step_end, fps=fps)
        return self._result(latents, output_type, return_dict)

    def _shown(self, image: Any, positive: Tensor, videos_per_prompt: int) -> Tensor:
        """The image's tokens for each row of the context. Raises EchoReelError for too few or none."""
        if image is None:
            raise EchoReelError("this pipeline needs an image; give image=")
        tokens = self.encode_image(self.video_processor.preprocess(image)).to(positive)
        prompts = positive.shape[0] // videos_per_prompt
        if tokens.shape[0] not in (1, prompts):
            raise EchoReelError(
                f"got {tokens.shape[0]} images for {prompts} prompts, need one of each, or one for all"
            )
        return tokens.expand(prompts, -1, -1).repeat_interleave(videos_per_prompt, dim=0)

    def _nothing_shown(self, negative: Tensor) -> Tensor:
        """The tokens of a grey image, which stand for none."""
        grey = torch.zeros(1, 3, 8, 8, device=self._execution_device)
        return self.encode_image(grey).to(negative).expand(negative.shape[0], -1, -1)
