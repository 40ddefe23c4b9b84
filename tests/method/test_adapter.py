"""ActionAdapter: references, settings, what fits what; the contract is in bases/test_contract.py."""

import contextlib
import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline
from einops import repeat
from helpers.toy_models import FRAMES, toy_adapter, toy_inputs, toy_pipeline, toy_tokens, toy_unet
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.encoding import encode_captions, encode_video
from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch, BaseUnsupported, SettingsError
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.adapter import ActionAdapter
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.integration import ActionTokens, FrameIntegrationSettings, IntegrationSettings, presence
from echoreel.method.networks import PRESETS

PROMPT = "a man doing a cartwheel"
CONFIG = ("family", "sites", "latent_channels", "caption_width", "prism_config", "integration_config")


@pytest.fixture(scope="module")
def pipe() -> AnimateDiffPipeline:
    return toy_pipeline()


@pytest.fixture
def adapter(pipe: AnimateDiffPipeline) -> Any:
    adapter = toy_adapter(pipe).attach(pipe)
    yield adapter
    adapter.detach()


def video(seed: int = 0, frames: int = 5, height: int = 48, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def denoised(adapter: ActionAdapter, rows: int = 1) -> Tensor:
    with torch.no_grad():
        return base_of(adapter.denoisers[0]).predict(adapter.denoisers[0], *toy_inputs(rows), {})


def test_references_are_encoded_with_prompt_and_caption(
    pipe: AnimateDiffPipeline, adapter: ActionAdapter
) -> None:
    square = video(height=32, width=32)
    adapter.set_references([ReferenceVideo(square, caption="a woman dancing")], prompt=PROMPT)
    got = denoised(adapter)
    asked, shown = encode_captions(pipe, [PROMPT]), encode_captions(pipe, ["a woman dancing"])
    with torch.no_grad():
        adapter.set_tokens(adapter.encode(encode_video(pipe, square), shown, asked))
    assert torch.equal(denoised(adapter), got)


def test_frames_of_any_size_are_cropped_to_the_bases_own_or_the_asked_size(adapter: ActionAdapter) -> None:
    shapes = []
    handle = adapter.prism.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape)))
    reference = ReferenceVideo(video(frames=7, height=90, width=60))
    adapter.set_references([reference], prompt=PROMPT)
    adapter.set_references([reference], prompt=[PROMPT, PROMPT], size=(16, 24))
    handle.remove()
    assert shapes == [(1, 4, 7, 8, 8), (2, 4, 7, 4, 6)]


def test_several_references_of_different_lengths_and_strengths(adapter: ActionAdapter) -> None:
    first, second = ReferenceVideo(video(0)), ReferenceVideo(video(1, frames=9), strength=0.0)
    adapter.set_references([first], prompt=PROMPT)
    alone = denoised(adapter)
    adapter.set_references([first, second], prompt=PROMPT)
    assert torch.equal(denoised(adapter), alone)
    adapter.set_references([first, ReferenceVideo(video(1, frames=9), strength=0.5)], prompt=PROMPT)
    assert not torch.allclose(denoised(adapter), alone)
    adapter.set_references([], prompt=PROMPT)
    nothing = denoised(adapter)
    adapter.detach()
    base = toy_pipeline()
    assert torch.equal(base_of(base).predict(base.unet, *toy_inputs(1), {}), nothing)


def test_a_reference_twice_is_the_reference_once(adapter: ActionAdapter) -> None:
    tokens = toy_tokens(adapter)
    adapter.set_tokens(tokens)
    once = denoised(adapter)
    adapter.set_tokens([tokens, tokens])
    assert_close(denoised(adapter), once, atol=1e-4, rtol=1e-4)


def test_a_vanishing_strength_is_a_reference_left_out(adapter: ActionAdapter) -> None:
    tokens = [toy_tokens(adapter), toy_tokens(adapter, frames=6, seed=1)]
    adapter.set_tokens(tokens[0])
    alone = denoised(adapter)
    adapter.set_tokens(tokens, strengths=[1.0, 1e-300])
    assert_close(denoised(adapter), alone, atol=1e-4, rtol=1e-4)
    adapter.set_tokens(tokens, strengths=[2.0, 0.0])
    twice = denoised(adapter)
    assert not torch.allclose(twice, alone)
    adapter.set_tokens(tokens[0])
    adapter.set_scale(2)
    assert_close(denoised(adapter), twice)


