"""Action Prism: reference latents and captions -> action tokens, in two forms with one interface."""

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from echoreel.common.settings import validated
from echoreel.method.compact_prism import CompactPrism, CompactPrismSettings
from echoreel.method.dense_prism import DensePrism, DensePrismSettings

PrismSettings: TypeAlias = Annotated[CompactPrismSettings | DensePrismSettings, Field(discriminator="kind")]
Prism: TypeAlias = CompactPrism | DensePrism


def prism_settings(config: dict[str, Any]) -> CompactPrismSettings | DensePrismSettings:
    """Settings from their plain dict. Raises SettingsError."""
    if isinstance(config, dict) and config.get("kind") == "dense":
        return validated(DensePrismSettings, config, "prism_config")
    return validated(CompactPrismSettings, config, "prism_config")


def make_prism(
    settings: CompactPrismSettings | DensePrismSettings, latent_channels: int, caption_width: int
) -> Prism:
    """The Prism that the settings describe, with fresh weights."""
    if isinstance(settings, DensePrismSettings):
        return DensePrism(settings, latent_channels, caption_width)
    return CompactPrism(settings, latent_channels, caption_width)
