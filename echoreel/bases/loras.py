"""Which file a LoRA is, and which of a base's denoisers it is for."""

import re
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from echoreel.bases.base import Base
from echoreel.common.errors import EchoReelError
from echoreel.common.places import HUB_ID

NO_LORA = re.compile("scheduler|optimizer|checkpoint")  # in names of other files beside it


def lora_here(source: str) -> str:
    """A LoRA's file or folder on this machine, downloaded where `source` is a hub id: it is checked first.

    Of several files it is the one that diffusers takes. Raises what the hub does.
    """
    if Path(source).exists() or not HUB_ID.fullmatch(source):
        return source
    try:
        names = [each.rfilename for each in HfApi().model_info(source).siblings or ()]
    except (HfHubHTTPError, OSError, OfflineModeIsEnabled):  # no network: what the cache has
        return snapshot_download(source, allow_patterns="*.safetensors", local_files_only=True)
    found = [each for each in names if each.endswith(".safetensors") and not NO_LORA.search(each)]
    usual = [each for each in found if each.endswith("pytorch_lora_weights.safetensors")]
    if not found:
        raise FileNotFoundError(f"{source} has no .safetensors file of a LoRA")
    return hf_hub_download(source, [*usual, *found][0])


def denoiser_of_lora(base: Base, told: str) -> tuple[str, str]:
    """The denoiser's name in the pipeline, and the source. Raises EchoReelError where it is not told."""
    parts = (base.component, *base.more)
    part, _, source = told.partition("=")
    if source and part in parts[: len(base.denoisers)]:
        return part, source
    if len(base.denoisers) > 1:
        raise EchoReelError(
            f"lora {told}: this base has {len(base.denoisers)} denoisers, for high and for low noise; say "
            f"which one it is for: {' or '.join(f'{part}={told}' for part in parts)}"
        )
    return base.component, told
