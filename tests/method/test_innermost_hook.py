"""The innermost hook among those of diffusers and accelerate: fails when they keep functions elsewhere."""

import copy
from itertools import permutations
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook as AccelerateHook
from accelerate.hooks import add_hook_to_module, remove_hook_from_module
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from echoreel.method.innermost_hook import InnermostHook


class Outer(ModelHook):
    """Doubles the output around the module."""

    def post_forward(self, module: nn.Module, output: Tensor) -> Tensor:
        return output * 2


class Cache(ModelHook):
    """Runs the module once and then repeats its output, as cache hooks skip blocks."""

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        self.kept: Tensor | None = None
        return module

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        if self.kept is None:
            self.kept = self.fn_ref.original_forward(*args, **kwargs)
        return self.kept


def add_diffusers(module: nn.Module, hook: ModelHook) -> None:
    HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, type(hook).__name__)


def remove_diffusers(module: nn.Module, name: str) -> None:
    HookRegistry.check_if_exists_or_initialize(module).remove_hook(name)


def plus_one(output: Tensor) -> Tensor:
    return output + 1


X = torch.ones(3)
ADD = {
    "ours": lambda module: InnermostHook(module, plus_one),
    "outer": lambda module: add_diffusers(module, Outer()),
    "accelerate": lambda module: add_hook_to_module(module, AccelerateHook()),
}
REMOVE = {
    "ours": lambda module, ours: ours.remove(),
    "outer": lambda module, ours: remove_diffusers(module, "Outer"),
}


@pytest.mark.parametrize("added", [*permutations(["ours", "outer", "accelerate"])])
@pytest.mark.parametrize("removed", [*permutations(["ours", "outer"])])
def test_any_order_of_adding_and_removing(added: tuple[str, ...], removed: tuple[str, ...]) -> None:
    module = nn.Identity()
    ours = next(hook for hook in [ADD[name](module) for name in added] if isinstance(hook, InnermostHook))
    assert torch.equal(module(X), (X + 1) * 2)  # not X * 2 + 1
    assert ours.alive()
    for name in removed:
        REMOVE[name](module, ours)
        want = (
            X + 1
            if name == "outer" and ours.alive()
            else X * 2
            if name == "ours" and removed[0] == name
            else X
        )
        assert torch.equal(module(X), want)
    assert not ours.alive()


def test_a_cache_skips_the_addition_with_the_module() -> None:
    for cache_first in (True, False):
        module, calls = nn.Identity(), []

        def count(output: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return output + 1

        if cache_first:
            add_diffusers(module, Cache())
        ours = InnermostHook(module, count)
        if not cache_first:
            add_diffusers(module, Cache())
        assert torch.equal(module(X), X + 1)
        assert torch.equal(module(5 * X), X + 1)
        assert len(calls) == 1
        ours.remove()
        assert torch.equal(module(X), X + 1)  # the cache still has it
        remove_diffusers(module, "Cache")
        assert torch.equal(module(X), X)


def test_removing_under_two_hooks_leaves_both() -> None:
    module = nn.Identity()
    ours = InnermostHook(module, plus_one)
    add_diffusers(module, Outer())
    add_diffusers(module, Cache())
    ours.remove()
    assert torch.equal(module(X), X * 2)
    assert torch.equal(module(5 * X), X * 2)
    remove_diffusers(module, "Cache")
    assert torch.equal(module(X), X * 2)
    remove_diffusers(module, "Outer")
    assert torch.equal(module(X), X)


def test_a_module_is_left_as_it_was() -> None:
    module = nn.Identity()
    before = dict(module.__dict__)
    InnermostHook(module, plus_one).remove()
    assert module.__dict__ == before


def test_two_additions_go_in_any_order() -> None:
    for first_removed in (0, 1):
        module = nn.Identity()
        ours = [InnermostHook(module, plus_one), InnermostHook(module, lambda output: output * 3)]
        assert torch.equal(module(X), (X + 1) * 3)
        ours[first_removed].remove()
        assert torch.equal(module(X), X * 3 if first_removed == 0 else X + 1)
        ours[1 - first_removed].remove()
        assert torch.equal(module(X), X)


def test_accelerate_put_on_and_taken_off_again_keeps_ours() -> None:
    """As enable_model_cpu_offload does at the end of every call of a pipeline."""
    module = nn.Identity()
    add_hook_to_module(module, AccelerateHook())
    ours = InnermostHook(module, plus_one)
    for _ in range(2):
        remove_hook_from_module(module)
        assert torch.equal(module(X), X + 1)
        add_hook_to_module(module, AccelerateHook())
        assert torch.equal(module(X), X + 1)
    ours.remove()
    assert torch.equal(module(X), X)


def test_swapping_forward_is_noticed() -> None:
    module = nn.Identity()
    ours = InnermostHook(module, plus_one)
    module.forward = copy.copy(nn.Identity().forward)
    assert not ours.alive()
    ours.remove()
    assert torch.equal(module(X), X)


def test_diffusers_own_removal_is_still_broken() -> None:
    """Why `InnermostHook` is no hook of diffusers. Once this fails, it may become one."""
    module = nn.Identity()
    add_diffusers(module, Outer())
    add_diffusers(module, Cache())
    remove_diffusers(module, "Outer")
    module(X)
    assert torch.equal(module(5 * X), 5 * X)  # the cache is off, without a word
    remove_diffusers(module, "Cache")
    assert torch.equal(module(X), 2 * X)  # and the hook that was removed is back
