"""Results in a folder, made of requests, restored from any file of theirs; why a reference does not show."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.make_videos import counting, film
from helpers.places import ROOT

from echoreel.common.errors import SettingsError, VideoUnreadable
from echoreel.generation.progress import Progress
from echoreel.generation.reference_checks import reference_checks
from echoreel.generation.request import GenerationRequest, ReferenceRequest
from echoreel.generation.results_folder import ResultsFolder
from echoreel.generation.settings import GenerationSettings
from echoreel.media.images import Frames
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import read_frames, read_notes, write_video

CARTWHEEL = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
PROMPT = "a person with brown hair in a red sweater and blue trousers doing a cartwheel on a grassy field"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    return ResultsFolder(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def request_made(results: ResultsFolder) -> GenerationRequest:
    kept = results.keep(CARTWHEEL)
    reference = ReferenceRequest(
        file=kept, caption="a cartwheel", start=0.25, end=1.5, strength=0.8, crop="moving"
    )
    settings = GenerationSettings(steps=2, scale=0.9, window=(0.0, 0.9), compare=True)
    return GenerationRequest(prompt=PROMPT, references=(reference,), seed=3, settings=settings)


@pytest.fixture(scope="module")
def made(results: ResultsFolder, request_made: GenerationRequest) -> tuple[Path, list[Progress]]:
    told: list[Progress] = []
    return results.make(request_made, told.append), told


def test_progress_is_told_by_step_of_every_video(made: tuple[Path, list[Progress]]) -> None:
    assert made[1] == [Progress(1, 2, 1, 2), Progress(2, 2, 1, 2), Progress(1, 2, 2, 2), Progress(2, 2, 2, 2)]
    assert [told.share for told in made[1]] == [0.25, 0.5, 0.75, 1.0]


def test_one_can_look_at_the_video_while_it_is_made(
    results: ResultsFolder, request_made: GenerationRequest, made: tuple[Path, list[Progress]]
) -> None:
    """The last look is the video itself, and looking changes nothing in it."""
    looks: list[Frames | None] = []
    again = results.make(request_made, lambda told: looks.append(told.look()))
    shown = [look for look in looks if look is not None]
    assert [look.shape for look in shown] == [(16, 64, 64, 3)] * 4
    assert np.abs(shown[0].astype(int) - shown[1]).max() > 8
    video = read_frames(results.result(again).video, size=(64, 64)).frames
    assert np.abs(shown[-1].astype(int) - video).mean() < 2  # what the mp4's compression leaves
    first, second = (results.result(each).video.read_bytes() for each in (made[0], again))
    assert first == second
    shutil.rmtree(again)


def test_what_progress_raises_ends_the_work_and_nothing_is_left(
    results: ResultsFolder, request_made: GenerationRequest, made: tuple[Path, list[Progress]]
) -> None:
    def stop(progress: Progress) -> None:
        raise KeyError("enough")

    before = sorted(results.folder.iterdir())
    with pytest.raises(KeyError):
        results.make(request_made, stop)
    assert sorted(results.folder.iterdir()) == before
    assert len(results.past()) == 1


def test_a_result_has_all_that_is_shown_in_step(
    results: ResultsFolder, made: tuple[Path, list[Progress]]
) -> None:
    result = results.result(made[0])
    name = made[0].name
    assert sorted(path.name for path in made[0].iterdir()) == sorted(
        [f"{name}.mp4", f"{name}.gif", f"{name}.json", "base.mp4", "reference-1.mp4"]
    )
    videos = [result.video, *result.parts.values()]
    assert {len(read_frames(video).frames) for video in videos} == {16}
    assert results.past() == [result]


@pytest.mark.parametrize("suffix", [".mp4", ".json"])
def test_settings_come_back_from_either_file_alone(
    results: ResultsFolder,
    request_made: GenerationRequest,
    made: tuple[Path, list[Progress]],
    tmp_path: Path,
    suffix: str,
) -> None:
    sent = tmp_path / f"sent by somebody{suffix}"
    sent.write_bytes((made[0] / f"{made[0].name}{suffix}").read_bytes())
    restored, lost = results.restored(sent)
    assert lost == []
    assert restored.references == request_made.references
    assert (restored.prompt, restored.seed) == (PROMPT, 3)
    asked = request_made.settings.model_dump(exclude_none=True)
    assert restored.settings.model_dump(include=set(asked)) == asked
    again = restored.references[0].read().frames
    assert np.array_equal(again, request_made.references[0].read().frames)


def test_an_mp4_names_no_folder_of_the_machine(made: tuple[Path, list[Progress]]) -> None:
    notes = read_notes(made[0] / f"{made[0].name}.mp4")
    assert json.loads(notes)["references"][0]["file"].startswith("cartwheel-")
    assert "/" not in notes.replace("t-shirt", "")


def test_a_file_of_others_cannot_name_a_reference_elsewhere(results: ResultsFolder, tmp_path: Path) -> None:
    secret = film(tmp_path / "secret.mp4", counting(16))
    notes = {"prompt": "a", "seeds": [1], "settings": {}, "references": [{"file": str(secret)}]}
    (tmp_path / "notes.json").write_text(json.dumps(notes))
    restored, lost = results.restored(tmp_path / "notes.json")
    assert (restored.references, lost) == ((), ["secret.mp4"])


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"prompt": 1, "seeds": [], "settings": 3}'])
def test_other_files_are_refused_in_a_sentence(results: ResultsFolder, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SettingsError, match=r"^a\.json: "):
        results.restored(tmp_path / "a.json")
    film(tmp_path / "plain.mp4", counting(16))
    with pytest.raises(SettingsError, match="holds no settings of a generation"):
        results.restored(tmp_path / "plain.mp4")


def test_a_reference_is_kept_once_and_only_if_it_is_a_video(results: ResultsFolder, tmp_path: Path) -> None:
    kept = results.keep(CARTWHEEL)
    assert results.keep(kept) == kept
    assert kept.read_bytes() == CARTWHEEL.read_bytes()
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(VideoUnreadable):
        results.keep(tmp_path / "a.mp4")


SHOWN = ReferenceVideo.from_file(CARTWHEEL)
WHY = {
    "nothing": ({}, {}, []),
    "scale 0": ({"scale": 0.0}, {}, ["The scale is 0"]),
    "weak scale": ({"scale": 0.2}, {}, ["The scale is 0.2"]),
    "narrow window": ({"window": (0.0, 0.3)}, {}, ["References act in 30% of the steps"]),
    "late window": ({"window": (0.4, 1.0)}, {}, ["References miss the first 40%"]),
    "strength 0": ({}, {"strength": 0.0}, ["The reference has strength 0"]),
    "no caption": ({}, {"caption": " "}, ["The reference has no caption"]),
    "another action": ({}, {"caption": "a man juggling"}, ["The reference shows “juggling”"]),
    "stillness": ({}, {"frames": np.repeat(SHOWN.frames[:1], 16, 0)}, ["The reference hardly moves"]),
}


@pytest.mark.parametrize(("settings", "reference", "reasons"), WHY.values(), ids=WHY.keys())
def test_why_a_reference_does_not_show(settings: dict, reference: dict, reasons: list[str]) -> None:  # type: ignore[type-arg]
    given = {"frames": SHOWN.frames, "caption": SHOWN.caption} | reference
    found = reference_checks(PROMPT, [ReferenceVideo(**given)], GenerationSettings(**settings))
    assert len(found) == len(reasons)
    assert all(told.startswith(reason) for told, reason in zip(found, reasons, strict=True))


def test_a_person_outside_the_middle_is_told(tmp_path: Path) -> None:
    walk = np.full((16, 48, 128, 3), 90, np.uint8)
    for index, picture in enumerate(walk):
        picture[12:44, 2 + index : 14 + index] = (40, 60, 200)
    seen = ReferenceVideo(walk, caption=SHOWN.caption)
    assert reference_checks(PROMPT, [seen], GenerationSettings()) == [
        "The reference: what moves is outside the middle of the picture; set crop to “moving”."
    ]
    assert reference_checks(PROMPT, [seen], GenerationSettings(), aspect=128 / 48) == []
    assert reference_checks(PROMPT, [], GenerationSettings())[0].startswith("There is no reference")


def test_a_crop_that_holds_little_of_what_moves_is_told(tmp_path: Path) -> None:
    two = np.full((16, 48, 128, 3), 90, np.uint8)
    for index, picture in enumerate(two):
        picture[12:44, 2 + index : 14 + index] = picture[12:44, 98 + index : 110 + index] = (40, 60, 200)
    write_video(tmp_path / "two.mp4", two, 8)
    seen = ReferenceVideo.from_file(tmp_path / "two.mp4", SHOWN.caption, crop="moving")
    (told,) = reference_checks(PROMPT, [seen], GenerationSettings())
    assert told.startswith("The reference: the crop holds less than half of what moves")
