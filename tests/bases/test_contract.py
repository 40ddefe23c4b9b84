"""The contract of an attached adapter (DESIGN, section 3), for every backbone, on real classes.

Item 4 is in test_contract_together.py.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.contract_calls import PROMPT, film, predict
from helpers.toy_bases import SEVERAL, TOYS
from helpers.toy_models import toy_inputs, toy_tokens
from torch import Tensor
from torch.testing import assert_close

from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch
from echoreel.method.adapter import ActionAdapter
from echoreel.training.gradient_checkpointing import recompute_in_training


def rows(inputs: tuple[Tensor, Tensor, Tensor], index: int) -> tuple[Tensor, ...]:
    return tuple(x[index : index + 1] for x in inputs)


# 1. Fresh, scale 0, no references, or detached: bit-identical to the base.


@pytest.mark.parametrize("pipe", TOYS, indirect=True)
def test_what_should_do_nothing_does_nothing(pipe: Any, adapter: ActionAdapter) -> None:
    inputs = toy_inputs(2)
    want, film_wanted = predict(pipe, inputs), film(pipe)
    fresh = ActionAdapter.for_base(pipe).attach(pipe)
    fresh.set_tokens(fresh.encode(torch.randn(1, 4, 3, 8, 8)).detach())
    assert torch.equal(predict(pipe, inputs), want)
    assert torch.equal(film(pipe), film_wanted)
    fresh.detach()

    adapter.attach(pipe)
    assert torch.equal(predict(pipe, inputs), want)
    adapter.set_tokens(toy_tokens(adapter))
    assert not torch.allclose(predict(pipe, inputs), want)
    assert not torch.allclose(film(pipe), film_wanted)
    for quiet in (
        lambda: adapter.set_tokens(toy_tokens(adapter), strengths=[0.0]),
        lambda: adapter.set_tokens([]),
        adapter.clear_references,
        lambda: (adapter.set_tokens(toy_tokens(adapter)), adapter.set_scale(0)),
        adapter.detach,
    ):
        quiet()
        assert torch.equal(predict(pipe, inputs), want)
        assert torch.equal(film(pipe), film_wanted)


def test_detached_and_attached_again_is_attached(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    want = film(pipe)
    adapter.detach()
    assert torch.equal(film(adapter.attach(pipe) and pipe), want)
    adapter.detach()
    other = copy.deepcopy(pipe)
    adapter.attach(other)
    assert torch.equal(film(other), want)
    adapter.detach()
    assert torch.equal(film(other), film(pipe))


# 2. A batch of two is two batches of one; guidance in one call or two gives the same video.


def test_a_batch_of_two_is_two_batches_of_one(pipe: Any, adapter: ActionAdapter) -> None:
    inputs, tokens = toy_inputs(2), toy_tokens(adapter, batch=2)
    adapter.attach(pipe).set_tokens(tokens)
    together = predict(pipe, inputs)
    for index in range(2):
        adapter.set_tokens(tokens[index : index + 1])
        assert_close(together[index : index + 1], predict(pipe, rows(inputs, index)))


@pytest.mark.parametrize("pipe", SEVERAL, indirect=True)
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_prompts_and_videos_per_prompt_share_out_the_tokens(
    pipe: Any, adapter: ActionAdapter, guidance_scale: float
) -> None:
    """AnimateDiff takes no num_videos_per_prompt; prompts repeated are what others make of it."""
    prompts, tokens = [PROMPT, PROMPT, "a woman dancing", "a woman dancing"], toy_tokens(adapter, batch=2)
    adapter.attach(pipe).set_tokens(tokens)
    many = film(pipe, (0, 1, 2, 3), prompts, guidance_scale=guidance_scale)
    for index in range(4):
        adapter.set_tokens(tokens[index // 2 : index // 2 + 1])
        alone = film(pipe, (index,), prompts[index], guidance_scale=guidance_scale)
        assert_close(many[index : index + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("pipe", ["AnimateDiff", "ModelScope", "LTX"], indirect=True)
def test_one_seed_for_two_prompts_is_not_taken_for_guidance(
    pipe: Any, adapter: ActionAdapter, guidance_scale: float
) -> None:
    prompts = [PROMPT, "a woman dancing"]
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    both = film(pipe, (3, 3), prompts, guidance_scale=guidance_scale)
    for index, prompt in enumerate(prompts):
        alone = film(pipe, (3,), prompt, guidance_scale=guidance_scale)
        assert_close(both[index : index + 1], alone, atol=1e-4, rtol=1e-4)


def branches(pipe: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Rows [negative, positive], called as the pipeline does when it guides."""
    base = base_of(pipe)
    if not base.negative:
        return predict(pipe, inputs)
    parts = []
    for index, name in enumerate((*base.negative, base.negative[0].replace("uncond", "cond"))):
        with base.denoiser.cache_context(name):
            parts.append(predict(pipe, rows(inputs, index)))
    return torch.cat(parts)


@pytest.mark.parametrize("guidance", ["positive", "both"])
def test_guidance_in_one_call_is_guidance_in_two(pipe: Any, adapter: ActionAdapter, guidance: str) -> None:
    film(pipe, guidance_scale=5.0)  # the pipeline now guides
    noisy, timesteps, captions = toy_inputs(2)
    doubled = torch.cat([noisy[:1]] * 2), timesteps[:1].expand(2), captions
    negative, positive = rows(doubled, 0), rows(doubled, 1)
    bare = predict(pipe, negative)
    adapter.attach(pipe).set_guidance(guidance)
    adapter.set_tokens(toy_tokens(adapter))
    guided = branches(pipe, doubled)
    adapter.attach(base_of(pipe).denoiser)  # and now nobody guides
    alone = torch.cat([bare if guidance == "positive" else predict(pipe, negative), predict(pipe, positive)])
    assert_close(guided, alone)


