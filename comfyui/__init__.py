"""EchoReel for ComfyUI: have a video model act as in a reference video."""

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """What ComfyUI calls to learn of the nodes."""
    from .nodes import EchoReelExtension

    return EchoReelExtension()
