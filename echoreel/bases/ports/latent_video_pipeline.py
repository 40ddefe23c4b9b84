"""What the pipelines of LVDM and VideoCrafter share: prompts, noise, denoising, frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from echoreel.bases.frame_autoencoder import decode_frames
from echoreel.common.errors import EchoReelError

Generators = torch.Generator | list[torch.Generator] | None
OnStepEnd = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Tensor]]


@dataclass
class LatentVideoOutput(BaseOutput):
    """frames: as `output_type` asked for."""

    frames: np.ndarray[Any, Any] | Tensor | list[Any]


class LatentVideoPipeline(DiffusionPipeline):
    """A U-Net that predicts the noise of videos in the latents of an image autoencoder, by text."""

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
        unet: ModelMixin,
        scheduler: DDIMScheduler,
    ) -> None:
        super().__init__()
        self._register(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler
        )

    def _register(self, **components: Any) -> None:
        """What a pipeline's constructor does with its components."""
        self.register_modules(**components)  # type: ignore[no-untyped-call]
        self.vae_scale_factor = 2 ** (len(self.vae.config["block_out_channels"]) - 1)
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

    def _noise(
        self,
        count: int,
        num_frames: int,
        size: tuple[int | None, int | None],
        latents: Tensor | None,
        generator: Generators,
    ) -> Tensor:
        """Latents to begin with, of `count` videos of that size in pixels (None: as trained); or those given.

        Raises EchoReelError for a size that cannot be.
        """
        factor, native = self.vae_scale_factor, self.unet.config.sample_size
        native = (native, native) if isinstance(native, int) else native
        height, width = (given or places * factor for given, places in zip(size, native, strict=True))
        if height % factor or width % factor:
            raise EchoReelError(
                f"got {height} x {width} pixels, need multiples of {factor}; round them to that"
            )
        shape = (count, self.unet.config.in_channels, num_frames, height // factor, width // factor)
        if latents is None:
            latents = randn_tensor(
                shape, generator=generator, device=self._execution_device, dtype=self.unet.dtype
            )
        noise: Tensor = latents.to(self._execution_device) * self.scheduler.init_noise_sigma
        return noise

    def _denoise(
        self,
        latents: Tensor,
        contexts: tuple[Tensor, Tensor | None],
        steps: int,
        eta: float,
        generator: Generators,
        on_step_end: tuple[OnStepEnd | None, Sequence[str]],
        **conditions: Any,
    ) -> Tensor:
        """Latents without noise. contexts: what the U-Net reads, and what it is guided away from.

        on_step_end: diffusers' callback and the names of the tensors that it wants. conditions: further
        arguments of the U-Net.
        """
        positive, negative = contexts
        prompt_embeds = positive if negative is None else torch.cat([negative, positive])
        self.scheduler.set_timesteps(steps, device=latents.device)
        callback, wanted = on_step_end
        with self.progress_bar(total=steps) as bar:
            for index, timestep in enumerate(self.scheduler.timesteps):
                doubled = latents if negative is None else torch.cat([latents, latents])
                noise = self.unet(doubled, timestep, encoder_hidden_states=prompt_embeds, **conditions).sample
                if negative is not None:
                    away, towards = noise.chunk(2)
                    noise = away + self._guidance_scale * (towards - away)  # Ho & Salimans 2022, Eq. 6
                latents = self.scheduler.step(
                    noise, timestep, latents, eta=eta, generator=generator
                ).prev_sample
                if callback is not None:
                    here = {"latents": latents, "prompt_embeds": prompt_embeds}
                    changed = callback(self, index, timestep, {name: here[name] for name in wanted}) or {}
                    latents = changed.get("latents", latents)
                    prompt_embeds = changed.get("prompt_embeds", prompt_embeds)
                bar.update()
        return latents

    def _result(
        self, latents: Tensor, output_type: str, return_dict: bool
    ) -> "LatentVideoOutput | tuple[np.ndarray[Any, Any] | Tensor | list[Any]]":
        """Frames as `output_type` asks for."""
        frames = latents
        if output_type != "latent":
            frames = self.video_processor.postprocess_video(decode_frames(self.vae, latents), output_type)
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        return LatentVideoOutput(frames=frames) if return_dict else (frames,)
