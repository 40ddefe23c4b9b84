"""EchoReel: make a video diffusion model perform an action by showing it reference videos.

The public names are imported when first used, so that importing the package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoreel.bases.loading import load_base
    from echoreel.common.errors import EchoReelError
    from echoreel.generation.generate import generate
    from echoreel.media.reference_video import ReferenceVideo
    from echoreel.method.adapter import ActionAdapter

__version__ = "0.1.0"

__all__ = ["ActionAdapter", "EchoReelError", "ReferenceVideo", "__version__", "generate", "load_base"]

_HOMES = {
    "ActionAdapter": "echoreel.method.adapter",
    "EchoReelError": "echoreel.common.errors",
    "ReferenceVideo": "echoreel.media.reference_video",
    "generate": "echoreel.generation.generate",
    "load_base": "echoreel.bases.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'echoreel' has no attribute '{name}'")
    globals()[name] = value = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
