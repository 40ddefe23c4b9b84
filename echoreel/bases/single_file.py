"""A denoiser in a file of its own, .safetensors or .gguf; the rest of its pipeline lies elsewhere."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch

from echoreel.common.errors import BaseUnsupported, CheckpointError
from echoreel.common.extras import needs

SUFFIXES = (".safetensors", ".gguf")


def single_file(name: str | Path | None) -> Path | None:
    """The file that is meant, if it is one."""
    file = None if name is None else Path(name).expanduser()
    return file if file is not None and file.suffix.lower() in SUFFIXES and file.is_file() else None


def parts_around(file: Path) -> Path:
    """The pipeline's folder that the file lies in. Raises BaseUnsupported where it lies in none."""
    for folder in file.resolve().parents[:2]:
        if (folder / "model_index.json").is_file():
            return folder
    raise BaseUnsupported(
        f"base {file}: holds a denoiser, need its text encoder and autoencoder as well; give the pipeline "
        "it was made for: --base-parts DIR|ID"
    )


def denoiser_name(parts: Mapping[str, Any]) -> str:
    """Of the part that is a denoiser, in a pipeline's `model_index.json`."""
    return "transformer" if "transformer" in parts else "unet"


def denoiser_of(
    file: Path, source: str | Path, parts: Mapping[str, Any], dtype: torch.dtype, quantization: Any = None
) -> dict[str, Any]:
    """The denoiser in a file, under its name in `parts`, the pipeline's `model_index.json`.

    source: the pipeline that has its configuration. quantization: what diffusers makes it smaller with.
    Raises BaseUnsupported for a kind that is never in one file. Raises MissingExtra without the package for
    .gguf. Passes on what diffusers raises for other files.
    """
    component = denoiser_name(parts)
    entry = parts.get(component) or [None, None]
    load: Any = getattr(getattr(diffusers, str(entry[1]), None), "from_single_file", None)
    if load is None:
        raise BaseUnsupported(f"a {entry[1]} cannot be read from one file; give the folder of its pipeline")
    more: dict[str, Any] = {} if quantization is None else {"quantization_config": quantization}
    if file.suffix.lower() == ".gguf":
        with needs("gguf", "a base in a .gguf file"):
            import_module("gguf")  # diffusers uses it
        packed: Any = diffusers.GGUFQuantizationConfig
        more["quantization_config"] = packed(compute_dtype=dtype)
    try:
        return {component: load(str(file), config=str(source), subfolder=component, dtype=dtype, **more)}
    except NotImplementedError as error:  # of torch: tensors without data cannot be moved
        raise CheckpointError(
            f"tensors of a {entry[1]} are missing that {source} has; download the file again, or give the "
            "pipeline it was made for"
        ) from error
