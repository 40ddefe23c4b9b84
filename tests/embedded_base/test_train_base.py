"""Training the embedded base: what captions tell, what batches hold, and one recipe start to end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline
from helpers.base_recipes import one_step_recipe
from helpers.motion_libraries import write_library
from helpers.toy_bases import toy_modelscope
from helpers.toy_models import toy_pipeline

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.looks import full_caption, sample_look
from echoreel.actors.motion_library import synthetic_library
from echoreel.common.errors import BaseUnsupported, CheckpointError
from echoreel.embedded_base.architecture import BaseSettings, build_text_encoder
from echoreel.embedded_base.base_recipe import BaseRecipe
from echoreel.embedded_base.caption_task import PARTS, CaptionTask, disturbed, said
from echoreel.embedded_base.picture_tasks import (
    AutoencoderTask,
    CaptionedLatents,
    ClipTask,
    DecoderTask,
    FrameTask,
)
from echoreel.embedded_base.tokenizer import load_tokenizer
from echoreel.embedded_base.train_base import more_pairs, train_base
from echoreel.training.loop import FitSettings, fit
from echoreel.training.pair_cache import PairSet

TINY = BaseSettings(
    autoencoder_channels=(8, 8, 8),
    latent_channels=4,
    denoiser_channels=(16, 16),
    text_width=16,
    text_layers=1,
)


def test_a_caption_says_what_stands_in_it_and_no_more() -> None:
    look = sample_look(np.random.default_rng(0))
    caption = full_caption(look, "walking")
    assert said(caption, look) == {part: PARTS[part].index(getattr(look, part)) for part in PARTS}
    without = said(caption.replace(f"{look.trousers} trousers", "grazlk trousers"), look)
    assert without["trousers"] == len(PARTS["trousers"])
    assert said("", look) == {part: len(classes) for part, classes in PARTS.items()}


def test_some_captions_are_emptied_and_some_have_a_new_word() -> None:
    rng = np.random.default_rng(0)
    told = [disturbed("a person walking", rng) for _ in range(400)]
    assert 20 < told.count("") < 60
    assert 300 < told.count("a person walking") < 340


def test_the_text_encoder_learns_to_tell_colours(tmp_path: Path) -> None:
    """Chance is 1 in 10 for trousers; a fresh encoder tells none of its captions' actions and colours."""
    settings = TINY.model_copy(update={"text_width": 64})
    task = CaptionTask(["walking", "jumping"], settings, batch_size=64, hide_action=0.3, seed=0)
    before = task.validate()
    fit(task, FitSettings(steps=120, learning_rate=5e-3, warmup=10, ema=0.9, validate_every=0), tmp_path)
    after = task.validate()
    assert after["shirt"] > before["shirt"] + 0.2


def test_the_decoder_goes_on_alone_and_latents_stay(tmp_path: Path) -> None:
    domain = ActorDomain(synthetic_library(), ActorSettings(frames=4, size=16))
    first = AutoencoderTask(domain, TINY, batch_clips=1)
    before = {name: t.clone() for name, t in first.module.state_dict().items()}
    task = DecoderTask(first)
    fit(task, FitSettings(steps=3, learning_rate=1e-2, warmup=0, validate_every=0), tmp_path)
    moved = {name for name, t in task.module.state_dict().items() if not torch.equal(t, before[name])}
    assert moved
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)


def clips(count: int = 6) -> CaptionedLatents:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(count, 4, 3, 8, 8)).astype(np.float16)
    return CaptionedLatents(latents, ["a person walking"] * count, held_back=2)


@pytest.mark.parametrize(("frames", "shapes"), [(0, [3, 3, 3]), (5, [3, 3, 1, 1])])
def test_half_of_the_batches_are_of_single_frames_if_asked(frames: int, shapes: list[int]) -> None:
    encoder = build_text_encoder(TINY, load_tokenizer())
    task = ClipTask(FrameTask(clips(), encoder, TINY), TINY, batch_size=2, frames=frames)
    for step, length in enumerate(shapes):
        batch = task.batch(step)
        assert batch["latents"].shape == (frames if length == 1 else 2, 4, length, 8, 8)
        loss = task.loss(batch, torch.Generator().manual_seed(0))
        loss.backward()
        assert torch.isfinite(loss)
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_a_recipe_makes_a_pipeline_and_another_goes_on_from_it(tmp_path: Path) -> None:
    recipe = one_step_recipe(tmp_path, "first", base=TINY, clip_frames=2)
    first = train_base(recipe)
    pipe = AnimateDiffPipeline.from_pretrained(first)
    assert pipe.unet.config.cross_attention_dim == 16
    again = train_base(
        recipe.model_copy(update={"folder": tmp_path / "again", "start": str(first), "base": BaseSettings()})
    )
    assert {path.name for path in again.parent.iterdir()} == {"pairs", "clips", "base"}
    other = AnimateDiffPipeline.from_pretrained(again)
    for part in ("vae", "text_encoder"):
        was = getattr(pipe, part).state_dict()
        assert all(torch.equal(was[name], t) for name, t in getattr(other, part).state_dict().items())
    pairs = more_pairs(recipe.model_copy(update={"folder": tmp_path / "more", "start": str(first)}))
    assert {path.name for path in pairs.parent.iterdir()} == {"pairs"}
    latents = [PairSet.open(each).all_latents() for each in (pairs, first.parent / "pairs")]
    np.testing.assert_allclose(*latents, atol=0.02)  # the start's autoencoder was saved in half precision
    with pytest.raises(CheckpointError, match=r"started with other settings: seed"):
        more_pairs(recipe.model_copy(update={"start": str(first), "seed": 1}))
    moved = other.unet.state_dict()
    differences = [(moved[name] - tensor).abs().max() for name, tensor in pipe.unet.state_dict().items()]
    assert 0 < max(differences) < 0.01


@pytest.mark.parametrize(
    ("make", "got"),
    [(toy_modelscope, "a TextToVideoSDPipeline"), (toy_pipeline, "one of another vocabulary")],
)
def test_a_start_of_another_kind_is_refused(make: Callable[[], Any], got: str, tmp_path: Path) -> None:
    write_library(tmp_path / "motions", synthetic_library())
    make().save_pretrained(tmp_path / "other")
    recipe = BaseRecipe(
        motions=tmp_path / "motions", folder=tmp_path / "run", start=str(tmp_path / "other"), base=TINY
    )
    with pytest.raises(BaseUnsupported, match=f"got {got}, need an AnimateDiffPipeline"):
        train_base(recipe)
    assert not recipe.folder.exists()
