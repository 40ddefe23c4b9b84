"""What `comfyui.joining` asks of ComfyUI, over blocks of diffusers: a MODEL with patches and wrappers."""

import copy
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn

Forward = Callable[..., Tensor]


class Executor:
    """A chain of wrappers around a network's function."""

    def __init__(self, original: Forward, class_obj: Any, wrappers: list[Any]) -> None:
        self.original, self.class_obj, self.wrappers = original, class_obj, wrappers

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        if not self.wrappers:
            return self.original(*args, **kwargs)
        inner = Executor(self.original, self.class_obj, self.wrappers[1:])
        return self.wrappers[0](inner, *args, **kwargs)  # type: ignore[no-any-return]


class PatchedBlock(nn.Module):
    """A block of diffusers that calls what ComfyUI's network would call at its place, ("double_block", 3)."""

    def __init__(self, block: nn.Module, place: tuple[str, int], options: dict[str, Any]) -> None:
        super().__init__()
        self.block, self.place, self.options = block, place, options

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.place[0] == "single_block":
            return self.single(hidden_states, *args, **kwargs)
        found: list[Any] = []

        def original(said: dict[str, Any]) -> dict[str, Any]:
            out = self.block(said["img"], *args, **kwargs)
            found.append(out)
            return {"img": out[0] if isinstance(out, tuple) else out}

        said = {"img": hidden_states, "transformer_options": self.options}
        there = self.options.get("patches_replace", {}).get("dit", {}).get(self.place)
        out = original(said) if there is None else there(said, {"original_block": original})
        for patch in self.options.get("patches", {}).get("double_block", ()):
            out = patch({**out, "block_index": self.place[1], "transformer_options": self.options})
        whole = found[0] if found else None
        return (out["img"], *whole[1:]) if isinstance(whole, tuple) else out["img"]

    def single(self, hidden_states: Tensor, text: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Text and video in one: the text first and told of, as since 0.14; else behind."""
        video, first = hidden_states.shape[1], self.options.get("text_first", True)
        told = {"img_slice": [text.shape[1], text.shape[1] + video]} if first else {}
        options = {**self.options, **told}
        sizes = [text.shape[1], video] if first else [video, text.shape[1]]

        def original(said: dict[str, Any]) -> dict[str, Any]:
            parts = said["img"].split(sizes, 1)
            out = self.block(*(parts[::-1] if first else parts), *args, **kwargs)
            return {"img": torch.cat(out[::-1] if first else out, 1)}

        whole = torch.cat([text, hidden_states] if first else [hidden_states, text], 1)
        said = {"img": whole, "transformer_options": options}
        there = self.options.get("patches_replace", {}).get("dit", {}).get(self.place)
        out = original(said) if there is None else there(said, {"original_block": original})
        parts = out["img"].split(sizes, 1)
        return (parts[1], parts[0]) if first else (parts[0], parts[1])


class Model:
    """ComfyUI's ModelPatcher, as far as it matters here. call: (network, x, sigma, text) -> what it gives.

    blocks: names of the lists of blocks, by what patches call a block.
    """

    def __init__(self, network: Any, blocks: Mapping[str, str], call: Callable[..., Tensor]) -> None:
        self.network, self.blocks, self.call = network, blocks, call
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.wrappers: list[Any] = []
        self.callbacks: list[Any] = []

    def clone(self) -> Self:
        found = copy.copy(self)
        found.model_options = copy.deepcopy(self.model_options)  # as ComfyUI before 0.13 does
        found.wrappers, found.callbacks = [*self.wrappers], [*self.callbacks]
        return found

    def set_model_patch(self, patch: Any, name: str) -> None:
        options = self.model_options["transformer_options"]
        options.setdefault("patches", {}).setdefault(name, []).append(patch)

    def set_model_patch_replace(self, patch: Any, name: str, block: str, number: int) -> None:
        options = self.model_options["transformer_options"]
        options.setdefault("patches_replace", {}).setdefault(name, {})[block, number] = patch

    def add_callback_with_key(self, kind: str, key: str, callback: Any) -> None:
        assert kind == "on_pre_run"
        self.callbacks.append(callback)

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        assert kind == "diffusion_model"
        self.wrappers.append(wrapper)

    def get_model_object(self, name: str) -> Any:
        assert name == "model_sampling"
        return SimpleNamespace(percent_to_sigma=lambda share: 1.0 - share)

    def begin(self) -> Self:
        """As before a sampler runs."""
        for callback in self.callbacks:
            callback(self)
        return self

    def __call__(
        self, x: Tensor, sigma: float, text: Tensor, order: tuple[int, ...] = (0,), **options: Any
    ) -> Tensor:
        """One call of the network, whose rows are of these prompts: 0 is positive."""
        said = {**self.model_options["transformer_options"], **options}
        said |= {"cond_or_uncond": [*order], "sigmas": torch.tensor([sigma])}

        def forward(x: Tensor, timestep: float, context: Tensor, transformer_options: Any = None) -> Tensor:
            plain = {name: getattr(self.network, name) for name in self.blocks.values()}
            for kind, name in self.blocks.items():
                blocks = enumerate(plain[name])
                patched = (PatchedBlock(block, (kind, i), transformer_options) for i, block in blocks)
                setattr(self.network, name, nn.ModuleList(patched))
            try:
                return self.call(self.network, x, timestep, context)
            finally:
                for name, blocks in plain.items():
                    setattr(self.network, name, blocks)

        with torch.inference_mode():
            return Executor(forward, self.network, self.wrappers)(x, sigma, text, transformer_options=said)
