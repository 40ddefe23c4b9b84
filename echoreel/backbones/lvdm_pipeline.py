"""Text to video with LVDM: the usual diffusers call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from echoreel.backbones.lvdm import LVDMUNet
from echoreel.backbones.unets import decode_frames
from echoreel.errors import EchoReelError

Generators = torch.Generator | list[torch.Generator] | None
OnStepEnd = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Tensor]]


@dataclass
class LVDMPipelineOutput(BaseOutput):
    """frames: as `output_type` asked for."""

    frames: np.ndarray[Any, Any] | Tensor | list[Any]


class LVDMPipeline(DiffusionPipeline):
    """LVDM's text to video; its defaults (50 steps of DDIM, eta 1, guidance 12) are EchoReel's demo's."""

    model_cpu_offload_seq = "text_encoder->unet->vae"  # type: ignore[assignment]
    _callback_tensor_inputs = ("latents", "prompt_embeds")
    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        unet: LVDMUNet,
        scheduler: DDIMScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler
        )
        self.vae_scale_factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.video_processor = VideoProcessor(do_resize=False, vae_scale_factor=self.vae_scale_factor)
        self._guidance_scale = 1.0

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the last call guided: with [negative, positive] in one batch."""
        return self._guidance_scale > 1

    def encode_prompt(
        self,
        prompt: str | Sequence[str] | None,
        device: torch.device,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: str | Sequence[str] | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Text tokens (B * num_images_per_prompt, L, D) of prompts, and of what they are guided away from.

        Embeds are taken as they are, in the place of texts. Raises EchoReelError when texts do not match.
        """
        if (prompt is None) == (prompt_embeds is None):
            raise EchoReelError("got both of prompt and prompt_embeds or neither, need one of them")
        if prompt_embeds is None:
            assert prompt is not None
            prompt_embeds = self._encode(prompt, device)
        positive = prompt_embeds.repeat_interleave(num_images_per_prompt, dim=0)
        if not do_classifier_free_guidance:
            return positive, None
        if negative_prompt_embeds is None:
            negative_prompt_embeds = self._encode(negative_prompt or "", device)
        count, negatives = prompt_embeds.shape[0], negative_prompt_embeds.shape[0]
        if negatives not in (1, count):
            raise EchoReelError(
                f"got {negatives} negative prompts for {count} prompts, need one of each, or one for all"
            )
        if negatives == 1:
            negative_prompt_embeds = negative_prompt_embeds.expand(count, -1, -1)
        return positive, negative_prompt_embeds.repeat_interleave(num_images_per_prompt, dim=0)

    def _encode(self, texts: str | Sequence[str], device: torch.device) -> Tensor:
        texts = [texts] if isinstance(texts, str) else list(texts)
        ids = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        tokens: Tensor = self.text_encoder(ids.to(device)).last_hidden_state
        return tokens

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
    ) -> LVDMPipelineOutput | tuple[np.ndarray[Any, Any] | Tensor | list[Any]]:
        """Videos of the prompts. All arguments are as in diffusers' text-to-video pipelines.

        height, width: pixels, a multiple of the autoencoder's 8; None: as trained. eta: DDIM's, 0 is without
        chance. generator: one, or one per video. output_type: "np" (B, T, H, W, 3) in [0, 1], "pt", "pil" or
        "latent" (B, C, T, h, w). Raises EchoReelError for sizes or texts that cannot be used.
        """
        factor = self.vae_scale_factor
        native = self.unet.config.sample_size * factor
        height, width = height or native, width or native
        if height % factor or width % factor:
            raise EchoReelError(
                f"got {height} x {width} pixels, need multiples of {factor}; round them to that"
            )
        self._guidance_scale = guidance_scale
        device = self._execution_device
        positive, negative = self.encode_prompt(
            prompt,
            device,
            num_videos_per_prompt,
            self.do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
        )
        prompt_embeds = positive if negative is None else torch.cat([negative, positive])
        shape = (
            positive.shape[0],
            self.unet.config.in_channels,
            num_frames,
            height // factor,
            width // factor,
        )
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=positive.dtype)
        latents = latents.to(device) * self.scheduler.init_noise_sigma
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        with self.progress_bar(total=num_inference_steps) as bar:
            for index, timestep in enumerate(self.scheduler.timesteps):
                doubled = latents if negative is None else torch.cat([latents, latents])
                noise = self.unet(doubled, timestep, encoder_hidden_states=prompt_embeds).sample
                if negative is not None:
                    away, towards = noise.chunk(2)
                    noise = away + guidance_scale * (towards - away)  # Ho & Salimans 2022, Eq. 6
                latents = self.scheduler.step(
                    noise, timestep, latents, eta=eta, generator=generator
                ).prev_sample
                if callback_on_step_end is not None:
                    here = {"latents": latents, "prompt_embeds": prompt_embeds}
                    offered = {name: here[name] for name in callback_on_step_end_tensor_inputs}
                    changed = callback_on_step_end(self, index, timestep, offered) or {}
                    latents = changed.get("latents", latents)
                    prompt_embeds = changed.get("prompt_embeds", prompt_embeds)
                bar.update()
        assert latents is not None
        frames = latents
        if output_type != "latent":
            frames = self.video_processor.postprocess_video(decode_frames(self, latents), output_type)
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        return LVDMPipelineOutput(frames=frames) if return_dict else (frames,)
