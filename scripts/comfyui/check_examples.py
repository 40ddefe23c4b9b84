"""The example workflows, and VACE, Fun and Wan 2.2's pair, run through the server with tiny models.

python check_examples.py PORT BASE_DIR: the examples as shipped but for what has no tiny form: the text encoder, sizes,
steps. Links in the models' folders give the tiny models the names that the examples ask for. Exits with 1 where one
does not run, or where references change nothing.
"""

import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path

from safetensors.torch import load_file

from examples import CAPTION, EXAMPLES, api, ltx, wan, wan_file

ROOT = Path(__file__).resolve().parents[2]
port, base = int(sys.argv[1]), Path(sys.argv[2])
url = f"http://127.0.0.1:{port}"
TINY = {"width": 96, "height": 64, "length": 17, "steps": 4}
LINKS = {
    "diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors": "tiny_wan.safetensors",
    "vae/wan_2.1_vae.safetensors": "tiny_wan_vae.safetensors",
    "echoreel/my-adapter": "tiny",
}
for name, target in LINKS.items():
    (base / "models" / name).unlink(missing_ok=True)
    (base / "models" / name).symlink_to(target)
for name in ("text_encoders/umt5_xxl_fp8_e4m3fn_scaled", "text_encoders/t5xxl_fp16"):
    (base / "models" / name).parent.mkdir(exist_ok=True)
    (base / f"models/{name}.safetensors").touch()  # for the page to list
shutil.copy(ROOT / "comfyui/example_workflows/cartwheel.mp4", base / "input")


def post(path, data):
    request = urllib.request.Request(
        url + path, json.dumps(data).encode(), {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=60))


def run(name, flow):
    for each in flow.values():
        each["inputs"] |= {k: v for k, v in TINY.items() if k in each["inputs"]}
        if each["class_type"] == "CLIPTextEncode":
            each["class_type"] = "EchoReelTestText"
            del each["inputs"]["clip"]
    flow.pop("clip", None)
    number = post("/prompt", {"prompt": flow})["prompt_id"]
    for _ in range(1200):
        found = json.load(urllib.request.urlopen(f"{url}/history/{number}", timeout=60))
        if number in found:
            break
        time.sleep(0.25)
    status = found[number]["status"]
    if status["status_str"] != "success":
        sys.exit(f"{name}: {json.dumps(status['messages'][-1], indent=1)[:2000]}")
    files = [file["filename"] for out in found[number]["outputs"].values() for file in out.get("images", [])]
    print(f"{name}: {', '.join(files)}", flush=True)


listed = json.load(urllib.request.urlopen(f"{url}/workflow_templates", timeout=60))
assert sorted(listed["echoreel"]) == sorted(EXAMPLES), listed
for name in EXAMPLES:  # what Browse Templates shows
    for suffix in ("json", "jpg"):
        found = urllib.request.urlopen(f"{url}/api/workflow_templates/echoreel/{name}.{suffix}", timeout=60)
        assert found.read() == (ROOT / f"comfyui/example_workflows/{name}.{suffix}").read_bytes(), name
for path in (ROOT / "comfyui/web/docs").glob("*.md"):  # each node's help
    found = urllib.request.urlopen(f"{url}/extensions/echoreel/docs/{path.name}", timeout=60)
    assert found.read() == path.read_bytes(), path.name
flow = api(wan())
flow["keep"] = {
    "class_type": "EchoReelSaveReference",
    "inputs": {
        "references": ["reference", 0],
        "model": ["model", 0],
        "name": "cartwheel",
        "caption": CAPTION,
    },
}
run("wan_reference_video", flow)
references = base / "models/echoreel_references"
shutil.copy(references / "cartwheel_00001.safetensors", references / "cartwheel.safetensors")
run("wan_reference_file", api(wan_file()))
flow = api(ltx())
flow["adapter"]["inputs"]["adapter"] = "tiny-ltx"
run("ltx_reference_video", flow)


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def short(name, scale, models, kind=None):
    """Wan with the models' files; `kind` makes the latents and changes both prompts. Saves latents."""
    kept = ("clip", "vae", "adapter", "positive", "negative", "video", "caption", "reference", "latent")
    flow = {key: value for key, value in api(wan()).items() if key in kept}
    prompts = ["positive", 0], ["negative", 0]
    latent = ["latent", 0]
    if kind:
        frames = node("GetVideoComponents", video=["video", 0])
        picture = node("ImageFromBatch", image=["frames", 0], batch_index=0, length=1)
        given = {"positive": prompts[0], "negative": prompts[1], "vae": ["vae", 0], "batch_size": 1}
        given |= {"control_video": ["frames", 0], **TINY, **kind["inputs"]}
        del given["steps"]
        flow |= {"frames": frames, "picture": picture, "made": node(kind["class_type"], **given)}
        prompts, latent = (["made", 0], ["made", 1]), ["made", 2]
    for number, file in enumerate(models):  # Wan 2.2: the first model makes the first half of the steps
        half = TINY["steps"] // 2
        flow[f"model{number}"] = node("UNETLoader", unet_name=f"{file}.safetensors", weight_dtype="default")
        flow[f"apply{number}"] = node(
            "EchoReelApply", model=[f"model{number}", 0], adapter=["adapter", 0], references=["reference", 0],
            positive=["positive", 0], scale=scale, start_percent=0.0, end_percent=1.0, reads="positive",
        )  # fmt: skip
        first, last = (number * half, (number + 1) * half) if len(models) > 1 else (0, 10_000)
        flow[f"sampler{number}"] = node(
            "KSamplerAdvanced", model=[f"apply{number}", 0], add_noise="disable" if number else "enable",
            noise_seed=7, steps=4, cfg=5.0, sampler_name="euler", scheduler="simple", positive=prompts[0],
            negative=prompts[1], latent_image=latent, start_at_step=first, end_at_step=last,
            return_with_leftover_noise="enable" if number + 1 < len(models) else "disable",
        )  # fmt: skip
        latent = [f"sampler{number}", 0]
    flow["save"] = node("SaveLatent", samples=latent, filename_prefix=f"check/{name}-{scale:g}")
    run(f"{name}, scale {scale:g}", flow)
    return load_file(sorted((base / "output/check").glob(f"{name}-{scale:g}_*.latent"))[-1])["latent_tensor"]


VACE = node("WanVaceToVideo", strength=1.0, reference_image=["picture", 0])
FUN = node("Wan22FunControlToVideo", ref_image=["picture", 0])
for name, models, kind in (
    ("pair", ["tiny_wan", "tiny_wan_low"], None),
    ("vace", ["tiny_vace"], VACE),
    ("fun", ["tiny_fun"], FUN),
):
    without, ours = (short(name, scale, models, kind) for scale in (0.0, 1.0))
    apart = float((ours - without).abs().max())
    print(f"{name}: {apart:.1f} from the base alone, of {float(without.abs().max()):.1f}")
    assert ours.isfinite().all()
    assert apart > 1
