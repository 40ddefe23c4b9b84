"""Kandinsky 5: which of its two calls reads, and captions without padding."""

from typing import Any

import pytest
import torch
from helpers.contract_calls import film, predict
from helpers.toy_kandinsky5 import toy_kandinsky
from helpers.toy_models import toy_adapter, toy_inputs, toy_tokens
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.kandinsky5 import without_padding
from echoreel.common.errors import BaseUnsupported


@pytest.mark.parametrize("guidance", ["positive", "both"])
def test_the_call_for_the_negative_prompt_is_known(guidance: Any) -> None:
    """Its pipeline says of neither call which it is."""
    pipe = toy_kandinsky()
    adapter = toy_adapter(pipe).attach(pipe)
    adapter.set_guidance(guidance)
    made: list[Tensor] = []
    pipe.transformer.register_forward_hook(lambda _, __, output: made.append(output.sample))
    for tokens in ([], toy_tokens(adapter)):
        adapter.set_tokens(tokens)
        film(pipe, guidance_scale=5.0, num_inference_steps=1)
    positive, negative, reading, unread = made
    assert not torch.allclose(reading, positive)
    assert torch.equal(unread, negative) == (guidance == "positive")


def test_sparse_attention_is_refused() -> None:
    pipe = toy_kandinsky()
    pipe.transformer.register_to_config(attention_type="nabla")
    with pytest.raises(BaseUnsupported, match="with nabla attention, whose tokens are in blocks"):
        toy_adapter(pipe)


def test_padding_is_read_by_none() -> None:
    """A caption says the same beside a longer one; to the denoiser, zeros are tokens as others."""
    tokens = torch.zeros(2, 9, 3)
    tokens[0, :6], tokens[1, :3] = torch.randn(6, 3), torch.randn(3, 3)
    found, places = without_padding(tokens)
    assert torch.equal(found, torch.stack([tokens[0, :6], tokens[1, [0, 0, 1, 1, 2, 2]]]))
    assert places.tolist() == [[*range(6)], [0, 0, 1, 1, 2, 2]]
    assert without_padding(tokens[1:])[1].tolist() == [0, 1, 2]

    pipe = toy_kandinsky()
    noisy, timesteps, captions = toy_inputs(2)
    captions[1, 7:-1] = captions[0, 14:-1] = 0  # 7 tokens beside 14
    together = predict(pipe, (noisy, timesteps, captions))
    alone = predict(pipe, (noisy[1:], timesteps[1:], captions[1:]))
    assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)
