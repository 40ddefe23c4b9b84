"""One call of a network in ComfyUI, through Apply References, == diffusers with the adapter attached.

python check_networks.py wan|wan5b|skyreels|ltx|hunyuanvideo|hunyuan [replace]: tiny random weights. Exits with 1 where a row is over its limit.
"""

import copy
import sys
import tempfile
from pathlib import Path

import comfy_env as env  # first: it finds ComfyUI

# isort: split
import comfy.sd
import numpy as np
import pytest
import tiny
import torch

import comfyui.models as models
import comfyui.nodes as nodes
from comfyui.adapters import load_adapter
from comfyui.families import DOUBLE, KINDS, place_of
from comfyui.references import Reference
from echoreel.common.errors import AdapterMismatch
from echoreel.media.reference_file import EncodedFrames, StoredReference
from echoreel.method.adapter import ActionAdapter

GUIDANCE = 6.0
family = env.ARGUMENTS[0]
TOLERANCE = 2e-4
if "replace" in env.ARGUMENTS:
    nodes.way_of = lambda model: "replace"
WAN = (1, 16, 5, 8, 12)
SHAPES = {"wan": WAN, "wan5b": (1, 48, *WAN[2:]), "skyreels": WAN, "ltx": (1, 128, 3, 4, 6)}
SHAPES |= {"hunyuanvideo": WAN, "hunyuan": (1, 32, 3, 4, 6)}
SUMMARY = 768  # width of CLIP's summary, which HunyuanVideo 1.0 reads as the last token
NAMES = {
    "wan": lambda state: tiny.renamed(state, tiny.WAN_NAMES),
    "ltx": lambda state: tiny.renamed(state, tiny.LTX_NAMES),
    "hunyuan": tiny.hunyuan_names,
    "hunyuanvideo": tiny.hunyuan_names,
    "wan5b": lambda state: tiny.renamed(state, tiny.WAN_NAMES),
    "skyreels": lambda state: tiny.renamed(state, tiny.WAN_NAMES),
}
ours, shape = getattr(tiny, family)(), SHAPES[family]
channels, worst = shape[1], 0.0
model = comfy.sd.load_diffusion_model_state_dict(dict(NAMES[family](ours.state_dict())))
net = model.model.diffusion_model
print(
    f"ComfyUI {env.VERSION}, {family}, {type(model.model).__name__}, {models.way_of(model)}; ours {nodes.way_of(model)}"
)

torch.manual_seed(11)
adapter = ActionAdapter.for_base(ours)
with torch.no_grad():
    for p in adapter.integrations.parameters():  # the zero layers, too
        p.add_(torch.randn_like(p) * (0.3 if p.ndim > 1 else 0.05))
with tempfile.TemporaryDirectory() as folder:
    adapter.save_pretrained(folder)
    loaded = models.Loaded(load_adapter(Path(folder)), "adapter")
kind = KINDS[adapter.config["family"]]
text_width, length = adapter.config["caption_width"], kind.text + kind.summary
texts = torch.randn(5, 1, length, text_width)
if kind.summary:
    texts[..., -1, SUMMARY:] = 0
caption, asked, unasked, cond, uncond = texts
latents = [torch.randn(1, channels, frames, 8, 12) for frames in (4, 7)]
strengths = [1.0, 0.6]


def stored(each):
    held = EncodedFrames(each[0].numpy(), caption[0].numpy(), "m", adapter.config["family"], "b", (64, 64))
    return StoredReference(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2.0), 8.0, encoded=(held,))


references = [Reference(stored(each), strength) for each, strength in zip(latents, strengths, strict=True)]
with torch.no_grad():
    tokens = [adapter.encode(each, caption, asked) for each in latents]
    negative = [adapter.encode(each, caption, unasked) for each in latents]
x = torch.randn(shape)


def compare(name, a, b, tolerance=TOLERANCE, unlike=None):
    global worst
    off = float((a - b).abs().max())
    more = "" if unlike is None else f"; without the adapter {float((unlike - b).abs().max()):.2f}"
    print(
        f"  {name}: max |a-b| {off:.1e} of {float(b.abs().max()):.2f}{more}",
        "" if off <= tolerance else "DIFFERS",
    )
    worst = max(worst, off / max(tolerance, 1e-30) * TOLERANCE if off else 0.0)


