"""An adapter from a folder, a hub id or the package."""

from pathlib import Path

from echoreel.bases.loading import find_model, why_not_loaded
from echoreel.bases.missing_tensors import check_complete
from echoreel.common.errors import AdapterMismatch
from echoreel.method.adapter import ActionAdapter


def load_adapter(name: str | Path | None = None) -> ActionAdapter:
    """The embedded adapter (None or "embedded"), one of a folder, or of a hub id. Safetensors only.

    Raises AdapterMismatch for what is no adapter or cannot be had.
    """
    source = find_model("adapter", name, "config.json")
    try:
        adapter: ActionAdapter = ActionAdapter.from_pretrained(str(source), use_safetensors=True).eval()
        check_complete({"adapter": adapter})
    except Exception as error:  # as in load_base
        raise AdapterMismatch(why_not_loaded("adapter", source, error)) from error
    return adapter
