"""Training of the judge: fresh renders of all actions without end, roughened as generated videos are."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from echoreel.actors.domain import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.judges import PARTS, Judge, JudgeSettings, look_classes
from echoreel.actors.motions import Joints, MotionLibrary
from echoreel.actors.render import Camera, camera_joints
from echoreel.config import Settings
from echoreel.train import FitSettings, fit, load_trained, noise_like, seeded

VALIDATION_SEED = 2**40  # clips of this seed and on are never trained on
Batch = dict[str, Tensor]


class JudgeRecipe(Settings):
    """Settings of `train_judges`."""

    motions: Path = Path("../shared/motion")  # a motion library; the judge sees all its splits
    folder: Path = Path("runs/judges")
    judge: JudgeSettings = JudgeSettings()
    domain: ActorSettings = ActorSettings()
    batch: PositiveInt = 16  # clips
    validation_clips: PositiveInt = 256
    look_weight: float = Field(default=0.3, ge=0)  # of the cross-entropies, beside joint errors in decimetres
    velocity_weight: float = Field(default=0.5, ge=0)  # of errors of joint displacements between frames
    fit: FitSettings = FitSettings(
        steps=1500, learning_rate=2e-3, warmup=100, schedule="cosine", precision="bf16"
    )


class JudgeTask:
    """What `fit` trains: the judge on clips of a domain."""

    name = "judges"

    def __init__(self, recipe: JudgeRecipe, library: MotionLibrary) -> None:
        torch.manual_seed(recipe.fit.seed)
        self.recipe = recipe
        self.module = Judge(recipe.judge)
        self.domain = ActorDomain(library, recipe.domain)
        plain = recipe.domain.model_copy(update={"splice": 0.0, "reverse": 0.0})
        self._validation = ActorDomain(library, plain)
        self._validation_batch: Batch | None = None

    def batch(self, step: int) -> Batch:
        """Fresh renders: `video` (B, T, 3, H, W) uint8, `joints`, `points` (B, T, 18, ·), a class per part."""
        first = (self.recipe.fit.seed << 32) + step * self.recipe.batch
        return _collate([self.domain.clip(first + i) for i in range(self.recipe.batch)])

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Joint, velocity and point errors in decimetres plus cross-entropies of the look."""
        video, points = moved(batch["video"].float() / 255, batch["points"], generator)
        outputs = self.module(roughen(video, generator))
        error = outputs.joints.float() - batch["joints"]
        pose = error.abs().mean() + self.recipe.velocity_weight * error.diff(dim=1).abs().mean()
        look = torch.stack([F.cross_entropy(outputs.looks[part].float(), batch[part]) for part in PARTS])
        total: Tensor = 10 * pose + self.recipe.look_weight * (aim_loss(outputs.maps, points) + look.sum())
        return total

    def validate(self) -> dict[str, float]:
        """Joint error (metres) and accuracy of each part, on clean and on roughened renders."""
        if self._validation_batch is None:
            seeds = range(VALIDATION_SEED, VALIDATION_SEED + self.recipe.validation_clips)
            self._validation_batch = _collate([self._validation.clip(seed) for seed in seeds])
        batch = {
            name: t.to(next(self.module.parameters()).device) for name, t in self._validation_batch.items()
        }
        video = batch["video"].float() / 255
        rough = roughen(video, seeded(VALIDATION_SEED))
        return self._measure(video, batch) | {f"rough_{k}": v for k, v in self._measure(rough, batch).items()}

    def sheet(self, path: Path) -> None:
        """No picture: the numbers say it."""

    def _measure(self, video: Tensor, batch: Batch) -> dict[str, float]:
        numbers = {"joint_error": 0.0} | dict.fromkeys(PARTS, 0.0)
        for start in range(0, len(video), self.recipe.batch):
            chunk = slice(start, start + self.recipe.batch)
            outputs = self.module(video[chunk])
            distance = (outputs.joints.float() - batch["joints"][chunk]).norm(dim=-1)
            numbers["joint_error"] += float(distance.mean(dim=(1, 2)).sum()) / len(video)
            for part in PARTS:
                right = outputs.looks[part].argmax(-1) == batch[part][chunk]
                numbers[part] += float(right.sum()) / len(video)
        return numbers