@torch.no_grad()
def theirs(x, sigma, text):
    """diffusers: what the network gives."""
    t = torch.full((len(x),), sigma * 1000)
    if type(ours).__name__ in ("WanTransformer3DModel", "SkyReelsV2Transformer3DModel"):
        return ours(x, t, text, return_dict=False)[0]
    if kind.summary:
        return ours(x, t, text[:, :-1], torch.ones(len(x), kind.text), text[:, -1, :SUMMARY],
                    torch.full((len(x),), GUIDANCE * 1000), return_dict=False)[0]  # fmt: skip
    if family == "hunyuan":
        nothing = x.new_zeros(len(x), 33, *x.shape[2:])
        return ours(
            torch.cat([x, nothing], 1), t, text, torch.ones(text.shape[:2], dtype=torch.bool),
            encoder_hidden_states_2=x.new_zeros(len(x), 1, 1472),
            encoder_attention_mask_2=torch.zeros(len(x), 1, dtype=torch.bool),
            image_embeds=x.new_zeros(len(x), 1, 1152), return_dict=False,
        )[0]  # fmt: skip
    sizes = dict(zip(("num_frames", "height", "width"), x.shape[2:], strict=True))
    flat = ours(x.flatten(2).transpose(1, 2), text, t, None, rope_interpolation_scale=(8 / 25, 32, 32),
                return_dict=False, **sizes)[0]  # fmt: skip
    return flat.transpose(1, 2).reshape(x.shape)


def theirs_with(x, sigma, text, scale=1.0, read=tokens):
    adapter.set_scale(scale)
    adapter.set_tokens(read, strengths)
    adapter.attach(ours)
    try:
        return theirs(x, sigma, text)
    finally:
        adapter.detach()
        adapter.clear_references()


def given(text):
    """As a CONDITIONING."""
    return [[text[:, :-1], {"pooled_output": text[:, -1, :SUMMARY]}] if kind.summary else [text, {}]]


def joined(model, scale=1.0, start=0.0, end=1.0, reads="positive", negative=None):
    with torch.inference_mode():
        found = nodes.EchoReelApply.execute(
            model, loaded, references, given(asked), scale, start, end, reads, negative
        ).args[0]
    for callback in found.get_all_callbacks("on_pre_run"):
        callback(found)
    return found


def call(patched, x, sigma, text, order=(0,), window=None):
    """Through ComfyUI's apply_model, as a sampler calls it (x0 = x - sigma * v): the network's v."""
    options = {**patched.model_options["transformer_options"], "cond_or_uncond": [*order]}
    options |= {"sigmas": torch.full((1,), sigma), "context_window": window}
    options["wrappers"] = {
        k: {None: [f for group in v.values() for f in group]} for k, v in patched.wrappers.items()
    }
    more = {"attention_mask": None} if family == "ltx" else {}
    if family == "hunyuan":
        more = {"c_concat": x.new_zeros(len(x), 33, *x.shape[2:])}
    if kind.summary:
        more = {"y": text[:, -1, :SUMMARY], "guidance": torch.tensor([GUIDANCE])}
        text = text[:, :-1]
    with torch.inference_mode():
        found = patched.model.apply_model(
            x.clone(), torch.full((len(x),), sigma), c_crossattn=text, transformer_options=options, **more
        )
    return (x - found) / sigma


sigma = 0.25  # exact in every format: of large ones the networks round the embedding differently
plain = theirs(x, sigma, cond)
compare("without adapter", call(model, x, sigma, cond), plain)
with_it = theirs_with(x, sigma, cond)
compare("one call", call(joined(model), x, sigma, cond), with_it, unlike=plain)
compare("scale 0.4", call(joined(model, 0.4), x, sigma, cond), theirs_with(x, sigma, cond, 0.4))
compare(
    "scale 0 is the base's own", call(joined(model, 0.0), x, sigma, cond), call(model, x, sigma, cond), 0.0
)
larger = torch.randn((*shape[:2], 7, 10, 14))
compare("another size", call(joined(model), larger, sigma, cond), theirs_with(larger, sigma, cond))
none = theirs(x, sigma, uncond)
pair = torch.cat([x, x])
for order in ([1, 0], [0, 1]):
    text = torch.cat([cond if i == 0 else uncond for i in order])
    want = torch.cat([with_it if i == 0 else none for i in order])
    compare(f"batch {order}, 1 is negative", call(joined(model), pair, sigma, text, order), want)
    both = {0: with_it, 1: theirs_with(x, sigma, uncond)}
    compare(f"batch {order}, both read", call(joined(model, reads="both"), pair, sigma, text, order),
            torch.cat([both[i] for i in order]))  # fmt: skip
    own = {0: with_it, 1: theirs_with(x, sigma, uncond, read=negative)}
    found = call(joined(model, reads="both", negative=given(unasked)), pair, sigma, text, order)
    compare(f"batch {order}, each its own prompt", found, torch.cat([own[i] for i in order]))
