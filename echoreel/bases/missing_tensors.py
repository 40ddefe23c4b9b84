"""Weights files that lack a tensor, which diffusers leaves without data and transformers fills with noise;
and configs that ask for more layers than any weights have."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from echoreel.common.errors import CheckpointError
from echoreel.common.places import small_file
from echoreel.common.text import json_value

LAYERS = re.compile("layers|depth|num_blocks")  # in a name of a part's config: how often something is made
MOST_LAYERS = 1024


def check_complete(modules: Mapping[str, Any]) -> None:
    """Raises CheckpointError, naming the tensor, for a module (by the name of its part) that lacks one."""
    for part, module in modules.items():
        if isinstance(module, nn.Module):
            for name, tensor in module.state_dict().items():
                if tensor.is_meta:
                    raise _lacks(part, name)


def check_layers(source: Path | str) -> None:
    """Raises CheckpointError for a part in a folder whose config asks for more layers than any network has.

    Making a hundred million of them, before any is found to be missing, would take all time and memory.
    """
    for config in Path(source).glob("*/config.json") if isinstance(source, Path) else ():
        for name, count in _counts(json_value(small_file(config).decode())):
            if count > MOST_LAYERS:
                raise CheckpointError(
                    f"{config.parent.name} has {name} {count}, at most {MOST_LAYERS}; get the files again"
                )


def _counts(told: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of layers that a config tells, with the name of the key."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield from _counts(value, str(key))
    elif isinstance(told, list):
        for value in told:
            yield from _counts(value, name)
    elif isinstance(told, int | float) and LAYERS.search(name):
        yield name, told


def transformers_parts(
    source: Path | str, parts: Mapping[str, Any], dtype: torch.dtype
) -> Iterator[tuple[str, Any]]:
    """Those parts of a pipeline's `model_index.json` that are models of transformers, loaded.

    Raises CheckpointError for one that lacks a tensor.
    """
    for part, entry in parts.items():
        if not isinstance(entry, list | tuple) or list(entry[:1]) != ["transformers"]:
            continue
        kind = getattr(transformers, str(entry[1]), None)
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
            loaded: Any = kind.from_pretrained(
                str(source), subfolder=part, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
            model, told = loaded
            if missing := sorted(told["missing_keys"]):
                raise _lacks(part, missing[0])
            yield part, model


def _lacks(part: str, name: str) -> CheckpointError:
    return CheckpointError(f"its weights lack the tensor {name} of {part}; get the files again")
