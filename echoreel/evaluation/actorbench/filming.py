"""The studio of an evaluation: a base and an adapter that film many prompts, each video once.

Videos are kept in the run folder, named by all that they were made from, so an evaluation that was stopped
goes on with what it has.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from rich.console import Console
from rich.progress import track
from torch import nn

from echoreel.actors.actor_clips import ActorClip, ActorSettings
from echoreel.actors.looks import full_caption
from echoreel.bases.encoding import decode_video, encode_captions, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError
from echoreel.common.files import write_atomic
from echoreel.common.settings import Settings
from echoreel.generation.settings import CALL_ARGUMENTS, GenerationSettings, resolved
from echoreel.media.images import Frames
from echoreel.method.loading import load_adapter
from echoreel.training.precision import EMULATED, Precision, computes_in_bf16, fast_kernels


@dataclass(frozen=True, eq=False)
class Shot:
    """One video to be made: its prompt and seed, and the references that it has."""

    prompt: str
    seed: int
    references: tuple[ActorClip, ...] = ()


class StudioSettings(Settings):
    """What films."""

    base: str = "embedded"  # or a folder, or a hub id
    adapter: str | None = "embedded"  # none where no video has references
    batch: PositiveInt = 16  # videos made at once
    precision: Precision = "fp32"  # bf16: a third faster on a CPU that has it


class Studio:
    """The base and the adapter under test, and the folder of videos that they have made."""

    def __init__(self, settings: StudioSettings, folder: Path, generation: GenerationSettings) -> None:
        """`folder`: where the videos are kept."""
        pipe: Any = load_base(settings.base)
        self._pipe = pipe
        self._adapter = None if settings.adapter is None else load_adapter(settings.adapter)
        self._settings = resolved(pipe, generation)
        self._folder, self._batch, self._precision = folder, settings.batch, settings.precision
        if self._precision == "bf16" and not computes_in_bf16(pipe._execution_device):
            Console(stderr=True).print(EMULATED, highlight=False, soft_wrap=True)
            self._precision = "fp32"
        modules = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
        self.weights = {"base": _fingerprint(modules)}
        if self._adapter is not None:
            self.weights["adapter"] = _fingerprint([self._adapter])

    def clip_settings(self, actors: ActorSettings) -> ActorSettings:
        """The actor domain with the frames and the size that the base makes. Raises EchoReelError."""
        found = base_of(self._pipe)
        places = found.family.latent_size(found.denoiser)
        size = places[0] * found.family.pixels_per_place(self._pipe) if places else actors.size
        asked = (self._settings.height or size, self._settings.width or size)
        if asked[0] != asked[1]:
            raise EchoReelError(f"got videos of {asked[1]}x{asked[0]}; the actor domain's are square")
        return actors.model_copy(
            update={"frames": self._settings.num_frames or actors.frames, "size": asked[0]}
        )

    def film(self, shots: Sequence[Shot], label: str) -> Frames:
        """Videos (B, T, H, W, 3), made in batches where they are not in the folder."""
        keys = [self._key(shot) for shot in shots]
        missing = [i for i, key in enumerate(keys) if not (self._folder / f"{key}.npz").exists()]
        chunks = [missing[start : start + self._batch] for start in range(0, len(missing), self._batch)]
        for chunk in track(
            chunks, f"{label}: {len(missing)} of {len(shots)} videos", console=Console(stderr=True)
        ):
            for i, frames in zip(chunk, self._make([shots[i] for i in chunk]), strict=True):
                file = io.BytesIO()
                np.savez_compressed(file, frames=frames)
                write_atomic(self._folder / f"{keys[i]}.npz", file.getvalue())
        return np.stack([np.load(self._folder / f"{key}.npz")["frames"] for key in keys])

    @torch.no_grad()
    def autoencoded(self, videos: Frames) -> Frames:
        """Videos (B, T, H, W, 3) as the base's autoencoder hands them back."""
        chunks = np.array_split(videos, range(self._batch, len(videos), self._batch))
        return np.concatenate([decode_video(self._pipe, encode_video(self._pipe, chunk)) for chunk in chunks])

    def _make(self, shots: Sequence[Shot]) -> Frames:
        """One call of the pipeline: a generator and a set of action tokens for each video."""
        settings, prompts = self._settings, [shot.prompt for shot in shots]
        wanted = {argument: getattr(settings, name) for argument, name in CALL_ARGUMENTS.items()}
        given = {argument: value for argument, value in wanted.items() if value is not None}
        if settings.negative_prompt is not None:
            given["negative_prompt"] = [settings.negative_prompt] * len(shots)
        self._pipe.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(shot.seed) for shot in shots]
        try:
            if shots[0].references:
                self._show(shots)
            with fast_kernels(self._pipe._execution_device, self._precision):
                video = self._pipe(prompt=prompts, generator=generators, output_type="np", **given).frames
        finally:
            if self._adapter is not None:
                self._adapter.detach()
        if not np.isfinite(video).all():
            raise EchoReelError("the base made values that are no numbers; load it in another precision")
        frames: Frames = np.round(np.asarray(video) * 255).astype(np.uint8)
        return frames

    @torch.no_grad()
    def _show(self, shots: Sequence[Shot]) -> None:
        """Attach the adapter and give it the references: the first of every video, the second, and so on."""
        pipe, adapter, settings = self._pipe, self._adapter, self._settings
        assert adapter is not None
        adapter.attach(pipe)
        adapter.set_scale(settings.scale)
        adapter.set_guidance(settings.guidance)
        adapter.set_window(*settings.window)
        asked = encode_captions(pipe, [shot.prompt for shot in shots])
        tokens = []
        for clips in zip(*(shot.references for shot in shots), strict=True):
            latents = encode_video(pipe, np.stack([clip.frames for clip in clips]))
            shown = encode_captions(pipe, [_caption(clip) for clip in clips])
            tokens.append(adapter.encode(latents, shown, asked))
        adapter.set_tokens(tokens)

    def _key(self, shot: Shot) -> str:
        """Names a video by all that it is made from."""
        settings = self._settings.model_dump(mode="json", exclude={"compare", "fps"})
        told = [self.weights["base"], self._precision, shot.prompt, shot.seed]
        if shot.references:
            told += [self.weights["adapter"], *(_caption(clip) for clip in shot.references)]
            told += [hashlib.sha256(clip.frames.tobytes()).hexdigest() for clip in shot.references]
        else:
            settings = {
                name: settings[name] for name in settings if name not in ("scale", "guidance", "window")
            }
        return hashlib.sha256(repr((settings, told)).encode()).hexdigest()[:24]


def _caption(clip: ActorClip) -> str:
    """What a reference shows: its look only where it is drawn as the captions of the training know it."""
    action = clip.take.action
    return full_caption(clip.look, action) if clip.style is None else f"a person {action}"


def _fingerprint(modules: Sequence[nn.Module]) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
