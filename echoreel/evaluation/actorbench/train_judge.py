"""Training of the judge: fresh renders of all actions without end, roughened as generated videos are, some of
them by the base itself: by its autoencoder, or made anew from a noisy version (SDEdit).

Over 300 lines since the clips, their roughening, the loss and the validation of one network lie together.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange, repeat
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.looks import HIDDEN_ACTIONS, full_caption
from echoreel.actors.motion_library import MotionLibrary
from echoreel.actors.renderer import camera_joints
from echoreel.bases.base import Base
from echoreel.bases.encoding import decode_video, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import SettingsError
from echoreel.common.progress import tracked
from echoreel.common.settings import Settings
from echoreel.evaluation.actorbench.judge import PARTS, Judge, JudgeSettings, look_classes
from echoreel.evaluation.actorbench.sdedit import check_base, sdedit
from echoreel.training.loop import FitSettings, fit, load_trained, noise_like, seeded
from echoreel.training.precision import fast_kernels

UNKNOWN = -100  # what torch's cross-entropy leaves out
STEPS = 8  # of a whole generation in ActorBench
VALIDATION_SEED = 2**40  # clips of this seed and on are never trained on
Batch = dict[str, Tensor]


class JudgeRecipe(Settings):
    """Settings of `train_judges`."""

    motions: Path | None = None  # a motion library; the judge sees all its splits
    folder: Path = Path("runs/judges")
    start: Path | None = None  # a judge to go on from as it is, or one of half the size to grow (judge.fine)
    start_share: float = Field(default=0.0, ge=0, le=1)  # of the start's weights in the finished judge
    judge: JudgeSettings = JudgeSettings()
    domain: ActorSettings = ActorSettings()
    batch: PositiveInt = 8  # clips
    frame_steps: NonNegativeInt = (
        2800  # the first steps see single frames: other actors and moments teach most
    )
    frame_batch: PositiveInt = 128  # frames
    pool_clips: PositiveInt = 3000  # whose frames, or autoencoded clips, are drawn from ...
    pool_steps: PositiveInt = 400  # ... for so many steps, then others are filmed
    rough: float = Field(default=0.7, ge=0, le=1)  # share of roughened clips, reached after the frame steps
    base: str | None = (
        None  # that clips pass through: "embedded", a folder, or none; in the precision of the fit
    )
    autoencoded: float = Field(default=0.5, ge=0, le=1)  # share of clips that do, once frames are learned
    denoised: float = Field(default=0.0, ge=0, le=1)  # share of those that its denoiser makes anew before ...
    most_noise: float = Field(default=0.6, gt=0, lt=1)  # ... from a noise level between 0 and this
    validation_clips: PositiveInt = 256
    look_weight: float = Field(default=0.1, ge=0)  # of the cross-entropies, beside joint errors in decimetres
    action_weight: float = Field(default=0.2, ge=0)  # of the cross-entropy of the action, likewise
    velocity_weight: float = Field(default=0.5, ge=0)  # of errors of joint displacements between frames
    fit: FitSettings = FitSettings(
        steps=3100, learning_rate=1e-3, warmup=100, schedule="cosine", precision="bf16"
    )


class JudgeTask:
    """What `fit` trains: the judge on clips of a domain."""

    name = "judges"

    def __init__(self, recipe: JudgeRecipe, library: MotionLibrary) -> None:
        torch.manual_seed(recipe.fit.seed)
        self.recipe = recipe
        self.module = _fresh(recipe, library.actions)
        self.domain = ActorDomain(library, recipe.domain)
        self._base = None if recipe.base is None else base_of(load_base(recipe.base))
        self._levels = {} if self._base is None else {"autoencoded": 0.0}  # of noise, in validation
        if self._base is not None and recipe.denoised:
            check_base(self._base)
            self._levels["denoised"] = 0.5
        self._pool: tuple[str, int, Batch] = ("", -1, {})
        plain = recipe.domain.model_copy(update={"splice": 0.0, "reverse": 0.0})
        self._validation = ActorDomain(library, plain)
        self._validation_batch: Batch | None = None

    def batch(self, step: int) -> Batch:
        """Fresh renders: `video` (B, T, 3, H, W), `joints` (B, T, 18, 3), a class each part, and the action's
        (UNKNOWN for spliced and reversed ones)."""
        recipe = self.recipe
        if step < recipe.frame_steps:
            return self._frames(step) | {"rough": torch.tensor(recipe.rough * step / recipe.frame_steps)}
        first = (recipe.fit.seed << 40) + step * recipe.batch
        count = 0 if self._base is None else round(recipe.autoencoded * recipe.batch)
        parts: list[Batch] = []
        if count < recipe.batch:
            parts.append(self._collate([self.domain.clip(first + i) for i in range(recipe.batch - count)]))
        if count:
            pool = self._pooled("clips", step)
            chosen = torch.randint(0, recipe.pool_clips, (count,), generator=seeded(recipe.fit.seed, 1, step))
            parts.append({name: each[chosen] for name, each in pool.items()})
        batch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return batch | {"rough": torch.tensor(recipe.rough)}

    def _frames(self, step: int) -> Batch:
        """Single frames, each of a clip of its own, as clips of length 1."""
        recipe, pool = self.recipe, self._pooled("frames", step)
        chance = seeded(recipe.fit.seed, 1, step)
        chosen = torch.randint(0, recipe.pool_clips, (recipe.frame_batch,), generator=chance)
        moments = torch.randint(0, recipe.domain.frames, (recipe.frame_batch,), generator=chance)
        looks = {part: pool[part][chosen] for part in PARTS}
        unknown = {"action": torch.full_like(chosen, UNKNOWN)}  # no action shows in a single frame
        return {name: pool[name][chosen, moments][:, None] for name in ("video", "joints")} | looks | unknown

    def _pooled(self, kind: Literal["frames", "clips"], step: int) -> Batch:
        """The clips that this step's frames, or autoencoded clips, are drawn from."""
        recipe, number = self.recipe, step // self.recipe.pool_steps
        if self._pool[:2] != (kind, number):
            first = (recipe.fit.seed << 40) + (1 << 39) + number * recipe.pool_clips
            label = f"filming {recipe.pool_clips} clips to draw {kind} from"
            filmed = tracked(range(recipe.pool_clips), label)
            clips = [self.domain.clip(first + i) for i in filmed]
            pool = self._collate(clips)
            if kind == "clips":
                pool["video"] = self._through_base(pool["video"], clips, seeded(recipe.fit.seed, 2, number))
            self._pool = (kind, number, pool)
        return self._pool[2]

    def _through_base(
        self, video: Tensor, clips: Sequence[ActorClip], chance: torch.Generator, level: float | None = None
    ) -> Tensor:
        """Clips (B, T, 3, H, W) uint8 as the base hands them back from a noise level, or from 0 by its
        autoencoder alone. With no level they are `moved` before, and `denoised` of them have one, drawn."""
        assert self._base is not None
        recipe, shown, device = self.recipe, [], next(self.module.parameters()).device
        starts = range(0, len(video), recipe.batch)
        label = f"passing {len(video)} clips through the base"
        for first in tracked(starts, label):
            part, noise = slice(first, first + recipe.batch), level
            chunk = video[part].to(device).float() / 255
            if noise is None:
                chunk = moved(chunk, chance)
                which, drawn = torch.rand(2, generator=chance).tolist()
                noise = recipe.most_noise * drawn if which < recipe.denoised else 0.0
            captions = [self._caption(clip) for clip in clips[part]]
            with fast_kernels(device, recipe.fit.precision):
                shown.append(through_base(chunk, captions, self._base, noise, chance).cpu())
        return torch.cat([(255 * chunk).round().byte() for chunk in shown])

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Joint and velocity errors in decimetres plus cross-entropies of the look and the action."""
        video = moved(batch["video"].float() / 255, generator)
        outputs = self.module(roughen(video, generator, float(batch["rough"])))
        error = outputs.joints.float() - batch["joints"]
        pose = error.abs().mean()
        if error.shape[1] > 1:
            pose = pose + self.recipe.velocity_weight * error.diff(dim=1).abs().mean()
        look = torch.stack([F.cross_entropy(outputs.looks[part].float(), batch[part]) for part in PARTS])
        total: Tensor = 10 * pose + self.recipe.look_weight * look.sum()
        if (batch["action"] != UNKNOWN).any():
            named = F.cross_entropy(outputs.actions.float(), batch["action"], ignore_index=UNKNOWN)
            total = total + self.recipe.action_weight * named
        return total

    def validate(self) -> dict[str, float]:
        """Joint error (metres), and accuracy of each part and of the action, on several kinds of clips.

        Clean and roughened renders always. With a base also autoencoded ones. If `denoised`, also those
        regenerated from half noise."""
        if self._validation_batch is None:
            seeds = range(VALIDATION_SEED, VALIDATION_SEED + self.recipe.validation_clips)
            clips = [self._validation.clip(seed) for seed in seeds]
            self._validation_batch = self._collate(clips)
            video = self._validation_batch["video"]
            for kind, level in self._levels.items():
                passed = self._through_base(video, clips, seeded(VALIDATION_SEED), level)
                self._validation_batch[kind] = passed
        batch = {
            name: t.to(next(self.module.parameters()).device) for name, t in self._validation_batch.items()
        }
        video = batch["video"].float() / 255
        rough = roughen(video, seeded(VALIDATION_SEED))
        shown = {"": video, "rough_": rough}
        shown |= {f"{kind}_": batch[kind].float() / 255 for kind in self._levels}
        return {
            kind + name: value
            for kind, clips in shown.items()
            for name, value in self._measure(clips, batch).items()
        }

    def sheet(self, path: Path) -> None:
        """No picture: the numbers say it."""

    def _caption(self, clip: ActorClip) -> str:
        """All of the look, and the action where its words are not those of two."""
        known = clip.take.action in self.module.actions
        return full_caption(clip.look, clip.take.action if known else HIDDEN_ACTIONS[0])

    def _measure(self, video: Tensor, batch: Batch) -> dict[str, float]:
        numbers = {"joint_error": 0.0} | dict.fromkeys((*PARTS, "action"), 0.0)
        for start in range(0, len(video), self.recipe.batch):
            chunk = slice(start, start + self.recipe.batch)
            outputs = self.module(video[chunk])
            distance = (outputs.joints.float() - batch["joints"][chunk]).norm(dim=-1)
            numbers["joint_error"] += float(distance.mean(dim=(1, 2)).sum()) / len(video)
            for part, logits in (outputs.looks | {"action": outputs.actions}).items():
                right = logits.argmax(-1) == batch[part][chunk]
                numbers[part] += float(right.sum()) / len(video)
        return numbers

    def _collate(self, clips: list[ActorClip]) -> Batch:
        video = np.stack([clip.frames for clip in clips])
        joints = np.stack([camera_joints(clip.take.joints, clip.camera) for clip in clips])
        classes = [look_classes(clip.look) for clip in clips]
        numbers = {action: number for number, action in enumerate(self.module.actions)}
        return {
            "video": rearrange(torch.from_numpy(video), "b t h w c -> b t c h w"),
            "joints": torch.from_numpy(joints),
            "action": torch.tensor([numbers.get(clip.take.action, UNKNOWN) for clip in clips]),
            **{part: torch.tensor([each[part] for each in classes]) for part in PARTS},
        }


def train_judges(recipe: JudgeRecipe) -> Path:
    """Train the judge, going on from what `recipe.folder` holds. Returns the finished judge's folder.

    Raises SettingsError for a share of a start that is missing or knows other actions, and for denoised clips
    without a base; CheckpointError for a damaged start.
    """
    library = MotionLibrary.load(recipe.motions)
    _check(recipe, library.actions)
    task = JudgeTask(recipe, library)
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    if recipe.start is not None and recipe.start_share:
        average(task.module, _fresh(recipe, task.module.actions), recipe.start_share)
    task.module.eval()
    with torch.no_grad():
        task.module.accuracy = {name: round(value, 4) for name, value in task.validate().items()}
    finished = recipe.folder / "judge"
    task.module.save(finished)
    return finished


def _check(recipe: JudgeRecipe, actions: Sequence[str]) -> None:
    if recipe.denoised and recipe.base is None:
        raise SettingsError(
            f"got denoised = {recipe.denoised:g} without a base; need one to regenerate clips: "
            'set base = "embedded" or a folder'
        )
    if recipe.start is not None:
        _start(recipe, recipe.start)
    if not recipe.start_share:
        return
    got = None
    if recipe.start is None:
        got = "no start"
    elif Judge.load(recipe.start).actions != tuple(actions):
        got = f"{recipe.start}, which knows other actions than the library"
    if got:
        raise SettingsError(
            f"got start_share = {recipe.start_share:g} with {got}; need a start of the same actions, or 0"
        )


def _fresh(recipe: JudgeRecipe, actions: Sequence[str]) -> Judge:
    """A judge that knows these actions: new, or with all the weights of `start` that fit."""
    if recipe.start is None:
        return Judge(recipe.judge, actions)
    start = _start(recipe, recipe.start)
    judge = Judge(start.settings, actions)
    same = start.actions == judge.actions
    kept = {name: t for name, t in start.state_dict().items() if same or not name.startswith("action.2.")}
    judge.load_state_dict(kept, strict=False)
    return judge


def _start(recipe: JudgeRecipe, folder: Path) -> Judge:
    """The judge of a folder, grown if the recipe asks for another one.

    Raises SettingsError for one that cannot be grown to it, CheckpointError.
    """
    start = Judge.load(folder)
    if "judge" not in recipe.model_fields_set or recipe.judge == start.settings:
        return start
    return start.grown(recipe.judge)


@torch.no_grad()
def average(judge: Judge, start: Judge, share: float) -> None:
    """Mix `share` of the weights that it started from into a judge, which then knows what either knows.

    Wortsman et al. 2022 (WiSE-FT), section 3.
    """
    for parameter, before in zip(judge.parameters(), start.parameters(), strict=True):
        parameter.lerp_(before.to(parameter), share)


def roughen(video: Tensor, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Videos (B, T, 3, H, W) in [0, 1] with the faults of generated ones: soft, ghosting, noisy, tinted.

    Every clip has its own strengths. `share` of the clips have faults, each of them half of the faults.
    """
    clips, frames = video.shape[:2]
    chosen = torch.rand(clips, generator=generator) < share

    def strength(most: float) -> Tensor:
        drawn = torch.rand(2, clips, generator=generator)
        return (chosen * (drawn[0] < 0.5) * drawn[1] * most).to(video)[:, None, None, None, None]

    side = int(torch.randint(video.shape[-1] // 2, video.shape[-1], (), generator=generator))
    video = torch.lerp(video, _resampled(video, side), strength(1.0))
    neighbours = (video[:, [0, *range(frames - 1)]] + video[:, [*range(1, frames), frames - 1]]) / 2
    video = torch.lerp(video, neighbours, strength(0.6))
    coarse = _resampled(noise_like(video[..., ::4, ::4], generator), video.shape[-1])
    video = video + strength(0.06) * noise_like(video, generator) + strength(0.06) * coarse
    tint = noise_like(video[:, :1, :, :1, :1], generator)
    video = video * (1 + strength(0.08) * tint) + strength(0.08) * noise_like(tint[:, :, :1], generator)
    contrast = 1 + strength(0.2) * noise_like(tint[:, :, :1], generator)
    mean = video.mean(dim=(1, 2, 3, 4), keepdim=True)
    return ((video - mean) * contrast + mean).clamp(0, 1)


def through_base(
    video: Tensor, captions: Sequence[str], base: Base, level: float, generator: torch.Generator
) -> Tensor:
    """Videos (B, T, 3, H, W) in [0, 1] as a base's autoencoder hands them back; above level 0 after its
    denoiser has made them again from that noise level, in steps as long as those of ActorBench."""
    base.pipe.to(video.device)
    frames = rearrange((255 * video).round().byte(), "b t c h w -> b t h w c").cpu().numpy()
    latents = encode_video(base, frames)
    if level > 0:
        latents = sdedit(base, latents, captions, level, math.ceil(STEPS * level), generator)
    shown = torch.from_numpy(decode_video(base, latents)).to(video)
    return rearrange(shown / 255, "b t h w c -> b t c h w")


def moved(video: Tensor, generator: torch.Generator) -> Tensor:
    """Clips (B, T, 3, H, W) shifted and scaled by up to 6 %."""
    clips, frames = video.shape[:2]
    drawn = (2 * torch.rand(clips, 3, generator=generator) - 1).to(video)
    scale, shift = 1 + 0.06 * drawn[:, :1], 0.12 * drawn[:, 1:]
    theta = torch.cat([torch.diag_embed(repeat(scale, "b 1 -> b 2")), shift[..., None]], -1)
    grid = F.affine_grid(theta, [clips, 1, *video.shape[-2:]], align_corners=False)
    stacked = rearrange(video, "b t c h w -> b (t c) h w")
    shown = F.grid_sample(stacked, grid, padding_mode="border", align_corners=False)
    return rearrange(shown, "b (t c) h w -> b t c h w", t=frames)


def _resampled(video: Tensor, side: int) -> Tensor:
    """Shrunk to `side` pixels and back if smaller, else grown to it."""
    frames = rearrange(video, "b t c h w -> (b t) c h w")
    small = F.interpolate(frames, (side, side), mode="bilinear", antialias=True)
    back = small if side > video.shape[-1] else F.interpolate(small, video.shape[-2:], mode="bicubic")
    return rearrange(back, "(b t) c h w -> b t c h w", b=len(video))
