"""Sizes of an adapter that fit its base: how finely its Prism looks, and how much it can hold.

docs/adapter-sizes.md has the resulting sizes, and the reasons at length.
"""

import inspect
from typing import NamedTuple

from echoreel.bases.base import Base
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.integration import IntegrationSettings

ROWS = 8  # of slots, at most: the packaged base has 4 for an actor as tall as the picture; others are half so
MOST_COLUMNS = 16
USUAL_GRID = (30, 52)  # tokens of 480 x 832 pixels, which most video transformers make
PRISM_WIDTHS = (128, 512)  # least and most
INNER_WIDTHS = (64, 256)
WIDE = 256  # from this width on, a Prism has twice as many layers and wider tokens
UNET_PATCH = 2  # latent places to a side of a token, for denoisers without tokens of their own


class Grid(NamedTuple):
    """Tokens of a frame."""

    rows: int
    columns: int


class FittedSizes(NamedTuple):
    """Of an adapter."""

    prism: CompactPrismSettings
    integration: IntegrationSettings


def fitted_sizes(base: Base) -> FittedSizes:
    """The sizes of the compact preset for a base, from its grid of tokens and the widths of its sites."""
    patch, (rows, columns) = _patch(base), slot_rows_and_columns(token_grid(base))
    widest = max(base.find_sites().values())
    width, inner = (
        _between(64 * (widest // 4 // 64), PRISM_WIDTHS),
        _between(32 * (widest // 512), INNER_WIDTHS),
    )
    wide = width >= WIDE
    prism = CompactPrismSettings(
        width=width,
        depth=4 if wide else 2,
        heads=width // 32,
        patch=patch,
        slots=rows * columns,
        rows=rows,
        token_width=width // 4 if wide else 64,
    )
    heads = max(4, inner // 32)
    return FittedSizes(
        prism,
        IntegrationSettings(inner_width=inner, heads=heads, feed_forward=inner * 3 // 2, slot_rows=rows),
    )


def token_grid(base: Base) -> Grid:
    """Tokens of a frame at the size that the base makes unless told; `USUAL_GRID` where it does not say."""
    places = base.latent_size
    if places is None and base.pipe is not None:
        asked = inspect.signature(type(base.pipe).__call__).parameters
        height, width = (asked[name].default if name in asked else None for name in ("height", "width"))
        if isinstance(height, int) and isinstance(width, int):
            places = (height // base.pixels_per_place, width // base.pixels_per_place)
    if places is None:
        return Grid(*USUAL_GRID)
    patch = _patch(base)
    return Grid(max(1, places[0] // patch), max(1, places[1] // patch))


def slot_rows_and_columns(grid: Grid) -> tuple[int, int]:
    """At most `ROWS` along the shorter side, and as many more along the longer as it is longer; never more
    than there are tokens."""
    short, long = sorted(grid)
    few = min(ROWS, short)
    many = min(MOST_COLUMNS, long, round(few * long / short))
    return (few, many) if grid.rows <= grid.columns else (many, few)


def _patch(base: Base) -> int:
    """Latent places to a side of one of the base's own tokens."""
    size = base.denoiser.config.get("patch_size", UNET_PATCH)
    return int(size if isinstance(size, int) else size[-1])


def _between(value: int, limits: tuple[int, int]) -> int:
    return max(limits[0], min(value, limits[1]))
