"""An adapter from a folder, a hub id or the package."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download

from echoreel.bases.loading import find_model, why_not_loaded
from echoreel.bases.missing_tensors import check_complete
from echoreel.common.errors import AdapterMismatch
from echoreel.method.adapter import ActionAdapter
from echoreel.method.adapter_sizes import check_numbers, check_sizes

FILES = ["config.json", "diffusion_pytorch_model*.safetensors*"]  # of an adapter on the hub
LOG = logging.getLogger(__name__)


def load_adapter(name: str | Path | None = None) -> ActionAdapter:
    """Load an adapter from a folder, the Hugging Face Hub, or this package. Only safetensors are read.

    Args:
        name: a folder or hub id. Default, or "embedded": the adapter of the embedded base.

    Returns:
        The adapter, detached, ready to generate.

    Raises:
        AdapterMismatch: it is no adapter, lacks weights, or cannot be loaded.
        EchoReelError: there is no such folder.
    """
    began, source = time.perf_counter(), find_model("adapter", name, "config.json")
    try:
        folder = source if isinstance(source, Path) else Path(snapshot_download(source, allow_patterns=FILES))
        _check_config(folder)
        adapter: ActionAdapter = ActionAdapter.from_pretrained(str(folder), use_safetensors=True).eval()
        check_complete({"adapter": adapter})
        own: Any = adapter  # diffusers has no types
        own.register_to_config(_name_or_path=str(source))
    except Exception as error:  # as in load_base
        raise AdapterMismatch(why_not_loaded("adapter", source, error)) from error
    LOG.info("adapter: from %s, loaded in %.1f s", source, time.perf_counter() - began)
    return adapter


def _check_config(folder: Path) -> None:
    """Raises ValueError, before memory is taken, for a config that asks for more than its weights are."""
    config: Any = ActionAdapter.load_config(str(folder))
    check_sizes(config)
    with torch.device("meta"):
        made: Any = ActionAdapter.from_config(config)
    asked = sum(parameter.numel() for parameter in made.parameters())
    check_numbers(asked, sum(file.stat().st_size for file in folder.glob("*.safetensors")))
