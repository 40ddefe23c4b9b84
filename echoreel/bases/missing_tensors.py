"""Weights files that lack a tensor, or hold NaN.

diffusers leaves a missing tensor without data, and transformers fills it with noise. Neither tells of NaN.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import nn

from echoreel.common.errors import CheckpointError

STATISTICS = ("running_mean", "running_var", "latents_mean", "latents_std")  # of batch norms, of latents

WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.(\w+))?(?:-\d+-of-\d+)?\.safetensors")


def variant_in(folder: Path, parts: Iterable[str]) -> str | None:
    """The variant, such as "fp16", of those parts in a folder whose weights are all of one; else None."""
    found = set[str | None]()
    for part in parts:
        names = (WEIGHTS.fullmatch(path.name) for path in folder.glob(f"{part}/*.safetensors"))
        kinds = {name[1] for name in names if name}
        found |= kinds if None not in kinds else set()
    return found.pop() if len(found) == 1 else None


def check_complete(modules: Mapping[str, Any]) -> None:
    """Raises CheckpointError, naming the tensor, for a module (by the name of its part) that lacks one."""
    for part, module in modules.items():
        if isinstance(module, nn.Module):
            for name, tensor in module.state_dict().items():
                if tensor.is_meta:
                    raise _lacks(part, name)


def check_statistics(part: str, module: nn.Module, files: Sequence[Path]) -> None:
    """Raises CheckpointError where the files of a module lack what its training counted.

    These are buffers with a value from the start, 0 or 1, which would silently stand for it.
    """
    lacking = {name for name in module.state_dict() if name.rpartition(".")[2] in STATISTICS}
    for file in files if lacking else ():
        with safe_open(str(file), "pt") as held:
            lacking -= {*held.keys()}
    if lacking:
        raise _lacks(part, min(lacking))


def check_finite(weights: Mapping[str, torch.Tensor]) -> None:
    """Raises CheckpointError, naming the tensor, for weights that hold NaN or infinite values."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not is_finite(tensor):
            raise CheckpointError(f"its weights hold NaN or infinite values, in {name}; get the files again")


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor of floats holds neither NaN nor infinite values; as fast as memory is read."""
    if not tensor.numel():
        return True
    low, high = (tensor.float() if tensor.itemsize == 1 else tensor).aminmax()  # NaN is both
    return bool(low.isfinite() & high.isfinite())


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
                str(source),
                subfolder=part,
                dtype=dtype,
                variant=variant_in(Path(source), [part]),
                use_safetensors=True,
                output_loading_info=True,
            )
            model, told = loaded
            if missing := sorted(told["missing_keys"]):
                raise _lacks(part, missing[0])
            yield part, model


def _lacks(part: str, name: str) -> CheckpointError:
    return CheckpointError(f"its weights lack the tensor {name} of {part}; get the files again")
