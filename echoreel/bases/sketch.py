"""A base without its weights: what it is and how large, from its small configuration files alone."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from echoreel.bases.base import Base
from echoreel.bases.known_bases import known_base
from echoreel.bases.loading import PIPELINES, device_of, find_model, load_base, load_parts, pipeline_class
from echoreel.bases.lookup import base_of
from echoreel.bases.model_index import blamed_on_index
from echoreel.bases.part_sizes import check_schedule, is_part, made_empty
from echoreel.bases.single_file import parts_around, single_file
from echoreel.common.errors import BaseUnsupported, EchoReelError
from echoreel.common.loading_errors import why_not_loaded
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
        pipeline = pipeline_class(config)
        if source == WEIGHTS / "base" or pipeline.__name__ in PIPELINES:
            return base_of(load_base(source, device="cpu")), name
        check_schedule(source, config)
        with blamed_on_index(source if isinstance(source, Path) else None, config, pipeline):
            parts = {k: made_empty(str(source), k, *value) for k, value in config.items() if is_part(value)}
            if parts.get("vae") is None:  # the pipeline would take usual sizes in its place
                raise BaseUnsupported(f"base {name}: has no vae that diffusers knows; get the files again")
            settings = {k: v for k, v in config.items() if not k.startswith("_") and not isinstance(v, list)}
            return _plain(pipeline(**parts, **settings), str(source)), name
    except BaseUnsupported:
        raise
    except Exception as error:  # as in load_base
        raise BaseUnsupported(why_not_loaded("base", source, error)) from error


def only_autoencoder(name: str | Path | None, parts: str | Path | None = None) -> Base:
    """The base with its autoencoder alone, on the GPU if there is one: what encodes clips needs no more.

    Bases of ours are small, and some pipelines cannot be made without their denoiser: these are loaded whole.
    Raises as `load_base` does.
    """
    file, device = single_file(name), device_of(None)
    sketch, _ = sketched(str(name or "embedded") if file is None else str(parts or parts_around(file)))
    if not (sketch.encodes_alone and next(sketch.denoiser.parameters()).is_meta):
        return base_of(load_base(name, parts=parts))
    modules = [part for part, module in sketch.pipe.components.items() if isinstance(module, nn.Module)]
    pipe = load_parts(name, [part for part in modules if part != "vae"], None, device, parts)
    return type(sketch)(sketch.denoiser, pipe.to(device))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _plain(pipe: Any, source: str) -> Base:
    pipe.register_to_config(_name_or_path=source)
    return base_of(pipe)
