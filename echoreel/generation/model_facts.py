"""What a base and its adapter are, in numbers: for `echoreel info`."""

import re
from pathlib import Path
from typing import Any

from torch import nn

from echoreel.actors.looks import COLOURS, HAIRS, PLACES, TOPS
from echoreel.bases.base import Base, BaseLike
from echoreel.bases.loading import load_base, model_name
from echoreel.bases.lookup import base_of
from echoreel.common.places import WEIGHTS
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter
from echoreel.method.published import how_to_get_one, published_adapters

EMBEDDED_WORDS = {
    "prompt": ("a person with HAIR hair in a COLOUR TOP and COLOUR trousers ACTION PLACE",),
    "hair": tuple(HAIRS),
    "colour": tuple(COLOURS),
    "top": TOPS,
    "place": tuple(place.phrase for place in PLACES.values()),
}
"""What the embedded base understands; docs/embedded-model.md says more."""


def describe(
    base: str | Path | None = None, adapter: str | Path | None = None, base_parts: str | Path | None = None
) -> dict[str, Any]:
    """Facts about a base and an adapter that fits it, named as for `load_base` and `load_adapter`.

    base_parts: what a base in a single file lacks; the `parts` of `load_base`.

    Without an adapter: the embedded one for the embedded base, where there is one, else a fresh compact one.
    Raises EchoReelError's family, AdapterMismatch for an adapter of another base.
    """
    pipe: Any = load_base(base, device="cpu", parts=base_parts)
    found = base_of(pipe)
    settings = resolved(found, GenerationSettings())
    size = found.native_size or (None, None)
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    facts: dict[str, Any] = {
        "base": model_name(pipe),
        "pipeline": type(pipe).__name__,
        "family": found.name,
        "frames": settings.num_frames,
        "height": settings.height or size[0],
        "width": settings.width or size[1],
        "fps": settings.fps,
        "steps": settings.steps,
        "presets": {
            name: resolved(found, GenerationSettings(preset=name)).steps
            for name in ("draft", "normal", "best")
        },
        "guidance_scale": settings.guidance_scale,
        "parameters": {name: _parameters(part) for name, part in parts.items()},
        "sites": found.find_sites(),
    }
    if adapter is None and (model_name(pipe) != "embedded" or not (WEIGHTS / "adapter").is_dir()):
        loaded, name = ActionAdapter.for_base(found), "fresh"
    else:
        loaded = load_adapter(adapter)
        name = model_name(loaded)
        loaded.check_fits(found)
    if model_name(pipe) == "embedded":
        facts["words"] = EMBEDDED_WORDS
    facts["memory"] = _memory(parts)
    facts["options"] = _options(found)
    facts["adapter"] = {
        "name": name,
        "parameters": _parameters(loaded),
        "sites": len(loaded.config["sites"]),
        "share_of_denoiser": _parameters(loaded) / _parameters(found.denoiser),
    }
    facts["published"] = [each.adapter for each in published_adapters(model_name(pipe))]
    return facts


def introduction(
    base: BaseLike,
    adapter: ActionAdapter | None = None,
    prompt: str = "",
    size: tuple[int, int] | None = None,
) -> list[str]:
    """What will be done with a base, for people; of the embedded one only what it does not know.

    size: (height, width) in pixels that was asked for.
    """
    base = base_of(base)
    if model_name(base.pipe) == "embedded":
        unknown = unknown_words(base.pipe, prompt)
        return [
            f"the embedded model does not know {', '.join(unknown)}; echoreel info lists its words"
            + ("; the action comes from the reference" if adapter else "")
        ] * bool(unknown) + [
            "the embedded model was trained at {1}x{0} pixels; other sizes take longer and look wrong".format(
                *base.video_size()
            )
        ] * (size not in (None, base.video_size()))
    told = [
        f"base: {model_name(base.pipe)} is a {type(base.pipe).__name__}, family {base.name}, in "
        f"{str(next(base.denoiser.parameters()).dtype).removeprefix('torch.')}"
    ]
    if adapter is not None:
        told[0] += (
            f"; {len(adapter.config['sites'])} of its {len(base.find_sites())} blocks read the references"
        )
    if not base.reads_text:
        told.append(f"{base.name} reads no text: the prompt is only kept in the .json")
    return told


