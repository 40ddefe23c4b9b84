"""EchoReel: teach a frozen video diffusion model a new action by showing it a clip of someone doing it.

`__all__` is the whole public surface. Its names are imported when first used, so importing the package takes
no time.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoreel.bases.loading import load_base
    from echoreel.common.errors import EchoReelError
    from echoreel.evaluation.measure.measure import Measurement, measure
    from echoreel.generation.generate import generate
    from echoreel.generation.result import GenerationResult
    from echoreel.generation.settings import GenerationSettings
    from echoreel.library.reference_library import ReferenceLibrary
    from echoreel.media.reference_video import ReferenceVideo
    from echoreel.method.adapter import ActionAdapter
    from echoreel.method.loading import load_adapter
    from echoreel.released.convert_file import convert
    from echoreel.training.train_adapter import AdapterRecipe, train

__version__ = "0.1.0"

__all__ = [
    "ActionAdapter",
    "AdapterRecipe",
    "EchoReelError",
    "GenerationResult",
    "GenerationSettings",
    "Measurement",
    "ReferenceLibrary",
    "ReferenceVideo",
    "__version__",
    "convert",
    "generate",
    "load_adapter",
    "load_base",
    "measure",
    "train",
]

_HOMES = {
    "ActionAdapter": "echoreel.method.adapter",
    "AdapterRecipe": "echoreel.training.train_adapter",
    "EchoReelError": "echoreel.common.errors",
    "GenerationResult": "echoreel.generation.result",
    "GenerationSettings": "echoreel.generation.settings",
    "Measurement": "echoreel.evaluation.measure.measure",
    "ReferenceLibrary": "echoreel.library.reference_library",
    "ReferenceVideo": "echoreel.media.reference_video",
    "convert": "echoreel.released.convert_file",
    "generate": "echoreel.generation.generate",
    "load_adapter": "echoreel.method.loading",
    "load_base": "echoreel.bases.loading",
    "measure": "echoreel.evaluation.measure.measure",
    "train": "echoreel.training.train_adapter",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        near = get_close_matches(name, _HOMES, n=1)
        advice = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"module 'echoreel' has no attribute '{name}'{advice}")
    globals()[name] = value = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
