"""Latte: a transformer whose blocks look at a frame's places and at a place's frames in turn.

The class that docs/adding-a-backbone.md follows.
"""

from collections.abc import Sequence

from diffusers import LatteTransformer3DModel
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.frame_autoencoder import decode_frames, encode_frames
from echoreel.bases.transformer_base import TransformerBase


class Latte(TransformerBase):
    name = "Latte"
    denoiser_type = LatteTransformer3DModel
    sites = r"temporal_transformer_blocks\.\d+"
    layout = "(b h w) t c"
    channels_field = "in_channels"
    caption_field = "caption_channels"
    pixels_field = "vae_scale_factor"
    one_at_a_time = True  # it cuts the padding of a prompt alone, and not of several
    translated = {"num_frames": "video_length"}  # noqa: RUF012 - declared a ClassVar above

    @property
    def latent_size(self) -> tuple[int, int] | None:
        return self.denoiser.config.sample_size, self.denoiser.config.sample_size

    @property
    def most_frames(self) -> int | None:
        return int(self.denoiser.config.video_length)

    @property
    def least_frames(self) -> int:
        """As many as it makes at most: it adds a table of so many places in time."""
        return int(self.denoiser.config.video_length)

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        return encode_frames(self.pipe.vae, pixels_BCTHW)

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        return decode_frames(self.pipe.vae, latents_BCTHW)

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Padded to the same length whatever the batch: the pipeline would cut a single caption's."""
        tokens: Tensor = self.pipe.encode_prompt(
            [*captions], do_classifier_free_guidance=False, mask_feature=False, dtype=self.denoiser.dtype
        )[0]
        return tokens

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """The noise; the other half of its output is a variance that sampling leaves out."""
        prediction: Tensor = denoiser(noisy, timesteps, encoder_hidden_states=captions).sample
        return prediction[:, : noisy.shape[1]]