def unknown_words(pipe: Any, prompt: str) -> list[str]:
    """Words of a prompt that the embedded base's text encoder reads letter by letter, in order."""
    known = pipe.tokenizer.get_vocab()
    words = re.findall(r"[^\W\d_]{2,}", prompt.lower())
    return list(dict.fromkeys(word for word in words if word not in known))


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts of `describe` for people."""
    widths = sorted(set(facts["sites"].values()))
    counts = ", ".join(f"{name} {_short(count)}" for name, count in facts["parameters"].items())
    adapter, options = facts["adapter"], facts["options"]
    yes = [name.replace("_", " ") for name in ("lora", "caches", "gradient_checkpointing") if options[name]]
    needs = (
        "a first frame (--image)" + (" and a prompt" if options["text"] else "") if options["image"] else ""
    )
    memory = {name: _bytes(size) for name, size in facts["memory"].items()}
    guidance = facts["guidance_scale"]
    size = f"{facts['width']}x{facts['height']}" if facts["width"] else "any size (--size)"
    most = f", at most {options['most_frames']} frames" if options["most_frames"] else ""
    most += f"; longer with --seconds ({options['longer']})" if options["longer"] else ""
    words = [f"{part}: {', '.join(known)}" for part, known in facts.get("words", {}).items()]
    return [
        f"base        {facts['base']}: {facts['pipeline']}, family {facts['family']}",
        f"videos      {facts['frames']} frames of {size} at {facts['fps']:g} fps{most}",
        f"needs       {needs or 'a prompt'}",
        *(f"{'words' if row == 0 else '':<12}{line}" for row, line in enumerate(words)),
        f"sampling    {facts['steps']} steps, guidance "
        + (f"scale {guidance:g}" if guidance is not None else "as its pipeline has it")
        + f" in {options['guidance']} a step",
        f"presets     {', '.join(f'{name} {steps} steps' for name, steps in facts['presets'].items())}",
        f"parameters  {_short(sum(facts['parameters'].values()))}: {counts}",
        f"memory      {memory['whole']} of weights in bfloat16, {memory['offload_model']} at a time with "
        f"--offload model, less with --offload layers; what a step computes comes on top",
        f"options     {', '.join(yes) or 'none of LoRA, caches, gradient checkpointing'}",
        f"sites       {len(facts['sites'])}, of width {', '.join(map(str, widths))}",
        f"adapter     {adapter['name']}: {_short(adapter['parameters'])} parameters, "
        f"{adapter['share_of_denoiser']:.1%} of the denoiser, in {adapter['sites']} of the sites",
        *([f"published   {how_to_get_one(facts['base'])}"] if adapter["name"] == "fresh" else []),
    ]


def _memory(parts: dict[str, nn.Module]) -> dict[str, int]:
    """Bytes of the weights with two bytes each, as on a GPU: of all parts, and of the largest."""
    sizes = [2 * _parameters(part) for part in parts.values()]
    return {"whole": sum(sizes), "offload_model": max(sizes)}


def _options(base: Base) -> dict[str, Any]:
    """What this base offers of what some do not."""
    denoiser = base.denoiser
    own = getattr(denoiser, "_supports_gradient_checkpointing", False)
    return {
        "image": base.needs_image,
        "text": base.reads_text,
        "guidance": base.guidance_calls,
        "lora": hasattr(denoiser, "add_adapter") and hasattr(base.pipe, "load_lora_weights"),
        "caches": hasattr(denoiser, "enable_cache") and base.handed_over is None,  # they ask for contexts
        "gradient_checkpointing": own or base.checkpoints is not None,
        "most_frames": base.most_frames,
        "longer": base.longer,
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _bytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _short(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
