"""Adapters that are published, by the base they are for: published_adapters.json, which releases bring."""

from importlib import resources

from pydantic import TypeAdapter

from echoreel.bases.known_bases import known_base
from echoreel.common.settings import Settings


class PublishedAdapter(Settings):
    """One of the list."""

    base: str  # hub id
    adapter: str  # hub id
    license: str
    notes: str = ""


def published_adapters(base: str | None = None) -> list[PublishedAdapter]:
    """All of the list, or those for a base's hub id or short name."""
    text = resources.files("echoreel.method").joinpath("published_adapters.json").read_bytes()
    found = TypeAdapter(list[PublishedAdapter]).validate_json(text)
    known = known_base(base) if base else None
    return [each for each in found if base is None or each.base == (known.hub_id if known else base)]


def how_to_get_one(base: str) -> str:
    """A sentence for somebody who has no adapter for this base (folder or hub id)."""
    found = published_adapters(base)
    if found:
        return f"published for {base}: {', '.join(each.adapter for each in found)}; give one with --adapter"
    return (
        f"no adapter is published yet for {base}; train one: echoreel recipe {base} > my.toml, then see "
        "docs/how-to/train-your-own.md; echoreel adapters lists those on this machine"
    )
