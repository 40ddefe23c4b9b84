"""What people use instead of an adapter to give a base a new action, from the very same references.

`TunedLora` tunes a LoRA of the base's motion modules on them, as AnimateDiff's MotionLoRA (Guo et al. 2023,
section 4.3); `Noised` lets the base start from the noisy reference (SDEdit: Meng et al. 2022).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import process_time
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from echoreel.bases.base import Base
from echoreel.bases.encoding import decode_video, encode_references
from echoreel.bases.noise_schedule import NoiseSchedule, sample_levels
from echoreel.common.errors import BaseUnsupported
from echoreel.common.extras import needs
from echoreel.common.randomness import noise_like, seeded
from echoreel.common.settings import Settings
from echoreel.evaluation.actorbench.sdedit import check_base, sdedit
from echoreel.generation.filming import Shot, film
from echoreel.generation.settings import GenerationSettings
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.training.precision import fast_kernels

TUNED = r".*motion_modules.*\.(to_q|to_k|to_v|to_out\.0)"  # as in MotionLoRA


class LoraSettings(Settings):
    """How a LoRA is tuned; the number of steps is chosen on trained actions."""

    rank: PositiveInt = 8
    steps: PositiveInt = 200
    batch: PositiveInt = 1  # clips a step, drawn from the references
    learning_rate: PositiveFloat = 1e-3


class NoisedSettings(Settings):
    """How far a reference is noised; the level is chosen on trained actions."""

    level: float = Field(0.8, gt=0, le=1)
    steps: PositiveInt = 8  # of denoising, from that level on


class Made(NamedTuple):
    """Videos, and the price of each one's action: paid once, before anything is filmed."""

    frames: Frames  # (B, T, H, W, 3)
    seconds: NDArray[np.float64]  # (B,) of processor time; nan without references
    bytes: NDArray[np.float64]  # (B,) to keep it, in float32; nan without references


class Rival(Protocol):
    """Another way to the action of references. Its `repr` tells all its settings."""

    def film(self, base: Base, shots: Sequence[Shot], settings: GenerationSettings) -> Made:
        """Videos of one prompt and its references, of several seeds."""


@dataclass(frozen=True)
class TunedLora:
    """A LoRA tuned on the references alone, with their captions, by the base's own loss."""

    settings: LoraSettings

    def film(self, base: Base, shots: Sequence[Shot], settings: GenerationSettings) -> Made:
        """Raises as `added`."""
        with self.added(base, shots[0].seed) as parameters:
            began = process_time()
            for _ in self.tuned(base, shots[0], parameters):
                pass
            seconds = process_time() - began
            frames = film(base, shots, settings)
        return _made(frames, seconds, sum(each.nbytes for each in parameters))

    @contextmanager
    def added(self, base: Base, seed: int) -> Iterator[Sequence[nn.Parameter]]:
        """Within, the base has a fresh LoRA, which changes nothing yet, of these parameters.

        Raises BaseUnsupported for a base without motion modules of diffusers, MissingExtra.
        """
        with needs("peft", "the condition lora"):
            from peft import LoraConfig
        denoiser: Any = base.denoiser
        config = LoraConfig(r=self.settings.rank, lora_alpha=self.settings.rank, target_modules=TUNED)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            try:
                denoiser.add_adapter(config, "rival")
            except (AttributeError, ValueError) as error:
                raise BaseUnsupported(
                    f"got a {type(denoiser).__name__} for the condition lora, need one with motion modules, "
                    f"such as AnimateDiff's ({error})"
                ) from error
        try:
            yield [each for name, each in denoiser.named_parameters() if "lora_" in name]
        finally:
            denoiser.unload_lora()

    def tuned(self, base: Base, shot: Shot, parameters: Sequence[nn.Parameter]) -> Iterator[int]:
        """Tune these parameters on the shot's references; yields after each step how many were taken."""
        clips, texts = _encoded(base, shot.references)
        generator = seeded(shot.seed)
        optimizer = torch.optim.AdamW(parameters, self.settings.learning_rate, weight_decay=0.01)
        for step in range(self.settings.steps):
            drawn = torch.randint(len(clips), (self.settings.batch,), generator=generator)
            with torch.enable_grad(), fast_kernels(clips.device, "bf16"):
                loss = _base_loss(base, clips[drawn], texts[drawn], generator)
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
            yield step + 1


@dataclass(frozen=True)
class Noised:
    """The first reference itself, noised to a level and denoised with the prompt."""

    settings: NoisedSettings

    def film(self, base: Base, shots: Sequence[Shot], settings: GenerationSettings) -> Made:
        """Raises BaseUnsupported as `check_base`."""
        check_base(base)
        began = process_time()
        clip, _ = _encoded(base, shots[0].references[:1])
        seconds = process_time() - began
        level, steps = self.settings.level, self.settings.steps
        made = [sdedit(base, clip, [shot.prompt], level, steps, seeded(shot.seed)) for shot in shots]
        return _made(decode_video(base, torch.cat(made)), seconds, clip.nbytes)


@torch.no_grad()
def bytes_to_store(base: Base, references: Sequence[ReferenceVideo]) -> int:
    """Of what a library keeps of references, in float32 (docs/decisions/0010)."""
    return sum(tensor.nbytes for tensor in _encoded(base, references))


def _encoded(base: Base, references: Sequence[ReferenceVideo]) -> tuple[Tensor, Tensor]:
    """Latents (R, C, T, h, w) and caption tokens (R, L, D) of references of one length."""
    encoded = encode_references(base, references, base.video_size())
    latents, texts = (torch.cat(parts).float() for parts in zip(*encoded, strict=True))
    return latents, texts


def _base_loss(base: Base, clips: Tensor, texts: Tensor, generator: torch.Generator) -> Tensor:
    """Scalar: the base's own denoising error on clips (B, C, T, h, w) with their captions."""
    noise = noise_like(clips, generator)
    levels = sample_levels(len(clips), 0, generator)
    mixed = NoiseSchedule(base.pipe.scheduler).mix(clips, noise, levels)
    said = base.predict(base.denoiser, mixed.noisy, mixed.timesteps, texts, {})
    return (said.float() - mixed.target).square().mean()


def _made(frames: Frames, seconds: float, size: int) -> Made:
    return Made(frames, *(np.full(len(frames), value, float) for value in (seconds, size)))
