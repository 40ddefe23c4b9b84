"""What CLIP and VideoMAE see in ordinary videos. The models come from a folder or the hub when they are used.

docs/metrics.md has the definitions, what they come from, and their traps.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from einops import reduce
from numpy.typing import NDArray

from echoreel.bases.hub_models import checked_options
from echoreel.bases.part_sizes import check_model, check_pictures
from echoreel.bases.token_ids import check_token_ids, tokenizer_of
from echoreel.common.errors import CheckpointError, ModelMissing
from echoreel.common.exclusive import one_at_a_time
from echoreel.common.loading_errors import blamed, why_not_loaded
from echoreel.common.places import HUB_ID, at_home
from echoreel.media.images import Frames
from echoreel.media.video_files import Clip

Floats = NDArray[np.float32]
Loaded = TypeVar("Loaded")

LOG = logging.getLogger(__name__)
CLIP = "openai/clip-vit-base-patch32"
VIDEOMAE = "MCG-NJU/videomae-base-finetuned-ssv2"
BATCH = 32  # frames at once
CONNECTION = 10.0  # seconds to wait for the hub's first answer


class ClipEncoder:
    """Pictures and prompts to unit vectors of one space."""

    def __init__(self, name: str = CLIP) -> None:
        """`name`: a folder, or a hub id. Raises ModelMissing."""
        from transformers import CLIPModel

        def load(source: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
            model = CLIPModel.from_pretrained(source, dtype=torch.float32, **options)
            tokenizer = tokenizer_of(source, options)
            check_token_ids("tokenizer", tokenizer, model)
            return model, tokenizer, processor_of(source, options)

        model, self._tokenizer, self._processor = loaded_model("clip", name, load)
        self._model = model.to(device_here()).eval()
        self.name = name

    @torch.inference_mode()
    @blamed("the CLIP model's")
    def pictures(self, frames: Frames) -> Floats:
        """Frames (T, H, W, 3) uint8 -> (T, D), each of length 1. Of wide frames the middle square is seen."""
        parts = []
        for start in range(0, len(frames), BATCH):
            inputs = self._processor(list(frames[start : start + BATCH]), return_tensors="pt")
            found = self._model.get_image_features(inputs["pixel_values"].to(self._model.device))
            parts.append(found.pooler_output)
        return _unit(torch.cat(parts))

    @torch.inference_mode()
    @blamed("the CLIP model's")
    def prompt(self, text: str) -> Floats:
        """(D,) of length 1. What is longer than `longest` tokens is cut."""
        inputs = self._tokenizer(text, truncation=True, max_length=self.longest, return_tensors="pt")
        inputs = {key: inputs[key].to(self._model.device) for key in ("input_ids", "attention_mask")}
        return _unit(self._model.get_text_features(**inputs).pooler_output[0])

    @blamed("the CLIP model's")
    def too_long(self, text: str) -> bool:
        """Whether `prompt` cuts the text."""
        return len(self._tokenizer(text)["input_ids"]) > self.longest

    @property
    def longest(self) -> int:
        longest: int = self._model.config.text_config.max_position_embeddings
        return longest


class VideoEncoder:
    """Videos to the features from which a fine-tuned VideoMAE names their action."""

    def __init__(self, name: str = VIDEOMAE) -> None:
        """`name`: a folder, or a hub id. Raises ModelMissing, also for a VideoMAE that names no actions."""
        from transformers import VideoMAEForVideoClassification

        def load(source: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
            loaded: Any = VideoMAEForVideoClassification.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, **options
            )
            return *loaded, processor_of(source, options)

        model, report, self._processor = loaded_model("videomae", name, load)
        if report["missing_keys"]:
            raise ModelMissing(
                f"--videomae {name}: not fine-tuned to name actions; give one that is, such as {VIDEOMAE}"
            )
        self._model = model.to(device_here()).eval()
        self.name = name

    @torch.inference_mode()
    @blamed("the VideoMAE's")
    def features(self, clip: Clip) -> Floats:
        """(D,): of as many frames as the model takes, spread evenly over the clip."""
        frames = clip.frames[spread(clip, self._model.config.num_frames)]
        pixels = self._processor(list(frames), return_tensors="pt")["pixel_values"].to(self._model.device)
        tokens = self._model.videomae(pixels).last_hidden_state
        norm = self._model.fc_norm
        found = tokens[:, 0] if norm is None else norm(reduce(tokens, "b n d -> b d", "mean"))
        features: Floats = found[0].float().cpu().numpy()
        return features


def spread(clip: Clip, count: int) -> NDArray[np.intp]:
    """Indices of the frames on show in the middle of each of `count` equal parts of the clip's time."""
    times = clip.timestamps
    end = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)  # the last frame is on show, too
    middles = times[0] + (np.arange(count) + 0.5) / count * (end - times[0])
    shown: NDArray[np.intp] = np.searchsorted(times, middles + 1e-6, side="right") - 1
    return shown


def text_alignment(pictures: Floats, prompt: Floats) -> float:
    """Mean cosine of pictures (T, D) with a prompt (D,), all of length 1."""
    return float((pictures @ prompt).mean())


def frame_consistency(pictures: Floats) -> float:
    """Mean cosine of each picture (T, D) but the first with the one before it, T >= 2."""
    return float((pictures[1:] * pictures[:-1]).sum(1).mean())


KINDS = ("clip", "videomae")  # options that are named as the one kind of model that they take


@one_at_a_time
def loaded_model(option: str, name: str, load: Callable[[str, dict[str, Any]], Loaded]) -> Loaded:
    """What `load(source, options of from_pretrained)` returns. The hub is asked for what is not here.

    Weights are safetensors, or a checkpoint of the older kind read as tensors only (transformers' default).
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else others convert it, in the background
    folder = at_home(name)
    if not folder.is_dir() and not HUB_ID.fullmatch(name):
        what = "is a file" if folder.exists() else "there is no such folder"
        raise ModelMissing(f"--{option} {name}: {what}; give a folder or a hub id")
    LOG.info("%s: from %s", option, folder if folder.is_dir() else f"{name} of the hub or its cache")
    try:
        if folder.is_dir():
            check_model(folder, option if option in KINDS else None)
            return load(str(folder), {"local_files_only": True})
        return load(name, checked_options(name, cached=True))
    except Exception as error:  # the disk, or any class that the folder names: no common type
        if folder.is_dir() or isinstance(error, CheckpointError):
            raise ModelMissing(why_not_loaded(f"--{option}", at_home(name), error)) from error
    try:
        _ask_the_hub(name)
        return load(name, checked_options(name))
    except CheckpointError as error:
        raise ModelMissing(why_not_loaded(f"--{option}", name, error)) from error
    except Exception as error:  # as above, or the network
        raise ModelMissing(
            f"--{option} {name}: not on this machine, and the hub cannot be reached or has no such model; "
            f"run `hf download {name}` where there is a network, or give a folder"
        ) from error


def _ask_the_hub(name: str) -> None:
    """One short question: transformers' own go on for a minute where there is no network."""
    from huggingface_hub import HfApi

    HfApi().model_info(name, timeout=CONNECTION)


def processor_of(source: str, options: dict[str, Any]) -> Any:
    """What resizes, crops and scales pictures for a model: Pillow, so that torchvision changes nothing."""
    from transformers import AutoImageProcessor

    make: Any = AutoImageProcessor.from_pretrained
    made = make(source, backend="pil", trust_remote_code=False, **options)
    check_pictures(made)
    return made


def device_here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _unit(vectors: torch.Tensor) -> Floats:
    unit: Floats = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return unit
