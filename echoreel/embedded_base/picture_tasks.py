"""What the embedded base is trained on, stage by stage: autoencoder, single frames, clips."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from echoreel.actors.actor_clips import ActorDomain
from echoreel.embedded_base.architecture import (
    BaseSettings,
    build_autoencoder,
    build_frame_denoiser,
    build_scheduler,
    inflate,
)
from echoreel.embedded_base.caption_task import disturbed
from echoreel.embedded_base.enlarge import SmallLatents, enlarged_autoencoder
from echoreel.embedded_base.tokenizer import load_tokenizer


@dataclass(frozen=True, eq=False)
class CaptionedLatents:
    """Latents (N, C, T, h, w) float16 of clips, and captions; the first `held_back` are to validate on."""

    latents: NDArray[np.float16]
    captions: Sequence[str]
    held_back: int = 64

    def words(
        self, chosen: Iterable[int], tokenizer: PreTrainedTokenizerFast, rng: Generator | None = None
    ) -> Tensor:
        """Token ids (B, L); with `rng`, of disturbed captions."""
        captions = [self.captions[index] for index in chosen]
        if rng is not None:
            captions = [disturbed(caption, rng) for caption in captions]
        padded = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        ids: Tensor = padded["input_ids"]
        return ids

    def held_back_batch(self, tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
        """The held-back latents float32 (N, C, T, h, w) and the token ids of their captions."""
        latents = torch.from_numpy(self.latents[: self.held_back].astype(np.float32))
        return latents, self.words(range(self.held_back), tokenizer)


class AutoencoderTask:
    """Frames in, the same frames out, through normal latents with a small KL term."""

    name = "autoencoder"

    def __init__(
        self,
        domain: ActorDomain,
        settings: BaseSettings,
        batch_clips: int = 8,
        seed: int = 0,
        small: Any = None,
    ) -> None:
        """`small`: the autoencoder of half the size that it grows from."""
        self.domain, self.settings, self.batch_clips, self.seed = domain, settings, batch_clips, seed
        size = domain.settings.size
        self.small = SmallLatents(small) if small else None
        self.module: Any = (
            enlarged_autoencoder(small, settings, size) if small else build_autoencoder(settings, size)
        )
        self._held_back = torch.cat([self._frames(seed + 10_000_000 + index)[:, :3] for index in range(16)])

    def batch(self, step: int) -> Mapping[str, Tensor]:
        first = self.seed + step * self.batch_clips
        return {"frames": torch.cat([self._frames(first + index) for index in range(self.batch_clips)])}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        frames, person = batch["frames"][:, :3], batch["frames"][:, 3:]
        posterior = self.module.encode(frames).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        decoded = self.module.decode(posterior.mean + posterior.std * noise).sample.float()
        spread: Tensor = posterior.kl().float().mean() / posterior.mean[0].numel()
        loss = _picture_loss(decoded, frames, 1 + 4 * person) + 1e-4 * spread
        return loss if self.small is None else loss + self.small.error(posterior.mean, frames)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        error = F.mse_loss(self._decoded(), self._held_back).item() / 4  # frames span 2, peak signal 1
        numbers = {"psnr": float(-10 * np.log10(error))}
        if self.small is not None:
            frames = self._held_back.to(_device(self.module))
            latents = self.module.encode(frames).latent_dist.mode()
            numbers["small_latents"] = self.small.error(latents, frames).item()
        return numbers

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        pairs = torch.stack([self._held_back, self._decoded()], 1)[:48]
        grid = rearrange(pairs, "(r n) two c h w -> (r two h) (n w) c", r=4).clamp(-1, 1)
        Image.fromarray(((grid + 1) * 127.5).byte().numpy()).resize(
            (grid.shape[1] * 4, grid.shape[0] * 4), 0
        ).save(path)

    def _decoded(self) -> Tensor:
        frames = self._held_back.to(_device(self.module))
        decoded: Tensor = self.module.decode(self.module.encode(frames).latent_dist.mode()).sample
        return decoded.float().cpu()

    def _frames(self, seed: int) -> Tensor:
        """Every other frame of a clip, in [-1, 1], and the person's coverage in [0, 1]: (T, 4, H, W)."""
        clip = self.domain.clip(seed)
        frames = torch.from_numpy(clip.frames[seed % 2 :: 2]).float() / 127.5 - 1
        person = torch.from_numpy(clip.person[seed % 2 :: 2, ..., None]).float() / 255
        return rearrange(torch.cat([frames, person], -1), "t h w c -> t c h w")


class DecoderTask(AutoencoderTask):
    """The decoder of a trained autoencoder goes on alone: latents stay what they are, and all made of them.

    It sees latents with a little noise (of standard deviation 0.1, before scaling), as denoisers leave it.
    """

    name = "decoder"

    def __init__(self, trained: AutoencoderTask) -> None:
        super().__init__(trained.domain, trained.settings, trained.batch_clips, trained.seed + 20_000_000)
        self.module.register_to_config(scaling_factor=trained.module.config.scaling_factor)
        self.module.load_state_dict(trained.module.state_dict())
        self.module.requires_grad_(False)
        self.module.decoder.requires_grad_(True)
        self.module.post_quant_conv.requires_grad_(True)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        frames, person = batch["frames"][:, :3], batch["frames"][:, 3:]
        with torch.no_grad():
            latents = self.module.encode(frames).latent_dist.mode()
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        decoded = self.module.decode(latents + 0.1 * noise).sample.float()
        return _picture_loss(decoded, frames, 1 + 4 * person)


