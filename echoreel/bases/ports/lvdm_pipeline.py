"""Text to video with LVDM: the usual diffusers call."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echoreel.bases.ports.latent_video_pipeline import (
    Generators,
    LatentVideoOutput,
    LatentVideoPipeline,
    OnStepEnd,
)
from echoreel.bases.ports.lvdm_unet import LVDMUNet


class LVDMPipeline(LatentVideoPipeline):
    """LVDM's text to video; its defaults (50 steps of DDIM, eta 1, guidance 12) are EchoReel's demo's."""

    unet: LVDMUNet

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
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LatentVideoOutput | tuple[np.ndarray[Any, Any] | Tensor | list[Any]]:
        """Videos of the prompts. All arguments are as in diffusers' text-to-video pipelines.

        height, width: pixels, a multiple of the autoencoder's 8; None: as trained. eta: DDIM's, 0 is without
        chance. generator: one, or one per video. output_type: "np" (B, T, H, W, 3) in [0, 1], "pt", "pil" or
        "latent" (B, C, T, h, w). Raises EchoReelError for sizes or texts that cannot be used.
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
        latents = self._denoise(latents, contexts, num_inference_steps, eta, generator, on_step_end)
        return self._result(latents, output_type, return_dict)
