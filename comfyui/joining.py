"""An action's way into a ComfyUI MODEL: a clone of it, with the patches that call the action.

"list": `double_block` patches, called after each block; they add up, whoever else has some (Wan, from ComfyUI
0.29 on). "replace": `patches_replace["dit"][("double_block", i)]`, one a block; ours runs what was there.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, TypeAlias

from .action import KEY, Action, Options
from .families import DOUBLE, Place

Way: TypeAlias = Literal["list", "replace"]


class ListPatch:
    """The form for `double_block` lists."""

    def __init__(self, action: Action) -> None:
        self.action = action

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __call__(self, said: Options) -> Options:
        said["img"] = self.action.add((DOUBLE, said["block_index"]), said["img"], said["transformer_options"])
        return said

    def models(self) -> list[Any]:
        return self.action.models()

    def to(self, device_or_dtype: Any) -> Self:
        self.action.to(device_or_dtype)
        return self

    def cleanup(self) -> None:
        self.action.cleanup()


class ReplacePatch:
    """The form for `patches_replace`: for one block, around what was there before."""

    def __init__(self, action: Action, block: Place, before: Any = None) -> None:
        self.action, self.block, self.before = action, block, before

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __call__(self, said: Options, extra: Mapping[str, Callable[[Options], Options]]) -> Options:
        options = said["transformer_options"]
        out = extra["original_block"](said) if self.before is None else self.before(said, extra)
        return {**out, "img": self.action.add(self.block, out["img"], options)}

    def models(self) -> list[Any]:
        return self.action.models() + (self.before.models() if hasattr(self.before, "models") else [])

    def to(self, device_or_dtype: Any) -> Self:
        self.action.to(device_or_dtype)
        if hasattr(self.before, "to"):
            self.before = self.before.to(device_or_dtype)
        return self

    def cleanup(self, *args: Any, **kwargs: Any) -> None:
        self.action.cleanup()
        if hasattr(self.before, "cleanup"):
            self.before.cleanup(*args, **kwargs)


def join(model: Any, action: Action, way: Way, window: tuple[float, float] = (0.0, 1.0)) -> Any:
    """A clone of the MODEL in which the action is read, in this part of the run (0 is its begin)."""
    joined = model.clone()
    if way == "list":
        joined.set_model_patch(ListPatch(action), DOUBLE)
    else:
        there = joined.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
        for block in action.network.sites.values():
            patch = ReplacePatch(action, block, there.get(block))
            joined.set_model_patch_replace(patch, "dit", *block)

    def begin(patcher: Any, *args: Any, **kwargs: Any) -> None:
        sampling = patcher.get_model_object("model_sampling")  # as nodes behind ours have made it
        first, last = (float(sampling.percent_to_sigma(share)) for share in window)
        action.begin_run((first, last))

    joined.add_callback_with_key("on_pre_run", KEY, begin)
    joined.add_wrapper_with_key("diffusion_model", KEY, action.run)
    return joined
