"""A classifier of others names what a video shows; what cannot is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.moving_squares import arc, moving
from helpers.toy_measures import toy_videomae
from helpers.toy_models import changed
from safetensors.torch import load_file, save_file
from transformers import TimesformerConfig, TimesformerForVideoClassification, VideoMAEForVideoClassification
from transformers import VideoMAEImageProcessorPil as Processor

from echoreel.common.errors import CheckpointError, ModelMissing
from echoreel.evaluation.measure.action_classifier import ActionClassifier
from echoreel.evaluation.measure.clip_and_videomae import spread

LABELS = ("HandStandPushups", "archery", "apply_eye_makeup")


def toy_timesformer(folder: Path) -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, id2label=dict(enumerate(LABELS)), **small
    )
    TimesformerForVideoClassification(config).save_pretrained(folder)
    size = {"shortest_edge": 32}
    Processor(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.mark.parametrize("kind", [TimesformerForVideoClassification, VideoMAEForVideoClassification])
def test_scores_are_the_models_own(tmp_path: Path, kind: type) -> None:
    if kind is TimesformerForVideoClassification:
        toy_timesformer(tmp_path)
    else:
        toy_videomae(tmp_path, labels=LABELS)
    clip, found = moving(arc), ActionClassifier(str(tmp_path))
    frames = list(clip.frames[spread(clip, 4)])
    pixels = Processor.from_pretrained(tmp_path)(frames, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        logits = kind.from_pretrained(tmp_path).eval()(pixels).logits[0]  # type: ignore[attr-defined]
    torch.testing.assert_close(torch.from_numpy(found.scores(clip)), logits)
    assert found.places_of(["HandstandPushups", "Apply Eye-Makeup"]) == {
        "HandstandPushups": 0,
        "Apply Eye-Makeup": 2,
    }
    with pytest.raises(ModelMissing, match=r"knows 3 actions, but not 1 of the 2 held out \('Diving'\)"):
        found.places_of(["Archery", "Diving"])


def test_weights_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    toy_videomae(tmp_path)
    weights = tmp_path / "model.safetensors"
    held = load_file(weights)
    save_file(held | {"classifier.bias": torch.full((2,), torch.nan)}, weights, {"format": "pt"})
    with pytest.raises(ModelMissing, match="gives NaN or infinite values"):
        ActionClassifier(str(tmp_path)).scores(moving(arc))


def test_code_of_a_classifier_is_not_run(tmp_path: Path) -> None:
    toy_videomae(tmp_path)
    config = tmp_path / "config.json"
    told = json.loads(config.read_text()) | {"model_type": "theirs"}
    told["auto_map"] = {name: f"theirs.{name}" for name in ("AutoConfig", "AutoModelForVideoClassification")}
    config.write_text(json.dumps(told))
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    with pytest.raises(ModelMissing, match="cannot be loaded: "):
        ActionClassifier(str(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong", [{"crop_size": {"height": 10, "width": 10}}, {"image_mean": [0]}, {"resample": 77}]
)
def test_pictures_that_do_not_fit_are_told(tmp_path: Path, wrong: dict[str, Any]) -> None:
    toy_videomae(tmp_path)
    changed(tmp_path / "preprocessor_config.json", **wrong)
    with pytest.raises(CheckpointError, match=r"the classifier's .* fails"):
        ActionClassifier(str(tmp_path)).scores(moving(arc))