def site_changes(adapter: ActionAdapter, tokens: list[Tensor], during: list[tuple[float, float]]) -> Tensor:
    """What the first site's output gains in each frame: (T, C, h, w)."""
    site, seen = adapter.layers(), []
    path = next(iter(site))
    handle = (
        adapter.denoisers[0]
        .get_submodule(path)
        .register_forward_hook(lambda module, args, output: seen.append(output))
    )
    for given in ([], tokens):
        adapter.set_tokens(given, during=during if given else None)
        denoised(adapter)
    handle.remove()
    return seen[1] - seen[0]


def test_a_reference_acts_in_its_part_of_the_video(adapter: ActionAdapter) -> None:
    one, other = toy_tokens(adapter), toy_tokens(adapter, seed=1)
    adapter.set_tokens(one)
    whole = denoised(adapter)
    adapter.set_tokens(one, during=[(0, 1)])
    assert torch.equal(denoised(adapter), whole)

    first = site_changes(adapter, [one], [(0, 0.5)])
    assert (first[: FRAMES // 2].abs().amax((1, 2, 3)) > 0).all()
    assert torch.equal(first[FRAMES // 2 :], torch.zeros_like(first[FRAMES // 2 :]))

    both = site_changes(adapter, [one, other], [(0, 0.5), (0.5, 1)])
    swapped = site_changes(adapter, [other, one], [(0, 0.5), (0.5, 1)])
    assert (both.abs().amax((1, 2, 3)) > 0).all()
    assert not torch.allclose(both[0], swapped[0])


def test_parts_fade_at_their_edges_and_together_are_whole() -> None:
    action = ActionTokens.of_references(
        [torch.zeros(1, 2, 3)] * 2, [1.0, 1.0], torch.zeros(1, 2), [(0, 0.5), (0.5, 1)]
    )
    assert_close(action.places[:, 0], torch.tensor([-0.375, -0.125, 0.125, 0.375]))
    times = torch.linspace(-0.5, 0.5, 33)
    assert_close(presence(action.during, times), torch.ones(33))
    alone = ActionTokens.of_references([torch.zeros(1, 2, 3)], [1.0], torch.zeros(1, 2), [(0.25, 0.5)])
    shares = presence(alone.during, torch.tensor([-0.5, -0.25, -0.1, 0.0, 0.03125, 0.5]))
    assert_close(shares, torch.tensor([0.0, 0.5, 1.0, 0.5, 0.25, 0.0]))


def test_the_paper_s_form_knows_no_parts(pipe: AnimateDiffPipeline) -> None:
    settings = FrameIntegrationSettings(heads=2).model_dump()
    paper = ActionAdapter(**(toy_adapter(pipe).config | {"integration_config": settings})).attach(pipe)
    with pytest.raises(AdapterMismatch, match="knows no parts"):
        paper.set_tokens(toy_tokens(paper), during=[(0, 0.5)])
    paper.set_tokens(toy_tokens(paper), during=[(0, 1)])
    paper.detach()


def test_scale_is_what_is_multiplied(adapter: ActionAdapter) -> None:
    adapter.set_tokens(toy_tokens(adapter))
    once = denoised(adapter)
    adapter.set_scale(0.5)
    assert not torch.allclose(denoised(adapter), once)
    adapter.set_scale(1)
    assert torch.equal(denoised(adapter), once)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_a_window_of_steps(pipe: AnimateDiffPipeline, adapter: ActionAdapter, guidance_scale: float) -> None:
    """Active in the steps of the window only: compare each step's latents with the two extremes'."""

    def steps() -> list[Tensor]:
        seen: list[Tensor] = []

        def keep(_: Any, __: int, ___: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
            seen.append(values["latents"].clone())
            return values

        pipe(
            PROMPT,
            num_frames=FRAMES,
            num_inference_steps=4,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            callback_on_step_end=keep,
        )
        return seen

    base = steps()
    adapter.set_tokens(toy_tokens(adapter))
    acting = steps()
    adapter.set_window(0.0, 0.5)
    early = steps()
    assert torch.equal(early[1], acting[1])
    assert not torch.allclose(early[2], acting[2])
    adapter.set_window(0.5, 1.0)
    late = steps()
    assert torch.equal(late[1], base[1])
    assert not torch.allclose(late[2], base[2])
    adapter.set_window()
    assert torch.equal(steps()[-1], acting[-1])


def test_wrong_settings_are_refused(adapter: ActionAdapter) -> None:
    for wrong in (
        lambda: adapter.set_window(0.5, 0.5),
        lambda: adapter.set_window(-0.1, 1),
        lambda: adapter.set_guidance("negative"),
        lambda: adapter.set_scale(float("nan")),
        lambda: adapter.set_scale(-1),
        lambda: adapter.set_scale(100),
        lambda: ActionAdapter.for_base(toy_unet(), preset="tiny"),
    ):
        with pytest.raises(SettingsError, match=r"got .*, need"):
            wrong()
    for tokens, strengths in (
        (torch.zeros(1, 5, 8), None),
        (torch.zeros(1, 4, 9), None),
        (torch.zeros(4, 8), None),
        ([torch.zeros(1, 4, 8), torch.zeros(2, 4, 8)], None),
        (torch.zeros(1, 4, 8), [1.0, 1.0]),
        (torch.zeros(1, 4, 8), [-1.0]),
        (torch.zeros(1, 4, 8), [float("nan")]),
    ):
        with pytest.raises(AdapterMismatch, match=r"got .*, need"):
            adapter.set_tokens(tokens, strengths)


def test_a_bare_denoiser_takes_tokens_but_no_references_and_no_window() -> None:
    unet = toy_unet()
    adapter = toy_adapter(unet)
    with pytest.raises(AdapterMismatch, match="not attached to a pipeline"):
        adapter.set_references([ReferenceVideo(video())], prompt=PROMPT)
    adapter.attach(unet).set_tokens(toy_tokens(adapter))
    with pytest.raises(AdapterMismatch, match="not attached to a pipeline"):
        adapter.set_references([ReferenceVideo(video())], prompt=PROMPT)
    adapter.set_window(0, 0.5)
    with pytest.raises(AdapterMismatch, match="without scheduler"):
        denoised(adapter)


def test_what_does_not_fit_is_refused(adapter: ActionAdapter) -> None:
    config = dict(adapter.config)
    sites = dict(config["sites"])
    other = {next(iter(sites)): 99}
    kept = {name: config[name] for name in CONFIG}
    for changed, message in (
        ({"family": "Wan"}, "need Wan"),
        ({"sites": sites | other}, "with width 8 at .*, need 99"),
        ({"latent_channels": 16}, "need 16 and 16"),
        ({"caption_width": 99}, "need 4 and 99"),
    ):
        wrong = ActionAdapter(**(kept | changed))
        with pytest.raises(AdapterMismatch, match=message):
            wrong.attach(toy_unet())
    for base in (object(), torch.nn.Linear(2, 2)):
        with pytest.raises(BaseUnsupported, match="need a diffusers pipeline or denoiser"):
            adapter.attach(base)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_make_adapters_that_save_and_load(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = toy_unet()
    prism = DensePrismSettings(width=16, depth=1, heads=2, caption_width=16)  # instead of half a billion
    monkeypatch.setitem(PRESETS, "paper-lvdm", (prism, PRESETS["paper-lvdm"][1]))
    with torch.device("meta" if preset == "paper" else "cpu"):
        adapter = ActionAdapter.for_base(unet, preset)
    if preset == "paper":
        assert sum(p.numel() for p in adapter.prism.parameters()) > 400e6
        return
    adapter.save_pretrained(tmp_path)
    loaded = ActionAdapter.from_pretrained(tmp_path)
    mine, theirs = ({key: config[key] for key in CONFIG} for config in (adapter.config, loaded.config))
    assert json.loads(json.dumps(mine)) == theirs
    for name, tensor in adapter.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    adapter.attach(unet).set_tokens(toy_tokens(adapter))
    assert denoised(adapter).isfinite().all()


def test_settings_of_prism_and_integration_replace_the_presets() -> None:
    prism, integration = CompactPrismSettings(width=16, heads=2, slots=3), IntegrationSettings(inner_width=16)
    adapter = ActionAdapter.for_base(toy_unet(), prism=prism, integration=integration)
    assert adapter.prism.slots_per_frame == 3
    assert adapter.config["prism_config"]["width"] == 16
    assert adapter.config["integration_config"]["feed_forward"] is None  # the preset's is 96


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precisions(dtype: torch.dtype) -> None:
    """Base and adapter, or the base alone; near what float32 says."""
    pipe = toy_pipeline()
    adapter = toy_adapter(pipe).attach(pipe)
    tokens = toy_tokens(adapter)
    adapter.set_tokens(tokens)
    want, bare = denoised(adapter), toy_inputs(1)
    pipe.unet.to(dtype)

    def low() -> Tensor:
        with torch.no_grad():
            return base_of(pipe).predict(pipe.unet, bare[0].to(dtype), bare[1], bare[2].to(dtype), {}).float()

    assert (low() - want).abs().mean() < 0.05 * want.abs().mean()
    adapter.to(dtype)
    adapter.set_tokens(tokens)
    assert (low() - want).abs().mean() < 0.05 * want.abs().mean()


def test_a_copy_is_detached(pipe: AnimateDiffPipeline, adapter: ActionAdapter) -> None:
    adapter.set_tokens(toy_tokens(adapter))
    want = denoised(adapter)
    for made in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert made._attachments == ()
        adapter.detach()
        made.attach(pipe).set_tokens(toy_tokens(made))
        assert torch.equal(denoised(made), want)
        made.detach()
        adapter.attach(pipe)
    assert torch.equal(denoised(adapter), want)


def test_two_adapters_at_once_add_up_and_leave_in_any_order(pipe: AnimateDiffPipeline) -> None:
    first, second = toy_adapter(pipe, seed=1), toy_adapter(pipe, seed=2)
    first.attach(pipe).set_tokens(toy_tokens(first))
    alone = denoised(first)
    second.attach(pipe).set_tokens(toy_tokens(second))
    assert not torch.allclose(denoised(first), alone)
    first.detach()
    first.attach(pipe)
    second.detach()
    assert torch.equal(denoised(first), alone)
    first.detach()


def test_longer_references_and_other_resolutions_of_the_base(adapter: ActionAdapter) -> None:
    adapter.set_tokens(toy_tokens(adapter, frames=11))
    noisy = torch.randn(1, 4, 6, 7, 10)
    captions = repeat(toy_inputs(1)[2], "1 l d -> t l d", t=6)
    unet = adapter._attachments[0].base.denoiser
    with torch.no_grad():
        acting = unet(noisy, 5, captions).sample
        adapter.clear_references()
        assert not torch.allclose(unet(noisy, 5, captions).sample, acting)


def test_reading_leaves_everything_as_it_was(adapter: ActionAdapter, pipe: AnimateDiffPipeline) -> None:
    other = toy_pipeline(seed=1)
    adapter.set_scale(0.5)
    adapter.set_tokens(toy_tokens(adapter))
    want, reference = denoised(adapter), ReferenceVideo(video(3))
    with contextlib.suppress(SettingsError), adapter.reading(other, [reference], PROMPT):
        assert adapter._attachments[0].denoiser is other.unet
        adapter.set_window(0.0, 0.5)
        adapter.set_guidance("both")
        adapter.set_scale(math.nan)
    assert adapter._attachments[0].denoiser is pipe.unet
    assert not other.unet._forward_pre_hooks
    assert torch.equal(denoised(adapter), want)
    with adapter.reading(references=[reference], prompt=PROMPT):
        acting = denoised(adapter)
    adapter.set_references([reference], PROMPT)
    assert torch.equal(denoised(adapter), acting)
    adapter.detach()
    with adapter.reading(pipe, [reference], PROMPT):
        assert adapter._attachments
    assert adapter._attachments == ()


def test_inference_mode_is_as_no_gradients(pipe: AnimateDiffPipeline) -> None:
    adapter = toy_adapter(pipe)
    tokens = toy_tokens(adapter)
    adapter.attach(pipe).set_tokens(tokens)
    want = denoised(adapter)
    adapter.detach()
    with torch.inference_mode():
        fresh = toy_adapter(pipe)  # its parameters are inference tensors
        for each in (fresh, adapter):
            each.attach(pipe).set_tokens(tokens.clone())
            assert torch.equal(base_of(pipe).predict(pipe.unet, *toy_inputs(1), {}), want)
            each.detach()
        adapter.attach(pipe)
    assert torch.equal(denoised(adapter), want)
    base_of(pipe).predict(pipe.unet, *toy_inputs(1), {}).mean().backward()  # and gradients flow outside
    assert any(p.grad is not None for p in adapter.integrations.parameters())
    adapter.detach()


def test_the_adapter_goes_where_the_base_is_moved() -> None:
    """Device "meta" stands for an accelerator."""
    pipe = toy_pipeline()
    adapter = toy_adapter(pipe).attach(pipe)
    adapter.set_tokens(toy_tokens(adapter))
    pipe.unet.to("meta")
    with torch.no_grad():
        made = base_of(pipe).predict(pipe.unet, *(x.to("meta") for x in toy_inputs(1)), {})
    assert made.device.type == "meta"
    assert adapter._held.state.gain.device.type == "meta"


def test_an_adapter_in_another_precision_reads_the_tokens_that_it_has(adapter: ActionAdapter) -> None:
    adapter.set_tokens(toy_tokens(adapter))
    want = denoised(adapter)
    adapter.to(torch.bfloat16)
    assert (denoised(adapter) - want).abs().mean() < 0.05 * want.abs().mean()
