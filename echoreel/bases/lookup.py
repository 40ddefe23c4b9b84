"""The table of bases: which family a pipeline or denoiser belongs to."""

from typing import Any

from torch import nn

from echoreel.bases.animatediff import AnimateDiff
from echoreel.bases.base import Base, BaseLike, plain
from echoreel.bases.cogvideox import CogVideoX
from echoreel.bases.hunyuan_video import HunyuanVideo
from echoreel.bases.hunyuan_video_15 import HunyuanVideo15
from echoreel.bases.i2vgen_xl import I2VGenXL
from echoreel.bases.kandinsky5 import Kandinsky5
from echoreel.bases.latte import Latte
from echoreel.bases.ltx import LTXVideo
from echoreel.bases.ltx2 import LTX2
from echoreel.bases.lvdm import LVDM
from echoreel.bases.mochi import Mochi
from echoreel.bases.modelscope import ModelScope
from echoreel.bases.sana_video import SanaVideo
from echoreel.bases.skyreels_v2 import SkyReelsV2
from echoreel.bases.stable_video_diffusion import StableVideoDiffusion
from echoreel.bases.videocrafter import VideoCrafter
from echoreel.bases.wan import Wan
from echoreel.bases.wan_vace import WanVACE
from echoreel.common.errors import BaseUnsupported
from echoreel.common.versions import warn_if_untested

FAMILIES: tuple[type[Base], ...] = (
    AnimateDiff,
    LVDM,
    VideoCrafter,
    ModelScope,
    I2VGenXL,
    StableVideoDiffusion,
    Wan,
    WanVACE,
    SkyReelsV2,
    LTXVideo,
    LTX2,
    CogVideoX,
    HunyuanVideo,
    HunyuanVideo15,
    Kandinsky5,
    Mochi,
    SanaVideo,
    Latte,
)


def base_of(given: BaseLike) -> Base:
    """The base in a pipeline or denoiser. Raises BaseUnsupported when it is of no family in the table.

    Warns, once, where torch, diffusers or transformers are newer than those tested.
    """
    if isinstance(given, Base):
        return given
    warn_if_untested("torch", "diffusers", "transformers")
    pipe: Any = None if isinstance(given, nn.Module) else given
    for family in sorted(FAMILIES, key=lambda f: -len(f.denoiser_type.__mro__)):  # subclasses first
        denoiser = plain(given if pipe is None else getattr(pipe, family.component, None))
        if issubclass(type(denoiser), family.denoiser_type):
            return family(denoiser, pipe)
    known = "; ".join(f"{family.name} ({family.denoiser_type.__name__})" for family in FAMILIES)
    found = [type(each).__name__ for name in ("transformer", "unet") if (each := getattr(pipe, name, None))]
    got = f"{type(given).__name__} with a {found[0]}" if found else type(given).__name__
    raise BaseUnsupported(f"got {got}, need a diffusers pipeline or denoiser of a supported family: {known}")
