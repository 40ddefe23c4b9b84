"""What a family of bases has to say about itself: one table entry, no subclass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Condition = Mapping[str, Tensor]


def _as_given(_: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    return arguments


def _nothing(*_: Any) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True)
class Family:
    """A family of bases: where its sites are, how their tokens lie, how it encodes videos and captions.

    In the functions, `pipe` is a pipeline of the family and `denoiser` its network.
    """

    name: str
    denoiser: type[Any]
    component: str  # the denoiser's name in a pipeline
    pipelines: tuple[str, ...]  # class names known to work
    sites: str  # regular expression of the whole path of a site in the denoiser
    width: str  # path of a linear layer in a site whose input has the site's width
    layout: str  # of a site's hidden states: einops pattern of b, t, h, w, c with b outermost
    output: int | None  # index of the hidden states in a site's output; None: the output itself
    sample: str  # the denoiser's argument with the noisy latents
    sizes: Callable[[Any, Mapping[str, Any]], tuple[int, int, int]]
    """denoiser, its arguments by name -> frames of a site's tokens, and the latents' height and width"""
    latent_channels: Callable[[Any], int]
    caption_width: Callable[[Any], int]
    latent_size: Callable[[Any], tuple[int, int] | None]  # native places (height, width), if it says so
    pixels_per_place: Callable[[Any], int]  # pipe -> pixels to a side of one latent place
    guided: Callable[[Any], bool | None]
    """pipe -> does it now call the denoiser with [negative, positive] in one batch; None: it does not say"""
    encode_video: Callable[[Any, Tensor], Tensor]  # pipe, (B, 3, T, H, W) in [-1, 1] -> (B, C, T, h, w)
    decode_video: Callable[[Any, Tensor], Tensor]  # the way back
    encode_captions: Callable[[Any, Sequence[str]], Tensor]  # pipe, B texts -> (B, L, D); padding may be zero
    predict: Callable[[Any, Tensor, Tensor, Tensor, Condition], Tensor]
    """denoiser, noisy latents (B, C, T, h, w), timesteps (B,), captions (B, L, D), what `condition` gave ->
    prediction of the latents' shape"""
    condition: Callable[[Any, Tensor], dict[str, Tensor]] = _nothing
    """pipe, clean latents (B, C, T, h, w) -> what else the denoiser is told in training, as the pipeline
    would tell it of the first frame: for image-to-video bases"""
    more: tuple[str, ...] = ()  # names in a pipeline of further denoisers, each for a part of the steps
    boundary: Callable[[Any], float | None] = lambda pipe: None
    """pipe -> the timestep from which on, upwards, the first denoiser works; None: there is but one"""
    timestep: str = "timestep"  # the denoiser's argument with the timestep
    negative: tuple[str, ...] = ()  # names of the cache contexts of calls for the negative prompt alone
    shared: Callable[[Tensor], Tensor] = lambda sample: sample  # what is alike in both branches' samples
    call: Callable[[Any, dict[str, Any]], dict[str, Any]] = _as_given
    """pipe, arguments of a call in the usual words -> in this pipeline's"""
    translated: Mapping[str, str | None] = field(default_factory=dict)
    """those of these words that the pipeline itself does not know -> its own, if it has one"""
    most_frames: Callable[[Any], int | None] = lambda pipe: None  # pipe -> frames it can make, if limited
    image: Callable[[Any], bool] = lambda pipe: False  # pipe -> does it need a first frame
    reads_text: bool = True
    fps: float = 8.0  # frames a second of the videos it was trained on
    checkpoints: str | None = None
    """regular expression of the whole paths of modules to recompute in training, where the denoiser's own
    gradient checkpointing leaves out the sites or is missing; None: its own is enough"""
    every: int = 1  # a fresh adapter joins every so many sites: DiTs have more than it needs
