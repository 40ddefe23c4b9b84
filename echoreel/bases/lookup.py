"""The table of bases: which family a pipeline or denoiser belongs to, and what its sites are.

Adding a base is one `Family` in a module beside this one and its name in `FAMILIES`, as
docs/adding-a-backbone.md shows.
"""

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from echoreel.bases.family import Family
from echoreel.bases.latte import LATTE
from echoreel.bases.transformer_families import COGVIDEOX, HUNYUAN, LTX, WAN
from echoreel.bases.unet_families import ANIMATEDIFF, I2VGENXL, LVDM, MODELSCOPE, SVD
from echoreel.bases.videocrafter_family import VIDEOCRAFTER
from echoreel.common.errors import BaseUnsupported

__all__ = ["ANIMATEDIFF", "FAMILIES", "LVDM", "VIDEOCRAFTER", "Base", "Family", "base_of", "find_sites"]

FAMILIES: tuple[Family, ...] = (
    ANIMATEDIFF,
    LVDM,
    VIDEOCRAFTER,
    MODELSCOPE,
    I2VGENXL,
    SVD,
    WAN,
    LTX,
    COGVIDEOX,
    HUNYUAN,
    LATTE,
)


@dataclass(frozen=True)
class Base:
    """A frozen base: its family, its denoiser, and its pipeline if that is what we were given."""

    family: Family
    denoiser: nn.Module
    pipe: Any | None

    @property
    def denoisers(self) -> tuple[nn.Module, ...]:
        """The denoiser, and those that take over from it at other noise levels."""
        others = [getattr(self.pipe, name, None) for name in self.family.more]
        return (self.denoiser, *(_plain(other) for other in others if other is not None))


def base_of(base: Any) -> Base:
    """The base in a pipeline or denoiser. Raises BaseUnsupported when it is of no family in the table."""
    for family in sorted(FAMILIES, key=lambda f: -len(f.denoiser.__mro__)):  # subclasses before their parents
        if isinstance(base, nn.Module):
            if isinstance(_plain(base), family.denoiser):
                return Base(family, _plain(base), None)
            continue
        denoiser = _plain(getattr(base, family.component, None))
        if isinstance(denoiser, family.denoiser):
            return Base(family, denoiser, base)
    known = "; ".join(f"{family.name} ({family.denoiser.__name__})" for family in FAMILIES)
    raise BaseUnsupported(
        f"got {type(base).__name__}, need a diffusers pipeline or denoiser of a supported family: {known}"
    )


def find_sites(family: Family, denoiser: nn.Module) -> dict[str, int]:
    """Path and width of every site of the denoiser. Raises BaseUnsupported when it has none."""
    sites: dict[str, int] = {}
    for path, module in denoiser.named_modules():
        if re.fullmatch(family.sites, path):
            linear = module.get_submodule(family.width)
            sites[path] = int(linear.in_features)
    if not sites:
        raise BaseUnsupported(
            f"got a {type(denoiser).__name__} without any layer that an adapter for {family.name} could "
            f"join, need its temporal transformer blocks; load its motion modules first"
        )
    return sites


def _plain(denoiser: Any) -> Any:
    return getattr(denoiser, "_orig_mod", denoiser)  # torch.compile wraps the denoiser
