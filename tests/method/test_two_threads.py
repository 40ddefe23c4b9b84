"""Two threads with one pipeline in its own call, as in the README: the second one is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.contract_calls import film
from helpers.toy_models import toy_adapter, toy_pipeline, toy_tokens

from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.errors import InUse

OTHERS = {
    "another video": lambda pipe, adapter: film(pipe, seeds=(1,)),
    "other references": lambda pipe, adapter: adapter.set_tokens(toy_tokens(adapter, seed=1)),
    "no references": lambda pipe, adapter: adapter.clear_references(),
    "another scale": lambda pipe, adapter: adapter.set_scale(0.5),
    "detached": lambda pipe, adapter: adapter.detach(),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_second_thread_is_refused_within_a_step(what: str) -> None:
    pipe = toy_pipeline()
    adapter = toy_adapter(pipe).attach(pipe)
    adapter.set_tokens(toy_tokens(adapter))
    want = film(pipe)
    inside, go_on = threading.Event(), threading.Event()
    made: list[torch.Tensor] = []

    def wait(*_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            assert go_on.wait(60)

    site = next(iter(base_of(pipe).find_sites()))
    handle = base_of(pipe).denoiser.get_submodule(site).register_forward_pre_hook(wait)
    thread = threading.Thread(target=lambda: made.append(film(pipe)))
    thread.start()
    assert inside.wait(60)
    try:
        with pytest.raises(InUse, match=r"while thread .* generates with it"):
            OTHERS[what](pipe, adapter)
    finally:
        go_on.set()
        thread.join(60)
        handle.remove()
    assert torch.equal(made[0], want)
    assert torch.equal(film(pipe), want)  # and it is free again


def test_a_call_that_fails_leaves_the_pipeline_to_its_thread() -> None:
    pipe = toy_pipeline()
    adapter = toy_adapter(pipe).attach(pipe)
    adapter.set_tokens(toy_tokens(adapter))
    want = film(pipe)

    def fail(*_: Any) -> None:
        raise ValueError("broken")

    site = next(iter(base_of(pipe).find_sites()))
    handle = base_of(pipe).denoiser.get_submodule(site).register_forward_pre_hook(fail)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            film(pipe)
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    handle.remove()
    assert failed
    assert torch.equal(film(pipe), want)  # the thread that failed is over


def test_threads_that_load_get_whole_models(tmp_path: Path) -> None:
    """While transformers loads, torch makes layers without data in every thread."""
    toy_pipeline().save_pretrained(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        loaded = [pool.submit(load_base, tmp_path) for _ in range(6)]
    assert not any(p.is_meta for each in loaded for p in each.result().text_encoder.parameters())
