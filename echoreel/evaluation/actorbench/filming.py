"""The studio of an evaluation: a base and an adapter that film many prompts, each video once.

Videos are kept in the run folder, named by all that they were made from, so an evaluation that was stopped
goes on with what it has.
"""

import hashlib
import io
import logging
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from time import process_time
from zipfile import BadZipFile

import numpy as np
import torch
from pydantic import PositiveInt
from rich.console import Console
from torch import nn

from echoreel.actors.actor_clips import ActorClip, ActorSettings
from echoreel.actors.looks import full_caption
from echoreel.bases.encoding import decode_video, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import EchoReelError
from echoreel.common.files import write_atomic
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import check_ends
from echoreel.common.progress import tracked
from echoreel.common.settings import Settings
from echoreel.evaluation.actorbench.rivals import Made, Rival, bytes_to_store
from echoreel.generation.filming import Shot, Show, acting, batches, film, nothing_to_read
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.generation.windows import plan_of
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.reference_windows import is_timed
from echoreel.method.loading import load_adapter
from echoreel.training.precision import EMULATED, Precision, computes_in_bf16, fast_kernels

LOG = logging.getLogger(__name__)


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
        self.base = base_of(load_base(settings.base))
        self._adapter = None if settings.adapter is None else load_adapter(settings.adapter)
        self._settings = resolved(self.base, generation)
        self._folder, self._batch, self._precision = folder, settings.batch, settings.precision
        if self._precision == "bf16" and not computes_in_bf16(self.base.device):
            Console(stderr=True).print(EMULATED, highlight=False, soft_wrap=True)
            self._precision = "fp32"
        modules = [part for part in self.base.pipe.components.values() if isinstance(part, nn.Module)]
        self.weights = {"base": _fingerprint(modules)}
        if self._adapter is not None:
            self.weights["adapter"] = _fingerprint([self._adapter])

    def clip_settings(self, actors: ActorSettings) -> ActorSettings:
        """The actor domain with the frames and the size that the base makes. Raises EchoReelError."""
        size = (self.base.native_size or (actors.size,))[0]
        asked = (self._settings.height or size, self._settings.width or size)
        if asked[0] != asked[1]:
            raise EchoReelError(
                f"got videos of {asked[1]}x{asked[0]}; ActorBench needs a base of square videos"
            )
        return actors.model_copy(
            update={"frames": self._settings.num_frames or actors.frames, "size": asked[0]}
        )

    def shot(self, prompt: str, seed: int, references: Sequence[ActorClip], target: ActorClip) -> Shot:
        """Of a case; an image-to-video base starts from the target's first frame."""
        image = target.frames[0] if self.base.needs_image else None
        return Shot(prompt, seed, tuple(map(as_reference, references)), image)

    def film(self, shots: Sequence[Shot], label: str, rival: Rival | None = None) -> Made:
        """Videos, made in batches where they are not in the folder; by a rival, prompt by prompt."""
        keys = {shot: self._folder / f"{self._key(shot, rival)}.npz" for shot in shots}
        found = {shot: _made(keys[shot]) for shot in shots}
        missing = [shot for shot in shots if found[shot] is None]
        chunks = batches(self.base, missing, self._batch, self._settings)
        if rival is not None:
            chunks = [[*same] for _, same in groupby(missing, lambda shot: shot.prompt)]
        told = f"{label}: {len(missing)} of {len(shots)} videos"
        for chunk in tracked(chunks, told):
            for shot, values in zip(chunk, zip(*self._make(chunk, rival), strict=True), strict=True):
                file = io.BytesIO()
                held = dict(zip(Made._fields, values, strict=True))
                np.savez_compressed(file, **held, key=keys[shot].stem)
                write_atomic(keys[shot], file.getvalue())
                found[shot] = Made(**held)
        every = [made for shot in shots if (made := found[shot]) is not None]
        return Made(*(np.stack(values) for values in zip(*every, strict=True)))

    @torch.no_grad()
    def autoencoded(self, videos: Frames) -> Frames:
        """Videos (B, T, H, W, 3) as the base's autoencoder hands them back."""
        chunks = np.array_split(videos, range(self._batch, len(videos), self._batch))
        return np.concatenate([decode_video(self.base, encode_video(self.base, chunk)) for chunk in chunks])

    def _make(self, shots: Sequence[Shot], rival: Rival | None) -> Made:
        """In one call of the pipeline."""
        base, settings = self.base, self._settings
        price = np.full((2, len(shots)), np.nan)
        show: Show = nothing_to_read
        with ExitStack() as stack:
            if rival is None and shots[0].references:
                assert self._adapter is not None
                began = process_time()
                show = stack.enter_context(acting(self._adapter, base, shots, settings))
                price[0] = (process_time() - began) / len(shots)
                price[1] = bytes_to_store(base, shots[0].references)
            stack.enter_context(fast_kernels(base.device, self._precision))
            if rival is not None:
                return rival.film(base, shots, settings)
            return Made(film(base, shots, settings, show=show), *price)

    def _key(self, shot: Shot, rival: Rival | None) -> str:
        """Names a video by all that it is made from."""
        settings = self._settings.model_dump(mode="json", exclude={"compare", "fps", "preset"})
        if settings.pop("seconds") is not None:
            settings["windows"] = plan_of(self.base, self._settings)
        told = [self.weights["base"], self._precision, shot.prompt, shot.seed]
        if shot.references:
            maker = self.weights["adapter"] if rival is None else repr(rival)
            told += [maker, *(reference.caption for reference in shot.references)]
            told += [_hash(reference.frames) for reference in shot.references]
            told += [str(each.during) for each in shot.references if each.during != (0, 1)]
            told += [(each.align, each.speed) for each in shot.references if is_timed(each)]
            if settings["guidance"] == "both":
                told.append("each branch reads what its own prompt made of the references")
        else:
            settings = {
                name: settings[name] for name in settings if name not in ("scale", "guidance", "window")
            }
        if shot.image is not None:
            told.append(_hash(shot.image))
        return hashlib.sha256(repr((settings, told)).encode()).hexdigest()[:24]


def _made(file: Path) -> Made | None:
    """What was made before; None where that is missing, damaged or of another file, which is told."""
    try:
        check_ends(file)
        with file.open("rb") as opened, np.load(opened) as held:
            if "key" in held and str(held["key"]) != file.stem:  # older versions wrote none
                raise ValueError("its frames are of another file")
            return Made(*(held[name] for name in Made._fields))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, LookupError, AttributeError, BadZipFile, zlib.error) as error:
        LOG.warning("%s is damaged (%s); it is made again", file, hint_of(error))
        return None


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
