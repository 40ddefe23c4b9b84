"""The loss of an adapter: the base's own denoising error on targets while it reads their references."""

import torch
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, reduce, repeat
from torch import Tensor

from echoreel.bases.base import Base
from echoreel.bases.encoding import CaptionTokens
from echoreel.bases.finite import fault_of_weights, not_finite
from echoreel.bases.missing_tensors import is_finite
from echoreel.bases.noise_schedule import NoiseSchedule, sample_levels
from echoreel.common.randomness import noise_like
from echoreel.method.adapter import ActionAdapter
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.caption_store import CaptionStore
from echoreel.training.held_blocks import are_held
from echoreel.training.motion_loss import changing, motion_weights
from echoreel.training.pair_cache import Pairs

Span = tuple[float, float]  # noise levels, from the first to before the second


class FrozenBase:
    """A base whose denoising errors are measured while it reads references, or none."""

    def __init__(self, adapter: ActionAdapter, base: Base, stored: CaptionStore | None = None) -> None:
        """stored: tokens of all captions, where the base has no text encoders.

        Raises BaseUnsupported for a scheduler that cannot train.
        """
        self.adapter, self.base = adapter, base
        self._schedule = NoiseSchedule(base.pipe.scheduler)
        self._captions = CaptionTokens(base, stored)
        self._seen = set[ModelMixin]()
        boundary = base.boundary if len(base.denoisers) > 1 else None
        self._spans: list[tuple[ModelMixin, Span]] = [(base.denoiser, (0.0, 1.0))]
        if boundary is not None:
            level = self._schedule.level(boundary)
            self._spans = [*zip(base.denoisers, ((level, 1.0), (0.0, level)), strict=True)]

    @property
    def device(self) -> torch.device:
        """Where the adapter is, and with it all that is computed here."""
        return next(self.adapter.parameters()).device

    def place(self) -> None:
        """Bring the base to the adapter's device, which others may have moved."""
        if self.base.pipe.device != self.device and not are_held(self.base.denoiser):
            self.base.pipe.to(self.device)

    def levels(self, count: int, high_noise: float, generator: torch.Generator) -> Tensor:
        """Noise levels (B,) of a step, at all of which the same denoiser works."""
        span = (0.0, 1.0)
        if len(self._spans) > 1:
            span = self._at(sample_levels(1, high_noise, generator))[1]
        return sample_levels(count, high_noise, generator, span)

    def read(self, pairs: Pairs | None, levels: Tensor) -> None:
        """Have the base, at these noise levels, read the references of these pairs, or nothing.

        Attached to the denoiser, not to the pipeline, which may still say that its last call was guided.
        """
        self.place()
        denoiser = self._at(levels)[0]
        if self.adapter.denoisers != (denoiser,):
            self.adapter.attach(self.base.bare(denoiser))
        if pairs is None:
            self.adapter.clear_references()
            return
        device, count = pairs.targets.device, pairs.references.shape[1]
        asked = repeat(self._captions(pairs.captions), "b l d -> (b r) l d", r=count)
        shown = self._captions([caption for row in pairs.reference_captions for caption in row])
        latents = rearrange(pairs.references, "b r c t h w -> (b r) c t h w")
        tokens = self.adapter.encode(latents, shown.to(device), asked.to(device))
        self.adapter.set_tokens(rearrange(tokens, "(b r) n a -> r b n a", r=count).unbind())

    def errors(self, pairs: Pairs, noise: Tensor, levels: Tensor) -> Tensor:
        """Errors (B, C, T, h, w) of the base's prediction on the targets."""
        mixed = self._schedule.mix(pairs.targets, noise, levels)
        denoiser = self._at(levels)[0]
        captions = self._captions(pairs.captions).to(noise.device, denoiser.dtype)
        with torch.no_grad():
            condition = self.base.condition(pairs.targets.to(denoiser.dtype))
        noisy = mixed.noisy.to(denoiser.dtype)
        prediction = self.base.predict(denoiser, noisy, mixed.timesteps, captions, condition)
        if denoiser not in self._seen:  # at its first step alone: to look is to wait for it
            self._seen.add(denoiser)
            self._check_base(prediction)
        return prediction.float() - mixed.target

    def _check_base(self, prediction: Tensor) -> None:
        """Raises EchoReelError for NaN that is in the base's own weights; of others `fit` tells."""
        if not is_finite(prediction.detach()) and fault_of_weights(self.base.pipe.components):
            raise not_finite(self.base, "denoiser")

    def _at(self, levels: Tensor) -> tuple[ModelMixin, Span]:
        """The denoiser of these noise levels, and all levels of its own."""
        return next(each for each in self._spans if levels.min() >= each[1][0])


def adapter_loss(
    frozen: FrozenBase, batch: Pairs, settings: AdapterTaskSettings, generator: torch.Generator
) -> Tensor:
    """Scalar: the base's own loss on the targets while it reads the references."""
    levels = frozen.levels(len(batch.targets), settings.high_noise, generator)
    noise = noise_like(batch.targets, generator)
    frozen.read(batch, levels)
    wrong = frozen.errors(batch, noise, levels)
    errors = wrong.square() + settings.motion_loss * changing(wrong).square()
    if settings.motion_weight:
        errors = errors * motion_weights(batch.targets, settings.motion_weight)
    return reduce(errors, "b c t h w -> b", "mean").mean()
