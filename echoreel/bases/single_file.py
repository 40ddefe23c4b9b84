"""A denoiser in a file of its own, .safetensors or .gguf; the rest of its pipeline lies elsewhere."""

from collections.abc import Mapping
from importlib import import_module
from os import SEEK_CUR
from pathlib import Path
from typing import Any

import diffusers
import torch

from echoreel.common.errors import BaseUnsupported, CheckpointError
from echoreel.common.extras import needs
from echoreel.common.places import at_home, resolved

SUFFIXES = (".safetensors", ".gguf")
NUMBERS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of GGUF's kinds
TEXT, LIST = 8, 9  # its other kinds


def single_file(name: str | Path | None) -> Path | None:
    """The file that is meant, if it is one."""
    file = None if name is None else at_home(name)
    return file if file is not None and file.suffix.lower() in SUFFIXES and file.is_file() else None


def parts_around(file: Path) -> Path:
    """The pipeline's folder that the file lies in. Raises BaseUnsupported where it lies in none."""
    for folder in resolved(file).parents[:2]:
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
        check_gguf(file)
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


def check_gguf(file: Path) -> None:
    """Raises CheckpointError for a file that tells of more than it holds: its reader would go on and on.

    Reads the facts before the tensors, as docs/gguf.md of ggml-org/ggml has them.
    """
    end = file.stat().st_size
    with file.open("rb") as stream:

        def number(size: int) -> int:
            data = stream.read(size)
            if len(data) < size:
                raise CheckpointError("it says more than it holds; get the file again")
            return int.from_bytes(data, "little")

        def skip(size: int) -> None:
            if stream.seek(min(size, end), SEEK_CUR) > end:
                raise CheckpointError("it says more than it holds; get the file again")

        def skip_values(kind: int, count: int) -> None:
            if kind in NUMBERS:
                skip(NUMBERS[kind] * count)
            elif kind == TEXT:
                for _ in range(count):
                    skip(number(8))
            else:
                raise CheckpointError("it has facts of an unknown kind; get the file again")

        stream.seek(16)
        for _ in range(number(8)):
            skip(number(8))
            kind = number(4)
            if kind == LIST:
                skip_values(number(4), number(8))
            else:
                skip_values(kind, 1)
