"""What the config of an adapter may ask for: it may be somebody else's, so it is checked first."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from echoreel.common.errors import AdapterMismatch
from echoreel.common.settings import Settings, Width, validated

MOST_SITES = 4096


class AdapterSizes(Settings):
    """The sizes in an adapter's config; what else the config says is others' business."""

    model_config = ConfigDict(extra="ignore")

    family: str
    sites: Annotated[dict[str, Width], Field(max_length=MOST_SITES)]
    latent_channels: Width
    caption_width: Width


def check_sizes(config: Mapping[str, Any]) -> None:
    """Raises SettingsError for sizes that no adapter has: making one would take all time or memory."""
    validated(AdapterSizes, dict(config))


def check_numbers(asked: int, weights: int) -> None:
    """Raises AdapterMismatch where a config asks for more numbers than so many bytes of weights can hold."""
    if asked > weights:
        raise AdapterMismatch(
            f"its config asks for {asked} numbers, its weights have {weights} bytes; get the files again"
        )
