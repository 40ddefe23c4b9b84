"""The studio of an evaluation: a base and an adapter that film many prompts, each video once.

Videos are kept in the run folder, named by all that they were made from, so an evaluation that was stopped
goes on with what it has.
"""

import hashlib
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveInt
from rich.console import Console
from rich.progress import track
from torch import nn

from echoreel.actors.actor_clips import ActorClip, ActorSettings
from echoreel.actors.looks import full_caption
from echoreel.bases.encoding import decode_video, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError
from echoreel.common.files import write_atomic
from echoreel.common.settings import Settings
from echoreel.generation.filming import Shot, acting, batches, film
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.loading import load_adapter
from echoreel.training.precision import EMULATED, Precision, computes_in_bf16, fast_kernels


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
        self._base = base_of(load_base(settings.base))
        self._adapter = None if settings.adapter is None else load_adapter(settings.adapter)
        self._settings = resolved(self._base, generation)
        self._folder, self._batch, self._precision = folder, settings.batch, settings.precision
        if self._precision == "bf16" and not computes_in_bf16(self._base.device):
            Console(stderr=True).print(EMULATED, highlight=False, soft_wrap=True)
            self._precision = "fp32"
        modules = [part for part in self._base.pipe.components.values() if isinstance(part, nn.Module)]
        self.weights = {"base": _fingerprint(modules)}
        if self._adapter is not None:
            self.weights["adapter"] = _fingerprint([self._adapter])

    def clip_settings(self, actors: ActorSettings) -> ActorSettings:
        """The actor domain with the frames and the size that the base makes. Raises EchoReelError."""
        size = (self._base.native_size or (actors.size,))[0]
        asked = (self._settings.height or size, self._settings.width or size)
        if asked[0] != asked[1]:
            raise EchoReelError(f"got videos of {asked[1]}x{asked[0]}; the actor domain's are square")
        return actors.model_copy(
            update={"frames": self._settings.num_frames or actors.frames, "size": asked[0]}
        )

    def shot(self, prompt: str, seed: int, references: Sequence[ActorClip], target: ActorClip) -> Shot:
        """Of a case; an image-to-video base starts from the target's first frame."""
        image = target.frames[0] if self._base.needs_image else None
        return Shot(prompt, seed, tuple(map(as_reference, references)), image)

    def film(self, shots: Sequence[Shot], label: str) -> Frames:
        """Videos (B, T, H, W, 3), made in batches where they are not in the folder."""
        keys = {shot: self._folder / f"{self._key(shot)}.npz" for shot in shots}
        missing = [shot for shot in shots if not keys[shot].exists()]
        told = f"{label}: {len(missing)} of {len(shots)} videos"
        for chunk in track(batches(self._base, missing, self._batch), told, console=Console(stderr=True)):
            for shot, frames in zip(chunk, self._make(chunk), strict=True):
                file = io.BytesIO()
                np.savez_compressed(file, frames=frames)
                write_atomic(keys[shot], file.getvalue())
        return np.stack([np.load(keys[shot])["frames"] for shot in shots])

    @torch.no_grad()
    def autoencoded(self, videos: Frames) -> Frames:
        """Videos (B, T, H, W, 3) as the base's autoencoder hands them back."""
        chunks = np.array_split(videos, range(self._batch, len(videos), self._batch))
        return np.concatenate([decode_video(self._base, encode_video(self._base, chunk)) for chunk in chunks])

    def _make(self, shots: Sequence[Shot]) -> Frames:
        """In one call of the pipeline."""
        base, settings = self._base, self._settings
        reads: AbstractContextManager[None] = nullcontext()
        if shots[0].references:
            assert self._adapter is not None
            reads = acting(self._adapter, base, shots, settings)
        with reads, fast_kernels(base.device, self._precision):
            return film(base, shots, settings)

    def _key(self, shot: Shot) -> str:
        """Names a video by all that it is made from."""
        settings = self._settings.model_dump(mode="json", exclude={"compare", "fps"})
        told = [self.weights["base"], self._precision, shot.prompt, shot.seed]
        if shot.references:
            told += [self.weights["adapter"], *(reference.caption for reference in shot.references)]
            told += [_hash(reference.frames) for reference in shot.references]
            if settings["guidance"] == "both":
                told.append("each branch reads what its own prompt made of the references")
        else:
            settings = {
                name: settings[name] for name in settings if name not in ("scale", "guidance", "window")
            }
        if shot.image is not None:
            told.append(_hash(shot.image))
        return hashlib.sha256(repr((settings, told)).encode()).hexdigest()[:24]


def as_reference(clip: ActorClip) -> ReferenceVideo:
    """A clip as a user would give it. Its caption tells the look only where it is drawn as in training."""
    action = clip.take.action
    caption = full_caption(clip.look, action) if clip.style is None else f"a person {action}"
    return ReferenceVideo(clip.frames, caption=caption)


def _hash(frames: Frames) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


def _fingerprint(modules: Sequence[nn.Module]) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
