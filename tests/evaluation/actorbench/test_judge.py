"""Judges: shapes and files, their training, and what the shipped one reads from fresh renders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from helpers.motion_libraries import write_library
from helpers.places import RECIPES
from helpers.toy_models import toy_pipeline
from torch.nn import functional as F

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.motion_library import JOINTS, synthetic_library
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import CheckpointError, SettingsError
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.judge import PARTS, Judge, JudgeSettings, look_classes
from echoreel.evaluation.actorbench.train_judge import (
    JudgeRecipe,
    JudgeTask,
    moved,
    roughen,
    through_base,
    train_judges,
)
from echoreel.training.loop import FitSettings, seeded

TINY = JudgeSettings(size=16, widths=(8, 8, 8), hidden=16, dilations=(1,))
GROWN = TINY.model_copy(update={"size": 32, "fine": 8})
CLIPS = ActorSettings().model_copy(update={"frames": 4, "size": 16})


def tiny_recipe(folder: Path, steps: int = 2) -> JudgeRecipe:
    return JudgeRecipe(
        motions=write_library(folder / "motions", synthetic_library()),
        folder=folder / "run",
        judge=TINY,
        domain=CLIPS,
        batch=2,
        frame_steps=1,
        frame_batch=4,
        pool_clips=4,
        pool_steps=1,
        validation_clips=4,
        fit=FitSettings(steps=steps, warmup=0, prefetch=0, validate_every=0, checkpoint_every=1),
    )


@pytest.mark.parametrize(("frames", "size"), [(4, 16), (7, 16), (3, 40)])
def test_a_judge_reads_videos_of_any_length_and_size(frames: int, size: int) -> None:
    torch.manual_seed(0)
    videos = np.random.default_rng(0).integers(0, 256, (3, frames, size, size, 3), np.uint8)
    reading = Judge(TINY).eval().read(videos, batch=2)
    assert reading.joints.shape == (3, frames, 18, 3)
    assert np.all(reading.joints[:, :, JOINTS.index("pelvis")] == 0)
    assert all(look[part] in classes for look in reading.looks for part, classes in PARTS.items())


def test_a_judge_names_the_actions_that_it_knows() -> None:
    videos = np.random.default_rng(0).integers(0, 256, (3, 4, 16, 16, 3), np.uint8)
    reading = Judge(TINY, ["waving", "walking"]).eval().read(videos)
    np.testing.assert_allclose(np.exp(reading.actions).sum(1), 1, rtol=1e-5)
    assert reading.features.shape == (3, 16)
    assert np.all(np.abs(reading.consistency) <= 1 + 1e-6)
    still = np.repeat(videos[:, :1], 4, axis=1)
    np.testing.assert_allclose(Judge(TINY).eval().read(still).consistency, 1, rtol=1e-5)
    assert Judge(TINY).eval().read(videos).actions.shape == (3, 0)


def test_training_goes_on_from_another_judge(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    first = train_judges(recipe)
    again = recipe.model_copy(update={"folder": tmp_path / "again", "start": first})
    start, task = Judge.load(first), JudgeTask(again, synthetic_library())
    assert start.actions == synthetic_library().actions
    for name, tensor in start.state_dict().items():
        assert torch.equal(task.module.state_dict()[name], tensor), name
    assert all(parameter.requires_grad for parameter in task.module.parameters())
    spliced = task.batch(0)["action"]
    assert set(spliced.tolist()) <= {-100, *range(len(start.actions))}


def test_a_grown_judge_says_at_first_what_its_start_says_of_means_of_pixels() -> None:
    torch.manual_seed(0)
    small = Judge(TINY, ["waving", "walking"]).eval()
    judge = small.grown(GROWN).eval()
    video = torch.rand(2, 4, 3, 32, 32, generator=seeded(0))
    means = rearrange(
        F.avg_pool2d(rearrange(video, "b t c h w -> (b t) c h w"), 2), "(b t) c h w -> b t c h w", b=2
    )
    found, expected = judge(video), small(means)
    torch.testing.assert_close(found.joints, expected.joints)
    torch.testing.assert_close(found.looks, expected.looks)
    torch.testing.assert_close(found.actions, expected.actions)


def test_a_grown_judge_learns_from_what_the_means_do_not_show() -> None:
    judge = Judge(TINY).grown(GROWN)
    video = torch.rand(1, 2, 3, 32, 32, generator=seeded(0))
    judge(video).told.sum().backward()
    assert judge.frame.joined is not None
    assert judge.frame.joined.weight.grad is not None
    assert float(judge.frame.joined.weight.grad.abs().max()) > 0


@pytest.mark.parametrize(
    "change", [{"size": 16}, {"size": 48}, {"fine": 0}, {"hidden": 24}, {"widths": (8, 8, 16)}]
)
def test_a_judge_grows_only_to_twice_its_size(change: dict[str, Any], tmp_path: Path) -> None:
    wrong = GROWN.model_copy(update=change)
    with pytest.raises(
        SettingsError, match=r"to grow a judge of size=16 .*need twice its size, fine above 0"
    ):
        Judge(TINY).grown(wrong)
    Judge(TINY).save(tmp_path / "start")
    recipe = tiny_recipe(tmp_path).model_copy(update={"start": tmp_path / "start", "judge": wrong})
    with pytest.raises(SettingsError, match="need twice its size"):
        train_judges(recipe)
    assert not recipe.folder.exists()


def test_a_grown_judge_does_not_grow_again() -> None:
    with pytest.raises(SettingsError, match="fine above 0 where it has 0"):
        Judge(GROWN).grown(GROWN.model_copy(update={"size": 64}))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"size": 33, "fine": 8}, "got size = 33 with a fine level; need an even size, or fine = 0"),
        ({"fine": 12}, "need widths and fine that 8 divides"),
        ({"widths": (8, 20, 8)}, "need widths and fine that 8 divides"),
    ],
)
def test_sizes_that_do_not_fit_are_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        JudgeSettings(**values)


def test_training_grows_a_judge_and_goes_on_from_the_grown_one(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    grows = {"folder": tmp_path / "grown", "start": train_judges(recipe), "judge": GROWN}
    grows["domain"] = CLIPS.model_copy(update={"size": 32})
    grown = train_judges(recipe.model_copy(update=grows | {"start_share": 0.5}))
    assert Judge.load(grown).settings == GROWN
    further = tiny_recipe(tmp_path).model_dump(exclude={"judge"}) | {"start": grown}
    judge = JudgeTask(JudgeRecipe.model_validate(further), synthetic_library()).module
    assert judge.settings == GROWN
    for name, tensor in Judge.load(grown).state_dict().items():
        assert torch.equal(judge.state_dict()[name], tensor), name


@pytest.mark.parametrize("denoised", [0.0, 1.0])
def test_clips_pass_through_a_base(tmp_path: Path, denoised: float) -> None:
    folder = tmp_path / "base"
    toy_pipeline().save_pretrained(folder)
    changes = {"base": str(folder), "frame_steps": 0, "pool_steps": 8, "denoised": denoised}
    recipe = tiny_recipe(tmp_path).model_copy(update=changes)
    task, plain = (
        JudgeTask(recipe.model_copy(update={"base": base}), synthetic_library())
        for base in (str(folder), None)
    )
    video = plain.batch(0)["video"].float() / 255
    captions = ["a person walking"] * len(video)
    shown = through_base(video, captions, base_of(load_base(folder)), 0.6 * denoised, seeded(0))
    assert shown.shape == video.shape
    assert not torch.allclose(shown, video, atol=0.01)
    clips, again = task.batch(0), task.batch(0)
    half = recipe.batch // 2
    assert {name: each.shape for name, each in clips.items()} == {
        name: each.shape for name, each in plain.batch(0).items()
    }
    assert torch.equal(clips["video"], again["video"])
    assert torch.equal(clips["video"][:half], plain.batch(0)["video"][:half])  # fresh renders
    drawn = {each.numpy().tobytes() for step in range(8) for each in task.batch(step)["joints"][half:]}
    assert len(drawn) <= recipe.pool_clips  # clips through the autoencoder are drawn again and again
    with torch.no_grad():
        found = task.validate().keys()
        assert {"autoencoded_joint_error", "autoencoded_action"} <= found
        assert ("denoised_action" in found) == (denoised > 0)
        assert "autoencoded_joint_error" not in plain.validate()


def test_a_finished_judge_holds_a_share_of_its_start(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    start = train_judges(recipe)
    goes_on = recipe.model_copy(update={"folder": tmp_path / "again", "start": start})
    alone, mixed = (
        Judge.load(train_judges(goes_on.model_copy(update={"start_share": share}))) for share in (0.0, 0.25)
    )
    before, moved = dict(Judge.load(start).named_parameters()), 0.0
    for (name, after), parameter in zip(alone.named_parameters(), mixed.parameters(), strict=True):
        moved += float((after - before[name]).abs().sum())
        expected = 0.25 * before[name] + 0.75 * after
        torch.testing.assert_close(parameter, expected, atol=1e-3, rtol=1e-3)  # files are in float16
    assert moved > 0.1


def test_settings_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path).model_copy(update={"start_share": 0.5})
    with pytest.raises(SettingsError, match=r"start_share = 0\.5 with no start; need a start"):
        train_judges(recipe)
    Judge(TINY, ["flying"]).save(tmp_path / "other")
    with pytest.raises(SettingsError, match="other, which knows other actions than the library"):
        train_judges(recipe.model_copy(update={"start": tmp_path / "other"}))
    with pytest.raises(SettingsError, match=r"got denoised = 0\.5 without a base; need one"):
        train_judges(recipe.model_copy(update={"start_share": 0.0, "denoised": 0.5}))
    assert not recipe.folder.exists()


def test_denoised_clips_are_others_than_autoencoded_ones(tmp_path: Path) -> None:
    toy_pipeline().save_pretrained(tmp_path / "base")
    recipe = tiny_recipe(tmp_path).model_copy(update={"base": str(tmp_path / "base"), "frame_steps": 0})
    autoencoded, denoised = (
        JudgeTask(recipe.model_copy(update={"denoised": share}), synthetic_library()).batch(0)
        for share in (0.0, 1.0)
    )
    half = recipe.batch // 2
    assert torch.equal(autoencoded["joints"], denoised["joints"])  # the true ones
    assert torch.equal(autoencoded["video"][:half], denoised["video"][:half])
    assert not torch.equal(autoencoded["video"][half:], denoised["video"][half:])
    all_of_them = JudgeTask(recipe.model_copy(update={"autoencoded": 1.0}), synthetic_library()).batch(0)
    assert all_of_them["video"].shape == autoencoded["video"].shape


def test_clips_pass_through_a_base_in_the_precision_of_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoreel.training.precision.computes_in_bf16", lambda _: True)
    toy_pipeline().save_pretrained(tmp_path / "base")
    whole = {"base": str(tmp_path / "base"), "frame_steps": 0, "autoencoded": 1.0}
    recipe = tiny_recipe(tmp_path).model_copy(update=whole)
    half = recipe.model_copy(update={"fit": recipe.fit.model_copy(update={"precision": "bf16"})})
    exact, rounded = (JudgeTask(each, synthetic_library()).batch(0)["video"].int() for each in (recipe, half))
    assert 0 < int((exact - rounded).abs().max()) <= 8


def test_what_is_no_batch_of_videos_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need uint8 \(B, T, H, W, 3\)"):
        Judge(TINY).read(np.zeros((2, 16, 16, 3), np.uint8))


def test_a_batch_of_two_is_two_batches_of_one() -> None:
    videos = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
    judge = Judge(TINY).eval()
    alone = np.concatenate([judge.read(videos[i : i + 1]).joints for i in range(2)])
    np.testing.assert_allclose(judge.read(videos).joints, alone, atol=1e-5)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    judge = Judge(TINY).half().float().eval()
    judge.accuracy = {"shirt": 0.5}
    judge.save(tmp_path)
    loaded = Judge.load(tmp_path)
    videos = np.random.default_rng(0).integers(0, 256, (1, 4, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(judge.read(videos).joints, loaded.read(videos).joints)
    assert loaded.accuracy == judge.accuracy
    assert not loaded.training


def test_a_missing_damaged_or_foreign_judge_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"judge\.json is missing"):
        Judge.load(tmp_path)
    Judge(TINY).save(tmp_path)
    config = tmp_path / "judge.json"
    text = config.read_text()
    config.write_text(text.replace('"snow"', '"moon"'))
    with pytest.raises(CheckpointError, match="other clothes and places"):
        Judge.load(tmp_path)
    config.write_text(text)
    (tmp_path / "judge.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="damaged"):
        Judge.load(tmp_path)


def test_batches_are_a_function_of_the_step_and_say_what_is_true(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    task = JudgeTask(recipe, synthetic_library())
    batch, again, other = task.batch(5), task.batch(5), task.batch(6)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert batch["video"].shape == (2, 4, 3, 16, 16)
    assert task.batch(0)["video"].shape == (4, 1, 3, 16, 16)  # single frames
    assert not torch.equal(batch["video"], other["video"])
    clip = ActorDomain(synthetic_library(), CLIPS).clip(5 * recipe.batch)
    assert np.array_equal(batch["video"][0].permute(0, 2, 3, 1).numpy(), clip.frames)
    assert {part: int(batch[part][0]) for part in PARTS} == look_classes(clip.look)


def test_a_clip_is_moved_as_a_whole() -> None:
    """Within a clip every frame is shifted and scaled alike; clips differ."""
    frame = torch.rand(1, 1, 3, 16, 16, generator=seeded(0)).expand(2, 4, 3, 16, 16)
    video = moved(frame, seeded(1))
    assert video.shape == frame.shape
    assert torch.allclose(video[:, :1].expand_as(video), video, atol=1e-6)
    assert not torch.allclose(video[0], video[1], atol=1e-2)


def test_roughening_leaves_a_video_a_video() -> None:
    video = torch.rand(4, 3, 3, 16, 16, generator=seeded(0))
    rough = roughen(video, seeded(1))
    assert rough.shape == video.shape
    assert rough.min() >= 0
    assert rough.max() <= 1
    assert torch.equal(rough, roughen(video, seeded(1)))
    assert not torch.equal(rough, video)


def test_training_ends_with_a_judge_that_loads_and_goes_on_when_steps_are_raised(tmp_path: Path) -> None:
    folder = train_judges(tiny_recipe(tmp_path))
    first = Judge.load(folder)
    assert {"joint_error", "rough_joint_error", *PARTS} <= first.accuracy.keys()
    train_judges(tiny_recipe(tmp_path, steps=3))
    second = Judge.load(folder)
    assert not torch.equal(first.joints.bias, second.joints.bias)


def test_a_few_steps_on_one_batch_lower_the_loss(tmp_path: Path) -> None:
    task = JudgeTask(tiny_recipe(tmp_path), synthetic_library())
    batch, optimizer = task.batch(1), torch.optim.Adam(task.module.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        loss = task.loss(batch, seeded(0))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_the_committed_recipe_is_valid() -> None:
    assert load_settings(RECIPES / "judges.toml", JudgeRecipe).judge == JudgeSettings()


def test_the_recipe_of_64_pixels_grows_the_judge_of_32() -> None:
    recipe = load_settings(RECIPES / "judges-64.toml", JudgeRecipe)
    assert Judge(JudgeSettings()).grown(recipe.judge).settings.size == recipe.domain.size == 64


def test_the_embedded_judge_reads_looks_of_fresh_renders() -> None:
    judge = Judge.load()
    domain = ActorDomain(synthetic_library(), ActorSettings(size=judge.settings.size))
    clips = [domain.clip(2**41 + i) for i in range(24)]
    reading = judge.read(np.stack([clip.frames for clip in clips]))
    for part in ("shirt", "trousers", "place"):
        right = [
            look[part] == getattr(clip.look, part) for look, clip in zip(reading.looks, clips, strict=True)
        ]
        assert np.mean(right) > 0.85, part
