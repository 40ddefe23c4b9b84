"""NaN in a base is told before it costs time, with the base and the part; wherever the base is used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.make_videos import counting, film
from helpers.toy_models import toy_adapter, toy_pipeline
from safetensors.torch import load_file, save_file

from echoreel.bases import finite
from echoreel.bases.encoding import decode_video
from echoreel.bases.loading import load_base
from echoreel.bases.sketch import only_autoencoder
from echoreel.common.errors import BaseUnsupported, EchoReelError
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings
from echoreel.media.reference_video import ReferenceVideo
from echoreel.training.encode_pairs import prepare_pairs
from echoreel.training.loop import FitSettings
from echoreel.training.prepare_settings import PrepareSettings
from echoreel.training.train_adapter import AdapterRecipe, train

SLOW = GenerationSettings(steps=4, num_frames=4, height=32, width=32)
PAIRS = PrepareSettings(frames=4, fps=4.0, size=(32, 32))


@pytest.fixture
def spoilt(toys: Path, tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """The folder of a base with a number that is none in a part, and the name of its tensor."""

    def made(part: str, value: float = np.nan) -> tuple[Path, str]:
        base = shutil.copytree(toys / "base", tmp_path / f"base-{part}")
        (file,) = (base / part).glob("*.safetensors")
        held = load_file(file)
        name = next(name for name in reversed(held) if name.endswith("weight") and "encoder." not in name[:8])
        held[name].view(-1)[-1] = value
        save_file(held, file, {"format": "pt"})
        return base, name

    return made


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_nan_in_a_small_part_is_told_when_the_base_is_loaded(
    spoilt: Callable[..., tuple[Path, str]], part: str, value: float
) -> None:
    base, name = spoilt(part, value)
    told = rf"base .*base-{part}: cannot be loaded: the weights of its {part} hold NaN .*{name}; get"
    with pytest.raises(BaseUnsupported, match=told):
        load_base(base)


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_nan_in_a_large_part_is_told_at_the_first_step(
    spoilt: Callable[..., tuple[Path, str]], monkeypatch: pytest.MonkeyPatch, part: str, shown: bool
) -> None:
    monkeypatch.setattr(finite, "SMALL", 0)
    steps: list[object] = []
    base, name = spoilt(part)
    pipe = load_base(base)
    references = [ReferenceVideo(counting(6), caption="a man")] if shown else []
    with pytest.raises(
        EchoReelError, match=rf"base .*base-{part}: the weights of its {part} hold .*{name}; get"
    ):
        generate(
            "a man",
            references,
            base=pipe,
            adapter=toy_adapter(pipe) if shown else None,
            settings=SLOW,
            progress=lambda *told: steps.append(told),
        )
    assert steps == []
    assert "step" not in vars(pipe.scheduler)


def test_finite_weights_that_make_nan_are_told_by_the_precision() -> None:
    pipe = toy_pipeline()
    with torch.no_grad():
        pipe.unet.conv_out.weight.fill_(3e38)
    with pytest.raises(
        EchoReelError, match=r"its denoiser produced NaN or infinite values in torch\.float32; get"
    ):
        generate("a man", base=pipe, settings=SLOW)


def test_an_autoencoder_that_makes_nan_is_told_wherever_it_acts(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", counting(8))
    line = {"target": "a.mp4", "caption": "a", "references": [{"path": "a.mp4", "caption": "b"}]}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(line))
    decoder, encoder = toy_pipeline(), toy_pipeline()
    with torch.no_grad():
        decoder.vae.decoder.conv_out.bias.fill_(np.inf)
        encoder.vae.encoder.conv_in.weight.fill_(np.nan)
    with pytest.raises(EchoReelError, match=r"vae hold NaN or infinite values, in decoder\.conv_out\.bias"):
        decode_video(decoder, torch.zeros(1, 4, 2, 16, 16))
    with pytest.raises(EchoReelError, match=r"the weights of its vae hold .*encoder\.conv_in\.weight; get"):
        prepare_pairs(encoder, tmp_path / "pairs.jsonl", tmp_path / "out", PAIRS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_training_on_a_base_with_nan_ends_before_its_first_checkpoint(
    toys: Path,
    spoilt: Callable[..., tuple[Path, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    film(tmp_path / "a.mp4", counting(8))
    line = {"target": "a.mp4", "caption": "a", "references": [{"path": "a.mp4", "caption": "b"}]}
    (tmp_path / "pairs.jsonl").write_text(f"{json.dumps(line)}\n" * 4)
    prepare_pairs(only_autoencoder(toys / "base"), tmp_path / "pairs.jsonl", tmp_path / "pairs", PAIRS)
    base, _ = spoilt(part)
    given: dict[str, Any] = {"folder": tmp_path / "run", "base": str(base), "pairs": tmp_path / "pairs"}
    recipe = AdapterRecipe(**given, task={"batch": 1, "held_back": 2}, fit=FitSettings(steps=9))
    for small in (finite.SMALL, 0):
        monkeypatch.setattr(finite, "SMALL", small)
        with pytest.raises(EchoReelError, match=rf"base-{part}: .*the weights of its {part} hold NaN"):
            train(recipe)
        assert not [*(tmp_path / "run").glob("step-*")]


def test_weights_that_are_not_at_hand_or_in_fewer_bits_are_left_out() -> None:
    module = torch.nn.Linear(2, 2)
    module.weight = torch.nn.Parameter(torch.full((2, 2), torch.nan).to(torch.float8_e4m3fn), False)
    module.register_buffer("mask", torch.tensor([-torch.inf]))
    parts = {"a": module, "b": torch.nn.Linear(2, 2, device="meta"), "c": "no module"}
    assert finite.fault_of_weights(parts) is None
    module.register_buffer("running_var", torch.tensor([torch.nan]))
    assert finite.fault_of_weights(parts, most=1) is None
    assert "its a hold NaN or infinite values, in running_var" in (finite.fault_of_weights(parts) or "")
