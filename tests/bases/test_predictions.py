"""In training, a denoiser is told of a caption and a first frame what its pipeline tells it."""

import inspect
from typing import Any

import pytest
import torch
from einops import rearrange
from helpers.contract_calls import PROMPT, film
from helpers.toy_bases import TOYS
from helpers.toy_models import toy_adapter, toy_tokens
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.lookup import base_of

CHANNELS = 4  # of latents, before what a pipeline adds to them


def second_call(pipe: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps and prediction (B, C, T, h, w) of the pipeline's second step, unguided."""
    told: list[tuple[Tensor, Tensor]] = []
    made: list[Tensor] = []
    base = base_of(pipe)
    names = [*inspect.signature(type(base.denoiser).forward).parameters][1:]

    def before(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        given = dict(zip(names, args, strict=False)) | given
        told.append((given["hidden_states"].clone(), given["timestep"]))

    base.denoiser.register_forward_pre_hook(before, with_kwargs=True)
    base.denoiser.register_forward_hook(lambda _, __, output: made.append(output[0]))
    film(pipe, guidance_scale=1.0, num_inference_steps=2, **options)
    sample, timesteps = told[1]
    return sample, timesteps.flatten(1).amax(1) if timesteps.ndim > 1 else timesteps, made[1]


@pytest.mark.parametrize("name", ["Mochi", "Sana-Video", "Sana-Video I2V", "Kandinsky 5", "Kandinsky 5 I2V"])
def test_it_is_told_what_its_pipeline_tells_it(name: str) -> None:
    pipe = TOYS[name]()
    base, last = base_of(pipe), name.startswith("Kandinsky")
    for parameter_name, parameter in pipe.transformer.named_parameters():
        if last and parameter_name.endswith("_norm.weight"):
            torch.nn.init.ones_(parameter)  # small in the toy, so that positions would hardly count
    call = inspect.signature(type(pipe).__call__).parameters
    whole = {
        key: call[key].default for key in ("max_sequence_length", "complex_human_instruction") if key in call
    }
    sample, timesteps, made = second_call(pipe, **whole)
    if last:
        sample, made = (rearrange(x, "b t h w c -> b c t h w") for x in (sample, made))
    noisy = sample[:, :CHANNELS]
    if name == "Mochi":  # whose time runs from noise to the clip
        timesteps, made = 1000 - timesteps, -made
    with torch.no_grad():
        tokens = base.encode_captions([PROMPT])
        predicted = base.predict(base.denoiser, noisy, timesteps, tokens, base.condition(noisy))
    start = int(base.needs_image)
    assert_close(predicted[:, :, start:], made[:, :, start:])
    assert not predicted[:, :, :start].any()  # the clip's first frame is the noisy one's


@pytest.mark.parametrize("name", ["Mochi", "Kandinsky 5"])
def test_a_window_counts_steps_from_noise_on(name: str) -> None:
    pipe = TOYS[name]()
    adapter = toy_adapter(pipe).attach(pipe)
    adapter.set_tokens(toy_tokens(adapter))
    adapter.set_window(0.0, 0.5)
    gains: list[float] = []
    attachment = adapter._attachments[0]

    pipe.transformer.register_forward_hook(lambda *_: gains.append(attachment.call.gain.item()))
    film(pipe, guidance_scale=1.0, num_inference_steps=4)
    assert gains == [1, 1, 0, 0]
