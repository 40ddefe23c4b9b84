"""Action Prism: reference latents and captions -> action tokens, in two forms with one interface."""

from typing import Annotated, TypeAlias

from pydantic import Field, TypeAdapter

from echoreel.method.compact_prism import CompactPrism, CompactPrismSettings
from echoreel.method.dense_prism import DensePrism, DensePrismSettings

PrismSettings: TypeAlias = Annotated[CompactPrismSettings | DensePrismSettings, Field(discriminator="kind")]
prism_settings: TypeAdapter[CompactPrismSettings | DensePrismSettings] = TypeAdapter(PrismSettings)
Prism: TypeAlias = CompactPrism | DensePrism


def make_prism(
    settings: CompactPrismSettings | DensePrismSettings, latent_channels: int, caption_width: int
) -> Prism:
    """The Prism that the settings describe, with fresh weights."""
    if isinstance(settings, DensePrismSettings):
        return DensePrism(settings, latent_channels, caption_width)
    return CompactPrism(settings, latent_channels, caption_width)