def train_judges(recipe: JudgeRecipe) -> Path:
    """Train the judge, going on from what `recipe.folder` holds. Returns the finished judge's folder."""
    task = JudgeTask(recipe, MotionLibrary.load(recipe.motions))
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    task.module.eval()
    with torch.no_grad():
        task.module.accuracy = {name: round(value, 4) for name, value in task.validate().items()}
    finished = recipe.folder / "judge"
    task.module.save(finished)
    return finished


def aim_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy of the first maps (B, T, M, h, w) with the joints' places (B, T, J, 2) among 4 cells."""
    joints = rearrange(maps[:, :, : points.shape[2]], "b t j h w -> (b t j) 1 h w")
    at = rearrange(points, "b t j c -> (b t j) 1 1 c")
    return -F.grid_sample(joints, at.to(joints), padding_mode="border", align_corners=False).mean()


def roughen(video: Tensor, generator: torch.Generator) -> Tensor:
    """Videos (B, T, 3, H, W) in [0, 1] with the faults of generated ones: soft, ghosting, noisy, tinted.

    Every clip has its own strengths; half the clips lack each fault.
    """
    clips, frames = video.shape[:2]

    def strength(most: float) -> Tensor:
        drawn = torch.rand(2, clips, generator=generator)
        return ((drawn[0] < 0.5) * drawn[1] * most).to(video)[:, None, None, None, None]

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


def moved(video: Tensor, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips (B, T, 3, H, W) shifted and scaled by up to 6 %, and points (B, T, J, 2) with them."""
    clips, frames = video.shape[:2]
    drawn = (2 * torch.rand(clips, 3, generator=generator) - 1).to(video)
    scale, shift = 1 + 0.06 * drawn[:, :1], 0.12 * drawn[:, 1:]
    theta = torch.cat([torch.diag_embed(repeat(scale, "b 1 -> b 2")), shift[..., None]], -1)
    grid = F.affine_grid(theta, [clips, 1, *video.shape[-2:]], align_corners=False)
    stacked = rearrange(video, "b t c h w -> b (t c) h w")
    shown = F.grid_sample(stacked, grid, padding_mode="border", align_corners=False)
    points = (points - shift[:, None, None]) / scale[:, None, None]
    return rearrange(shown, "b (t c) h w -> b t c h w", t=frames), points


def _resampled(video: Tensor, side: int) -> Tensor:
    """Shrunk to `side` pixels and back if smaller, else grown to it."""
    frames = rearrange(video, "b t c h w -> (b t) c h w")
    small = F.interpolate(frames, (side, side), mode="bilinear", antialias=True)
    back = small if side > video.shape[-1] else F.interpolate(small, video.shape[-2:], mode="bicubic")
    return rearrange(back, "(b t) c h w -> b t c h w", b=len(video))


def _collate(clips: list[ActorClip]) -> Batch:
    video = np.stack([clip.frames for clip in clips])
    joints = np.stack([camera_joints(clip.take.joints, clip.camera) for clip in clips])
    points = np.stack([_projected(clip.take.joints, clip.camera) for clip in clips])
    classes = [look_classes(clip.look) for clip in clips]
    return {
        "video": rearrange(torch.from_numpy(video), "b t h w c -> b t c h w"),
        "joints": torch.from_numpy(joints),
        "points": torch.from_numpy(points),
        **{part: torch.tensor([each[part] for each in classes]) for part in PARTS},
    }


def _projected(joints: Joints, camera: Camera) -> NDArray[np.float32]:
    """Where joints (T, J, 3) lie in the frame, (T, J, 2): right and down, -1 to 1 over the frame."""
    eye, right, up, forward = camera.axes()
    seen = (joints - eye) @ np.stack([right, -up, forward], -1)
    zoom = 1 / np.tan(camera.field_of_view / 2)
    points: NDArray[np.float32] = (zoom * seen[..., :2] / seen[..., 2:].clip(0.2)).astype(np.float32)
    return points