def _picture_loss(decoded: Tensor, frames: Tensor, weight: Tensor) -> Tensor:
    """Weighted absolute and squared error, and the error of the picture's slopes, which keeps limbs sharp."""
    error = decoded - frames
    slopes = torch.diff(error, dim=2).abs().mean() + torch.diff(error, dim=3).abs().mean()
    return (weight * (error.abs() + error.square())).mean() + slopes


class _DrawingTask:
    """A denoiser learns to draw captioned latents: frames (B, C, h, w) or clips (B, C, T, h, w)."""

    clips: CaptionedLatents
    tokenizer: Any
    scheduler: Any
    module: Any  # "denoiser" and "text_encoder"

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        return self._loss(batch["latents"], batch["words"], generator)

    def validate(self) -> dict[str, float]:
        """Loss on held-back clips at fixed noise and noise levels."""
        clips, words = (
            tensor.to(_device(self.module)) for tensor in self.clips.held_back_batch(self.tokenizer)
        )
        return {"loss": self._loss(self._shown(clips), words, torch.Generator().manual_seed(1)).item()}

    def sheet(self, path: Path) -> None:
        """Nothing: `assemble` and look."""

    def _shown(self, clips: Tensor) -> Tensor:
        """What of held-back clips is drawn."""
        return clips

    def _loss(self, latents: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
        noisy, times, target = noised(self.scheduler, latents, generator)
        text = self.module["text_encoder"](words).last_hidden_state
        if latents.ndim == 5:
            text = text.repeat_interleave(latents.shape[2], 0)  # the denoiser wants it once per frame
        made = self.module["denoiser"](noisy, times, encoder_hidden_states=text).sample
        return F.mse_loss(made.float(), target)


class FrameTask(_DrawingTask):
    """The spatial layers learn to draw captioned single frames; the text encoder is frozen."""

    name = "frames"

    def __init__(
        self,
        clips: CaptionedLatents,
        text_encoder: nn.Module,
        settings: BaseSettings,
        batch_size: int = 96,
        seed: int = 0,
    ) -> None:
        self.clips, self.batch_size, self.seed = clips, batch_size, seed
        self.tokenizer = load_tokenizer()
        self.module: Any = nn.ModuleDict(
            {
                "denoiser": build_frame_denoiser(settings, clips.latents.shape[-1]),
                "text_encoder": text_encoder.eval().requires_grad_(False),
            }
        )
        self.scheduler = build_scheduler()

    def batch(self, step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.integers(self.clips.held_back, len(self.clips.latents), self.batch_size)
        moments = rng.integers(0, self.clips.latents.shape[2], self.batch_size)
        latents = torch.from_numpy(self.clips.latents[chosen, :, moments].astype(np.float32))
        return {"latents": latents, "words": self.clips.words(chosen, self.tokenizer, rng)}

    def _shown(self, clips: Tensor) -> Tensor:
        return clips[:, :, clips.shape[2] // 2]


class ClipTask(_DrawingTask):
    """The whole denoiser, motion modules included, learns to draw captioned clips; two batches of four are
    of single frames (joint training, Ho et al. 2022, "Video Diffusion Models", section 3), which show many
    more looks at the same cost."""

    name = "clips"

    def __init__(
        self, start: FrameTask, settings: BaseSettings, batch_size: int = 8, frames: int = 0, seed: int = 0
    ) -> None:
        """`frames`: how many a batch of single frames has; 0 = every batch is of clips."""
        self.clips, self.tokenizer, self.scheduler = start.clips, start.tokenizer, start.scheduler
        self.batch_size, self.frames, self.seed = batch_size, frames, seed
        self.module: Any = nn.ModuleDict(
            {
                "denoiser": inflate(start.module["denoiser"], settings),
                "text_encoder": start.module["text_encoder"],
            }
        )

    def batch(self, step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        single = self.frames > 0 and step // 2 % 2 == 1  # so that two processes take batches of one kind
        count = self.frames if single else self.batch_size
        chosen = rng.integers(self.clips.held_back, len(self.clips.latents), count)
        if single:
            moments = rng.integers(0, self.clips.latents.shape[2], count)
            frames = torch.from_numpy(self.clips.latents[chosen, :, moments].astype(np.float32))
            latents = rearrange(frames, "b c h w -> b c 1 h w")
        else:
            latents = torch.from_numpy(self.clips.latents[chosen].astype(np.float32))
        return {"latents": latents, "words": self.clips.words(chosen, self.tokenizer, rng)}


def noised(scheduler: Any, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps (B,), velocity sqrt(a) eps - sqrt(1 - a) z (Salimans & Ho 2022, app. D)."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    steps = scheduler.config.num_train_timesteps
    times = torch.randint(0, steps, latents.shape[:1], generator=generator).to(latents.device)
    return scheduler.add_noise(latents, noise, times), times, scheduler.get_velocity(latents, noise, times)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
