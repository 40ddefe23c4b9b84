"""What every frozen base can be asked, whatever its family: one class, and a subclass for each family.

docs/adding-a-backbone.md adds one.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from diffusers import DiffusionPipeline
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from echoreel.common.errors import BaseUnsupported, SettingsError
from echoreel.common.settings import MOST_SIDE

Condition = Mapping[str, Tensor]
Longer: TypeAlias = Literal["free noise", "diffusion forcing", "continued"]
"""Ways to a longer video: one call with motion modules in windows; one call that goes on from the latents of
its last frames; a call for each window, which starts from the last frame of the one before."""


@dataclass(frozen=True)
class Base(ABC):
    """A frozen base: its denoiser, and its pipeline if that is what we were given. Made by `base_of`."""

    denoiser: ModelMixin
    pipe: Any = None  # the DiffusionPipeline, whose parts differ from family to family; or None

    name: ClassVar[str]  # of the family
    denoiser_type: ClassVar[type[object]]
    component: ClassVar[str]  # the denoiser's name in a pipeline
    more: ClassVar[tuple[str, ...]] = ()  # names of further denoisers, each for a part of the steps
    sites: ClassVar[str]  # regular expression of the whole path of a site in the denoiser
    width: ClassVar[str]  # path of a linear layer in a site whose input has the site's width
    layout: ClassVar[str]  # of a site's hidden states: einops pattern of b, t, h, w, c with b outermost
    output: ClassVar[int | None] = None  # index of the hidden states in a site's output; None: itself
    every: ClassVar[int] = 1  # a fresh adapter joins every so many sites: DiTs have more than it needs
    channels_field: ClassVar[str] = "out_channels"  # of the denoiser's configuration: channels of latents
    caption_field: ClassVar[str]  # of its configuration: width of text tokens
    pixels_field: ClassVar[str] = "vae_scale_factor_spatial"  # of the pipeline: pixels of a latent place
    frames_field: ClassVar[str] = "vae_scale_factor_temporal"  # of the pipeline: frames of a latent frame
    sample: ClassVar[str]  # the denoiser's argument with the noisy latents
    timestep: ClassVar[str] = "timestep"  # its argument with the timestep
    negative: ClassVar[tuple[str, ...]] = ()
    """names of the cache contexts of calls for the negative prompt alone; none: one call for both branches"""
    positive: ClassVar[tuple[str, ...]] = ()
    """names of the cache contexts of further calls for the prompt alone, beside those for both branches"""
    handed_over: ClassVar[tuple[str, str] | None] = None
    """where its pipeline calls once for each branch and does not name the context: the denoiser's argument by
    which the call for the negative prompt is known, and the variable of the pipeline's call that is handed
    over as it; None: it names the context"""
    translated: ClassVar[Mapping[str, str | None]] = {}
    """usual words of a call that the pipeline does not know -> its own, if it has one"""
    reads_text: ClassVar[bool] = True
    image_is_first: ClassVar[bool] = True  # of image-to-video pipelines: not a mere likeness
    encodes_alone: ClassVar[bool] = True  # can its pipeline be made without its denoiser?
    fps: ClassVar[float] = 8.0  # frames a second of the videos it was trained on
    checkpoints: ClassVar[str | None] = None
    """regular expression of the whole paths of modules to recompute in training, where the denoiser's own
    gradient checkpointing leaves out the sites or is missing; None: its own is enough"""

    @property
    def denoisers(self) -> tuple[ModelMixin, ...]:
        """The denoiser, and those that take over from it at other noise levels."""
        others = [getattr(self.pipe, name, None) for name in self.more]
        return (self.denoiser, *(plain(other) for other in others if other is not None))

    @property
    def device(self) -> torch.device:
        """Where the base computes, which is not where its weights wait when it is offloaded."""
        found: torch.device | None = getattr(self.pipe, "_execution_device", None)
        return next(self.denoiser.parameters()).device if found is None else found

    def bare(self, denoiser: ModelMixin | None = None) -> "Base":
        """One of the denoisers, the first unless told, without the pipeline: nobody guides."""
        return type(self)(self.denoiser if denoiser is None else denoiser)

    def whole(self) -> "Base":
        """Itself. Raises BaseUnsupported where there is no pipeline."""
        if self.pipe is None:
            raise BaseUnsupported(
                f"got a bare {type(self.denoiser).__name__}, need its pipeline: autoencoder and text encoder "
                "are there"
            )
        return self

    def find_sites(self) -> dict[str, int]:
        """Path and width of every site of the denoiser. Raises BaseUnsupported when it has none."""
        found = {path: each for path, each in self.denoiser.named_modules() if re.fullmatch(self.sites, path)}
        sites = {path: _width(each.get_submodule(self.width)) for path, each in found.items()}
        if not sites:
            raise BaseUnsupported(
                f"got a {type(self.denoiser).__name__} without any layer that an adapter for {self.name} "
                f"could join, need its temporal transformer blocks; load its motion modules first"
            )
        return sites

    @abstractmethod
    def sizes(self, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        """The denoiser's arguments by name -> frames of a site's tokens, and the latents' height, width."""

    @property
    def latent_channels(self) -> int:
        return int(self.denoiser.config[self.channels_field])

    @property
    def caption_width(self) -> int:
        width: int | tuple[int, ...] = self.denoiser.config[self.caption_field]
        return width if isinstance(width, int) else width[0]

    @property
    def latent_size(self) -> tuple[int, int] | None:
        """Native places (height, width), if the base says so."""
        return None

    @property
    def pixels_per_place(self) -> int:
        """Pixels to a side of one latent place."""
        return int(getattr(self.pipe, self.pixels_field))

    @property
    def frames_per_place(self) -> int:
        """Frames that a latent frame stands for; 1 where the autoencoder sees frame by frame."""
        return int(getattr(self.pipe, self.frames_field, 1))

    @property
    def native_size(self) -> tuple[int, int] | None:
        """Pixels (height, width) that the base makes by itself, if it says so.

        Raises SettingsError for a config, perhaps somebody else's, that says a size that cannot be.
        """
        try:
            places = self.latent_size
            size = places and tuple(side * self.pixels_per_place for side in places)
        except (TypeError, ValueError) as error:
            raise self._no_size() from error
        if not size:
            return None
        if len(size) != 2 or not all(isinstance(side, int) and 1 <= side <= MOST_SIDE for side in size):
            raise self._no_size()
        return size[0], size[1]

    def _no_size(self) -> SettingsError:
        return SettingsError(
            f"the config of {type(self.denoiser).__name__} says a frame size that cannot be; get the base's "
            "files again"
        )

    def video_size(self, asked: tuple[int, int] | None = None) -> tuple[int, int]:
        """What is asked for, else the native size. Raises SettingsError where there is none, or below 1."""
        if asked is not None and min(asked) < 1:
            raise SettingsError(f"got height and width {asked}, need 1 or more pixels each")
        size = asked or self.native_size
        if size is None:
            raise SettingsError(
                f"{type(self.pipe).__name__} does not say its frame size; give a size: height and width in "
                "pixels"
            )
        return size

    @property
    def most_frames(self) -> int | None:
        """Frames it can make, if limited."""
        return None

    @property
    def least_frames(self) -> int:
        """Frames that its pipeline must be asked for."""
        return 1

    @property
    def longer(self) -> Longer | None:
        """How it makes videos longer than it makes at once; None where it cannot."""
        return "continued" if self.needs_image and self.image_is_first else None

    @property
    def needs_image(self) -> bool:
        """Does it start from a first frame?"""
        return False

    @property
    def one_at_a_time(self) -> bool:
        """Must each call of its pipeline make a single video?

        Some pipelines take one image for all prompts. Some draw random numbers that all videos share.
        """
        return self.needs_image

    def call_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments of a call in the usual words -> in this pipeline's."""
        return {self.translated.get(name) or name: value for name, value in arguments.items()}

    def guides(self) -> bool | None:
        """Does the pipeline now call the denoiser with [negative, positive] in one batch?

        Pipelines keep it of their last call, False before the first; None for those that keep nothing.
        """
        if self.negative:
            return False
        for name in ("do_classifier_free_guidance", "guidance_scale"):
            if hasattr(type(self.pipe), name):
                kept = getattr(self.pipe, name, None)
                return kept is not None and bool(kept if name.startswith("do") else kept > 1)
        return None

    def progress(self, timestep: Tensor) -> Tensor:
        """A call's timesteps (rows,) or more for each row -> those of its denoising steps: (rows,), or
        (rows, frames) where frames are at steps of their own.

        Unless told, the latest of a row counts: a first frame that is given has 0. They fall from step to
        step.
        """
        return timestep.flatten(1).amax(1) if timestep.ndim > 1 else timestep

    @property
    def guidance_calls(self) -> str:
        """In how many calls of the denoiser a step is guided."""
        return "two calls" if self.negative else "one call"

    def shared(self, sample: Tensor) -> Tensor:
        """What is alike in both branches' samples."""
        return sample

    @abstractmethod
    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        """Pixels (B, 3, T, H, W) in [-1, 1] -> latents (B, C, T, h, w), without chance."""

    @abstractmethod
    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        """The way back."""

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """B texts -> (B, L, D); padding may be zero."""
        tokens: Tensor = self.pipe.encode_prompt([*captions], do_classifier_free_guidance=False)[0]
        return tokens

    @abstractmethod
    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """What a denoiser says of noisy latents (B, C, T, h, w), timesteps (B,), captions (B, L, D) and
        what `condition` gave: a prediction of the latents' shape."""

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """What else the denoiser is told in training, of clean latents: by an image-to-video base what its
        pipeline would tell it of the first frame."""
        return {}

    @property
    def boundary(self) -> float | None:
        """The timestep from which on, upwards, the first denoiser works; None: there is but one."""
        return None


BaseLike: TypeAlias = Base | DiffusionPipeline | nn.Module
"""What `base_of` takes: a base, a pipeline, or a denoiser alone."""


def plain(denoiser: Any) -> Any:
    """Without what torch.compile wraps around it."""
    return getattr(denoiser, "_orig_mod", denoiser)


def _width(layer: Any) -> int:
    """What a linear layer reads, also where a LoRA, a quantiser or FreeNoise has wrapped it."""
    return int(next(each.in_features for each in layer.modules() if hasattr(each, "in_features")))
