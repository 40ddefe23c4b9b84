"""What Encode Reference takes of a video is what EchoReel takes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.make_videos import counting, film

from comfyui.references import Reference, as_frames, as_images, of_family, resized, sheet, take, with_encoded
from echoreel.common.errors import AdapterMismatch, ClipTooShort
from echoreel.media.images import fitted
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import read_frames


@pytest.mark.parametrize("fps", [8, 10, 24])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_frames_are_those_of_the_library(tmp_path: Path, fps: int, start: float) -> None:
    film(tmp_path / "a.mp4", counting(30), fps=fps)
    want = ReferenceVideo.from_file(tmp_path / "a.mp4", start=start)
    images = as_images(read_frames(tmp_path / "a.mp4").frames)
    found = take(images, fps, start, 2.0, 8.0, moving=False)
    np.testing.assert_array_equal(found.frames, want.frames)
    np.testing.assert_allclose(found.times, want.timestamps, atol=2e-3)


def test_a_part_without_two_frames_is_told() -> None:
    with pytest.raises(ClipTooShort, match=r"from 9 s on in a video of 2\.00 s: 0, need at least 2"):
        take(torch.rand(16, 8, 8, 3), 8.0, 9.0, 2.0, 8.0, moving=False)
    with pytest.raises(ClipTooShort, match=r"from 1\.9 s on .*: 1, need"):
        take(torch.rand(16, 8, 8, 3), 8.0, 1.9, 2.0, 8.0, moving=False)


def test_frames_for_the_vae_are_a_whole_number_of_steps() -> None:
    frames = counting(6)
    found = resized(frames, (16, 24), 4)
    assert found.shape == (9, 16, 24, 3)
    np.testing.assert_array_equal(as_frames(found)[5], fitted(frames[5], (16, 24)))
    assert torch.equal(found[5], found[8])


def test_a_file_serves_its_own_family_alone() -> None:
    stored = take(torch.rand(16, 8, 8, 3), 8.0, 0.0, 2.0, 8.0, moving=False)
    latents, tokens = torch.rand(1, 16, 5, 2, 2), torch.rand(1, 7, 32)
    held = with_encoded(stored, latents, tokens, (16, 16), "Wan", "a man running")
    assert held.caption == "a man running"
    for family in ("Wan", "SkyReels V2"):  # which have the same encoders
        found = of_family(Reference(held), family, 16, 32)
        np.testing.assert_array_equal(found.latents, latents[0].numpy())
    for family, channels, width in (("LTX-Video", 16, 32), ("Wan", 48, 32), ("Wan", 16, 64)):
        with pytest.raises(AdapterMismatch, match=f"is encoded for Wan, need {family}"):
            of_family(Reference(held), family, channels, width)
    assert sheet([Reference(held), Reference(held)]).shape[-1] == 3
    looped = Reference(replace(held, align="loop"))
    assert not torch.equal(sheet([looped]), sheet([Reference(held)]))  # says that it is not looped here
