"""Make tests/data/released_outputs.safetensors: what the originals' own code makes of seeded toy tensors.

    PYTHONPATH=tests python scripts/released_outputs.py echoreel DIR      # github.com/liujianzhi/EchoReel
    PYTHONPATH=tests python scripts/released_outputs.py videocrafter DIR  # github.com/AILab-CVC/VideoCrafter

DIR is a checkout of the original. Packages that only its training or its GPU code needs are stood in for.
"""

import argparse
import sys
import types
from pathlib import Path

import torch
from helpers.released_toys import OUTPUTS, SIDE, VIDEOCRAFTER_UNETS, ReleasedToy
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def main() -> None:
    """Run one original; outputs of the other stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("original", choices=("echoreel", "videocrafter"))
    parser.add_argument("checkout", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout))
    run = {"echoreel": echoreel_outputs, "videocrafter": videocrafter_outputs}[arguments.original]
    made = load_file(OUTPUTS) if OUTPUTS.exists() else {}
    save_file(made | {name: x.contiguous() for name, x in run().items()}, OUTPUTS)


def stand_in(name: str, **contents: object) -> None:
    """Have `import name` find a module of these contents."""
    module = types.ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


@torch.no_grad()
def echoreel_outputs() -> dict[str, Tensor]:
    """Of the U-Net with and without a reference, and of the Prism."""

    def attention(q: Tensor, k: Tensor, v: Tensor, **_: object) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)

    stand_in("deepspeed", checkpointing=types.SimpleNamespace(checkpoint=None))
    stand_in("xformers.ops", memory_efficient_attention=attention)
    stand_in("xformers", ops=sys.modules["xformers.ops"])
    stand_in("omegaconf")
    stand_in("omegaconf.listconfig", ListConfig=list)
    from lvdm.models.modules import openaimodel3d as original  # type: ignore[import-not-found]

    toy, (perceiver, layer) = (
        ReleasedToy("lvdm", outputs=False),
        (original.Perceiver, original.Perceiver_layer),
    )
    prism = dict(toy.settings["prism"])
    heads = {name: prism.pop(name) for name in ("n_heads", "d_head")}  # which its own code does not pass on
    original.Perceiver_layer = lambda **options: layer(**options, **heads)
    original.Perceiver = lambda use_checkpoint: perceiver(**prism, use_checkpoint=use_checkpoint)
    outputs = {}
    for name, inject in (("lvdm.base_output", False), ("lvdm.output", True)):
        unet = original.UNetModel(**toy.settings["unet"], video_inject=inject).eval()
        for attention_module in (m for n, m in unet.named_modules() if n.endswith("inject_attn3_tmp")):
            for part in ("to_k", "to_v"):  # made for references of 32 x 32 places
                rows = getattr(attention_module, part).out_features
                setattr(attention_module, part, nn.Linear(4 * SIDE * SIDE, rows, bias=False))
        load(unet, {n: x for n, x in toy.weights.items() if inject or "inject" not in n})
        if inject:
            unet.video_inject_process.register_forward_hook(
                lambda *call: outputs.update({"lvdm.prism_temporal": call[-1][1]})
            )
        reference = {"inject_video": toy.io["reference_latent"], "inject_text": toy.io["reference_text"]}
        outputs[name] = unet(
            toy.io["latent"], toy.io["timestep"], context=toy.io["text"], **(reference if inject else {})
        )
    return outputs


@torch.no_grad()
def videocrafter_outputs() -> dict[str, Tensor]:
    """Of both U-Nets, for a batch of two."""
    stand_in("cv2")
    from lvdm.modules.networks.openaimodel3d import UNetModel  # type: ignore[import-not-found]

    outputs = {}
    for kind in VIDEOCRAFTER_UNETS:
        toy = ReleasedToy(kind, outputs=False)
        unet = UNetModel(**toy.settings["unet"]).eval()
        load(unet, toy.weights)
        io = toy.io
        outputs[f"{kind}.output"] = unet(io["latent"], io["timestep"], context=io["text"], fps=io["fps"])
    return outputs


def load(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Every tensor, none left over; ours have the original's shapes up to axes of length 1."""
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    model.load_state_dict({name: x.reshape(shapes.get(name, x.shape)) for name, x in tensors.items()})


if __name__ == "__main__":
    main()
