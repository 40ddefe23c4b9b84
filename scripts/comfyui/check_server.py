"""Whole workflows through a running ComfyUI == EchoReel on diffusers' WanPipeline, and the shipped examples run.

python check_server.py PORT BASE_DIR: a server on 127.0.0.1:PORT with that base directory (make_models.py), in
which diffusers and echoreel are blocked from import. Exits with 1 where a workflow is over 5e-4.
"""

import copy
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np
import tiny
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
from test_text import tokens_of  # noqa: E402

from echoreel.media.reference_video import ReferenceVideo  # noqa: E402
from echoreel.method.adapter import ActionAdapter  # noqa: E402

torch.set_num_threads(1)
port, base = int(sys.argv[1]), Path(sys.argv[2])
url = f"http://127.0.0.1:{port}"
PROMPT, NEGATIVE, CAPTION = "a person doing a cartwheel", "blurry", "a man doing a cartwheel"
HEIGHT, WIDTH, FRAMES, STEPS, CFG, SEED, SHIFT = 64, 96, 17, 4, 5.0, 7, 8.0
TOLERANCE = 5e-4
failed = []


def write_video(path, frames, fps):
    """PNG in MOV: lossless RGB. Of H.264 in RGB, ComfyUI from 0.20 on reads values up to 1.1 of 255 lower."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "rgb24"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def post(path, data):
    request = urllib.request.Request(
        url + path, json.dumps(data).encode(), {"Content-Type": "application/json"}
    )
    try:
        return json.load(urllib.request.urlopen(request, timeout=60))
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code}: {error.read().decode()[:1500]}")


def get(path):
    return json.load(urllib.request.urlopen(url + path, timeout=60))


def run(workflow: dict[str, Any]) -> dict[str, Any]:
    """Its outputs; or what the user reads, under "error"."""
    number = post("/prompt", {"prompt": workflow})["prompt_id"]
    for _ in range(1200):
        found = get(f"/history/{number}")
        if number in found:
            status = found[number]["status"]
            if status["status_str"] != "success":
                return {"error": status["messages"][-1][1]["exception_message"].strip()}
            return found[number]["outputs"]
        time.sleep(0.25)
    sys.exit("no answer in 300 s")


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def workflow(name, encode=None, **settings):
    settings = {"scale": 1.0, "start_percent": 0.0, "end_percent": 1.0, "reads": "positive"} | settings
    taken = {"start": 0.0, "seconds": 2.0, "take_fps": 8.0, "crop": "middle", "strength": 1.0, "fps": 24.0}
    taken |= encode or {}
    return {
        "model": node("UNETLoader", unet_name="tiny_wan.safetensors", weight_dtype="default"),
        "vae": node("VAELoader", vae_name="tiny_wan_vae.safetensors"),
        "positive": node("EchoReelTestText", text=PROMPT),
        "negative": node("EchoReelTestText", text=NEGATIVE),
        "caption": node("EchoReelTestText", text=CAPTION),
        "video": node("LoadVideo", file="reference.mov"),
        "adapter": node("EchoReelLoadAdapter", adapter="tiny"),
        "reference": node("EchoReelEncodeReference", video=["video", 0], vae=["vae", 0], caption=["caption", 0],
                          width=WIDTH, height=HEIGHT, **taken),
        "apply": node("EchoReelApply", model=["model", 0], adapter=["adapter", 0], references=["reference", 0],
                      positive=["positive", 0], **settings),
        "latent": node("EmptyHunyuanLatentVideo", width=WIDTH, height=HEIGHT, length=FRAMES, batch_size=1),
        "sampler": node("KSampler", model=["apply", 0], seed=SEED, steps=STEPS, cfg=CFG,
                        sampler_name="euler", scheduler="simple", positive=["positive", 0], negative=["negative", 0],
                        latent_image=["latent", 0], denoise=1.0),
        "save": node("SaveLatent", samples=["sampler", 0], filename_prefix=f"check/{name}"),
    }  # fmt: skip


def latents(name, flow):
    outputs = run(flow)
    if "error" in outputs:
        sys.exit(f"{name}: {outputs['error']}")
    return load_file(sorted((base / "output/check").glob(f"{name}_*.latent"))[-1])["latent_tensor"]


def compare(name, got, want):
    off = float((got - want).abs().max())
    wrong = off > TOLERANCE
    failed.extend([name] if wrong else [])
    print(f"  {name}: max |a-b| {off:.1e} of {float(want.abs().max()):.1f}; base alone {float((plain - want).abs().max()):.1f}"
          f"{' DIFFERS' if wrong else ''}", flush=True)  # fmt: skip


def told(name, flow, words):
    """A wrong workflow ends with a sentence that says so."""
    message = run(flow).get("error", "it ran")
    failed.extend([] if words in message else [name])
    print(f"  {name}: {message}", flush=True)


class Given(FlowMatchEulerDiscreteScheduler):
    """ComfyUI's `simple` noise levels for Wan, shifted by 8."""

    def set_timesteps(self, num_inference_steps=None, device=None, sigmas=None, mu=None, timesteps=None):
        t = torch.arange(1, 1001) / 1000
        levels = SHIFT * t / (1 + (SHIFT - 1) * t)
        chosen = [
            float(levels[-(1 + int(i * 1000 / num_inference_steps))]) for i in range(num_inference_steps)
        ]
        self.sigmas = torch.tensor([*chosen, 0.0])
        self.timesteps = self.sigmas[:-1] * 1000
        self._step_index = self._begin_index = None
        self.num_inference_steps = num_inference_steps


