"""`generate`: the base's own call, one generator a video, references in and out, files of the result."""

import json
import re
import threading
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from helpers.make_videos import counting, film
from helpers.toy_models import FRAMES, toy_inputs, toy_pipeline
from helpers.video_folders import good_folder
from PIL import Image

from echoreel.bases import loading
from echoreel.bases.loading import load_base
from echoreel.common.errors import AdapterMismatch, BaseUnsupported, EchoReelError, InUse, SettingsError
from echoreel.generation import filming
from echoreel.generation.generate import generate
from echoreel.generation.result import GenerationResult
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import probe
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter

PROMPT = "a woman in a red coat dancing on the beach"
QUICK = GenerationSettings(steps=2, num_frames=FRAMES)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return toy_pipeline()


@pytest.fixture(scope="module")
def adapter(pipe: Any) -> ActionAdapter:
    """An adapter that does something: its integrations are no longer zero."""
    torch.manual_seed(0)
    fresh = ActionAdapter.for_base(pipe)
    for parameter in fresh.integrations.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fresh.eval()


@pytest.fixture(scope="module")
def reference() -> ReferenceVideo:
    return ReferenceVideo(counting(6), caption="a man doing a cartwheel")


@pytest.fixture(scope="module")
def result(pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo) -> GenerationResult:
    settings = QUICK.model_copy(update={"compare": True})
    return generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=(7, 8), settings=settings)


def test_a_small_base_films_on_one_thread_whatever_its_caller_uses(
    pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo
) -> None:
    used = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        result = generate(PROMPT, [reference], base=pipe, adapter=adapter, settings=QUICK)
        assert torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(1)
    assert set(used) == {1}
    assert result.threads == 1


def own_call(pipe: Any, seed: int) -> np.ndarray[Any, Any]:
    """The same video by the pipeline alone."""
    generator = torch.Generator().manual_seed(seed)
    video = pipe(
        PROMPT, num_frames=FRAMES, num_inference_steps=2, generator=generator, output_type="np"
    ).frames[0]
    return np.round(video * 255).astype(np.uint8)


def test_people_pass_paths_single_settings_and_lists(
    pipe: Any, adapter: ActionAdapter, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    film(clip, counting(6))
    quick = {"base": pipe, "adapter": adapter, "steps": 2, "num_frames": FRAMES}
    one = generate(PROMPT, clip, seed=3, **quick)
    assert np.array_equal(one.videos[0], generate(PROMPT, [str(clip)], seed=3, **quick).videos[0])
    assert one.settings.steps == 2
    both = generate([PROMPT, "a man sitting"], ReferenceVideo.from_file(clip), seed=3, **quick)
    assert [result.prompt for result in both] == [PROMPT, "a man sitting"]
    assert np.array_equal(both[0].videos[0], one.videos[0])
    assert not np.array_equal(both[1].videos[0], one.videos[0])
    drawn = generate(PROMPT, seed=None, base=pipe, steps=1, num_frames=FRAMES)
    assert np.array_equal(
        drawn.videos[0], generate(PROMPT, seed=drawn.seeds, base=pipe, steps=1, num_frames=FRAMES).videos[0]
    )
    with pytest.raises(SettingsError, match=r"^step: unknown key; did you mean steps\?$"):
        generate(PROMPT, step=2)
    told = {"steps": 2, "num_frames": FRAMES}
    again = generate(PROMPT, clip, base=pipe, adapter=adapter, seed=3, settings=told)
    assert np.array_equal(again.videos[0], one.videos[0])
    with pytest.raises(SettingsError, match=r"^step: unknown key; did you mean steps\?$"):
        generate(PROMPT, settings={"step": 2})


def test_without_an_adapter_for_the_base_it_says_that(pipe: Any, reference: ReferenceVideo) -> None:
    with pytest.raises(AdapterMismatch, match=r"^no adapter given for .*, and the embedded one does not fit"):
        generate(PROMPT, reference, base=pipe)


def test_a_notebook_shows_the_videos_and_few_words(
    result: GenerationResult, reference: ReferenceVideo
) -> None:
    assert len(repr(result)) < 200 > len(repr(reference))
    shown = result._repr_html_()
    pictures = re.findall(r'src="data:image/webp;base64,([^"]+)"', shown)
    assert len(pictures) == 5  # the reference, two seeds, with and without it
    assert all(f">{name}<" in shown for name in ("reference", "base, seed 7", "ours, seed 8"))
    with Image.open(BytesIO(b64decode(pictures[-1]))) as last:
        assert (last.n_frames, min(last.size)) == (FRAMES, 160)
    shown = reference._repr_html_()
    assert "a man doing a cartwheel" in shown
    assert reference.describe() in shown
    large = ReferenceVideo(np.zeros((90, 720, 1280, 3), np.uint8), caption="<script>")._repr_html_()
    assert len(large) < 100_000
    assert "<script>" not in large


def test_without_references_it_is_the_base_s_own_call(pipe: Any) -> None:
    made = generate(PROMPT, base=pipe, seed=3, settings=QUICK)
    np.testing.assert_array_equal(made.videos[0], own_call(pipe, 3))
    assert made.adapter is None


def test_references_change_the_video_and_leave_nothing_behind(pipe: Any, result: GenerationResult) -> None:
    assert not np.array_equal(result.videos[0], result.base_videos[0])
    np.testing.assert_array_equal(own_call(pipe, 7), result.base_videos[0])


def test_a_seed_names_a_video_alone_or_among_others(
    pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo, result: GenerationResult
) -> None:
    alone = generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=8, settings=QUICK)
    np.testing.assert_array_equal(alone.videos[0], result.videos[1])
    assert not np.array_equal(result.videos[0], result.videos[1])


