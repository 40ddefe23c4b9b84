"""On a CUDA device: the same videos as on a CPU, offloading included, and training in bfloat16."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.make_videos import counting
from helpers.toy_bases import TOYS
from helpers.toy_models import toy_adapter

from echoreel.bases.loading import load_base
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings
from echoreel.media.reference_video import ReferenceVideo
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.fit_settings import FitSettings
from echoreel.training.pair_cache import PairSetWriter
from echoreel.training.train_adapter import AdapterRecipe, train

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
BASES = ("AnimateDiff", "Wan 2.1", "LTX")


def filmed(folder: Path, device: str, **options: Any) -> np.ndarray[Any, Any]:
    """The first video of a saved base and adapter."""
    reference = ReferenceVideo(counting(4, 32, 32), caption="a man dancing")
    base = load_base(folder / "base", device=device, dtype=torch.float32, **options)
    settings = GenerationSettings(steps=2, num_frames=5, height=64, width=64)
    made = generate("a woman dancing", [reference], base=base, adapter=folder / "adapter", settings=settings)
    return np.asarray(made.videos[0]).astype(int)


@pytest.mark.parametrize("name", BASES)
def test_a_video_is_the_one_of_the_cpu_offloaded_or_not(tmp_path: Path, name: str) -> None:
    pipe = TOYS[name]()
    pipe.save_pretrained(tmp_path / "base")
    toy_adapter(pipe).save_pretrained(tmp_path / "adapter")
    want = filmed(tmp_path, "cpu")
    for offload in (None, "model", "layers"):
        assert np.abs(filmed(tmp_path, DEVICE, offload=offload) - want).mean() < 2, offload


def test_an_adapter_learns_in_bfloat16(tmp_path: Path) -> None:
    pipe = TOYS["AnimateDiff"]()
    pipe.save_pretrained(tmp_path / "base")
    clips = (1 + 0.1 * np.random.default_rng(0).normal(size=(8, 2, 4, 4, 8, 8))).astype(np.float16)
    PairSetWriter(tmp_path / "pairs").write(0, clips[:, 0], clips[:, 1:], [["a man dancing"] * 2] * 8)
    task = AdapterTaskSettings(batch=2, held_back=2, validation_levels=(0.5, 0.95))
    fit = FitSettings(steps=20, learning_rate=2e-2, warmup=0, ema=0, precision="bf16", validate_every=20)
    train(
        AdapterRecipe(
            folder=tmp_path / "run", base=str(tmp_path / "base"), pairs=tmp_path / "pairs", task=task, fit=fit
        )
    )
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["validation/right"] < 0.98 * last["validation/none"]
