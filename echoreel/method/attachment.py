"""An adapter at work in a base: what its integrations find is added at each site.

`Attachment` is no `nn.Module`, so the base and the adapter never own each other's parameters. At each call of
the denoiser a pre-hook of torch (which survives every change of `forward`) settles a `Call`; one innermost
hook per site then adds what the site's integration finds.

With gradient checkpointing, layers run again in the backward pass and read the last `Call`: run backward
before the denoiser's next call and before other references are set.

Over 300 lines since what a call settles and what each site then does of it are one thing.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import Tensor, nn

from echoreel.bases.base import Base
from echoreel.common.attention import centres
from echoreel.common.errors import AdapterMismatch
from echoreel.common.exclusive import give_back, take
from echoreel.method.innermost_hook import InnermostHook
from echoreel.method.integration import (
    Grid,
    Integration,
    Memory,
    Places,
    TokenWindow,
    narrowed,
    of_window,
    presence,
)
from echoreel.method.references import Held, State, ordinary_tensors
from echoreel.method.who_reads import Reading, context_of, reading_of

KEPT_PLACES = 4096  # tokens of a grid; of larger ones the layers' own work is more by far


@dataclass(frozen=True)
class Call:
    """One call of the denoiser."""

    reading: Reading
    rows: int  # of the whole batch
    frames: int
    height: int  # of the latents, as `width`
    width: int
    gain: Tensor  # 0-dim, or with a window (rows that read, 1, 1) or (rows that read, frames, 1)
    memories: Mapping[str, Memory]
    windows: tuple[TokenWindow, ...] = ()  # of frames that read tokens of their own

    def fits(self, tokens: int) -> bool:
        """May a site have so many tokens, all rows together?"""
        sides = sides_of(tokens // self.rows, self.frames, self.height, self.width)
        return self.frames * sides[0] * sides[1] * self.rows == tokens


class Attachment:
    """The hooks in one denoiser of a base. Made attached; `remove` restores it."""

    def __init__(
        self, base: Base, denoiser: ModelMixin, integrations: dict[str, Integration], held: Held
    ) -> None:
        self.base = base
        self.denoiser = denoiser
        self.held = held
        self.integrations = integrations  # by site path
        self.call: Call | None = None
        self.hooks: dict[str, InnermostHook] = {}
        self.context: str | None = None  # that the pipeline says it is in: "cond", "uncond"
        self._kept: dict[tuple[str, Grid], Places | None] = {}  # as old as the references' memories
        self._kept_with: Mapping[str, Memory] | None = None
        self._order = _token_order(base.layout)
        self._names = [*inspect.signature(type(denoiser).forward).parameters][1:]
        self._place_hooks()
        self._took = False  # the denoiser for this thread, until its call ends
        self._before = denoiser.register_forward_pre_hook(self._begin, with_kwargs=True)
        self._behind = denoiser.register_forward_hook(self._end)
        if base.negative or base.positive:
            denoiser.cache_context = partial(_told, self, type(denoiser).cache_context, denoiser)  # type: ignore[attr-defined, assignment]

    def remove(self) -> None:
        """Leave the base as it was."""
        self._before.remove()
        self._behind.remove()
        self.denoiser.__dict__.pop("cache_context", None)
        for hook in self.hooks.values():
            hook.remove()
        self.hooks.clear()

    def __getstate__(self) -> dict[str, Any]:
        """A deep copy of an attached denoiser comes with its own attachment; calls are not copied."""
        return self.__dict__ | {"call": None, "_took": False, "_kept": {}, "_kept_with": None}

    def _place_hooks(self) -> None:
        """A hook at every site that has none: all at first, later those whose module FreeNoise swapped."""
        for path in self.integrations:
            module = self.denoiser.get_submodule(path)
            hook = self.hooks.get(path)
            if hook is None or hook.module is not module or not hook.alive():
                if hook is not None:
                    hook.remove()
                self.hooks[path] = InnermostHook(module, partial(self._after, path))

    def _begin(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Settle this call of the denoiser. Raises InUse while another thread is in one."""
        if torch.compiler.is_compiling():
            self._settle(denoiser, args, kwargs)
            return
        self._took = take(denoiser) or self._took
        try:
            self._settle(denoiser, args, kwargs)
        except BaseException:
            self._end(denoiser)
            raise

    def _end(self, denoiser: nn.Module, *_: Any) -> None:
        """Leave the denoiser to other threads, unless more than this call is this one's."""
        if not torch.compiler.is_compiling() and self._took:
            self._took = False
            give_back(denoiser)

    def _settle(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call = None
        references = self.held.state.references
        if references is None or self.held.state.zero:
            return
        arguments = dict(zip(self._names, args, strict=False)) | kwargs
        sample = arguments[self.base.sample]
        if not torch.compiler.is_compiling():
            self._place_hooks()
            self._follow(computes_on(denoiser, sample))
        rows = sample.shape[0]
        sizes = self.base.sizes(arguments)
        state = self.held.state
        context = self.context
        if context is None and self.base.handed_over is not None:
            context = context_of(self.base, arguments)
        reading = reading_of(self.base, context, sample, references, state.guidance)
        if reading is None:
            return
        gain = state.gain
        if state.window != (0.0, 1.0):
            inside = self._in_window(arguments[self.base.timestep], rows, state)[reading.first :]
            gain = gain * (inside[:, None, None] if inside.ndim == 1 else inside[..., None])
        action = references.action
        if action.during:
            gain = gain * presence(action.during, centres(sizes[0], gain.device))[None, :, None]
        if action.windows and sizes[0] != action.windows[-1].frames[1]:
            raise AdapterMismatch(
                f"got {sizes[0]} frames for references that were set for a video of "
                f"{action.windows[-1].frames[1]} in windows; set references for this one"
            )
        self.call = Call(reading, rows, *sizes, gain, self._memories(reading), action.windows)

    def _follow(self, device: torch.device) -> None:
        """Have the adapter compute where the base does, which may have been moved since."""
        references = self.held.state.references
        assert references is not None
        if any(p.device != device for layer in self.integrations.values() for p in layer.parameters()):
            with ordinary_tensors():
                for layer in self.integrations.values():
                    nn.Module.to(layer, device)
        if references.action.tokens.device != device:
            with ordinary_tensors():
                action = references.action.to(references.action.tokens.new_empty(0, device=device))
                self.held.change(references=replace(references, action=action))

    def _in_window(self, timestep: Tensor | float, rows: int, state: State) -> Tensor:
        """1 for rows whose denoising step is in the window, whole, as ControlNet counts; else 0: (rows,), or
        (rows, frames) where frames have steps of their own."""
        scheduler = getattr(self.base.pipe, "scheduler", None)
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is None:
            raise AdapterMismatch(
                "got a window of denoising steps for a denoiser without scheduler, need its pipeline; attach "
                "to that, or set_window(0, 1)"
            )
        told = torch.as_tensor(timestep, device=state.gain.device)
        timestep = self.base.progress(told if told.ndim else told.expand(rows))
        timesteps = self.base.progress(timesteps.to(told))  # pipelines round them to the denoiser's dtype
        passed = (timesteps > timestep[..., None]).sum(-1)
        start, end = state.window
        count = timesteps.shape[0]
        inside: Tensor = ((passed >= start * count) & (passed + 1 <= end * count)).to(state.gain.dtype)
        return inside

    def _memories(self, reading: Reading) -> Mapping[str, Memory]:
        """Keys and values of every site: in the graph where gradients flow, else once for all calls."""
        references = self.held.state.references
        assert references is not None
        if torch.is_grad_enabled():
            found: Mapping[str, Memory] = references.computed(self.integrations)
        else:
            if torch.compiler.is_compiling():
                references = references if references.keys else references.with_keys(self.integrations)
            elif not references.fresh(self.integrations):
                with ordinary_tensors():
                    references = references.with_keys(self.integrations)
                self.held.change(references=references)
            assert references.keys is not None
            found = references.keys
            if found is not self._kept_with and not torch.compiler.is_compiling():
                self._kept, self._kept_with = {}, found
        if reading.sets is None:
            return found
        return {path: narrowed(memory, *reading.sets) for path, memory in found.items()}

    def _after(self, path: str, output: Any) -> Any:
        """A site's output, with the addition to its hidden states."""
        index = self.base.output
        if self.call is None:
            return output
        if index is None:
            return self._add(path, output, self.call)
        return *output[:index], self._add(path, output[index], self.call), *output[index + 1 :]

    def _add(self, path: str, hidden: Tensor, call: Call) -> Tensor:
        """Hidden states in the family's layout, plus what the integration finds for the rows that read."""
        layout, order = self.base.layout, self._order
        integration = self.integrations[path]
        tokens = hidden.numel() // integration.width
        if not call.fits(tokens) and (fewer := self._positive_alone(call)) and fewer.fits(tokens):
            self.call = call = fewer
        sizes = site_sizes(tokens // call.rows, call.frames, call.height, call.width)
        first = hidden.shape[0] // call.rows * call.reading.first  # the batch is outermost in every layout
        asking_BNC = rearrange(hidden[first:], f"{layout} -> b ({order}) c", **sizes)
        if call.windows:
            found = self._found_in_windows(path, asking_BNC, call, sizes)
        else:
            grid = Grid(sizes["t"], sizes["h"], sizes["w"], order)
            places = self._places(path, grid, hidden.device)
            found = integration(asking_BNC, call.memories[path], grid, call.reading.groups, places)
        gain = call.gain
        if gain.ndim and gain.shape[1] > 1:
            gain = repeat(gain, f"b t 1 -> b ({order}) 1", h=sizes["h"], w=sizes["w"])
        addition = (found * gain).to(hidden.dtype)
        addition = rearrange(addition, f"b ({order}) c -> {layout}", **sizes)
        # Added to the output as it lies in memory: another order would change the next layer's last bits.
        if not first:
            result: Tensor = hidden + addition
            return result
        result = hidden.clone()
        result[first:] += addition
        return result

    def _found_in_windows(self, path: str, asking_BNC: Tensor, call: Call, sizes: dict[str, int]) -> Tensor:
        """What the frames find, each in every window that it is in, blended: (B, N, C)."""
        order, integration, groups = self._order, self.integrations[path], call.reading.groups
        sides = {"h": sizes["h"], "w": sizes["w"]}
        asking = rearrange(asking_BNC, f"b ({order}) c -> b t h w c", **sizes)
        found, weight = torch.zeros_like(asking), asking.new_zeros(sizes["t"])
        for window in call.windows:
            first, last = window.frames
            weights = torch.tensor(window.weights).to(asking)
            weight[first:last] += weights
            if window.share == 0:
                continue
            grid = Grid(last - first, sizes["h"], sizes["w"], order)
            part = rearrange(asking[:, first:last], f"b t h w c -> b ({order}) c")
            places = self._places(path, grid, part.device)
            read = integration(part, of_window(call.memories[path], window), grid, groups, places)
            gain = weights * window.share * presence(window.during, centres(last - first)).to(asking)
            read = rearrange(read, f"b ({order}) c -> b t h w c", t=last - first, **sides)
            found[:, first:last] += read * gain[:, None, None, None]
        return rearrange(found / weight[:, None, None, None], f"b t h w c -> b ({order}) c")

    def _positive_alone(self, call: Call) -> Call | None:
        """The call where a cache (FasterCache) has left the negative rows out inside the denoiser."""
        references, reading = self.held.state.references, call.reading
        each = references is not None and references.each_branch and reading.sets is None
        if references is None or not (each or reading.first or reading.groups > 1):
            return None
        rows, sets = call.rows // 2, references.action.tokens.shape[0] // 2
        reading = Reading(sets=(sets, sets) if each else None)
        gain = call.gain[-rows:] if call.gain.ndim else call.gain
        return replace(call, reading=reading, rows=rows, gain=gain, memories=self._memories(reading))

    def _places(self, path: str, grid: Grid, device: torch.device) -> Places | None:
        """What a layer knows of its grid, kept between calls where that is small; None: let it see."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or grid.tokens > KEPT_PLACES:
            return None
        if (path, grid) not in self._kept:
            self._kept[path, grid] = self.integrations[path].places(grid, device)
        return self._kept[path, grid]


def computes_on(denoiser: nn.Module, sample: Tensor) -> torch.device:
    """Where this call computes: its input is there, unless accelerate brings it there layer by layer."""
    device = getattr(getattr(denoiser, "_hf_hook", None), "execution_device", None)
    return sample.device if device is None else torch.device(device)


def sides_of(tokens: int, frames: int, height: int, width: int) -> tuple[int, int]:
    """The latents' height and width after as many halvings as so many tokens ask for."""
    while height * width * frames > tokens and (height, width) != (1, 1):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def site_sizes(tokens: int, frames: int, height: int, width: int) -> dict[str, int]:
    """t, h and w of a site with that many tokens per row, in a denoiser of latents of that size.

    A site has the latents' frames, and their places or what is left of them after halving (rounding up) some
    times. Raises AdapterMismatch for other numbers.
    """
    h, w = sides_of(tokens, frames, height, width)
    if h * w * frames != tokens:
        raise AdapterMismatch(
            f"got {tokens} tokens per video in a layer, need {frames} frames of {height} x {width} places or "
            f"of a half, a quarter ... of them; this base lays its tokens out in a way that is not supported"
        )
    return {"t": frames, "h": h, "w": w}


@contextmanager
def _told(
    attachment: Attachment, context: Any, denoiser: nn.Module, name: str, **more: Any
) -> Iterator[None]:
    """The denoiser's own `cache_context`, which tells the attachment its name too."""
    attachment.context = name
    try:
        with context(denoiser, name, **more):
            yield
    finally:
        attachment.context = None


def _token_order(layout: str) -> str:
    """The order in which a layout's tokens lie behind its batch: "h w t" for "(b h w) t c"."""
    return " ".join(axis for axis in layout.replace("(", " ").replace(")", " ").split() if axis in "thw")
