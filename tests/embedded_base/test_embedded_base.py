"""What ships inside the package: the embedded base, its adapter, the judge and the demo's reference."""

from importlib import resources
from pathlib import Path

import numpy as np
import torch
from helpers.seeded_video import PROMPT, demo_reference

import echoreel
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.generation.settings import GenerationSettings

PACKAGE = Path(str(resources.files("echoreel")))


def test_weights_are_safetensors_of_at_most_60_megabytes() -> None:
    files = [path for path in (PACKAGE / "weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60e6
    assert {path.suffix for path in files} <= {".safetensors", ".json"}


def test_the_demo_reference_is_a_captioned_video() -> None:
    reference = demo_reference()
    assert reference.caption.endswith("doing a cartwheel on a wooden floor")
    assert len(reference.frames) == 16


def test_the_embedded_adapter_fits_the_embedded_base_and_changes_its_video() -> None:
    settings = GenerationSettings(steps=3, compare=True)
    result = echoreel.generate(PROMPT, [demo_reference()], seed=7, settings=settings)
    assert result.base_videos is not None
    ours, base = result.videos[0], result.base_videos[0]
    assert ours.shape == base.shape == (16, 64, 64, 3)
    assert not np.array_equal(ours, base)


def test_detached_the_embedded_base_is_itself() -> None:
    pipe = echoreel.load_base()
    adapter = echoreel.ActionAdapter.from_pretrained()
    inputs = torch.randn(2, 16, 16, 8, 8), torch.tensor([500, 500]), torch.randn(32, 40, 128)
    with torch.no_grad():
        before = pipe.unet(*inputs[:2], encoder_hidden_states=inputs[2]).sample
        adapter.attach(pipe)
        adapter.set_references([demo_reference()], prompt=PROMPT)
        reading = pipe.unet(*inputs[:2], encoder_hidden_states=inputs[2]).sample
        adapter.detach()
        after = pipe.unet(*inputs[:2], encoder_hidden_states=inputs[2]).sample
    assert torch.equal(before, after)
    assert not torch.equal(before, reading)


def test_the_embedded_judge_says_how_good_it_is() -> None:
    judge = Judge.load()
    assert {"joint_error", "shirt", "trousers", "place"} <= judge.accuracy.keys()
    reading = judge.read(np.zeros((1, 16, 64, 64, 3), np.uint8))
    assert reading.joints.shape == (1, 16, 18, 3)
