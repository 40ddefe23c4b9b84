"""Prompts as people write them: what they mean, and a text encoder that learns it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline
from helpers.motion_libraries import write_library
from helpers.places import MOTIONS
from helpers.skips import NEEDS_MOTIONS
from torch.testing import assert_close

from echoreel.actors.looks import COLOURS, PLACES, Look
from echoreel.actors.motion_library import MotionLibrary, synthetic_library
from echoreel.bases.loading import load_base
from echoreel.embedded_base.architecture import (
    BaseSettings,
    build_autoencoder,
    build_frame_denoiser,
    build_scheduler,
    build_text_encoder,
    inflate,
)
from echoreel.embedded_base.prompt_words import COLOUR_WORDS, TROUSER_WORDS, all_words
from echoreel.embedded_base.prompts import UNKNOWN_ACTION, completed, sample_prompt
from echoreel.embedded_base.tokenizer import load_tokenizer
from echoreel.embedded_base.train_prompts import PromptRecipe, PromptTask, train_prompts
from echoreel.generation.model_facts import unknown_words
from echoreel.training.loop import FitSettings

ACTIONS = ("walking", "waving", "jumping")
TINY = BaseSettings(
    autoencoder_channels=(8, 8, 8),
    latent_channels=4,
    denoiser_channels=(16, 16),
    text_width=32,
    text_layers=1,
)
FIT = FitSettings(steps=60, learning_rate=3e-3, warmup=5, ema=0.9, validate_every=0, checkpoint_every=0)


def test_a_prompt_means_a_full_caption_with_what_it_tells() -> None:
    rng = np.random.default_rng(0)
    prompts = [sample_prompt(ACTIONS, rng) for _ in range(500)]
    for prompt in prompts:
        words = prompt.meaning.split()
        assert words[:3] == ["a", "person", "with"]
        assert words[9] == "and"
        assert words[11] == "trousers"
        assert words[7] in COLOURS
        assert words[10] in COLOURS
        assert words[7] != words[10]
        assert prompt.meaning.endswith(tuple(place.phrase for place in PLACES.values()))
        told = prompt.text.split()
        for colour, others in COLOUR_WORDS.items():
            if any(f"{word} {noun}" in prompt.text for word in others for noun in TROUSER_WORDS):
                assert words[10] == colour
        if "walking" in told:
            assert "walking" in prompt.meaning
        if not {*told} & {*ACTIONS}:
            assert UNKNOWN_ACTION in prompt.meaning
    assert (
        0.35
        < np.mean(
            [("trousers" in p.meaning) and not any(n in p.text for n in TROUSER_WORDS) for p in prompts]
        )
        < 0.65
    )


def test_what_is_not_told_is_always_the_same() -> None:
    look = Look("grey", "light", "black", "t-shirt", "pink", "red", "snow")
    bare = completed(look, frozenset())
    assert (bare.hair, bare.shirt, bare.top, bare.trousers, bare.place) == (
        "brown",
        "blue",
        "sweater",
        "black",
        "wood",
    )
    dressed = completed(look, frozenset({"shirt", "top", "place"}))
    assert (dressed.shirt, dressed.top, dressed.trousers, dressed.place) == (
        "black",
        "t-shirt",
        "blue",
        "snow",
    )


def test_the_tokenizer_knows_the_words() -> None:
    tokenizer = load_tokenizer()
    assert [word for word in all_words() if tokenizer.tokenize(word) != [word]] == []


@pytest.mark.skipif(not MOTIONS.is_dir(), reason=NEEDS_MOTIONS)
def test_no_word_is_of_unseen_actions_alone() -> None:
    library = MotionLibrary.load(MOTIONS)
    trained = {word for action in library.split("train").actions for word in action.split()}
    unseen = {word for action in library.split("heldout").actions for word in action.split()}
    assert (unseen - trained) & {*all_words()} <= {"a", "doing"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An untrained base of the embedded one's kind, with its recommended settings."""
    torch.manual_seed(0)
    pipeline: Any = AnimateDiffPipeline(  # type: ignore[no-untyped-call]
        vae=build_autoencoder(TINY, 32),
        text_encoder=build_text_encoder(TINY, load_tokenizer()),
        tokenizer=load_tokenizer(),
        unet=inflate(build_frame_denoiser(TINY, 8), TINY),
        motion_adapter=None,
        scheduler=build_scheduler(),
    )
    pipeline.save_pretrained(tmp_path / "old")
    (tmp_path / "old" / "generation.json").write_text('{"num_frames": 4}\n')
    return tmp_path / "old"


def test_the_new_encoder_gives_what_the_old_one_gives_for_the_meaning(base: Path, tmp_path: Path) -> None:
    write_library(tmp_path / "motions", synthetic_library())
    recipe = PromptRecipe(
        motions=tmp_path / "motions", folder=tmp_path / "run", base=str(base), layers=1, batch=16, fit=FIT
    )
    old: Any = load_base(base)
    fresh = PromptTask(recipe, ACTIONS, old).validate()
    new: Any = load_base(train_prompts(recipe))
    task = PromptTask(recipe, ACTIONS, old)
    task.module = new.text_encoder
    assert task.validate()["error"] < 0.5 * fresh["error"]
    for name, weight in old.unet.state_dict().items():
        assert_close(new.unet.state_dict()[name], weight, atol=1e-3, rtol=1e-3)  # in half precision on disk
    assert (tmp_path / "run" / "base" / "generation.json").read_text() == '{"num_frames": 4}\n'
    assert str(tmp_path) not in (tmp_path / "run" / "base" / "model_index.json").read_text()
    video = new("a woman in red jeans waving", num_inference_steps=1, num_frames=4, output_type="np").frames
    assert video.shape == (1, 4, 32, 32, 3)


def test_no_prompt_stays_no_prompt(tmp_path: Path) -> None:
    recipe = PromptRecipe(empty=1.0, fit=FIT)
    batch = PromptTask(recipe, ACTIONS, _Teacher()).batch(0)
    nothing = load_tokenizer()([""], padding="max_length", return_tensors="pt")["input_ids"]
    assert_close(batch["words"], nothing.expand(64, -1))
    assert_close(batch["meant"], nothing.expand(64, -1))


def test_loading_such_a_base_says_nothing(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_library(tmp_path / "motions", synthetic_library())
    fit = FIT.model_copy(update={"steps": 1})
    recipe = PromptRecipe(
        motions=tmp_path / "motions", folder=tmp_path / "run", base=str(base), layers=1, fit=fit
    )
    folder = train_prompts(recipe)
    logging.getLogger("diffusers").propagate = True
    caplog.clear()
    load_base(folder)
    assert [record.getMessage() for record in caplog.records if "Expected types" in record.getMessage()] == []


class _Teacher:
    """Of the teacher's two parts, one that is not asked here and a real one."""

    def __init__(self) -> None:
        self.tokenizer = load_tokenizer()
        self.text_encoder = build_text_encoder(TINY, self.tokenizer)


def test_unknown_words_of_any_script_are_told_whole() -> None:
    prompt = "a person in a crème sweater, 跳跃する and прыгает in a desert"
    assert unknown_words(load_base("embedded"), prompt) == ["crème", "跳跃する", "прыгает"]
