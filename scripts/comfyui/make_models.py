"""Write the tiny models, an adapter, the built pack and the tests' text node into a ComfyUI folder.

python make_models.py BASE_DIR
"""

import json
import shutil
from pathlib import Path

import comfy_env as env  # first: it finds ComfyUI

# isort: split
import tiny
import torch
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE
from safetensors.torch import save_file

from comfyui.build import build
from echoreel.method.adapter import ActionAdapter

base = Path(env.ARGUMENTS[0])
for folder in ("diffusion_models", "vae", "echoreel", "checkpoints"):
    (base / "models" / folder).mkdir(parents=True, exist_ok=True)
(base / "custom_nodes").mkdir(exist_ok=True)
wan, vae = tiny.wan(), tiny.wan_vae()
save_file(
    tiny.renamed(wan.state_dict(), tiny.WAN_NAMES), base / "models/diffusion_models/tiny_wan.safetensors"
)
save_file(tiny.wan_vae_names(vae.state_dict()), base / "models/vae/tiny_wan_vae.safetensors")
others = {
    "tiny_wan_low": tiny.renamed(tiny.wan(seed=6).state_dict(), tiny.WAN_NAMES),
    "tiny_vace": tiny.renamed(tiny.vace().state_dict(), tiny.WAN_NAMES),
    "tiny_fun": tiny.fun_state(),
}
for name, state in others.items():
    save_file(state, base / f"models/diffusion_models/{name}.safetensors")

ltx = tiny.ltx()
config = {"_class_name": "CausalVideoAutoencoder", "dims": 3, "latent_channels": 128, "norm_layer": "pixel_norm",
          "patch_size": 4, "latent_log_var": "uniform", "causal_decoder": False, "encoder_base_channels": 8,
          "decoder_base_channels": 8, "blocks": [["res_x", 1], *[["compress_all", 1], ["res_x", 1]] * 3]}  # fmt: skip
parts = {"model.diffusion_model": tiny.renamed(ltx.state_dict(), tiny.LTX_NAMES)}
parts["vae"] = tiny.randomised(VideoVAE(config=config), seed=7).state_dict()
state = {f"{part}.{key}": value.contiguous() for part, each in parts.items() for key, value in each.items()}
checkpoint = base / "models/checkpoints/ltx-video-2b-v0.9.5.safetensors"
save_file(state, checkpoint, {"config": json.dumps({"vae": config})})

for name, network in (("tiny", wan), ("tiny-ltx", ltx)):
    torch.manual_seed(11)
    adapter = ActionAdapter.for_base(network)
    with torch.no_grad():
        for p in adapter.integrations.parameters():
            p.add_(torch.randn_like(p) * (0.1 if p.ndim > 1 else 0.05))
        adapter.prism.norm_tokens.running_mean.normal_()  # buffers must travel, too
    adapter.save_pretrained(base / f"models/echoreel/{name}")
build(base / "custom_nodes")
shutil.copytree(Path(__file__).parent / "test_text", base / "custom_nodes/test_text", dirs_exist_ok=True)
(base / "custom_nodes/blocked").mkdir(exist_ok=True)
(base / "custom_nodes/blocked/__init__.py").write_text(
    '''"""For tests only: diffusers and echoreel are not to be found."""

import sys

sys.modules["diffusers"] = sys.modules["echoreel"] = None
NODE_CLASS_MAPPINGS = {}
'''
)
