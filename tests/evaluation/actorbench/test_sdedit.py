"""Clips that a base makes anew from noise, against diffusers' DDIM."""

from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler
from helpers.toy_bases import toy_svd
from helpers.toy_models import toy_adapter, toy_pipeline, toy_tokens

from echoreel.bases.encoding import encode_captions
from echoreel.bases.lookup import base_of
from echoreel.bases.noise_schedule import NoiseSchedule
from echoreel.common.errors import BaseUnsupported
from echoreel.common.randomness import seeded
from echoreel.evaluation.actorbench.sdedit import sdedit
from echoreel.method.references import ReferenceSet

CAPTIONS = ["a person walking", "a person waving"]


@torch.no_grad()
def test_it_takes_the_steps_of_ddim() -> None:
    pipe = toy_pipeline()
    clips = torch.randn(2, 4, 3, 8, 8, generator=seeded(1))
    found = sdedit(pipe, clips, CAPTIONS, 0.5, 4, seeded(2))
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="leading")
    scheduler.set_timesteps(8)  # 125 apart
    noisy = scheduler.add_noise(clips, torch.randn(clips.shape, generator=seeded(2)), torch.tensor([500]))
    texts = encode_captions(pipe, ["", "", *CAPTIONS]).repeat_interleave(3, 0)
    for timestep in (500, 375, 250, 125):
        negative, positive = pipe.unet(torch.cat([noisy] * 2), timestep, texts).sample.chunk(2)
        step = scheduler.step(negative + 2 * (positive - negative), timestep, noisy)
        noisy = step.prev_sample
    torch.testing.assert_close(found, step.pred_original_sample, atol=1e-4, rtol=1e-4)


def test_less_noise_keeps_more() -> None:
    pipe = toy_pipeline()
    clips = torch.randn(2, 4, 3, 8, 8, generator=seeded(1))
    changes = [
        (sdedit(pipe, clips, CAPTIONS, level, 2, seeded(2)) - clips).abs().mean()
        for level in (0.05, 0.4, 0.9)
    ]
    assert changes == sorted(changes)
    assert changes[0] < 0.5 * changes[2]


@torch.no_grad()
def test_only_the_positive_branch_reads_action_tokens_and_the_base_is_left_as_it_was() -> None:
    pipe = toy_pipeline()
    adapter = toy_adapter(pipe)
    tokens = toy_tokens(adapter, batch=2, frames=3)
    clips = torch.randn(2, 4, 3, 8, 8, generator=seeded(1))
    remade = partial(sdedit, pipe, clips, CAPTIONS, 0.9, 1)
    alone = remade(seeded(2))
    references = ReferenceSet.of_tokens([tokens], [1.0], adapter.prism.slot_centres)
    with_references = remade(seeded(2), (adapter, references))
    assert (with_references - alone).abs().max() > 1e-3
    torch.testing.assert_close(remade(seeded(2)), alone)
    texts = [encode_captions(pipe, each) for each in (["", ""], CAPTIONS)]
    noise, at = torch.randn(clips.shape, generator=seeded(2)), torch.full((2,), 0.9)
    schedule = NoiseSchedule(pipe.scheduler)
    mixed = schedule.mix(clips, noise, at)
    base = base_of(pipe)
    negative = base.predict(pipe.unet, mixed.noisy, mixed.timesteps, texts[0], {})
    adapter.attach(pipe.unet).set_tokens(tokens)
    positive = base.predict(pipe.unet, mixed.noisy, mixed.timesteps, texts[1], {})
    expected, _ = schedule.parts(mixed.noisy, negative + 2 * (positive - negative), at)
    torch.testing.assert_close(with_references, expected)


def test_other_bases_are_refused() -> None:
    pipe = toy_svd()
    with pytest.raises(BaseUnsupported, match=r"got an image-to-video base .* need a text-to-video base"):
        sdedit(pipe, torch.zeros(1, 4, 3, 8, 8), CAPTIONS[:1], 0.5, 2, seeded(0))
