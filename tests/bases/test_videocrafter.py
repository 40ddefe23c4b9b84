"""VideoCrafter: the scaled schedule, the encoders' conversion, the pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from helpers.toy_videocrafter import (
    text_tower,
    toy_videocrafter,
    toy_videocrafter_image_pipeline,
    toy_videocrafter_pipeline,
    vision_tower,
)
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from echoreel.bases.noise_schedule import NoiseSchedule
from echoreel.bases.ports.videocrafter_scheduler import RAMP, WEAKEST, ScaledDDIMScheduler
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from echoreel.common.errors import CheckpointError, EchoReelError, SettingsError
from echoreel.released.convert_encoders import (
    convert_image_projection,
    convert_open_clip_text,
    convert_open_clip_vision,
)

PROMPT = "a man doing a cartwheel"
SCHEDULE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


# The schedule.


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_scaled_step_is_the_formula(eta: float) -> None:
    """DDIM, Eq. 12, with sqrt(alpha_bar) times the scale in the place of sqrt(alpha_bar)."""
    scheduler = ScaledDDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(4)
    x, epsilon, chance = torch.randn(3, 1, 2, 3, 4, 4).unbind()
    assert [*scheduler.timesteps] == [751, 501, 251, 1]
    for t, before in ((751, 501), (251, 1), (1, 0)):
        a, a_before = scheduler.alphas_cumprod[t], scheduler.alphas_cumprod[before]
        s, s_before = scheduler.scales[t], scheduler.scales[before]
        sigma = eta * ((1 - a_before) / (1 - a) * (1 - a / a_before)).sqrt()
        clean = (x - (1 - a).sqrt() * epsilon) / (a.sqrt() * s)
        want = s_before * a_before.sqrt() * clean + (1 - a_before - sigma**2).sqrt() * epsilon
        want = want + sigma * chance
        got = scheduler.step(epsilon, t, x, eta=eta, variance_noise=chance)
        assert_close(got.prev_sample, want)
        assert_close(got.pred_original_sample, clean)
        assert_close(
            scheduler.step(epsilon, t, x, eta=eta, variance_noise=chance, return_dict=False)[0], want
        )


def test_noise_is_added_to_a_weaker_signal_and_taken_off_again() -> None:
    scheduler, plain = ScaledDDIMScheduler(**SCHEDULE), DDIMScheduler(**SCHEDULE)
    assert scheduler.scales[0] == 1
    assert_close(scheduler.scales[RAMP:], torch.full((1000 - RAMP,), WEAKEST))
    clean, noise, timesteps = *torch.randn(2, 2, 4, 3, 8, 8).unbind(), torch.tensor([0, 900])
    noisy = scheduler.add_noise(clean, noise, timesteps)
    assert_close(noisy[:1], plain.add_noise(clean[:1], noise[:1], timesteps[:1]))
    assert_close(noisy[1:], plain.add_noise(WEAKEST * clean[1:], noise[1:], timesteps[1:]))
    mixed = NoiseSchedule(scheduler).mix(clean, noise, torch.tensor([0.0, 0.9]))  # as training does
    assert_close(mixed.noisy, noisy)
    scheduler.set_timesteps(10)
    assert_close(
        scheduler.step(noise[1:], 900, noisy[1:]).pred_original_sample, clean[1:], atol=1e-4, rtol=1e-4
    )


def test_the_schedule_is_saved_and_refuses_what_it_does_not_define(tmp_path: Path) -> None:
    ScaledDDIMScheduler(**SCHEDULE, num_train_timesteps=100).save_pretrained(tmp_path)
    loaded = ScaledDDIMScheduler.from_pretrained(tmp_path)
    assert loaded.config.num_train_timesteps == len(loaded.scales) == 100
    assert loaded.config.steps_offset == 1
    with pytest.raises(SettingsError, match="need prediction_type='epsilon'"):
        _ = ScaledDDIMScheduler(prediction_type="v_prediction", clip_sample=False).scales


# The encoders, against their architectures built of torch's own parts.


TEXT = {
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "projection_dim": 6,
    "max_position_embeddings": 5,
}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "image_size": 28,
    "patch_size": 14,
    "projection_dim": 6,
}


@torch.no_grad()
def test_openclip_s_text_encoder_stops_before_its_last_layer() -> None:
    torch.manual_seed(0)
    tower = text_tower()
    ids = torch.tensor([[1, 4, 9, 2, 0]])
    x = tower.token_embedding(ids) + tower.positional_embedding
    mask = torch.full((5, 5), -torch.inf).triu(1)
    for block in tower.transformer.resblocks[:2]:
        x = block(x, mask)
    encoder = convert_open_clip_text(tower.state_dict(), TEXT)
    assert_close(encoder(ids).last_hidden_state, tower.ln_final(x))
    tensors = tower.state_dict()
    del tensors["transformer.resblocks.2.ln_1.bias"], tensors["transformer.resblocks.0.attn.in_proj_bias"]
    with pytest.raises(CheckpointError, match=r"4 missing: .*resblocks\.2\.ln_1\.bias.*in_proj_bias"):
        convert_open_clip_text(tensors, TEXT)


@torch.no_grad()
def test_openclip_s_image_encoder_gives_all_patches_before_its_last_norm() -> None:
    torch.manual_seed(0)
    tower = vision_tower(text_tower(), 8, 6)
    vision = tower.visual
    pixels = torch.randn(2, 3, 28, 28)
    x = vision.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([vision.class_embedding.expand(2, 1, 8), x], 1) + vision.positional_embedding
    x = vision.ln_pre(x)
    for block in vision.transformer.resblocks:
        x = block(x)
    encoder = convert_open_clip_vision(tower.state_dict(), VISION, TEXT)
    assert_close(encoder(pixels).last_hidden_state, x)


@torch.no_grad()
def test_the_image_projection_is_a_resampler() -> None:
    """Queries read what is normalised of features and themselves, then a feed-forward; twice."""
    torch.manual_seed(0)
    shapes = {"latents": (1, 3, 8), "proj_in.weight": (8, 6), "proj_in.bias": (8,), "proj_out.weight": (5, 8)}
    shapes |= {"proj_out.bias": (5,), "norm_out.weight": (5,), "norm_out.bias": (5,)}
    for i in range(2):
        shapes |= {f"layers.{i}.0.norm{n}.{p}": (8,) for n in (1, 2) for p in ("weight", "bias")}
        shapes |= {f"layers.{i}.0.to_q.weight": (8, 8), f"layers.{i}.0.to_kv.weight": (16, 8)}
        shapes |= {f"layers.{i}.0.to_out.weight": (8, 8), f"layers.{i}.1.0.weight": (8,)}
        shapes |= {
            f"layers.{i}.1.0.bias": (8,),
            f"layers.{i}.1.1.weight": (32, 8),
            f"layers.{i}.1.3.weight": (8, 32),
        }
    w = {name: torch.randn(shape) for name, shape in shapes.items()}
    settings = {
        "feature_width": 6,
        "width": 8,
        "depth": 2,
        "heads": 2,
        "head_width": 4,
        "tokens": 3,
        "out_width": 5,
    }
    features = torch.randn(2, 7, 6)

    def normed(x: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    x, queries = features @ w["proj_in.weight"].T + w["proj_in.bias"], w["latents"].expand(2, -1, -1)
    for i in range(2):
        q = normed(queries, f"layers.{i}.0.norm2")
        keys, values = (
            torch.cat([normed(x, f"layers.{i}.0.norm1"), q], 1) @ w[f"layers.{i}.0.to_kv.weight"].T
        ).chunk(2, -1)
        asked = q @ w[f"layers.{i}.0.to_q.weight"].T
        found = [
            (asked[..., h] @ keys[..., h].mT / 2).softmax(-1) @ values[..., h]
            for h in (slice(0, 4), slice(4, 8))
        ]
        queries = queries + torch.cat(found, -1) @ w[f"layers.{i}.0.to_out.weight"].T
        hidden = nn.functional.gelu(normed(queries, f"layers.{i}.1.0") @ w[f"layers.{i}.1.1.weight"].T)
        queries = queries + hidden @ w[f"layers.{i}.1.3.weight"].T
    want = normed(queries @ w["proj_out.weight"].T + w["proj_out.bias"], "norm_out")
    assert_close(convert_image_projection(w, settings)(features), want, atol=1e-4, rtol=1e-4)


# The U-Net and the pipelines.


@torch.no_grad()
def test_the_frame_rate_is_heard_and_has_a_default() -> None:
    unet, noisy, text = toy_videocrafter(), torch.randn(2, 4, 3, 8, 8), torch.randn(2, 16, 16)

    def noise(**fps: Any) -> Tensor:
        return unet(noisy, 500, encoder_hidden_states=text, **fps).sample

    assert torch.equal(noise(), noise(fps=28))
    assert not torch.allclose(noise(), noise(fps=8))
    assert_close(noise(fps=torch.tensor([8, 28]))[1:], noise()[1:])


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    unet = toy_videocrafter(text_tokens=10)
    unet.save_pretrained(tmp_path)
    loaded = VideoCrafterUNet.from_pretrained(tmp_path)
    inputs = torch.randn(1, 4, 3, 8, 8), 500, torch.randn(1, 16, 16)
    with torch.no_grad():
        assert_close(loaded(*inputs).sample, unet(*inputs).sample)  # memory lies otherwise


def test_text_to_video_takes_what_diffusers_pipelines_take() -> None:
    pipe = toy_videocrafter_pipeline()
    options: dict[str, Any] = {"num_frames": 3, "num_inference_steps": 2, "num_videos_per_prompt": 2}
    frames = pipe(
        [PROMPT, "a woman dancing"], height=24, width=40, negative_prompt="a park", **options
    ).frames
    assert frames.shape == (4, 3, 24, 40, 3)
    assert 0 <= frames.min() < frames.max() <= 1

    def film(**more: Any) -> Tensor:
        start = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        options = {"latents": start, "num_inference_steps": 2, "eta": 0.0, "output_type": "latent"}
        return pipe(PROMPT, **options | more).frames

    assert torch.equal(film(), film(fps=28))
    assert not torch.allclose(film(), film(fps=8))


def test_image_to_video_follows_the_image() -> None:
    pipe = toy_videocrafter_image_pipeline()
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)) for _ in range(2)]
    start = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def film(rows: slice, prompts: Any, image: Any, **more: Any) -> Tensor:
        options = {"latents": start[rows], "num_inference_steps": 2, "eta": 0.0, "output_type": "latent"}
        return pipe(prompts, image, **options | more).frames

    both = film(slice(0, 2), [PROMPT, PROMPT], pictures)
    for row in range(2):
        assert_close(
            both[row : row + 1], film(slice(row, row + 1), PROMPT, pictures[row]), atol=1e-4, rtol=1e-4
        )
    one = film(slice(0, 2), PROMPT, pictures[0], num_videos_per_prompt=2)
    assert_close(one[:1], both[:1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(one[1:], both[1:], atol=1e-4)
    assert not torch.allclose(film(slice(0, 1), PROMPT, pictures[0], guidance_scale=1.0), both[:1])


def test_what_the_image_pipeline_cannot_use_is_told() -> None:
    pipe = toy_videocrafter_image_pipeline()
    with pytest.raises(EchoReelError, match="needs an image"):
        pipe(PROMPT)
    with pytest.raises(EchoReelError, match="got 2 images for 1 prompts"):
        pipe(PROMPT, torch.zeros(2, 3, 8, 8))
