"""Frames and captions to the base's latents and back."""

import numpy as np
import pytest
import torch
from helpers.toy_models import toy_pipeline, toy_unet
from torch.testing import assert_close

from echoreel.bases.encoding import decode_video, encode_captions, encode_video
from echoreel.common.errors import BaseUnsupported, VideoError

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3), dtype=np.uint8)


def test_a_batch_of_videos_is_its_videos_and_has_no_chance_in_it() -> None:
    pipe = toy_pipeline()
    latents = encode_video(pipe, FRAMES)
    assert latents.shape == (2, 4, 3, 8, 8)
    assert not latents.requires_grad
    assert_close(latents, torch.cat([encode_video(pipe, FRAMES[0]), encode_video(pipe, FRAMES[1])]))
    assert torch.equal(latents, encode_video(pipe, FRAMES))


def test_latents_are_what_the_pipeline_decodes() -> None:
    pipe = toy_pipeline()
    latents = encode_video(pipe, FRAMES)
    frames = decode_video(pipe, latents)
    assert (frames.shape, frames.dtype) == ((2, 3, 32, 32, 3), np.uint8)
    with torch.no_grad():
        theirs = pipe.video_processor.postprocess_video(pipe.decode_latents(latents), output_type="np")
    assert np.abs(frames / 255 - theirs).max() <= 0.5001 / 255


def test_captions_are_encoded_as_prompts_are() -> None:
    pipe = toy_pipeline()
    captions = ["a man in a red coat", "a woman dancing"]
    tokens = encode_captions(pipe, captions)
    assert tokens.shape == (2, 16, 16)
    prompt, _ = pipe.encode_prompt(captions[1], pipe.device, 1, False)
    assert_close(tokens[1:], prompt)


def test_what_cannot_be_encoded_is_refused() -> None:
    for frames in (FRAMES[0, 0], FRAMES[..., :2], FRAMES / 255):
        with pytest.raises(VideoError, match=r"need .* uint8"):
            encode_video(toy_pipeline(), frames)
    with pytest.raises(BaseUnsupported, match="need its pipeline"):
        encode_video(toy_unet(), FRAMES)
