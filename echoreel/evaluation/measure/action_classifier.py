"""Which action a video shows, by a classifier of somebody else: a folder or a hub id, as the other models."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from echoreel.common.errors import ModelMissing
from echoreel.common.loading_errors import blamed
from echoreel.evaluation.measure.clip_and_videomae import (
    Floats,
    device_here,
    loaded_model,
    processor_of,
    spread,
)
from echoreel.media.video_files import Clip

SHOWN = 3  # actions that a message names


class ActionClassifier:
    """Videos to a score of each action that the model knows.

    Any video classifier of transformers that reads all frames at once: VideoMAE, TimeSformer, ViViT.
    """

    def __init__(self, name: str) -> None:
        """`name`: a folder, or a hub id. Raises ModelMissing, also for a model that was not trained to name
        actions."""
        from transformers import AutoModelForVideoClassification

        def load(source: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
            read: Any = AutoModelForVideoClassification.from_pretrained
            loaded = read(
                source, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, **options
            )
            return *loaded, processor_of(source, options)

        model, report, self._processor = loaded_model("classifier", name, load)
        named, frames = model.config.id2label, getattr(model.config, "num_frames", None)
        if report["missing_keys"] or not isinstance(frames, int):
            raise ModelMissing(
                f"--classifier {name}: not trained to name the actions of videos, or of another kind; give a "
                "VideoMAE, TimeSformer or ViViT that is"
            )
        if sorted(named) != [*range(model.config.num_labels)]:
            raise ModelMissing(
                f"--classifier {name}: its labels are not numbered from 0 on; get its files again"
            )
        self._model, self._frames, self.name = model.to(device_here()).eval(), frames, name
        self.labels = [str(named[number]) for number in range(len(named))]

    @torch.inference_mode()
    @blamed("the classifier's")
    def scores(self, clip: Clip) -> Floats:
        """(L,), one for each of `labels`, of as many frames as the model takes, spread evenly over the clip.

        Raises ModelMissing where they are no numbers.
        """
        frames = list(clip.frames[spread(clip, self._frames)])
        pixels = self._processor(frames, return_tensors="pt")["pixel_values"].to(self._model.device)
        scores: Floats = self._model(pixels).logits[0].float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelMissing(f"--classifier {self.name}: gives NaN or infinite values; get its files again")
        return scores

    def places_of(self, actions: Sequence[str]) -> dict[str, int]:
        """Where in `labels` each action is: names are alike if their letters and digits are.

        Raises ModelMissing for actions that it does not know.
        """
        known = {_letters(label): place for place, label in reversed([*enumerate(self.labels)])}
        unknown = [action for action in actions if _letters(action) not in known]
        if unknown:
            named = ", ".join(repr(action[:40]) for action in unknown[:SHOWN])
            raise ModelMissing(
                f"--classifier {self.name}: knows {len(self.labels)} actions, but not {len(unknown)} of the "
                f"{len(actions)} held out ({named}); give one that was trained on them, or leave it out"
            )
        return {action: known[_letters(action)] for action in actions}


def _letters(name: str) -> str:
    """ "ApplyEyeMakeup" and "apply eye makeup" are alike."""
    return re.sub(r"[\W_]", "", name.casefold())
