"""One addition to a module's output, innermost: inside every hook of diffusers and accelerate.

Innermost, a cache that skips a block skips the addition with it, and offloading has loaded the block before
it. `HookRegistry.register_hook` of diffusers only adds outermost, and its `remove_hook` (0.42) breaks the
hooks around the one removed, so this module places and removes the function itself. All that it knows of
others is where they keep the function they wrap; a test for each tells when that changes.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

Forward = Callable[..., Any]


class InnermostHook:
    """Replaces a module's output by `after(output)`, until removed."""

    def __init__(self, module: nn.Module, after: Callable[[Any], Any]) -> None:
        self.module = module
        self.after = after
        holder, name = next(_places(module), (module, "forward"))
        self.forward: Forward = getattr(holder, name)
        self.replacement = functools.update_wrapper(functools.partial(_call, self), self.forward)
        setattr(holder, name, self.replacement)

    def alive(self) -> bool:
        """False once our function was thrown away, as code that restores an older `forward` does."""
        return any(getattr(holder, name) is self.replacement for holder, name in _all_holders(self.module))

    def remove(self) -> None:
        """Link whatever wraps us to what we wrap."""
        for holder, name in _all_holders(self.module):
            if getattr(holder, name) is self.replacement:
                setattr(holder, name, self.forward)
        if self.module.__dict__.get("forward") == type(self.module).forward.__get__(self.module):
            del self.module.__dict__["forward"]


def _call(hook: InnermostHook, *args: Any, **kwargs: Any) -> Any:
    return hook.after(hook.forward(*args, **kwargs))


def _holders(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """Every (object, attribute) that may hold a function which runs the module, from the inside out."""
    registry = getattr(module, "_diffusers_hook", None)
    for reference in registry._fn_refs if registry is not None else ():
        yield reference, "forward" if reference.original_forward is None else "original_forward"
    if hasattr(module, "_old_forward"):  # accelerate's name for the function it wraps
        yield module, "_old_forward"
    yield module, "forward"


def _all_holders(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """`_holders`, and additions of ours that wrap another one."""
    for holder, name in _holders(module):
        yield holder, name
        forward = getattr(holder, name)
        while _is_ours(forward):
            hook = forward.args[0]
            yield hook, "forward"
            forward = hook.forward


def _places(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """Holders of the module's own function, or of it with additions of ours: wrappers are partials."""
    for holder, name in _holders(module):
        forward = getattr(holder, name)
        if not isinstance(forward, functools.partial) or _is_ours(forward):
            yield holder, name


def _is_ours(forward: Forward) -> bool:
    return isinstance(forward, functools.partial) and forward.func is _call
