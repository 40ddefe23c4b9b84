"""Adapters that are published, by the base they are for: published_adapters.json, which releases bring."""

from importlib import resources

from pydantic import TypeAdapter

from echoreel.bases.base import BaseLike
from echoreel.bases.known_bases import known_base
from echoreel.bases.loading import model_name
from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch
from echoreel.common.settings import Settings
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter


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
        "docs/your-own-base.md; or leave the references out"
    )


def adapter_for(base: BaseLike, name: str | None = None) -> ActionAdapter:
    """The adapter of this name; without one the embedded adapter, where it fits. Raises AdapterMismatch."""
    adapter, base = load_adapter(name), base_of(base)
    if name is None and model_name(base.pipe) != "embedded":
        try:
            adapter.check_fits(base)
        except AdapterMismatch:
            raise AdapterMismatch(how_to_get_one(model_name(base.pipe))) from None
    return adapter