def test_scale_0_is_the_base(
    pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo, result: GenerationResult
) -> None:
    settings = QUICK.model_copy(update={"scale": 0.0})
    made = generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=7, settings=settings)
    np.testing.assert_array_equal(made.videos[0], result.base_videos[0])


def test_an_error_leaves_the_base_alone(
    pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo, result: GenerationResult
) -> None:
    odd = QUICK.model_copy(update={"height": 33})
    with pytest.raises(EchoReelError, match=r"AnimateDiffPipeline refuses: .*divisible by 8"):
        generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=7, settings=odd)
    np.testing.assert_array_equal(own_call(pipe, 7), result.base_videos[0])


def test_the_owner_s_progress_bar_comes_back(pipe: Any) -> None:
    before = pipe._progress_bar_config
    generate(PROMPT, base=pipe, settings=QUICK)
    assert pipe._progress_bar_config == before == {"disable": True}


def test_without_a_terminal_lines_say_how_long_it_takes(
    pipe: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filming, "QUIET", 0.0)
    monkeypatch.setattr(pipe, "_progress_bar_config", {})
    generate(PROMPT, base=pipe, settings=QUICK)
    lines = capsys.readouterr().err.replace("\r", "").splitlines()
    line = re.compile(r"base, seed 0: [12] of 2 steps, \d\d:\d\d left")  # ends at 2, even where tqdm skips 1
    assert any(map(line.fullmatch, lines)), lines
    monkeypatch.setattr(filming, "QUIET", 30.0)
    generate(PROMPT, base=pipe, settings=QUICK)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"seed": -1}, "seed -1: need a whole number from 0"),
        ({"seed": ()}, "need at least one"),
        ({"seed": (1, 1)}, "each once"),
        ({"settings": GenerationSettings(compare=True)}, "nothing to compare"),
        ({"settings": GenerationSettings(window=(0.5, 0.5))}, "need a start before its end"),
    ],
)
def test_wrong_requests_fail_before_a_base_is_looked_for(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(EchoReelError, match=message):
        generate(**{"prompt": PROMPT, "base": "no/such/base"} | wrong)


def test_gaps_are_filled_by_the_user_then_the_base_s_folder_then_its_pipeline(
    pipe: Any, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path)
    (tmp_path / "generation.json").write_text('{"num_inference_steps": 5, "num_frames": 6, "fps": 4}')
    found = resolved(load_base(tmp_path), GenerationSettings(num_frames=FRAMES))
    assert (found.num_frames, found.steps, found.guidance_scale, found.fps) == (FRAMES, 5, 7.5, 4)
    presets = {"draft": 2, "normal": 5, "best": 10}  # shares of the folder's 5 steps
    base = load_base(tmp_path)
    assert {name: resolved(base, GenerationSettings(preset=name)).steps for name in presets} == presets
    assert resolved(base, GenerationSettings(preset="best", steps=3)).steps == 3
    (tmp_path / "generation.json").write_text('{"num_inference_stepz": 5}')
    with pytest.raises(SettingsError, match="did you mean num_inference_steps"):
        generate(PROMPT, base=tmp_path, settings=QUICK)


def test_a_saved_base_and_adapter_make_the_same_video(
    pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo, result: GenerationResult, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "base")
    adapter.save_pretrained(tmp_path / "adapter")
    made = generate(
        PROMPT, [reference], base=tmp_path / "base", adapter=tmp_path / "adapter", seed=7, settings=QUICK
    )
    np.testing.assert_array_equal(made.videos[0], result.videos[0])
    assert (made.base, made.adapter) == (str(tmp_path / "base"), str(tmp_path / "adapter"))


def test_bases_that_cannot_be_loaded(pipe: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    denoiser = UNet2DModel(8, block_out_channels=(8, 8), norm_num_groups=4, **blocks)
    image = DDPMPipeline(denoiser, DDPMScheduler())
    image.save_pretrained(tmp_path / "image")
    pipe.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{")
    for name, message in {
        "no/such/folder": "there is no such folder",
        "nobody/nothing": "no such folder, and the hub cannot be reached or has no such base",
        file: "is a file",
        tmp_path: "holds no model_index.json",
        tmp_path / "broken": "cannot be loaded",
        tmp_path / "pickled": "cannot be loaded",
        tmp_path / "image": "need a diffusers pipeline or denoiser of a supported family",
    }.items():
        with pytest.raises(EchoReelError, match=message) as caught:
            load_base(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(BaseUnsupported):
        load_base(tmp_path / "image")


def test_an_installation_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path)
    with pytest.raises(EchoReelError, match="no embedded base; give one: a folder or a hub id"):
        load_base()
    with pytest.raises(EchoReelError, match="no embedded adapter"):
        load_adapter("embedded")


def test_files_of_one_seed_and_of_several(result: GenerationResult, pipe: Any, tmp_path: Path) -> None:
    written = result.save(tmp_path / "deep" / "out.mp4")
    assert [file.name for file in written] == ["out-7.mp4", "out-8.mp4", "out.json"]
    info = probe(written[0])
    assert (info.frames, info.height, info.width, info.fps) == (FRAMES, 256, 256, 8.0)
    notes = json.loads(written[-1].read_text())
    assert (notes["prompt"], notes["seeds"], notes["files"]) == (PROMPT, [7, 8], ["out-7.mp4", "out-8.mp4"])
    assert notes["settings"]["steps"] == 2
    assert notes["settings"]["guidance_scale"] == 7.5
    assert notes["references"][0]["caption"] == "a man doing a cartwheel"
    assert notes["peak_memory_bytes"] > 1e6
    assert notes["threads"] == 1
    alone = generate(PROMPT, base=pipe, settings=QUICK)
    assert [file.name for file in alone.save(tmp_path / "one.gif", short_side=1)] == ["one.gif", "one.json"]
    assert probe(tmp_path / "one.gif").height == 32


def test_comparisons_show_references_base_and_ours(result: GenerationResult, tmp_path: Path) -> None:
    sheet, film = result.save_comparison(tmp_path / "out.gif")
    assert (sheet.name, film.name) == ("out-compare.png", "out-compare.mp4")
    with Image.open(sheet) as picture:
        assert picture.height > 5 * 128  # the reference, and base and ours of two seeds
    info = probe(film)
    assert info.frames == FRAMES
    assert info.height > 2 * 256
    assert info.width > 3 * 256


def test_an_adapter_is_left_as_it_was(pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo) -> None:
    other = toy_pipeline(seed=3)
    adapter.attach(other).set_scale(0.25)
    adapter.set_window(0.0, 0.5)
    adapter.set_references([reference], PROMPT)
    state, attached = adapter._held.state, adapter._attachments[0].base.pipe
    settings = QUICK.model_copy(update={"compare": True, "guidance": "both"})
    generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=7, settings=settings)
    assert adapter._held.state is state
    assert adapter._attachments[0].base.pipe is attached is other
    assert not pipe.unet._forward_pre_hooks
    adapter.detach()
    adapter._held = type(adapter._held)()


def test_a_second_thread_is_refused_and_the_first_one_s_video_is_right(
    pipe: Any, adapter: ActionAdapter, reference: ReferenceVideo, result: GenerationResult
) -> None:
    """The second asks while the first is in the middle of its denoising."""
    within, refused = threading.Event(), threading.Event()
    said: list[str] = []

    def second() -> None:
        assert within.wait(60)
        for given in ([reference], []):
            try:
                generate(PROMPT, given, base=pipe, adapter=adapter, seed=3, settings=QUICK)
            except InUse as error:
                said.append(str(error))
        with pytest.raises(InUse):
            pipe.unet(*toy_inputs(1))
        refused.set()

    def wait(*_: Any) -> None:
        within.set()
        assert refused.wait(60)

    other = threading.Thread(target=second, name="second")
    handle = pipe.unet.register_forward_hook(wait)
    other.start()
    try:
        made = generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=7, settings=QUICK)
    finally:
        handle.remove()
        other.join()
    assert len(said) == 2
    assert all("while thread MainThread generates with it; wait" in each for each in said)
    np.testing.assert_array_equal(made.videos[0], result.videos[0])
    assert not any(m._forward_pre_hooks or "forward" in m.__dict__ for m in pipe.unet.modules())
    again = generate(PROMPT, [reference], base=pipe, adapter=adapter, seed=7, settings=QUICK)
    np.testing.assert_array_equal(again.videos[0], result.videos[0])


def test_references_of_a_library_are_as_if_given(pipe: Any, adapter: ActionAdapter, tmp_path: Path) -> None:
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([good_folder(tmp_path / "videos")], quiet=True)
    prompt = "a woman juggling balls"
    ((_, reference),) = library.take(prompt).references
    made, given = (
        generate(prompt, each, base=pipe, adapter=adapter, settings=QUICK, library=place)
        for each, place in (((), tmp_path / "library"), ([reference], None))
    )
    np.testing.assert_array_equal(made.videos[0], given.videos[0])
    assert made.details()["library"]["results"][0]["caption"] == "juggling balls"
    named = generate(
        "a woman",
        base=pipe,
        adapter=adapter,
        settings=QUICK,
        library=library,
        references_wanted=2,
        action="kicking",
    )
    assert [each.caption for each in named.references] == ["woman kicking ball"]
    alone = generate("a woman", base=pipe, settings=QUICK, library=library)
    assert (alone.references, alone.adapter) == ((), None)
    with pytest.raises(EchoReelError, match="nothing to compare"):
        generate("a woman", base=pipe, library=library, settings=QUICK.model_copy(update={"compare": True}))