three = torch.cat([cond, uncond, cond])
compare(
    "batch [0, 1, 0]",
    call(joined(model), torch.cat([x] * 3), sigma, three, [0, 1, 0]),
    torch.cat([with_it, none, with_it]),
)
videos = torch.randn((2, *shape[1:]))
texts = torch.cat([uncond] * 2 + [cond] * 2)
want = torch.cat([theirs(videos, sigma, texts[:2]), theirs_with(videos, sigma, texts[2:])])
compare("two videos, [1, 0]", call(joined(model), torch.cat([videos] * 2), sigma, texts, [1, 0]), want)
compare(
    "negative rows alone", call(joined(model), x, sigma, uncond, [1]), call(model, x, sigma, uncond, [1]), 0.0
)


class Halved:
    """Another pack's patch of a block: half of what the block adds."""

    def __call__(self, said, extra):
        before = said["img"].clone()
        out = extra["original_block"](said)
        return {**out, "img": before + 0.5 * (out["img"] - before)}


other = model.clone()
site = [path for path in loaded.adapter.sites if place_of(path)[0] == DOUBLE][-1]
other.set_model_patch_replace(Halved(), "dit", *place_of(site))
block = ours.get_submodule(site)
forward = block.forward


def halved(hidden_states, *args, **kwargs):
    before = hidden_states.clone()
    out = forward(hidden_states, *args, **kwargs)
    if isinstance(out, tuple):
        return (before + 0.5 * (out[0] - before), *out[1:])
    return before + 0.5 * (out - before)


block.forward = halved
want = theirs_with(x, sigma, cond)
block.forward = forward
compare("another pack's patch, ours behind it", call(joined(other), x, sigma, cond), want)
late = joined(model)
late.set_model_patch_replace(Halved(), "dit", *place_of(site))
if nodes.way_of(model) == "list":
    compare("another pack's patch behind ours: kept", call(late, x, sigma, cond), want)
else:
    with pytest.raises(AdapterMismatch) as caught:
        call(late, x, sigma, cond)
    print(f"  another pack's patch behind ours: {caught.value}")
twice = joined(joined(model, 0.5), 0.4)
adapter.set_scale(0.5), adapter.set_tokens(tokens, strengths), adapter.attach(ours)
second = copy.deepcopy(adapter)
second.set_scale(0.4), second.set_tokens(tokens, strengths), second.attach(ours)
want = theirs(x, sigma, cond)
second.detach(), adapter.detach(), adapter.clear_references()
compare("two Apply nodes in a row", call(twice, x, sigma, cond), want)

sampling = model.get_model_object("model_sampling")
off = 0.0
for start, end in ((0.0, 1.0), (0.2, 0.6), (0.5, 1.0)):
    first, last = (float(sampling.percent_to_sigma(p)) for p in (start, end))
    for each in (1.0, 0.9, 0.6, 0.3, 0.05):
        want = theirs_with(x, each, cond) if last <= each <= first else theirs(x, each, cond)
        off = max(off, float((call(joined(model, 1.0, start, end), x, each, cond) - want).abs().max()))
print(f"  three windows at five noise levels: max |a-b| {off:.1e}", "" if off < TOLERANCE else "DIFFERS")


class Window:
    index_list, total_frames = [*range(shape[2])], 4 * shape[2]


moved = call(joined(model), x, sigma, cond, window=Window())
Window.index_list = [3 * shape[2] + i for i in range(shape[2])]
later = call(joined(model), x, sigma, cond, window=Window())
apart = [float((a - b).abs().max()) for a, b in ((moved, with_it), (later, moved))]
print(
    f"  context windows read other parts of the action: {apart[0]:.2f} from the whole, {apart[1]:.2f} from each other"
)
assert min(apart) > 0.1
print(f"worst {max(worst, off):.1e}")
sys.exit(max(worst, off) > TOLERANCE)
