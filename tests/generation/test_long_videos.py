"""Videos longer than a base makes at once: which frames are made together, what they read, and going on."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.make_videos import counting
from helpers.toy_bases import TOYS
from helpers.toy_models import FRAMES, toy_pipeline

from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch, EchoReelError
from echoreel.generation.generate import generate
from echoreel.generation.progress import Progress
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.generation.windows import Plan, plan_of
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.adapter import ActionAdapter

PROMPT = "a man doing a cartwheel"
FILMED = {"height": 64, "width": 64, "num_frames": 13, "steps": 2}  # 4 latent frames
DRAWN = {"height": 32, "width": 32, "num_frames": FRAMES, "steps": 2}
IMAGE = counting(1, 64, 64)[0]


def alive(pipe: Any) -> ActionAdapter:
    """An adapter that does something."""
    torch.manual_seed(0)
    adapter = ActionAdapter.for_base(pipe).eval()
    for parameter in adapter.integrations.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return adapter


def reference_of(numbers: list[int], fps: float, **more: Any) -> ReferenceVideo:
    """Frames of these shades of grey, in a square that moves."""
    frames = np.zeros((len(numbers), 32, 32, 3), np.uint8)
    for place, number in enumerate(numbers):
        frames[place, 4 * (place % 6) : 4 * (place % 6) + 8, 8:24] = number
    return ReferenceVideo(frames, fps=fps, caption="a man", **{"align": "start", **more})


def plan(name: str, **settings: Any) -> Plan:
    base = base_of(TOYS[name]())
    return plan_of(base, resolved(base, GenerationSettings(**settings)))


def test_the_windows_of_each_way() -> None:
    assert plan("AnimateDiff", num_frames=4, seconds=1).windows == ((0, 4), (2, 6), (4, 8))
    assert plan("AnimateDiff", num_frames=4, seconds=9 / 8).windows == ((0, 4), (2, 6), (4, 8), (5, 9))
    going_on = plan("Wan 2.1 I2V", num_frames=13, seconds=2)  # at 16 a second
    assert (going_on.way, going_on.video.frames) == ("continued", 32)
    assert going_on.windows == ((0, 13), (12, 25), (24, 37))
    forced = plan("SkyReels V2 DF", num_frames=13, seconds=1)  # at 24 a second, one latent frame is shared
    assert (forced.way, forced.shared) == ("diffusion forcing", 1)
    assert forced.windows == ((0, 13), (12, 25))
    assert plan("Wan 2.1 I2V", num_frames=80, seconds=10).windows[1] == (76, 153)  # 80 frames it cannot make
    short = plan("AnimateDiff", num_frames=16, seconds=1)
    assert (short.way, short.windows, short.lines()) == ("at once", ((0, 8),), [])
    assert plan("SVD", seconds=2).windows == ((0, 4), (3, 7), (6, 10), (9, 13), (12, 16))  # its own 4 frames


@pytest.mark.parametrize("name", ["Wan 2.1", "LTX", "VideoCrafter I2V", "ModelScope"])
def test_a_base_that_cannot_go_on_says_so(name: str) -> None:
    with pytest.raises(EchoReelError, match="at once and cannot go on from there; ask for less"):
        plan(name, num_frames=9, seconds=20)


def keep(outputs: list[torch.Tensor], module: Any, args: Any, output: torch.Tensor) -> None:
    outputs.append(output)


def test_each_frame_of_a_long_video_reads_its_own_part_of_the_reference() -> None:
    """The second half of a reference changes, and only windows that read it do."""
    pipe = toy_pipeline()
    base, adapter = base_of(pipe), alive(pipe)
    shades = [60, 90, 120, 150, 180, 210, 240, 255, 200, 160, 120, 80]
    other = [*shades[:8], 10, 200, 30, 220]
    seen = []
    path = next(iter(adapter.config["sites"]))
    for numbers in (shades, other):
        adapter.attach(base)
        windows = ((0, 4), (4, 8), (8, 12))
        parts = [[reference_of(numbers[first:last], 8.0, align="stretch")] for first, last in windows]
        made = adapter.window_set(windows, parts, PROMPT, (32, 32))
        outputs: list[torch.Tensor] = []
        with adapter.reading(references=made):
            site = base.denoiser.get_submodule(path)
            handle = site.register_forward_hook(partial(keep, outputs))
            latents = torch.randn(1, 4, 12, 8, 8, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                captions = base.encode_captions([PROMPT])
                base.predict(base.denoiser, latents, torch.tensor([500]), captions, {})
                assert made is not None
                with pytest.raises(AdapterMismatch, match="got 4 frames for references that were set for"):
                    base.predict(base.denoiser, latents[:, :, :4], torch.tensor([500]), captions, {})
            handle.remove()
        seen.append(outputs[0])
        adapter.detach()
    same = [torch.equal(one, two) for one, two in zip(*seen, strict=True)]
    assert same == [True] * 8 + [False] * 4


def test_a_window_alone_is_a_short_video() -> None:
    pipe = toy_pipeline()
    adapter = alive(pipe).attach(pipe)
    reference = reference_of([60, 120, 180, 240], 8.0, align="stretch")
    base, found = base_of(pipe), []
    latents = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for made in (
        adapter.window_set([(0, 4)], [[reference]], PROMPT, (32, 32)),
        adapter.reference_set([[reference]], [PROMPT], (32, 32)),
        None,
    ):
        with adapter.reading(references=made), torch.no_grad():
            captions = base.encode_captions([PROMPT])
            found.append(base.predict(base.denoiser, latents, torch.tensor([500]), captions, {}))
    adapter.detach()
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2])
    assert adapter.attach(pipe).window_set([(0, 4), (2, 6)], [[], []], PROMPT, (32, 32)) is None
    adapter.detach()


def test_free_noise_makes_a_long_video_and_leaves_the_base_as_it_was() -> None:
    pipe = toy_pipeline()
    adapter = alive(pipe)
    blocks = [id(each) for each in pipe.unet.modules()]
    reference = reference_of([40 * number % 256 for number in range(12)], 8.0)
    before = generate(PROMPT, base=pipe, **DRAWN).videos[0]
    result = generate(PROMPT, reference, base=pipe, adapter=adapter, **DRAWN, seconds=1.5, compare=True)
    assert result.videos[0].shape == (12, 32, 32, 3)
    assert not np.array_equal(result.videos[0], result.base_videos[0])
    assert result.windows == ((0, 4), (2, 6), (4, 8), (6, 10), (8, 12))
    assert "in 5 windows" in result.summary()
    assert (result.settings.seconds, result.settings.num_frames) == (1.5, FRAMES)
    assert [id(each) for each in pipe.unet.modules()] == blocks
    assert pipe.motion_adapter is None
    assert not pipe.free_noise_enabled
    assert np.array_equal(generate(PROMPT, base=pipe, **DRAWN).videos[0], before)


def test_a_forced_video_reads_a_part_in_each_window() -> None:
    pipe = TOYS["SkyReels V2 DF"]()
    adapter = alive(pipe)
    shades = [(37 * number) % 256 for number in range(25)]
    told: list[Progress] = []

    def made(numbers: list[int]) -> np.ndarray[Any, Any]:
        reference = reference_of(numbers, 24.0)
        options = FILMED | {"seconds": 1.0}
        result = generate(
            PROMPT, reference, base=pipe, adapter=adapter, guidance_scale=1, progress=told.append, **options
        )
        assert result.windows == ((0, 13), (12, 25))
        return result.videos[0]

    one, two = made(shades), made([*shades[:14], *[255 - shade for shade in shades[14:]]])
    assert one.shape == (24, 64, 64, 3)
    assert np.array_equal(one[:9], two[:9])  # the decoder looks a little ahead
    assert not np.array_equal(one[16:], two[16:])
    assert [each.step for each in told[:4]] == [1, 2, 3, 4]
    assert {each.steps for each in told} == {4}
    assert "progress_bar" not in vars(pipe)


def going_on(pipe: Any, adapter: ActionAdapter, **more: Any) -> Any:
    reference = reference_of([(37 * number) % 256 for number in range(32)], 16.0)
    options = FILMED | {"seconds": 2.0, "image": IMAGE, "guidance_scale": 1} | more
    return generate(PROMPT, reference, base=pipe, adapter=adapter, **options)


class Killed(Exception):
    """Somebody ends the work."""


def killed_at(step: int) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return tell


def test_an_image_to_video_base_goes_on_and_resumes(tmp_path: Path) -> None:
    pipe = TOYS["Wan 2.1 I2V"]()
    adapter = alive(pipe)
    whole = going_on(pipe, adapter)
    assert whole.videos[0].shape == (32, 64, 64, 3)
    assert whole.windows == ((0, 13), (12, 25), (24, 37))
    folder, told = tmp_path / "windows", []
    with pytest.raises(Killed):
        going_on(
            pipe, adapter, windows_folder=folder, progress=killed_at(3)
        )  # in the second of three windows
    (kept,) = folder.glob("*/*.npy")
    assert kept.name == "window-1-of-3.npy"
    resumed = going_on(pipe, adapter, windows_folder=folder, progress=told.append)
    assert [each.step for each in told] == [3, 4, 5, 6]
    assert np.array_equal(resumed.videos[0], whole.videos[0])
    other = going_on(pipe, adapter, windows_folder=folder, seed=1)  # nothing of seed 0 is taken for it
    assert not np.array_equal(other.videos[0], whole.videos[0])
    assert len([*folder.glob("*/*.npy")]) == 6
    (folder / "mine.txt").write_text("of a user")
    resumed.save(tmp_path / "a.mp4")
    other.save(tmp_path / "b.mp4")
    assert [*folder.iterdir()] == [folder / "mine.txt"]
    short = generate(
        PROMPT, base=pipe, image=IMAGE, guidance_scale=1, **FILMED
    )  # the first window is the short video of the seed
    long = generate(PROMPT, base=pipe, image=IMAGE, guidance_scale=1, **FILMED, seconds=1.0)
    assert np.array_equal(long.videos[0][:13], short.videos[0])


def test_a_reference_in_a_loop_or_over_early() -> None:
    pipe = toy_pipeline()
    adapter = alive(pipe)
    once = reference_of([60, 120], 8.0)
    acts = generate(PROMPT, once, base=pipe, adapter=adapter, **DRAWN, compare=True)
    assert not np.array_equal(acts.videos[0], acts.base_videos[0])
    loop = generate(PROMPT, replace(once, align="loop"), base=pipe, adapter=adapter, **DRAWN)
    twice = replace(once, frames=np.concatenate([once.frames] * 2), timestamps=np.arange(4) / 8)
    looped = generate(PROMPT, twice, base=pipe, adapter=adapter, **DRAWN)
    assert np.array_equal(loop.videos[0], looped.videos[0])
    assert not np.array_equal(loop.videos[0], acts.videos[0])
