"""LVDM's U-Net and pipeline, and the adapter in the paper's form on them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange, repeat
from helpers.toy_models import FRAMES, toy_inputs, toy_lvdm, toy_lvdm_pipeline
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.encoding import encode_captions, encode_video
from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.common.errors import AdapterMismatch, EchoReelError, SettingsError
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.adapter import ActionAdapter
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.integration import ActionTokens, FrameIntegration, FrameIntegrationSettings, Grid

PROMPT = "a man doing a cartwheel"


def paper_adapter(base: Any) -> ActionAdapter:
    """A small one of the preset `paper-lvdm`, with no layer zero."""
    config = ActionAdapter.for_base(base).config
    prism = DensePrismSettings(width=16, depth=1, heads=2, caption_width=16, latent_size=(8, 8))
    torch.manual_seed(0)
    adapter = ActionAdapter(
        **{name: config[name] for name in ("family", "sites", "latent_channels", "caption_width")},
        prism_config=prism.model_dump(mode="json"),
        integration_config=FrameIntegrationSettings(heads=2, reach=2).model_dump(mode="json"),
    )
    for integration in adapter.integrations.values():
        torch.nn.init.normal_(integration.attention.out.weight, std=0.3)
    return adapter.eval()


@torch.no_grad()
def test_any_resolution_and_length_and_rows_stay_apart() -> None:
    unet = toy_lvdm()
    for frames, height, width in ((1, 8, 8), (5, 7, 9), (3, 6, 13)):
        noisy, text = torch.randn(2, 4, frames, height, width), torch.randn(2, 5, 16)
        together = unet(noisy, torch.tensor([3, 700]), text).sample
        assert together.shape == noisy.shape
        for row, timestep in enumerate((3, 700)):
            alone = unet(noisy[row : row + 1], timestep, text[row : row + 1]).sample
            assert_close(together[row : row + 1], alone)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    unet, inputs = toy_lvdm(), toy_inputs(1)
    unet.save_pretrained(tmp_path)
    loaded = LVDMUNet.from_pretrained(tmp_path)
    with torch.no_grad():
        assert_close(loaded(*inputs).sample, unet(*inputs).sample)  # memory lies otherwise


def test_levels_that_do_not_match_are_refused() -> None:
    with pytest.raises(SettingsError, match="got 1 block_out_channels and 2 attention_levels"):
        LVDMUNet(block_out_channels=(8,), attention_levels=(True, True))


@pytest.mark.parametrize("order", ["t h w", "h w t"])
def test_frames_read_as_in_the_formula(order: str) -> None:
    """Shaw et al. 2018, Eq. 3 and 4, place by place, and rows of two sets in two groups."""
    torch.manual_seed(0)
    layer = FrameIntegration(8, 6, FrameIntegrationSettings(heads=2, reach=2))
    torch.nn.init.normal_(layer.attention.out.weight)
    tokens, hidden = torch.randn(2, 5, 6), torch.randn(4, 3, 2, 3, 8)  # b t h w c
    action = ActionTokens.of_references([tokens], [1.0], torch.zeros(1, 2))
    flat = rearrange(hidden, f"b t h w c -> b ({order}) c")
    found = layer(flat, layer.memory(action), Grid(3, 2, 3, order), groups=2)
    found = rearrange(found, f"b ({order}) c -> b t h w c", t=3, h=2, w=3)

    attention = layer.attention
    queries = rearrange(attention.query(layer.norm(hidden)), "b t h w (n d) -> b h w n t d", n=2)
    by_row = repeat(tokens, "b m a -> (g b) m a", g=2)  # rows 0, 1, 0, 1
    keys, values = (
        rearrange(part(by_row), "b m (n d) -> b 1 1 n m d", n=2) for part in (attention.key, attention.value)
    )
    want = torch.zeros_like(queries)
    for t in range(3):
        steps = torch.tensor([max(-2, min(2, m - t)) + 2 for m in range(5)])
        near = keys + attention.relative_keys[steps]
        weights = (queries[..., t : t + 1, :] * near).sum(-1).div(math.sqrt(4)).softmax(-1)
        want[..., t, :] = (weights.unsqueeze(-1) * (values + attention.relative_values[steps])).sum(-2)
    assert_close(found, attention.out(rearrange(want, "b h w n t d -> b t h w (n d)")))


@torch.no_grad()
def test_strengths_and_several_references() -> None:
    unet = toy_lvdm()
    adapter, inputs = paper_adapter(unet), toy_inputs(1)
    adapter.attach(unet)
    first, second = (adapter.encode(torch.randn(1, 4, 3, 8, 8), torch.randn(1, 5, 16)) for _ in range(2))

    def read(*args: Any) -> Tensor:
        adapter.set_tokens(*args)
        return unet(*inputs).sample

    alone = read(first)
    assert_close(read([first, first]), alone)
    assert_close(read([first, second], [1.0, 1e-300]), alone)
    assert not torch.allclose(read([first, second]), alone)
    assert not torch.allclose(read([first], [0.5]), alone)


def test_another_resolution_than_the_weights_is_refused() -> None:
    adapter = paper_adapter(toy_lvdm())
    with pytest.raises(AdapterMismatch, match="got reference latents of 6 x 8 places, need 8 x 8"):
        adapter.encode(torch.randn(1, 4, 3, 6, 8))


def test_the_preset_is_of_the_released_sizes() -> None:
    with torch.device("meta"):
        unet = LVDMUNet()
        adapter = ActionAdapter.for_base(unet, preset="paper-lvdm")
    count = {name: sum(p.numel() for p in m.parameters()) for name, m in adapter.named_children()}
    assert 0.958e9 < sum(p.numel() for p in unet.parameters()) < 0.960e9
    assert 0.48e9 < count["prism"] < 0.50e9
    assert 0.126e9 < count["integrations"] < 0.128e9
    assert adapter.prism.token_width == 4096


def test_each_branch_of_guidance_reads_what_its_own_prompt_made_of_the_reference() -> None:
    pipe = toy_lvdm_pipeline()
    adapter = paper_adapter(pipe).attach(pipe)
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    reference, negative = ReferenceVideo(frames, caption="a woman dancing"), "a park"
    adapter.set_references([reference], PROMPT, negative_prompt=negative)
    start = torch.randn(1, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"num_inference_steps": 1, "eta": 0.0, "guidance_scale": 3.0, "output_type": "latent"}
    got = pipe(PROMPT, negative_prompt=negative, latents=start, **options).frames

    shown, noises = encode_captions(pipe, [reference.caption]), []
    adapter.attach(pipe.unet)
    for text in (encode_captions(pipe, [negative]), encode_captions(pipe, [PROMPT])):
        with torch.no_grad():
            adapter.set_tokens(adapter.encode(encode_video(pipe, frames), shown, text))
            noises.append(pipe.unet(start, pipe.scheduler.timesteps[0], text).sample)
    noise = noises[0] + 3.0 * (noises[1] - noises[0])
    want = pipe.scheduler.step(noise, pipe.scheduler.timesteps[0], start, eta=0.0).prev_sample
    assert_close(got, want)


def test_the_pipeline_takes_what_diffusers_pipelines_take() -> None:
    pipe = toy_lvdm_pipeline()
    steps: list[int] = []

    def on_step_end(_: Any, index: int, __: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(index)
        return tensors

    frames = pipe(
        [PROMPT, "a woman dancing"],
        height=24,
        width=40,
        num_frames=3,
        num_inference_steps=2,
        num_videos_per_prompt=2,
        negative_prompt="a park",
        generator=[torch.Generator().manual_seed(seed) for seed in range(4)],
        callback_on_step_end=on_step_end,
    ).frames
    assert frames.shape == (4, 3, 24, 40, 3)
    assert 0 <= frames.min() < frames.max() <= 1
    assert steps == [0, 1]


def test_embeds_stand_for_prompts_and_eta_is_chance() -> None:
    pipe = toy_lvdm_pipeline()
    positive, negative = pipe.encode_prompt(PROMPT, pipe.device)

    def film(**options: Any) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        arguments = {"num_frames": FRAMES, "num_inference_steps": 2, "output_type": "latent"} | options
        return pipe(generator=generator, **arguments).frames

    want = film(prompt=PROMPT)
    assert torch.equal(film(prompt_embeds=positive, negative_prompt_embeds=negative), want)
    assert not torch.allclose(film(prompt=PROMPT, eta=0.0), want)
    assert not torch.allclose(film(prompt=PROMPT, guidance_scale=1.0), want)


def test_what_the_pipeline_cannot_use_is_told() -> None:
    pipe = toy_lvdm_pipeline()
    with pytest.raises(EchoReelError, match="got 30 x 32 pixels, need multiples of 4"):
        pipe(PROMPT, height=30)
    with pytest.raises(EchoReelError, match="need one of them"):
        pipe()
    with pytest.raises(EchoReelError, match="got 2 negative prompts for 1 prompts"):
        pipe(PROMPT, negative_prompt=["a", "b"])
