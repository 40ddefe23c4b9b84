"""Toys of the released models: seeded tensors by the originals' names, and what the originals made of them.

The outputs come from the originals' own code: scripts/released_outputs.py runs it.
"""

from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from echoreel.released.convert_unets import convert_echoreel_lvdm, convert_videocrafter
from helpers.places import DATA

OUTPUTS = DATA / "released_outputs.safetensors"
FRAMES, REFERENCE_FRAMES, SIDE = 6, 5, 8  # of the latents; references have the same sides
TEXT = 77  # tokens: VideoCrafter's own code says where the text ends

Shapes = dict[str, tuple[int, ...]]

_SIZES = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "attention_resolutions": [2, 1],
    "num_res_blocks": 1,
    "transformer_depth": 1,
    "use_checkpoint": False,
    "context_dim": 48,
}
LVDM_UNET: dict[str, Any] = _SIZES | {
    "image_size": SIDE,
    "legacy": False,
    "kernel_size_t": 1,
    "padding_t": 0,
    "use_temporal_transformer": True,
    "temporal_length": 3,  # fewer than the frames, so that relative positions are clipped
    "use_relative_position": True,
    "dims": 3,
    "num_heads": 4,
}
PRISM: dict[str, Any] = {
    "latent_query_dim": 32,
    "n_heads": 4,
    "d_head": 6,
    "layers": 2,
    "input_context_dim": 48,
    "latent_context_dim": 40,
}
_VIDEOCRAFTER: dict[str, Any] = _SIZES | {
    "use_linear": True,
    "temporal_conv": True,
    "temporal_attention": True,
    "temporal_selfatt_only": True,
    "use_relative_position": False,
    "use_causal_attention": False,
    "temporal_length": 16,
    "addition_attention": True,
    "fps_cond": True,
    "num_head_channels": 16,
}
VIDEOCRAFTER_UNETS: dict[str, dict[str, Any]] = {
    kind: _VIDEOCRAFTER | {"use_image_attention": kind == "i2v"} for kind in ("t2v", "i2v")
}


class ReleasedToy:
    """A released model at toy size. `kind`: "lvdm" (with EchoReel), "t2v" or "i2v".

    `weights`: its tensors by their original names. `io`: inputs and, with `outputs`, the original's outputs.
    """

    def __init__(self, kind: str, outputs: bool = True) -> None:
        if kind == "lvdm":
            self.settings = {"unet": LVDM_UNET, "prism": PRISM}
            shapes = wanted_tensors(convert_echoreel_lvdm, LVDM_UNET, PRISM)
            shapes |= {name: _other_length(name, shape) for name, shape in shapes.items()}
        else:
            self.settings = {"unet": VIDEOCRAFTER_UNETS[kind]}
            shapes = wanted_tensors(convert_videocrafter, VIDEOCRAFTER_UNETS[kind])
        self.weights = {name: seeded(name, shape) for name, shape in shapes.items()}
        self.io = _inputs(kind)
        if outputs:
            made = load_file(OUTPUTS)
            self.io |= {
                name.removeprefix(f"{kind}."): x for name, x in made.items() if name.startswith(f"{kind}.")
            }

    def doubled(self, name: str) -> Tensor:
        """The input, and one unlike it: a batch of two."""
        x = self.io[name][:1]
        return torch.cat([x, x.flip(-1)]) if x.ndim > 1 else torch.cat([x, x + 100])


def seeded(name: str, shape: tuple[int, ...]) -> Tensor:
    """The same numbers for a name, whatever else is drawn; of a size that keeps a network's signal."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(crc32(name.encode())))
    if x.ndim > 1:
        return x / x[0].numel() ** 0.5
    return 1 + 0.1 * x if name.endswith("weight") else 0.1 * x


def wanted_tensors(convert: Callable[..., Any], *settings: dict[str, Any]) -> Shapes:
    """Every tensor of a checkpoint of these settings, from what an empty one is found to lack."""
    found: Shapes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "echoreel.released.convert_unets.check_tensors",
            lambda _, expected: found.update(expected) or 1 / 0,
        )
        with pytest.raises(ZeroDivisionError):
            convert({}, *settings)
    return found


def _other_length(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of what an empty checkpoint does not say: the places of a reference, and how far integrations look."""
    if name.endswith(("inject_attn3_tmp.to_k.weight", "inject_attn3_tmp.to_v.weight")):
        return (shape[0], 4 * SIDE * SIDE)
    if "inject_attn3_tmp" in name and name.endswith("embeddings_table"):
        return (2 * LVDM_UNET["temporal_length"] + 1, *shape[1:])
    return shape


def _inputs(kind: str) -> dict[str, Tensor]:
    def drawn(name: str, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(crc32(f"{kind} {name}".encode()))
        return torch.randn(shape, generator=generator)

    latent = (4, FRAMES, SIDE, SIDE)
    if kind == "lvdm":
        return {
            "latent": drawn("latent", 1, *latent),
            "timestep": torch.tensor([601]),
            "text": drawn("text", 1, 9, 48),
            "reference_latent": drawn("reference", 1, 4, REFERENCE_FRAMES, SIDE, SIDE),
            "reference_text": drawn("caption", 1, 7, 48),
        }
    return {
        "latent": drawn("latent", 2, *latent),
        "timestep": torch.tensor([601, 17]),
        "fps": torch.tensor([8, 28]),
        "text": drawn("text", 2, TEXT + 5 * (kind == "i2v"), 48),
    }
