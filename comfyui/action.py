"""Action tokens read in a network of ComfyUI's. Imports nothing of ComfyUI: what it needs is handed in.

A DIFFUSION_MODEL wrapper settles each call of the network once: which rows read, where their tokens lie, how
much. It is kept in `transformer_options`, which belong to that call alone.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from echoreel.common.errors import AdapterMismatch
from echoreel.method.integration import ActionTokens, Grid, Integration, Memory, Places, narrowed

from .families import SINGLE, Network, Place

KEY = "echoreel"
ORDER = "t h w"  # in which the tokens of every network here lie
KEPT_PLACES = 4096  # tokens of a grid; of larger ones the layers' own work is more by far
POSITIVE = 0  # in ComfyUI's `cond_or_uncond`

Options: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows of the batch, from one to before another, that read the same set of action tokens."""

    first: int
    end: int
    set: int


@dataclass(frozen=True)
class Call:
    """One call of the network."""

    rows: tuple[Rows, ...]
    grid: Grid
    offset: int  # tokens before the video's first
    seen: set[Place] = field(default_factory=set)  # blocks that came by


class Action:
    """Action tokens read after some blocks of a network.

    patcher: ComfyUI's patcher of `integrations` (a ModuleDict by site), whose memory ComfyUI then manages.
    tokens: of all references: one set, or the negative prompt's and the positive prompt's. both: rows of the
    negative prompt read too. `begin_run` sets the noise levels, from first to last, at which references act.
    """

    def __init__(
        self, patcher: Any, network: Network, tokens: ActionTokens, scale: float = 1.0, both: bool = False
    ) -> None:
        self.patcher, self.network, self.tokens, self.both = patcher, network, tokens, both
        self.gain = scale * tokens.strength
        self.sigmas = (float("inf"), 0.0)
        self.proved = False  # all sites came by in this run
        self._blocks = {place: path for path, place in network.sites.items()}
        self._memories: dict[Place, Memory] = {}
        self._places: dict[tuple[Place, Grid], Places | None] = {}

    def __deepcopy__(self, memo: Any) -> Self:
        """ComfyUI before 0.13 copies options deeply: weights, tokens, the id by which we find our calls."""
        return self

    # What ComfyUI's memory management asks of a patch

    def models(self) -> list[Any]:
        return [self.patcher]

    def to(self, device_or_dtype: Any) -> Self:
        """Called with devices and with dtypes; what it returns takes our place."""
        if isinstance(device_or_dtype, torch.device):
            self.cleanup()
        return self

    def cleanup(self) -> None:
        self._memories, self._places = {}, {}

    # At work

    def begin_run(self, sigmas: tuple[float, float]) -> None:
        """Before a sampler runs: the noise levels of the window, by the model's final sampling settings."""
        self.sigmas, self.proved = sigmas, False

    def run(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """The DIFFUSION_MODEL wrapper: settle this call of the network, and make it."""
        network = executor.original
        bound = inspect.signature(network).bind(*args, **kwargs).arguments
        said = {**bound, **bound.get("kwargs", {})}
        options: Options = said["transformer_options"]
        call = self._call(executor.class_obj, said, options)
        if call is None:
            return executor(*args, **kwargs)
        options[KEY] = {**options.get(KEY, {}), id(self): call}  # ComfyUI copies the options for every call
        ran = []

        @functools.wraps(network)  # wrappers behind ours ask for its arguments, too
        def watched(*inner: Any, **more: Any) -> Any:
            ran.append(True)
            return network(*inner, **more)

        executor.original = watched  # caches may skip the network: then nothing can come by
        try:
            found = executor(*args, **kwargs)
        finally:
            executor.original = network
        if ran:
            self._check(call)
        return found

    def add(self, block: Place, hidden: Tensor, options: Options) -> Tensor:
        """A block's output (B, N, C), with what its layer finds in the action tokens, added in place."""
        call: Call | None = options.get(KEY, {}).get(id(self))
        if call is None or block not in self._blocks:
            return hidden
        call.seen.add(block)
        layer: Integration = self.patcher.model[self._blocks[block].replace(".", "-")]
        memory = self._memory(block, layer, hidden)
        first = call.offset + (text_before(options) if block[0] == SINGLE else 0)
        end = first + call.grid.tokens
        for rows in call.rows:
            asking = hidden[rows.first : rows.end, first:end]
            places = self._known(block, layer, call.grid)
            found = layer(asking, narrowed(memory, rows.set, 1), call.grid, 1, places)
            asking += (found * self.gain).to(hidden.dtype)
        return hidden

    def _call(self, network: Any, said: Mapping[str, Any], options: Options) -> Call | None:
        """None: nobody reads."""
        sigma = float(options["sigmas"].max())
        if self.gain == 0 or not self.sigmas[1] <= sigma <= self.sigmas[0]:
            return None
        sample = said["x"]
        rows = self._rows(sample.shape[0], options.get("cond_or_uncond", [POSITIVE]))
        if not rows:
            return None
        sizes = zip(sample.shape[2:], self.network.patch, strict=True)
        frames, height, width = (-(-size // patch) for size, patch in sizes)
        guides = said.get("keyframe_idxs")  # LTX-Video: frames behind the video's that guide it
        if guides is not None:
            frames -= guides.shape[2] // (height * width)
        grid = in_window(Grid(frames, height, width, ORDER), options.get("context_window"))
        return Call(rows, grid, self._offset(network, said, height * width))

    def _rows(self, count: int, chunks: Sequence[int]) -> tuple[Rows, ...]:
        """Chunks are prompts in any order, each with its rows: 0 is positive. Neighbours are joined."""
        size, sets, found = count // len(chunks), self.tokens.tokens.shape[0], list[Rows]()
        for index, chunk in enumerate(chunks):
            if chunk != POSITIVE and not self.both:
                continue
            rows = Rows(index * size, (index + 1) * size, sets - 1 if chunk == POSITIVE else 0)
            if found and (found[-1].end, found[-1].set) == (rows.first, rows.set):
                rows = replace(rows, first=found.pop().first)
            found.append(rows)
        return tuple(found)

    @staticmethod
    def _offset(network: Any, said: Mapping[str, Any], frame: int) -> int:
        """Tokens before the video's: of a reference picture of Wan Fun, or of HunyuanVideo."""
        wan = getattr(network, "ref_conv", None) is not None and said.get("reference_latent") is not None
        return frame if wan or said.get("ref_latent") is not None else 0

    def _check(self, call: Call) -> None:
        """Raises AdapterMismatch where blocks did not come by in a run in which they never all did."""
        missing = sorted(self._blocks.keys() - call.seen)
        if not missing:
            self.proved = True
        elif not self.proved:
            told = [f"{number} (single)" if kind == SINGLE else str(number) for kind, number in missing[:8]]
            which = ", ".join(told) + (" …" if len(missing) > 8 else "")
            raise AdapterMismatch(
                f"EchoReel's references were not read in blocks {which}: another node's patch took their "
                "place, or this ComfyUI has none there; put Apply References behind that node"
            )

    def _memory(self, block: Place, layer: Integration, like: Tensor) -> Memory:
        if next(layer.parameters()).device != like.device:  # a net below ComfyUI's memory management
            self.patcher.model.to(like.device)
            self.cleanup()
        if block not in self._memories:
            self._memories[block] = layer.memory(self.tokens.to(next(layer.parameters())))
        return self._memories[block]

    def _known(self, block: Place, layer: Integration, grid: Grid) -> Places | None:
        if grid.tokens > KEPT_PLACES:
            return None
        if (block, grid) not in self._places:
            self._places[block, grid] = layer.places(grid, next(layer.parameters()).device)
        return self._places[block, grid]


def text_before(options: Options) -> int:
    """Tokens of the text before the video's, in a block of both. Before ComfyUI 0.14 they lie behind."""
    return int(options.get("img_slice", (0,))[0])


def in_window(grid: Grid, window: Any) -> Grid:
    """The grid as the part of a longer video that a context window of ComfyUI shows."""
    if window is None:
        return grid
    shown = [*window.index_list]
    anchor = getattr(window, "causal_anchor_index", None)
    if anchor is not None and anchor >= 0:
        shown.insert(0, anchor)
    total = int(getattr(window, "total_frames", 0) or 0)
    if len(shown) != grid.frames or total <= max(shown):
        return grid
    return replace(grid, shown=tuple(shown), of=total)
