"""ActorBench's videos are what `generate` makes of the same shots: one way to film."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.damage import flipped
from helpers.toy_bases import TOYS
from helpers.toy_models import FRAMES, toy_adapter, toy_pipeline

from echoreel.actors.actor_clips import ActorSettings
from echoreel.actors.motion_library import synthetic_library
from echoreel.evaluation.actorbench import filming
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, make_cases
from echoreel.evaluation.actorbench.filming import Studio, StudioSettings, as_reference
from echoreel.evaluation.actorbench.rivals import Made
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings

CLIPS = ActorSettings().model_copy(update={"frames": FRAMES, "size": 32})
QUICK: dict[str, Any] = {"steps": 2, "num_frames": FRAMES}
SETTINGS: dict[str, dict[str, Any]] = {
    "as recommended": {},
    "steps": {"steps": 3},
    "guidance scale": {"guidance_scale": 3.0},
    "no guidance": {"guidance_scale": 1.0},
    "both branches": {"guidance": "both"},
    "both branches, a negative prompt": {"guidance": "both", "negative_prompt": "a park"},
    "both branches without guidance": {"guidance": "both", "guidance_scale": 1.0},
    "negative prompt": {"negative_prompt": "a park"},
    "scale": {"scale": 0.5},
    "window": {"window": (0.0, 0.5)},
    "frames": {"num_frames": 3},
    "size": {"height": 48, "width": 48},
}


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return make_cases(synthetic_library(), CLIPS, CaseCounts(16, 2, 2, 1), seed=0)[:2]


def studio(monkeypatch: pytest.MonkeyPatch, pipe: Any, folder: Path, settings: GenerationSettings) -> Studio:
    adapter = toy_adapter(pipe)
    monkeypatch.setattr(filming, "load_base", lambda _: pipe)
    monkeypatch.setattr(filming, "load_adapter", lambda _: adapter)
    return Studio(StudioSettings(batch=2), folder, settings)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_does_what_it_does_in_generate(
    name: str, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = toy_pipeline()
    settings = GenerationSettings(**(QUICK | SETTINGS[name]))
    bench = studio(monkeypatch, pipe, tmp_path, settings)
    shots = [bench.shot(case.prompt, 5, case.references, case.target) for case in cases]
    videos = bench.film(shots, name).frames
    for shot, video in zip(shots, videos, strict=True):
        made = generate(
            shot.prompt, shot.references, base=pipe, adapter=toy_adapter(pipe), seed=5, settings=settings
        )
        assert np.abs(made.videos[0].astype(int) - video).max() <= 1  # two in one batch: the last bit
    alone = Studio(StudioSettings(batch=1), tmp_path / "alone", settings).film(shots[:1], name).frames
    first = generate(
        shots[0].prompt, shots[0].references, base=pipe, adapter=toy_adapter(pipe), seed=5, settings=settings
    )
    np.testing.assert_array_equal(alone[0], first.videos[0])


def test_a_damaged_or_swapped_video_is_made_again(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = studio(monkeypatch, toy_pipeline(), tmp_path, GenerationSettings(steps=1, num_frames=FRAMES))
    shots = [bench.shot(case.prompt, 5, case.references, case.target) for case in cases]

    def filmed() -> tuple[Made, str]:
        """The videos, and what we say."""
        caplog.clear()
        found = bench.film(shots, "again")
        ours = [record for record in caplog.records if record.name.startswith("echoreel")]
        return found, "\n".join(record.getMessage() for record in ours)

    made, _ = filmed()
    first, second = sorted(tmp_path.glob("*.npz"))
    whole = first.read_bytes()
    with np.load(first) as held:
        older = {name: held[name] for name in made._fields}
    for data, told in (
        (whole, None),
        (flipped(whole, len(whole) // 2), "is made again"),
        (whole[:-30], "is made again"),
        (b"", "is made again"),
        (second.read_bytes(), "its frames are of another file"),
    ):
        first.write_bytes(data)
        again, said = filmed()
        assert [values.dtype for values in again] == [values.dtype for values in made]
        assert np.abs(again.frames.astype(int) - made.frames).max() <= 1  # alone in its batch: the last bit
        assert (said == "") == (told is None)
        assert (told or "") in said
    np.savez_compressed(first, **older)  # an older version wrote no key
    again, said = filmed()
    np.testing.assert_array_equal(again.frames, made.frames)
    assert said == ""


@pytest.mark.parametrize("base", ["Latte", "SVD"])
def test_bases_whose_call_has_other_words(
    base: str, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = TOYS[base]()
    settings = GenerationSettings(**QUICK, height=32, width=32, guidance_scale=2.0)
    bench = studio(monkeypatch, pipe, tmp_path, settings)
    shots = [bench.shot(case.prompt, 5, case.references, case.target) for case in cases]
    videos = bench.film(shots, base).frames
    assert videos.shape == (2, FRAMES, 32, 32, 3)
    for case, video in zip(cases, videos, strict=True):
        made = generate(
            case.prompt,
            [as_reference(clip) for clip in case.references],
            base=pipe,
            adapter=toy_adapter(pipe),
            seed=5,
            settings=settings,
            image=case.target.frames[0] if base == "SVD" else None,
        )
        np.testing.assert_array_equal(made.videos[0], video)
