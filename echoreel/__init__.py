"""EchoReel: make a video diffusion model perform an action by showing it reference videos.

The public names are imported when first used, so that importing the package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoreel.adapter import ActionAdapter
    from echoreel.errors import EchoReelError
    from echoreel.generation import generate, load_base
    from echoreel.references import ReferenceVideo

__version__ = "0.1.0"

__all__ = ["ActionAdapter", "EchoReelError", "ReferenceVideo", "__version__", "generate", "load_base"]

_HOMES = {
    "ActionAdapter": "echoreel.adapter",
    "EchoReelError": "echoreel.errors",
    "ReferenceVideo": "echoreel.references",
    "generate": "echoreel.generation",
    "load_base": "echoreel.generation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'echoreel' has no attribute '{name}'")
    globals()[name] = value = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