def test_negative_rows_are_untouched(pipe: Any, adapter: ActionAdapter) -> None:
    film(pipe, guidance_scale=5.0)
    noisy, timesteps, captions = toy_inputs(2)
    doubled = torch.cat([noisy[:1]] * 2), timesteps, captions
    want = branches(pipe, doubled)
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    got = branches(pipe, doubled)
    assert torch.equal(got[:1], want[:1])
    assert not torch.allclose(got[1:], want[1:])


def test_each_branch_reads_what_is_its_own(pipe: Any, adapter: ActionAdapter) -> None:
    """As references set with a negative prompt do."""
    film(pipe, guidance_scale=5.0)
    noisy, timesteps, captions = toy_inputs(2)
    doubled, tokens = (torch.cat([noisy[:1]] * 2), timesteps, captions), toy_tokens(adapter, batch=2)
    adapter.attach(pipe).set_tokens(tokens)
    held = adapter._held.state.references
    adapter._held.change(references=replace(held, each_branch=True))
    together = branches(pipe, doubled)
    adapter.attach(base_of(pipe).denoiser)
    for index in range(2):
        adapter.set_tokens(tokens[index : index + 1])
        assert_close(together[index : index + 1], predict(pipe, rows(doubled, index)))


def test_a_set_per_row_works_whatever_the_pipeline_did_last(pipe: Any, adapter: ActionAdapter) -> None:
    inputs, tokens = toy_inputs(2), toy_tokens(adapter, batch=2)
    adapter.attach(base_of(pipe).denoiser).set_tokens(tokens)
    want = predict(pipe, inputs)
    adapter.attach(pipe)
    for guidance_scale in (5.0, 1.0):
        adapter.set_tokens(tokens[:1])
        film(pipe, guidance_scale=guidance_scale)
        adapter.set_tokens(tokens)
        assert torch.equal(predict(pipe, inputs), want)


@pytest.mark.parametrize("pipe", SEVERAL, indirect=True)
def test_rows_that_cannot_be_shared_out_are_refused(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter, batch=2))
    for guidance_scale in (1.0, 5.0):
        with pytest.raises(AdapterMismatch, match="for 2 sets of action tokens, need"):
            film(pipe, guidance_scale=guidance_scale)
    adapter.attach(base_of(pipe).denoiser)
    with pytest.raises(AdapterMismatch, match=r"got 4 rows for 2 sets .* attach to the pipeline"):
        predict(pipe, toy_inputs(4))


# 3. Only adapter parameters get gradients; with and without gradient checkpointing they are equal.


def test_gradients(pipe: Any, adapter: ActionAdapter) -> None:
    denoiser = base_of(pipe).denoiser.requires_grad_(False)
    adapter.attach(pipe)

    def gradients() -> dict[str, Tensor]:
        adapter.zero_grad()
        latents, captions = (
            torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(5)),
            toy_inputs(2)[2],
        )
        adapter.set_tokens(adapter.encode(latents, captions, captions))
        predict(pipe, toy_inputs(2)).square().mean().backward()
        assert all(p.grad is None for p in denoiser.parameters())
        return {name: p.grad.clone() for name, p in adapter.named_parameters()}

    plain = gradients()
    assert all(gradient.abs().max() > 0 for gradient in plain.values())
    recompute_in_training(base_of(pipe))
    checkpointed = gradients()
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)


# 5. Save, load: bit-identical output. Seeds: one generator per video, the same alone or in a batch.


def test_saved_and_loaded_acts_the_same(pipe: Any, adapter: ActionAdapter, tmp_path: Path) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    want = film(pipe)
    adapter.save_pretrained(tmp_path)
    loaded = ActionAdapter.from_pretrained(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    adapter.detach()
    loaded.attach(pipe).set_tokens(toy_tokens(loaded))
    assert torch.equal(film(pipe), want)


@pytest.mark.parametrize("pipe", SEVERAL, indirect=True)
def test_a_seed_names_a_video_alone_or_in_a_batch(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    together = film(pipe, (3, 4), [PROMPT, PROMPT])
    for index, seed in enumerate((3, 4)):
        assert_close(together[index : index + 1], film(pipe, (seed,)), atol=1e-4, rtol=1e-4)


# 6. The Prism runs once per reference and generation; keys and values are computed once per generation.


def test_what_is_computed_once(pipe: Any, adapter: ActionAdapter) -> None:
    counts = {"prism": 0, "keys": 0, "queries": 0}

    def count(name: str) -> Callable[..., None]:
        return lambda *_: counts.update({name: counts[name] + 1})

    adapter.prism.register_forward_hook(count("prism"))
    for integration in adapter.integrations.values():
        integration.attention.key.register_forward_hook(count("keys"))
        integration.attention.query.register_forward_hook(count("queries"))
    sites = len(adapter.integrations)
    adapter.attach(pipe).set_tokens([toy_tokens(adapter), toy_tokens(adapter, seed=1)])
    film(pipe, num_inference_steps=3)
    assert counts == {"prism": 2, "keys": sites, "queries": 3 * sites}
    film(pipe, num_inference_steps=2)
    assert counts == {"prism": 2, "keys": sites, "queries": 5 * sites}


def test_what_is_kept_follows_the_parameters(pipe: Any, adapter: ActionAdapter) -> None:
    adapter.attach(pipe).set_tokens(toy_tokens(adapter))
    before = film(pipe)
    with torch.no_grad():
        for integration in adapter.integrations.values():
            integration.attention.value.weight.mul_(2)
    assert not torch.allclose(film(pipe), before)