def diffusers_side():
    pipe = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=tiny.wan_vae(),
        scheduler=Given(shift=1.0),
        transformer=tiny.wan(),
    )
    pipe.set_progress_bar_config(disable=True)

    def encode_prompt(prompt, negative_prompt=None, do_classifier_free_guidance=True, **_):
        tokens = torch.cat([tokens_of(p) for p in ([prompt] if isinstance(prompt, str) else prompt)])
        return tokens, tokens_of(negative_prompt) if do_classifier_free_guidance else None

    pipe.encode_prompt = encode_prompt
    return pipe


@torch.no_grad()
def generate(pipe):
    noise = torch.randn((1, 16, 5, HEIGHT // 8, WIDTH // 8), generator=torch.manual_seed(SEED))
    found = pipe(PROMPT, negative_prompt=NEGATIVE, height=HEIGHT, width=WIDTH, num_frames=FRAMES,
                 num_inference_steps=STEPS, guidance_scale=CFG, latents=noise, output_type="latent").frames  # fmt: skip
    mean, std = (
        torch.tensor(v).view(1, -1, 1, 1, 1)
        for v in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std)
    )
    return found * std + mean


info = get("/object_info")
ours = sorted(name for name in info if name.startswith("EchoReel"))
print(
    "ComfyUI",
    get("/system_stats")["system"]["comfyui_version"],
    len(info),
    "nodes; ours:",
    ", ".join(ours),
    flush=True,
)
rng = np.random.default_rng(3)
frames = np.linspace(0, 255, 16)[:, None, None, None] + rng.integers(0, 255, (16, HEIGHT, WIDTH, 3))
frames = frames.clip(0, 255).astype(np.uint8)
write_video(base / "input/reference.mov", frames, 8)
reference = ReferenceVideo.from_file(base / "input/reference.mov", caption=CAPTION)
part = ReferenceVideo(frames[4:12], fps=8, caption=CAPTION, strength=0.5)
pipe = diffusers_side()
adapter = ActionAdapter.from_pretrained(str(base / "models/echoreel/tiny"))
plain = generate(pipe)
size = (HEIGHT, WIDTH)
with adapter.reading(pipe, [reference], PROMPT, size):
    wants = {"full": generate(pipe)}
    adapter.set_scale(0.5)
    wants["half"] = generate(pipe)
    adapter.set_scale(1.0), adapter.set_window(0.25, 0.75)
    wants["window"] = generate(pipe)
    adapter.set_window(), adapter.set_guidance("both")
    wants["both"] = generate(pipe)
with adapter.reading(pipe, [reference], PROMPT, size, negative_prompt=NEGATIVE):
    wants["each its own prompt"] = generate(pipe)
with adapter.reading(pipe, [reference, part], PROMPT, size):
    wants["two references"] = generate(pipe)

print("whole workflows", flush=True)
compare("scale 0", latents("plain", workflow("plain", scale=0.0)), plain)
compare("full", latents("full", workflow("full")), wants["full"])
compare("half", latents("half", workflow("half", scale=0.5)), wants["half"])
compare(
    "window", latents("window", workflow("window", start_percent=0.25, end_percent=0.74)), wants["window"]
)
compare("both", latents("both", workflow("both", reads="both")), wants["both"])
own = workflow("own", reads="both", negative=["negative", 0])
compare("each its own prompt", latents("own", own), wants["each its own prompt"])
two = workflow("two")
two["second"] = copy.deepcopy(two["reference"])
two["second"]["inputs"] |= {"start": 0.5, "seconds": 1.0, "strength": 0.5, "references": ["reference", 0]}
two["apply"]["inputs"]["references"] = ["second", 0]
compare("two references", latents("two", two), wants["two references"])
batch = workflow("batch")
batch["latent"]["inputs"]["batch_size"] = 2
compare("first of a batch of 2", latents("batch", batch)[:1], wants["full"])
images = workflow("images", encode={"fps": 8.0})
images["parts"] = node("GetVideoComponents", video=["video", 0])
del images["reference"]["inputs"]["video"]
images["reference"]["inputs"]["images"] = ["parts", 0]
compare("from images", latents("images", images), wants["full"])

print("reference files", flush=True)
assert (base / "models/echoreel_references").is_dir()  # the pack makes it at the start
for old in (base / "models/echoreel_references").glob("*.safetensors"):
    old.unlink()
saving = workflow("saving")
saving["keep"] = node(
    "EchoReelSaveReference",
    references=["reference", 0],
    model=["model", 0],
    name="../cart wheel",
    caption=CAPTION,
)
latents("saving", saving)
files = sorted((base / "models/echoreel_references").glob("*.safetensors"))
print("  written:", [path.name for path in files])
written = ReferenceVideo.load(files[0])
assert (written.frames == frames).all()
assert written.caption == CAPTION
reference.save(base / "models/echoreel_references/plain.safetensors")
loading = workflow("loading")
loading["reference"] = node("EchoReelLoadReference", file=files[0].name, strength=1.0)
compare("from a file written in ComfyUI", latents("loading", loading), wants["full"])
plain_file = copy.deepcopy(loading)
plain_file["reference"]["inputs"]["file"] = "plain.safetensors"
told("a file for no model", plain_file, "is encoded for no model, need Wan")

print("with other nodes behind ours", flush=True)
for name, kind, inputs in (
    ("windows", "WanContextWindowsManual", {"context_length": 9, "context_overlap": 4, "context_schedule": "standard_static",
     "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "freenoise": False, "retain_first_frame": False, "split_conds_to_windows": False}),
    ("slg", "SkipLayerGuidanceDiT", {"double_layers": "2", "single_layers": "", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0, "rescaling_scale": 0.0}),
    ("shift", "ModelSamplingSD3", {"shift": 3.0}),
):  # fmt: skip
    if kind not in info:
        continue
    known = info[kind]["input"].get("required", {}) | info[kind]["input"].get("optional", {})
    for place in ("behind", "before"):
        flow = workflow(name)
        flow["other"] = node(kind, **{k: v for k, v in inputs.items() if k in known})
        if place == "behind":
            flow["other"]["inputs"]["model"], flow["sampler"]["inputs"]["model"] = ["apply", 0], ["other", 0]
        else:
            flow["other"]["inputs"]["model"], flow["apply"]["inputs"]["model"] = ["model", 0], ["other", 0]
        got = latents(name, flow)
        apart = [float((got - other).abs().max()) for other in (wants["full"], plain)]
        failed.extend([] if torch.isfinite(got).all() and min(apart) > 0.1 else [kind])
        print(
            f"  {kind} {place} ours: {apart[0]:.1f} from ours alone, {apart[1]:.1f} from the base", flush=True
        )

# The window's noise levels are those of the sampler's own model, wherever the node lies that shifts them.
shifted = []
for place in ("behind", "before"):
    flow = workflow(f"window-{place}", start_percent=0.25, end_percent=0.74)
    flow["other"] = node("ModelSamplingSD3", shift=3.0, model=["apply" if place == "behind" else "model", 0])
    if place == "behind":
        flow["sampler"]["inputs"]["model"] = ["other", 0]
    else:
        flow["apply"]["inputs"]["model"] = ["other", 0]
    shifted.append(latents(f"window-{place}", flow))
same = torch.equal(*shifted)
failed.extend([] if same else ["a window with a shift behind"])
print(
    f"  a window, the noise levels shifted behind ours == before ours: {'yes' if same else 'NO'}", flush=True
)


def cached(place, scale=0.0):
    """Latents with EasyCache "before" or "behind" ours, or "alone"."""
    flow = workflow(f"cache-{place}-{scale:g}", scale=scale)
    flow["other"] = node(
        "EasyCache", model=["apply" if place == "behind" else "model", 0], reuse_threshold=3.0,
        start_percent=0.15, end_percent=0.95, verbose=False,
    )  # fmt: skip
    if place == "before":
        flow["apply"]["inputs"]["model"] = ["other", 0]
    else:
        flow["sampler"]["inputs"]["model"] = ["other", 0]
    if place == "alone":
        del flow["apply"]
    return latents(f"cache-{place}-{scale:g}", flow)


if "EasyCache" in info:
    # In the first run after one with ModelSamplingSD3, EasyCache takes its window of steps from that node's noise
    # levels, with or without our nodes. So a run without it comes first.
    calm = workflow("calm", scale=0.0)
    calm["sampler"]["inputs"]["seed"] = SEED + 1
    latents("calm", calm)
    base_cached, ours_cached = cached("alone"), cached("before", 1.0)
    for name, same in (
        ("before ours at scale 0 == alone", torch.equal(cached("before"), base_cached)),
        ("behind ours at scale 0 == alone", torch.equal(cached("behind"), base_cached)),
        ("behind ours == before ours", torch.equal(cached("behind", 1.0), ours_cached)),
        ("skips a step of the base", not torch.equal(base_cached, latents("plain", workflow("plain", scale=0.0)))),
        ("skips a step of ours", float((ours_cached - wants["full"]).abs().max()) > 0.1),
        ("does not skip ours", float((ours_cached - base_cached).abs().max()) > 0.1),
    ):  # fmt: skip
        failed.extend([] if same else [f"EasyCache {name}"])
        print(f"  EasyCache {name}: {'yes' if same else 'NO'}", flush=True)

print("what a user reads who joins the wrong things", flush=True)
told(
    "late start",
    workflow("late", encode={"start": 99.0}),
    "frames found from 99 s on in a video of 2.00 s: 0, need at least 2",
)
none = workflow("none")
del none["reference"]["inputs"]["video"]
told("no video", none, "connect a video or images")
told("window", workflow("w", start_percent=0.5, end_percent=0.5), "need a start before its end")

print("example workflows", flush=True)
for path in sorted((ROOT / "comfyui/example_workflows").glob("*.json")):
    print(f"  {path.name}: {len(json.loads(path.read_text())['nodes'])} nodes, see screenshots.py")
    for each in json.loads(path.read_text())["nodes"]:
        if each["type"] not in info and each["type"] not in ("MarkdownNote", "Note"):
            failed.append(f"{path.name}: no node {each['type']}")
print("failed:", failed or "nothing")
sys.exit(bool(failed))
