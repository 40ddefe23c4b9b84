"""Apply References on Wan, VACE and Fun == the same layers called by hooks on the network's blocks.

python check_variants.py: tiny random weights. With the hooks in ComfyUI's own network, nothing is left of its
difference from diffusers'. VACE is compared with diffusers', too. Exits with 1 where a row is over its limit.
"""

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import comfy_env as env  # first: it finds ComfyUI

# isort: split
import comfy.sd
import numpy as np
import tiny
import torch

import comfyui.models as models
import comfyui.nodes as nodes
from comfyui.adapters import load_adapter
from comfyui.references import Reference
from echoreel.media.reference_file import EncodedFrames, StoredReference
from echoreel.method.adapter import ActionAdapter
from echoreel.method.integration import Grid

TOLERANCE, SAME = 2e-4, 1e-5


def trained(network):
    """An adapter for diffusers' network, as the nodes load it, whose every layer adds something."""
    torch.manual_seed(11)
    adapter = ActionAdapter.for_base(network)
    with torch.no_grad():
        for p in adapter.integrations.parameters():  # the zero layers, too
            p.add_(torch.randn_like(p) * (0.3 if p.ndim > 1 else 0.05))
    with tempfile.TemporaryDirectory() as folder:
        adapter.save_pretrained(folder)
        return models.Loaded(load_adapter(Path(folder)), "adapter")


loaded = trained(tiny.wan())
caption, asked, cond = torch.randn(3, 1, 512, 4096)
latents = torch.randn(1, 16, 4, 8, 12)
held = EncodedFrames(latents[0].numpy(), caption[0].numpy(), "m", "Wan", "b", (64, 96))
stored = StoredReference(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2.0), 8.0, encoded=(held,))
x, sigma = torch.randn(1, 16, 5, 8, 12), 0.7
grid, picture = Grid(5, 4, 6, "t h w"), 4 * 6  # tokens; a picture's are as many as a frame's
wrong = False


def compare(name, a, b, limit, plain=None):
    global wrong
    off = float((a - b).abs().max())
    wrong |= off > limit
    more = "" if plain is None else f"; without the adapter {float((plain - b).abs().max()):.2f}"
    print(
        f"  {name}: max |a-b| {off:.1e} of {float(b.abs().max()):.2f}{more}{' DIFFERS' if off > limit else ''}"
    )


def joined(model, *scales):
    with torch.inference_mode():
        for scale in scales:
            made = nodes.EchoReelApply.execute(
                model, loaded, [Reference(stored)], [[asked, {}]], scale, 0.0, 1.0, "positive"
            )
            model = made.args[0]  # fmt: skip
    for callback in model.get_all_callbacks("on_pre_run"):
        callback(model)
    return model


def call(patched, **more):
    options = {**patched.model_options["transformer_options"], "cond_or_uncond": [0]}
    options["sigmas"] = torch.full((1,), sigma)
    options["wrappers"] = {
        k: {None: [f for group in v.values() for f in group]} for k, v in patched.wrappers.items()
    }
    with torch.inference_mode():
        found = patched.model.apply_model(
            x.clone(), torch.full((1,), sigma), c_crossattn=cond, transformer_options=options, **more
        )
    return (x - found) / sigma


@contextmanager
def hooked(blocks, *scales, first=0):
    """The layers called behind blocks, over the video's tokens, which begin at `first`."""
    tokens = loaded.adapter.tokens([(latents, caption, 1.0)], [asked])
    hooks = []
    for path in loaded.adapter.sites:
        layer = loaded.adapter.integrations[path.replace(".", "-")]
        memory = layer.memory(tokens.to(next(layer.parameters())))

        def add(block, args, out, layer=layer, memory=memory):
            video = out[:, first : first + grid.tokens].clone()
            for scale in scales:
                video += layer(video, memory, grid, 1) * scale * tokens.strength
            return torch.cat([out[:, :first], video, out[:, first + grid.tokens :]], 1)

        hooks.append(blocks[int(path.split(".")[1])].register_forward_hook(add))
    yield
    for hook in hooks:
        hook.remove()


def same(name, model, *scales, first=0, **more):
    got = call(joined(model, *scales), **more)
    with hooked(model.model.diffusion_model.blocks, *scales, first=first):
        want = call(model, **more)
    compare(f"{name} == hooks", got, want, SAME, call(model, **more))


def of(state, **options):
    return comfy.sd.load_diffusion_model_state_dict(dict(state), model_options=options)


print("ComfyUI", env.VERSION)
model = of(tiny.renamed(tiny.wan().state_dict(), tiny.WAN_NAMES))
same("Wan 2.1, one Apply", model, 1.0)
same("Wan 2.1, Apply at 0.5 and at 0.8", model, 0.5, 0.8)
same(
    "Wan 2.1 in fp8",
    of(tiny.renamed(tiny.wan().state_dict(), tiny.WAN_NAMES), dtype=torch.float8_e4m3fn),
    1.0,
)

theirs = tiny.vace()
model = of(tiny.renamed(theirs.state_dict(), tiny.WAN_NAMES))
control = torch.randn(1, 96, 5, 8, 12)
more = {"vace_context": control[:, None], "vace_strength": [1.0]}
print(f"  {type(model.model).__name__}, {models.way_of(model)}")
same("VACE", model, 1.0, **more)


@torch.no_grad()
def diffusers_vace():
    return theirs(x, torch.tensor([sigma * 1000]), cond, control_hidden_states=control,
                  control_hidden_states_scale=torch.ones(2), return_dict=False)[0]  # fmt: skip


compare("VACE without adapter == diffusers", call(model, **more), diffusers_vace(), TOLERANCE)
with hooked(theirs.blocks, 1.0):
    want = diffusers_vace()
compare("VACE == diffusers, hooks", call(joined(model, 1.0), **more), want, TOLERANCE, diffusers_vace())

model = of(tiny.fun_state())
more = {"c_concat": torch.randn(1, 36, 5, 8, 12)}
print(
    f"  {type(model.model).__name__} of {model.model.diffusion_model.patch_embedding.weight.shape[1]} channels"
)
same("Fun", model, 1.0, **more)
same(
    "Fun, a picture before the video",
    model,
    1.0,
    first=picture,
    reference_latent=torch.randn(1, 16, 8, 12),
    **more,
)

for name, theirs in (("an adapter trained on VACE", tiny.vace()), ("SkyReels V2", tiny.skyreels())):
    loaded = trained(theirs)
    state = theirs if name == "SkyReels V2" else tiny.wan()
    same(name, of(tiny.renamed(state.state_dict(), tiny.WAN_NAMES)), 1.0)
theirs, latents, x = tiny.wan5b(), torch.randn(1, 48, 4, 8, 12), torch.randn(1, 48, 5, 8, 12)
held = EncodedFrames(latents[0].numpy(), caption[0].numpy(), "m", "Wan", "b", (64, 96))
stored = StoredReference(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2.0), 8.0, encoded=(held,))
loaded = trained(theirs)
same("Wan 2.2 5B", of(tiny.renamed(theirs.state_dict(), tiny.WAN_NAMES)), 1.0)
sys.exit(wrong)
