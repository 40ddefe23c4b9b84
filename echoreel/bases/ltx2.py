"""LTX-2: video and audio denoised together, a stream each; the adapter reads and writes that of the video."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import LTX2VideoTransformer3DModel
from einops import rearrange
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.ltx import LTXVideo


class LTX2(LTXVideo):
    name = "LTX-2"
    denoiser_type = LTX2VideoTransformer3DModel
    output = 0
    positive = ("uncond_stg", "uncond_modality")
    fps = 24.0

    @property
    def caption_width(self) -> int:
        """Its connectors give tokens of the denoiser's own width from version 2.3 on."""
        config = self.denoiser.config
        return int(config.caption_channels if config.use_prompt_embeddings else config.cross_attention_dim)

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """What the video stream reads, then what the audio stream does, filled up with zeros."""
        pipe = self.pipe
        tokens, mask, *_ = pipe.encode_prompt([*captions], do_classifier_free_guidance=False)
        video, audio, _ = pipe.connectors(tokens, mask, padding_side=pipe.tokenizer.padding_side)
        return torch.cat([video, F.pad(audio, (0, video.shape[-1] - audio.shape[-1]))], dim=1)

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        return {}

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """The video stream by itself, as the base is called for guidance between the streams: clips to train
        on have no sound. A moment of silence stands for it."""
        config, (frames, height, width) = self.denoiser.config, noisy.shape[2:]
        video, audio = captions.chunk(2, dim=1)
        if not config.use_prompt_embeddings:
            audio = audio[..., : config.audio_cross_attention_dim]
        mask = (video != 0).any(-1).long()
        prediction: Tensor
        prediction, _ = denoiser(
            hidden_states=rearrange(noisy, "b c t h w -> b (t h w) c"),
            audio_hidden_states=noisy.new_zeros(noisy.shape[0], 1, config.audio_in_channels),
            encoder_hidden_states=video,
            audio_encoder_hidden_states=audio,
            timestep=timesteps,
            sigma=timesteps,
            encoder_attention_mask=mask,
            audio_encoder_attention_mask=mask,
            num_frames=frames,
            height=height,
            width=width,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,  # accelerate's offloading cannot rebuild the two-part output
        )
        return rearrange(prediction, "b (t h w) c -> b c t h w", t=frames, h=height)
