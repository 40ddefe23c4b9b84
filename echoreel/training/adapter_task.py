"""One training step of an adapter: its pairs, the loss, the validation, the sheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from echoreel.bases.encoding import CaptionTokens, decode_video
from echoreel.bases.lookup import Base, base_of
from echoreel.bases.noise_schedule import NoiseSchedule, sample_levels
from echoreel.common.randomness import noise_like, seeded
from echoreel.common.settings import Settings
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings
from echoreel.media.images import Frames, contact_sheet
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import write_image
from echoreel.method.adapter import ActionAdapter
from echoreel.training.gradient_checkpointing import recompute_in_training
from echoreel.training.motion_loss import changing, motion_weights
from echoreel.training.pair_cache import (
    Pairs,
    PairSet,
    PairSetError,
    same_moments,
    shuffled_roles,
    step_indices,
)


class AdapterTaskSettings(Settings):
    """How an adapter is trained and watched."""

    batch: PositiveInt = 8
    seed: NonNegativeInt = 0
    references: PositiveInt | None = None  # of a batch: 1 to so many, drawn anew; none = all that pairs have
    swap_roles: bool = (
        False  # any clip of a pair may be the target: for pairs whose clips show the same action
    )
    moments: PositiveInt | None = None  # consecutive latent frames of a pair to train on; none = all of them
    drop_caption: float = Field(default=0.1, ge=0, le=1)  # share of targets with the empty prompt
    drop_reference_caption: float = Field(default=0.1, ge=0, le=1)  # share of references without one
    high_noise: NonNegativeFloat = 0.0  # noise levels are drawn with density level ** high_noise
    min_snr: NonNegativeFloat = 0.0  # gamma of min-SNR weighting; 0 = the base's plain loss
    motion_weight: float = Field(default=0.0, ge=0, le=1)  # share of the loss's weights that follows motion
    motion_loss: NonNegativeFloat = (
        0.0  # weight of the error of what changes over time, beside the plain loss
    )
    gradient_checkpointing: bool = False
    held_back: PositiveInt = 32  # the set's first pairs, never trained on; or the first of the validation set
    validation_levels: tuple[float, ...] = (0.5, 0.75, 0.95)  # noise levels
    sheet_pairs: PositiveInt = 4
    sheet_steps: PositiveInt = 12  # denoising steps


class AdapterTask:
    """Train `adapter` on `base`, a pipeline that stays frozen, with pairs from `data`.

    A sample whose reference is dropped would teach nothing: without references the adapter is not there.
    """

    name = "adapter"

    def __init__(
        self,
        adapter: ActionAdapter,
        base: Any,
        data: PairSet,
        settings: AdapterTaskSettings,
        validation: PairSet | None = None,
    ) -> None:
        """`validation`: pairs of other actions, say; without it the first pairs of `data` are held back.

        Raises AdapterMismatch, BaseUnsupported, PairSetError when the parts do not fit each other.
        """
        self.module, self.pipe, self.data, self.settings = adapter, base, data, settings
        found = base_of(base)
        self._family = found.family
        self._schedule = NoiseSchedule(base.scheduler)
        self._denoisers = self._noise_spans(found)
        self._captions = CaptionTokens(base)
        held = validation or data
        count = min(settings.held_back, len(held) if validation else len(held) - 1)
        if count < 2:
            raise PairSetError(
                f"got {len(held)} pairs, need at least 3: two to validate with, the rest to train on"
            )
        self._first = 0 if validation else count  # pairs before are held back
        self._held_back = held.batch(range(count))
        check_channels(data, self._family.latent_channels(self._denoisers[0][0]))
        self._alone: dict[float, Tensor] = {}  # the base's own loss per noise level: it never changes
        self._base_videos: list[Frames] = []
        for part in (v for v in base.components.values() if isinstance(v, torch.nn.Module)):
            part.eval().requires_grad_(False)
        if settings.gradient_checkpointing:
            recompute_in_training(found)
        self._placed: tuple[torch.device | None, torch.nn.Module | None] = (None, None)

    def batch(self, step: int) -> Pairs:
        """Pairs number `step`: roles, number of references and dropped captions drawn by (seed, step)."""
        settings, chance = self.settings, seeded(self.settings.seed, 1, step)
        indices = step_indices(step, settings.batch, len(self.data) - self._first, settings.seed)
        pairs = self.data.batch([self._first + index for index in indices])
        most = min(settings.references or self.data.shape[0], self.data.shape[0])
        chosen = int(torch.randint(1, most + 1, (), generator=chance))
        pairs = shuffled_roles(pairs, chosen, settings.swap_roles, chance)
        if settings.moments is not None:
            pairs = same_moments(pairs, settings.moments, chance)
        dropped = torch.rand(settings.batch, 1 + chosen, generator=chance)
        captions = [
            "" if d < settings.drop_caption else c
            for c, d in zip(pairs.captions, dropped[:, 0].tolist(), strict=True)
        ]
        reference_captions = [
            ["" if d < settings.drop_reference_caption else c for c, d in zip(row, drops, strict=True)]
            for row, drops in zip(pairs.reference_captions, dropped[:, 1:].tolist(), strict=True)
        ]
        return pairs._replace(captions=captions, reference_captions=reference_captions)

    def _noise_spans(self, base: Base) -> list[tuple[torch.nn.Module, tuple[float, float]]]:
        """Each denoiser of the base, and the noise levels at which it works."""
        boundary = base.family.boundary(base.pipe) if len(base.denoisers) > 1 else None
        if boundary is None:
            return [(base.denoiser, (0.0, 1.0))]
        level = self._schedule.level(boundary)
        return [*zip(base.denoisers, ((level, 1.0), (0.0, level)), strict=True)]

    def _levels(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels (B,) of a step, at all of which the same denoiser works."""
        bias, span = self.settings.high_noise, (0.0, 1.0)
        if len(self._denoisers) > 1:
            span = self._works_at(sample_levels(1, bias, generator))[1]
        return sample_levels(count, bias, generator, span)

    def _works_at(self, levels: Tensor) -> tuple[torch.nn.Module, tuple[float, float]]:
        """The denoiser of these noise levels, and all of its own."""
        return next(each for each in self._denoisers if levels.min() >= each[1][0])

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """The base's own loss on the targets while it reads the references."""
        levels = self._levels(len(batch.targets), generator)
        noise = noise_like(batch.targets, generator)
        self._read(batch, levels)
        wrong, snr = self._wrong(batch, noise, levels)
        errors = wrong.square() + self.settings.motion_loss * changing(wrong).square()
        if self.settings.motion_weight:
            errors = errors * motion_weights(batch.targets, self.settings.motion_weight)
        per_clip = reduce(errors, "b c t h w -> b", "mean")
        return (per_clip * self._schedule.weights(snr, self.settings.min_snr)).mean()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The plain loss on held-back pairs at fixed noise: with the right references, with those of another
        pair, and with none; per noise level and over all.

        `gain_over_shuffled` and `gain_over_none` are what the right ones save, `gain_t` the former over
        its standard error: an adapter that uses references has a large one. The same with `_motion` is of
        the error of what changes over time; `@0.5` is of noise level 0.5 alone.
        """
        losses: dict[str, list[Tensor]] = {"right": [], "shuffled": [], "none": []}
        numbers: dict[str, float] = {}
        for level in self.settings.validation_levels:
            found = {"right": self._held_back_loss(level, 0), "shuffled": self._held_back_loss(level, 1)}
            if level not in self._alone:
                self._alone[level] = self._held_back_loss(level, None)
            for name, values in (found | {"none": self._alone[level]}).items():
                losses[name].append(values)
                for i, suffix in enumerate(("", "_motion")):
                    numbers[f"{name}{suffix}@{level:g}"] = values[i].mean().item()
        self.module.clear_references()
        means = {name: torch.stack(values).mean(0) for name, values in losses.items()}  # (2, N)
        overall: dict[str, float] = {}
        for i, suffix in enumerate(("", "_motion")):
            right, shuffled, none = (means[name][i] for name in ("right", "shuffled", "none"))
            gain = shuffled - right
            error = (gain.std() / len(gain) ** 0.5).clamp(min=1e-12)
            overall |= {
                f"right{suffix}": right.mean().item(),
                f"shuffled{suffix}": shuffled.mean().item(),
                f"none{suffix}": none.mean().item(),
                f"gain_over_shuffled{suffix}": gain.mean().item(),
                f"gain_over_none{suffix}": (none - right).mean().item(),
                f"gain_t{suffix}": (gain.mean() / error).item(),
            }
        return overall | numbers

    def sheet(self, path: Path) -> None:
        """References | base | ours for the first held-back pairs, made by the base's own pipeline."""
        self._place(self._where(), None)
        self.module.detach()  # from the denoiser; `generate` attaches to the pipeline, and detaches again
        pairs, rows = self._held_back, []
        for index in range(min(self.settings.sheet_pairs, len(pairs.targets))):
            prompt = pairs.captions[index] or "a person"
            shown = decode_video(self.pipe, pairs.references[index])
            frames, height, width = shown.shape[1:4]
            settings = GenerationSettings(
                steps=self.settings.sheet_steps, num_frames=frames, height=height, width=width
            )
            image = None
            if self._family.image(self.pipe):
                image = decode_video(self.pipe, pairs.targets[index : index + 1, :, :1])[0, 0]
            captions = pairs.reference_captions[index]
            references = [ReferenceVideo(f, caption=c) for f, c in zip(shown, captions, strict=True)]
            if len(self._base_videos) <= index:
                alone = generate(prompt, base=self.pipe, seed=index, settings=settings, image=image)
                self._base_videos.append(alone.videos[0])
            made = generate(
                prompt,
                references,
                base=self.pipe,
                adapter=self.module,
                seed=index,
                settings=settings,
                image=image,
            )
            rows += [(f"reference: {r.caption}", r.frames) for r in references]
            rows += [(f"base: {prompt}", self._base_videos[index]), (f"ours: {prompt}", made.videos[0])]
        write_image(path, contact_sheet(rows))

    def _held_back_loss(self, level: float, shift: int | None) -> Tensor:
        """Mean squared error of each held-back pair, and of what changes in it over time (2, N), while it
        reads the pair half the set on (`shift` 1), itself (0) or nothing (None)."""
        count, size, found = len(self._held_back.targets), self.settings.batch, []
        device = self._where()
        for first in range(0, count, size):
            rows = range(first, min(first + size, count))
            batch = _chosen(self._held_back, rows, device)
            levels = torch.full((len(rows),), level)
            self._place(device, self._works_at(levels)[0])
            if shift is None:
                self.module.clear_references()
            else:
                other = [(row + shift * (count // 2)) % count for row in rows]
                shown = _chosen(self._held_back, other, device)._replace(captions=batch.captions)
                self._read(shown, levels)
            chances = [seeded(self.settings.seed, 2, row) for row in rows]
            noise = torch.stack([torch.randn(batch.targets.shape[1:], generator=c) for c in chances])
            wrong, _ = self._wrong(batch, noise.to(device), levels)
            both = torch.stack([wrong, changing(wrong)]).square()
            found.append(reduce(both, "k b c t h w -> k b", "mean"))
        return torch.cat(found, dim=1).cpu()

    def _read(self, pairs: Pairs, levels: Tensor) -> None:
        """Have the base, at these noise levels, read the references of these pairs, as
        `ActionAdapter.set_references` does."""
        device, count = pairs.targets.device, pairs.references.shape[1]
        self._place(device, self._works_at(levels)[0])
        asked = repeat(self._captions(pairs.captions), "b l d -> (b r) l d", r=count)
        shown = self._captions([caption for row in pairs.reference_captions for caption in row])
        latents = rearrange(pairs.references, "b r c t h w -> (b r) c t h w")
        tokens = self.module.encode(latents, shown.to(device), asked.to(device))
        self.module.set_tokens(rearrange(tokens, "(b r) n a -> r b n a", r=count).unbind())

    def _wrong(self, pairs: Pairs, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Errors (B, C, T, h, w) of the base's prediction, and signal-to-noise ratios (B,)."""
        mixed = self._schedule.mix(pairs.targets, noise, levels)
        denoiser: Any = self._works_at(levels)[0]
        captions = self._captions(pairs.captions).to(noise.device, denoiser.dtype)
        with torch.no_grad():
            condition = self._family.condition(self.pipe, pairs.targets.to(denoiser.dtype))
        noisy = mixed.noisy.to(denoiser.dtype)
        prediction = self._family.predict(denoiser, noisy, mixed.timesteps, captions, condition)
        return prediction.float() - mixed.target, mixed.snr

    def _place(self, device: torch.device, denoiser: torch.nn.Module | None) -> None:
        """Base on this device, adapter attached to the denoiser: not to the pipeline, which may still say
        that its last call was guided."""
        if self._placed[0] != device:
            self.pipe.to(device)
        if self._placed != (device, denoiser) and denoiser is not None:
            self.module.attach(denoiser)
        self._placed = (device, denoiser)

    def _where(self) -> torch.device:
        return next(self.module.parameters()).device


def check_channels(data: PairSet, channels: int) -> None:
    """Raises PairSetError unless the pairs' latents have as many channels as the base's."""
    if data.shape[1] != channels:
        raise PairSetError(
            f"pairs have {data.shape[1]} latent channels, the base {channels}; prepare them with it"
        )


def _chosen(pairs: Pairs, rows: Sequence[int], device: torch.device) -> Pairs:
    index = list(rows)
    return Pairs(
        pairs.targets[index].to(device),
        pairs.references[index].to(device),
        [pairs.captions[i] for i in index],
        [pairs.reference_captions[i] for i in index],
    )
