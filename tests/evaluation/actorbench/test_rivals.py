"""Rivals of the adapter: a LoRA tuned on the references, and the reference denoised with the prompt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.motion_libraries import write_library
from helpers.toy_bases import TOYS
from helpers.toy_models import FRAMES, toy_pipeline

from echoreel.actors.actor_clips import ActorSettings
from echoreel.actors.motion_library import synthetic_library
from echoreel.bases.base import Base
from echoreel.bases.encoding import encode_references
from echoreel.bases.lookup import base_of
from echoreel.bases.noise_schedule import NoiseSchedule
from echoreel.common.errors import BaseUnsupported
from echoreel.common.randomness import seeded
from echoreel.evaluation.actorbench import rivals
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings, evaluate
from echoreel.evaluation.actorbench.cases import CaseCounts, make_cases
from echoreel.evaluation.actorbench.filming import as_reference
from echoreel.evaluation.actorbench.judge import Judge, JudgeSettings
from echoreel.evaluation.actorbench.rivals import LoraSettings, Noised, NoisedSettings, TunedLora
from echoreel.generation.filming import Shot, film
from echoreel.generation.settings import GenerationSettings, resolved

ACTORS = ActorSettings().model_copy(update={"frames": FRAMES, "size": 32})
QUICK = GenerationSettings(steps=2, num_frames=FRAMES)


@pytest.fixture(scope="module")
def base() -> Base:
    return base_of(toy_pipeline())


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    """Two videos of one prompt, with two references."""
    case = make_cases(synthetic_library(), ACTORS, CaseCounts(16, 1, 2, 2), seed=0)[0]
    references = tuple(map(as_reference, case.references))
    return [Shot(case.prompt, seed, references) for seed in case.seeds]


def test_a_lora_that_hardly_learned_is_the_base_and_one_that_learned_is_not(
    base: Base, shots: list[Shot]
) -> None:
    settings = resolved(base, QUICK)
    denoiser: Any = base.denoiser
    own = film(base, shots, settings).astype(int)
    before = {name: weight.clone() for name, weight in denoiser.state_dict().items()}

    def tuned(steps: int, rate: float) -> Any:
        lora = LoraSettings(rank=2, steps=steps, learning_rate=rate)
        return TunedLora(lora).film(base, shots, settings)

    assert np.abs(tuned(1, 1e-9).frames - own).max() <= 1
    made = tuned(5, 1e-1)
    assert np.abs(made.frames - own).mean() > 1
    np.testing.assert_array_equal(tuned(5, 1e-1).frames, made.frames)
    assert (made.seconds > 0).all()
    assert len({*made.bytes}) == 1
    after = denoiser.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_it_learns_its_references(base: Base, shots: list[Shot], monkeypatch: pytest.MonkeyPatch) -> None:
    """The base's own loss on them falls."""
    denoiser: Any = base.denoiser
    references = shots[0].references
    encoded = encode_references(base, references, base.video_size())
    clips, texts = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    noise, levels = torch.randn(clips.shape, generator=seeded(0)), torch.tensor([0.3, 0.8])
    mixed = NoiseSchedule(base.pipe.scheduler).mix(clips, noise, levels)

    @torch.no_grad()
    def loss(*_: Any) -> Any:
        text = texts.repeat_interleave(FRAMES, 0)
        said = denoiser(mixed.noisy, mixed.timesteps, encoder_hidden_states=text).sample
        return np.full(1, (said - mixed.target).square().mean().item())

    before = loss().item()
    monkeypatch.setattr(rivals, "film", loss)
    lora = LoraSettings(rank=4, steps=60, batch=4, learning_rate=1e-2)
    after = TunedLora(lora).film(base, shots[:1], resolved(base, QUICK)).frames.item()
    assert after < 0.9 * before


def test_less_noise_keeps_more_of_the_reference(base: Base, shots: list[Shot]) -> None:
    reference = shots[0].references[0].frames.astype(int)
    made = [Noised(NoisedSettings(level=level, steps=2)).film(base, shots, QUICK) for level in (0.05, 0.9)]
    near, far = (np.abs(each.frames[0] - reference).mean() for each in made)
    assert near < far
    ((latents, _),) = encode_references(base, shots[0].references[:1], base.video_size())
    assert {*made[0].bytes} == {latents.nbytes}


def test_other_bases_are_refused(shots: list[Shot]) -> None:
    base = base_of(TOYS["Wan 2.1"]())
    with pytest.raises(BaseUnsupported, match="need one with motion modules"):
        TunedLora(LoraSettings(steps=1)).film(base, shots, resolved(base, QUICK))


def test_rivals_are_rows_with_their_price(tmp_path: Path) -> None:
    library = synthetic_library()
    toy_pipeline().save_pretrained(tmp_path / "base")
    judge = Judge(JudgeSettings(size=16, widths=(8, 8, 8), hidden=16, dilations=(1,)), library.actions)
    judge.save(tmp_path / "judge")
    recipe = EvaluateSettings(
        motions=write_library(tmp_path / "motions", library),
        splits=("heldout",),
        folder=tmp_path / "run",
        base=str(tmp_path / "base"),
        judge=tmp_path / "judge",
        conditions=("base", "lora", "noised"),
        references=(1, 2),
        prompts=1,
        seeds=2,
        actors=ACTORS,
        generation=QUICK,
        lora=LoraSettings(rank=2, steps=1),
        noised=NoisedSettings(steps=1),
    )
    report = evaluate(recipe)
    assert [(row.condition, row.references) for row in report.rows] == [
        ("base", 0),
        ("lora", 1),
        ("lora", 2),
        ("noised", 1),
    ]
    alone, one, two, noised = report.rows
    assert np.isnan([alone.seconds, alone.bytes]).all()
    assert one.seconds > 0
    assert one.bytes == two.bytes > noised.bytes > 0
    assert "| seconds | bytes |" in report.markdown()
    assert (recipe.folder / "tradeoff.png").exists()
    videos = {path: path.stat().st_mtime_ns for path in (recipe.folder / "videos").iterdir()}
    assert len(videos) == 4 * 4
    assert evaluate(recipe).rows == report.rows
    changed = recipe.model_copy(update={"noised": NoisedSettings(steps=2)})
    evaluate(changed)
    assert len([*(recipe.folder / "videos").iterdir()]) == 5 * 4
