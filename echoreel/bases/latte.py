"""Latte: a transformer whose blocks look at a frame's places and at a place's frames in turn.

The entry that docs/adding-a-backbone.md follows.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffusers import LatteTransformer3DModel
from torch import Tensor

from echoreel.bases.family import Condition, Family
from echoreel.bases.unet_families import ANIMATEDIFF, sizes_of


def _captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    """Padded to the same length whatever the batch: the pipeline would cut a single caption's."""
    tokens: Tensor = pipe.encode_prompt(
        list(captions), do_classifier_free_guidance=False, mask_feature=False, dtype=pipe.transformer.dtype
    )[0]
    return tokens


def _predict(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, _: Condition
) -> Tensor:
    """The noise; the other half of its output is a variance that sampling leaves out."""
    prediction: Tensor = denoiser(noisy_BCTHW, timesteps, encoder_hidden_states=captions_BLD).sample
    return prediction[:, : noisy_BCTHW.shape[1]]


def _call(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Its word for the number of frames."""
    return {"video_length" if name == "num_frames" else name: value for name, value in arguments.items()}


LATTE: Family = replace(
    ANIMATEDIFF,
    name="Latte",
    denoiser=LatteTransformer3DModel,
    component="transformer",
    pipelines=("LattePipeline",),
    sites=r"temporal_transformer_blocks\.\d+",
    width="attn1.to_q",
    layout="(b h w) t c",
    sample="hidden_states",
    sizes=sizes_of("b c t h w", "hidden_states"),
    latent_channels=lambda denoiser: int(denoiser.config.in_channels),
    caption_width=lambda denoiser: int(denoiser.config.caption_channels),
    encode_captions=_captions,
    predict=_predict,
    call=_call,
    translated={"num_frames": "video_length"},
    most_frames=lambda pipe: int(pipe.transformer.config.video_length),
    checkpoints=None,
    every=2,
)
