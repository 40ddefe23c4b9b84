"""A base without its weights: what it is and how large, from its small configuration files alone."""

import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from torch import nn

from echoreel.bases.base import Base
from echoreel.bases.known_bases import known_base
from echoreel.bases.loading import find_model, load_base, why_not_loaded
from echoreel.bases.lookup import base_of
from echoreel.common.errors import BaseUnsupported, EchoReelError
from echoreel.common.places import WEIGHTS


def sketched(name: str) -> tuple[Base, str]:
    """The base and its folder or hub id; weights are on torch's meta device, where they take no memory.

    name: a short name of `KNOWN`, which needs no network; a folder; or a hub id, of which only JSON files are
    fetched. The embedded base, and a folder with parts of ours, are loaded as they are. Raises
    BaseUnsupported, EchoReelError.
    """
    known = None if Path(name).is_dir() else known_base(name)
    if known is not None:
        with torch.device("meta"):
            return _plain(known.make(), known.hub_id), known.hub_id
    try:
        source = find_model("base", name, "model_index.json")
    except EchoReelError as error:
        raise BaseUnsupported(str(error)) from error
    try:
        config: Any = DiffusionPipeline.load_config(str(source))
        pipeline = getattr(diffusers, config["_class_name"], None)
        if source == WEIGHTS / "base" or pipeline is None:
            return base_of(load_base(source, device="cpu")), name
        parts = {key: _part(str(source), key, *value) for key, value in config.items() if _is_part(value)}
        settings = {k: v for k, v in config.items() if not k.startswith("_") and not isinstance(v, list)}
        return _plain(pipeline(**parts, **settings), str(source)), name
    except BaseUnsupported:
        raise
    except Exception as error:  # as in load_base
        raise BaseUnsupported(why_not_loaded("base", source, error)) from error


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _plain(pipe: Any, source: str) -> Base:
    pipe.register_to_config(_name_or_path=source)
    return base_of(pipe)


def _is_part(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _part(source: str, name: str, library: str | None, kind: str | None) -> Any:
    """A part of a pipeline without weights; None for tokenizers, which no size depends on."""
    made_by: Any = {"diffusers": diffusers, "transformers": transformers}.get(library or "")
    found = getattr(made_by, kind or "", None)
    if found is None:
        return None
    if hasattr(found, "load_config"):  # of diffusers
        config = found.load_config(source, subfolder=name)
        with torch.device("meta") if issubclass(found, nn.Module) else torch.device("cpu"):
            return found.from_config(config)
    if not issubclass(found, nn.Module):
        return None
    config = transformers.AutoConfig.from_pretrained(source, subfolder=name)
    with torch.device("meta"), warnings.catch_warnings():
        return found(config)
