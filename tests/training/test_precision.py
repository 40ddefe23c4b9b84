"""Training's attention on a CPU: torch's own by other kernels, with masks left alone."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from echoreel.training.loop import seeded
from echoreel.training.precision import LONG, CPUAttention, computes_in_bf16, fast_kernels


def tensors(queries: int, keys: int) -> list[torch.Tensor]:
    generator = seeded(0)
    sizes = (queries, keys, keys)
    return [torch.randn(2, 3, n, 8, generator=generator).requires_grad_() for n in sizes]


@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (64, 5), (LONG // 128 + 1, 128)])
def test_attention_and_its_gradient_are_torchs(queries: int, keys: int, scale: float | None) -> None:
    results = []
    for mode in (False, True):
        inputs = tensors(queries, keys)
        if mode:
            with CPUAttention():
                found = F.scaled_dot_product_attention(*inputs, scale=scale)
        else:
            found = F.scaled_dot_product_attention(*inputs, scale=scale)
        found.square().sum().backward()
        results.append([found, *(each.grad for each in inputs)])
    assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_masks_are_kept() -> None:
    query, key, value = tensors(6, 6)
    mask = torch.ones(6, 6).tril().bool()
    with CPUAttention():
        causal = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        masked = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert_close(causal, expected)
    assert_close(masked, expected)


@pytest.mark.parametrize("emulated", [False, True])
def test_bfloat16_is_used_where_it_has_instructions(monkeypatch: pytest.MonkeyPatch, emulated: bool) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("echoreel.training.precision.computes_in_bf16", lambda _: not emulated)
    x = torch.randn(4, 4)
    with fast_kernels(cpu, "bf16"):
        assert (x @ x).dtype == (torch.float32 if emulated else torch.bfloat16)
    with fast_kernels(cpu, "fp32"):
        assert (x @ x).dtype == torch.float32
    assert computes_in_bf16(torch.device("cuda"))


def test_weights_that_change_within_are_used_as_they_are() -> None:
    """A LoRA that is tuned and films within one `fast_kernels` did nothing: its first weights were kept."""
    layer, seen = torch.nn.Linear(8, 8), torch.ones(1, 8)
    with fast_kernels(torch.device("cpu"), "bf16"):
        before = layer(seen)
        with torch.no_grad():
            layer.weight.add_(1.0)
        after = layer(seen)
    assert (after - before).float().mean() > 7
