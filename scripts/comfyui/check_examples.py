"""The example workflows of Wan run through the server with tiny models: python check_examples.py PORT BASE_DIR

As shipped but for what has no tiny form: the text encoder, sizes, steps. Links in the models' folders give the tiny
models the names that the examples ask for.
"""

import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path

from examples import CAPTION, api, wan, wan_file

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
for name in (
    "text_encoders/umt5_xxl_fp8_e4m3fn_scaled",
    "text_encoders/t5xxl_fp16",
    "checkpoints/ltx-video-2b-v0.9.5",
):
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
