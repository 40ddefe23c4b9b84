"""A base of twice the size does at first what the small one did, and so does an adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimateDiffPipeline
from helpers.base_recipes import one_step_recipe

from echoreel.actors.actor_clips import ActorSettings
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch, SettingsError
from echoreel.embedded_base.architecture import BaseSettings, build_autoencoder
from echoreel.embedded_base.enlarge import (
    DETAILS,
    SmallLatents,
    enlarged_adapter,
    enlarged_autoencoder,
    enlarged_denoiser,
    scale_details,
)
from echoreel.embedded_base.train_base import train_base
from echoreel.method.adapter import ActionAdapter
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.loading import load_adapter

SMALL = BaseSettings(autoencoder_channels=(8, 16, 16), latent_channels=4)
LARGE = BaseSettings(autoencoder_channels=(8, 8, 16, 16), latent_channels=6)


@pytest.fixture
def small() -> Any:
    torch.manual_seed(0)
    autoencoder = build_autoencoder(SMALL, 32)
    autoencoder.register_to_config(scaling_factor=0.5)
    return autoencoder


def test_an_autoencoder_grows_and_learns_the_small_ones_latents(small: Any) -> None:
    large, target = enlarged_autoencoder(small, LARGE, 64), SmallLatents(small)
    assert large.config.scaling_factor == 0.5
    kept = small.state_dict()["decoder.mid_block.resnets.0.conv1.weight"]
    assert torch.equal(large.state_dict()["decoder.mid_block.resnets.0.conv1.weight"], kept)
    frames = torch.rand(4, 3, 64, 64) * 2 - 1
    assert target(frames).shape == (4, 4, 8, 8)
    optimizer = torch.optim.Adam(large.encoder.parameters(), lr=1e-3)
    errors = []
    for _ in range(20):
        errors.append(target.error(large.encode(frames).latent_dist.mode(), frames))
        errors[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert errors[-1] < 0.5 * errors[0]


def test_details_are_scaled_and_pictures_stay(small: Any) -> None:
    large = enlarged_autoencoder(small, LARGE, 64).requires_grad_(False)
    frames = torch.rand(4, 3, 64, 64) * 2 - 1
    before = large.encode(frames).latent_dist
    drawn = large.decode(before.mode()).sample
    scale_details(large, 4, before.mode())
    after = large.encode(frames).latent_dist
    torch.testing.assert_close(after.mode()[:, :4], before.mode()[:, :4])
    details = after.mode()[:, 4:] * 0.5
    torch.testing.assert_close(details.std((0, 2, 3)), torch.full((2,), DETAILS), atol=1e-4, rtol=0)
    torch.testing.assert_close(details.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    ratio = (after.std / before.std)[:, 4:] * before.mode()[:, 4:].std((0, 2, 3), keepdim=True) * 0.5
    torch.testing.assert_close(ratio, torch.full_like(ratio, DETAILS), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(large.decode(after.mode()).sample, drawn, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        LARGE.model_copy(update={"autoencoder_channels": (8, 16, 16)}),
        LARGE.model_copy(update={"latent_channels": 4}),
    ],
)
def test_other_sizes_are_refused(small: Any, settings: BaseSettings) -> None:
    with pytest.raises(SettingsError, match=r"need one level in front of \(8, 16, 16\) and more than 4"):
        enlarged_autoencoder(small, settings, 64)


@torch.no_grad()
def test_a_denoiser_and_an_adapter_do_what_they_did() -> None:
    base, adapter = load_base("embedded").to(torch.float32), load_adapter()
    small, old = base.unet, base.unet.config.in_channels
    large = enlarged_denoiser(small, old + 3)
    latents = torch.randn(1, old + 3, 4, 8, 8)
    latents[:, old:] = 0
    text, time = torch.randn(4, 5, small.config.cross_attention_dim), torch.tensor([500])
    was = small(latents[:, :old], time, encoder_hidden_states=text).sample
    now = large(latents, time, encoder_hidden_states=text).sample
    torch.testing.assert_close(now[:, :old], was)
    assert not now[:, old:].any()
    grown = enlarged_adapter(adapter, old + 3).eval()
    reference = torch.randn(1, old + 3, 4, 8, 8)
    torch.testing.assert_close(grown.encode(reference), adapter.encode(reference[:, :old].contiguous()))


def test_an_adapter_of_the_papers_form_does_not_grow() -> None:
    base = base_of(load_base("embedded"))
    with pytest.raises(AdapterMismatch, match='got a Prism of the kind "dense"'):
        enlarged_adapter(ActionAdapter.for_base(base, prism=DensePrismSettings(latent_size=(8, 8))), 16)


def test_a_recipe_grows_the_packaged_base_and_its_adapter(tmp_path: Path) -> None:
    recipe = one_step_recipe(
        tmp_path,
        "grown",
        grow="embedded",
        grow_adapter="embedded",
        actors=ActorSettings(size=128),
        base=BaseSettings(autoencoder_channels=(8, 16, 32, 64, 96), latent_channels=18),
    )
    pipe = AnimateDiffPipeline.from_pretrained(train_base(recipe))
    assert pipe.vae.config.latent_channels == pipe.unet.config.in_channels == 18
    load_adapter(tmp_path / "grown" / "adapter").check_fits(base_of(pipe))
    assert {path.name for path in (tmp_path / "grown").iterdir()} == {
        "adapter",
        "autoencoder",
        "base",
        "clips",
        "pairs",
    }
    for changes, told in (
        ({"start": "embedded"}, "got start embedded and grow embedded"),
        ({"grow": None}, "got grow_adapter embedded without grow"),
        ({"actors": ActorSettings(size=48), "folder": tmp_path / "other"}, "actors.size: got 48, need 128"),
    ):
        with pytest.raises(SettingsError, match=told):
            train_base(recipe.model_copy(update=changes))
