"""EchoReel for ComfyUI: have a video model act as in a reference video."""

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """What ComfyUI calls to learn of the nodes."""
    from .folders import make_folders
    from .nodes import EchoReelExtension

    make_folders()
    return EchoReelExtension()
