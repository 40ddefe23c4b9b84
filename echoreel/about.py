"""What a base and its adapter are, in numbers: for `echoreel info`."""

from pathlib import Path
from typing import Any

from torch import nn

from echoreel.adapter import ActionAdapter
from echoreel.backbones import base_of, find_sites
from echoreel.generation import WEIGHTS, load_adapter, load_base, model_name, resolved
from echoreel.result import GenerationSettings


def describe(base: str | Path | None = None, adapter: str | Path | None = None) -> dict[str, Any]:
    """Facts about a base and an adapter that fits it, both named as for `load_base` and `load_adapter`.

    Without an adapter: the embedded one for the embedded base, where there is one, else a fresh compact one.
    Raises EchoReelError's family, AdapterMismatch for an adapter of another base.
    """
    pipe: Any = load_base(base, device="cpu")
    found = base_of(pipe)
    settings = resolved(pipe, GenerationSettings())
    places, pixels = found.family.latent_size(found.denoiser), found.family.pixels_per_place(pipe)
    size = tuple(pixels * side for side in places) if places else (None, None)
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    facts: dict[str, Any] = {
        "base": model_name(pipe),
        "pipeline": type(pipe).__name__,
        "family": found.family.name,
        "frames": settings.num_frames,
        "height": settings.height or size[0],
        "width": settings.width or size[1],
        "fps": settings.fps,
        "steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "parameters": {name: _parameters(part) for name, part in parts.items()},
        "sites": find_sites(found.family, found.denoiser),
    }
    if adapter is None and (model_name(pipe) != "embedded" or not (WEIGHTS / "adapter").is_dir()):
        loaded, name = ActionAdapter.for_base(pipe), "fresh"
    else:
        loaded = load_adapter(adapter)
        name = model_name(loaded)
        loaded.attach(pipe)
        loaded.detach()
    facts["adapter"] = {
        "name": name,
        "parameters": _parameters(loaded),
        "share_of_denoiser": _parameters(loaded) / _parameters(found.denoiser),
    }
    return facts


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts of `describe` for people."""
    widths = sorted(set(facts["sites"].values()))
    counts = ", ".join(f"{name} {_short(count)}" for name, count in facts["parameters"].items())
    adapter = facts["adapter"]
    return [
        f"base        {facts['base']}: {facts['pipeline']}, family {facts['family']}",
        f"videos      {facts['frames']} frames of {facts['width']}x{facts['height']} at {facts['fps']:g} fps",
        f"sampling    {facts['steps']} steps, guidance scale {facts['guidance_scale']:g}",
        f"parameters  {_short(sum(facts['parameters'].values()))}: {counts}",
        f"sites       {len(facts['sites'])}, of width {', '.join(map(str, widths))}",
        f"adapter     {adapter['name']}: {_short(adapter['parameters'])} parameters, "
        f"{adapter['share_of_denoiser']:.1%} of the denoiser",
    ]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _short(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
