"""Which networks of ComfyUI an adapter can join, by family and size. Imports nothing of ComfyUI."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from echoreel.common.errors import AdapterMismatch

from .adapters import Adapter

Place: TypeAlias = tuple[str, int]  # a block as ComfyUI's patches name it: ("double_block", 3)
DOUBLE, SINGLE = "double_block", "single_block"
SITE = re.compile(r"((single_)?transformer_)?blocks\.\d{1,4}")


@dataclass(frozen=True)
class Kind:
    """A family of EchoReel in ComfyUI."""

    networks: tuple[str, ...]  # exact names of classes; their subclasses lay tokens out in other ways
    blocks: Mapping[str, str]  # names of the lists of blocks, by the name that patches have for a block
    width: str  # name of the number of channels
    text: int  # tokens that texts are padded to with zeros, as in training
    summary: bool = False  # the text's summary follows as one more token
    takes: int | None = None  # the network's input channels, where others of its class read images
    encoders: str = ""  # the family whose VAE and text encoder it has, where that is another one


WAN = {DOUBLE: "blocks"}
KINDS = {
    "Wan": Kind(("WanModel", "VaceWanModel"), WAN, "dim", 512),
    "SkyReels V2": Kind(("WanModel",), WAN, "dim", 512, encoders="Wan"),
    "LTX-Video": Kind(("LTXVModel",), {DOUBLE: "transformer_blocks"}, "inner_dim", 128),
    "HunyuanVideo": Kind(
        ("HunyuanVideo",),
        {DOUBLE: "double_blocks", SINGLE: "single_blocks"},
        "hidden_size",
        256,
        summary=True,
        takes=16,
    ),
    "HunyuanVideo 1.5": Kind(("HunyuanVideo",), {DOUBLE: "double_blocks"}, "hidden_size", 1000),
}
NAMES = ", ".join(KINDS)
SIZES = {  # channels, latent channels -> what people call it
    ("Wan", 1536, 16): "Wan 2.1 1.3B",
    ("Wan", 5120, 16): "Wan 2.1 or 2.2 14B",
    ("Wan", 3072, 48): "Wan 2.2 5B",
}


@dataclass(frozen=True)
class Network:
    """What is to be known of a network: tokens of a place, and the blocks where it adds, by site."""

    patch: tuple[int, int, int]
    sites: Mapping[str, Place]

    @classmethod
    def of(cls, patch: Sequence[int], sites: Sequence[str]) -> Self:
        """Sites by their paths in diffusers, such as "blocks.2" or "single_transformer_blocks.0"."""
        one, two, three = patch
        return cls((one, two, three), {path: place_of(path) for path in sites})


def place_of(path: str) -> Place:
    return SINGLE if path.startswith("single_") else DOUBLE, int(re.findall(r"\d+", path)[-1])


def families_of(model: Any) -> list[str]:
    """Of a MODEL: those whose adapters may join it. Raises AdapterMismatch where there is none."""
    network = model.get_model_object("diffusion_model")
    found = [family for family, kind in KINDS.items() if _is(network, kind)]
    if not found:
        raise AdapterMismatch(
            f"got a model whose network is {type(network).__name__}, need one of {NAMES}; others lay their "
            "tokens out in ways that are not tested"
        )
    return found


def _is(network: Any, kind: Kind) -> bool:
    if type(network).__name__ not in kind.networks or len(getattr(network, "patch_size", (1, 1, 1))) != 3:
        return False
    if kind.takes not in (None, getattr(network, "in_channels", None)):
        return False
    return bool(len(getattr(network, "single_blocks", ()))) == (SINGLE in kind.blocks)


def check_fits(model: Any, adapter: Adapter, name: str) -> None:
    """Raises AdapterMismatch unless the adapter `name` was made for such a model."""
    families, family = families_of(model), adapter.family
    form = model.get_model_object("latent_format")
    if family not in families:
        raise AdapterMismatch(
            f"got a model of the family {families[0]}, need {family}, which {name} was trained for"
        )
    network, kind = model.get_model_object("diffusion_model"), KINDS[family]
    counts = {block: len(getattr(network, names)) for block, names in kind.blocks.items()}
    got = (int(getattr(network, kind.width)), form.latent_channels)
    need = (max(adapter.sites.values()), adapter.latent_channels)
    last = dict(sorted(map(place_of, adapter.sites)))  # the largest number of each
    if got != need or any(number >= counts.get(block, 0) for block, number in last.items()):
        more = "" if got != need else f" of at least {sum(last.values()) + len(last)} blocks"
        raise AdapterMismatch(
            f"got {_called(family, *got)}, need {_called(family, *need)}{more}, which {name} was trained for"
        )


def _called(family: str, width: int, channels: int) -> str:
    name = f"{width} channels and {channels} latent channels"
    known = SIZES.get((family, width, channels))
    return f"{known} ({name})" if known else f"a {family} model of {name}"


def network_of(model: Any, adapter: Adapter) -> Network:
    """Where the adapter adds in a MODEL's network."""
    patch = getattr(model.get_model_object("diffusion_model"), "patch_size", (1, 1, 1))
    return Network.of(patch, [*adapter.sites])


def check_family(adapter: Adapter, name: str) -> None:
    """Raises AdapterMismatch for an adapter of a base that no node can join."""
    if adapter.family not in KINDS:
        raise AdapterMismatch(
            f"{name} was trained for {adapter.family}, need one of {NAMES}, which these nodes can join; use "
            "it with `echoreel generate`"
        )
    if not adapter.sites or not all(map(SITE.fullmatch, adapter.sites)):
        raise AdapterMismatch(f"{name} names layers that no {adapter.family} has; copy its folder again")


def encoders_of(family: str) -> str:
    """The family whose VAE and text encoder this one has."""
    kind = KINDS.get(family)
    return kind.encoders if kind and kind.encoders else family
