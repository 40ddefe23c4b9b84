"""An adapter from a folder, a hub id or the package."""

import logging
import time
from pathlib import Path

from echoreel.bases.loading import find_model
from echoreel.common.errors import AdapterMismatch
from echoreel.common.loading_errors import why_not_loaded
from echoreel.method.adapter import ActionAdapter

LOG = logging.getLogger(__name__)


def load_adapter(name: str | Path | None = None) -> ActionAdapter:
    """Load an adapter from a folder, the Hugging Face Hub, or this package. Only safetensors are read.

    Args:
        name: a folder or hub id. Default, or "embedded": the adapter of the embedded base.

    Returns:
        The adapter, detached, ready to generate.

    Raises:
        AdapterMismatch: it is not an adapter, lacks weights, or cannot be loaded.
        EchoReelError: the folder does not exist.
    """
    began, source = time.perf_counter(), find_model("adapter", name, "config.json")
    try:
        adapter: ActionAdapter = ActionAdapter.from_pretrained(str(source)).eval()
    except AdapterMismatch:
        raise
    except Exception as error:  # as in load_base
        raise AdapterMismatch(why_not_loaded("adapter", source, error)) from error
    LOG.info("adapter: from %s, loaded in %.1f s", source, time.perf_counter() - began)
    return adapter
