"""Write the tiny models, an adapter, the built pack and the tests' text node into a ComfyUI folder.

python make_models.py BASE_DIR
"""

import shutil
import sys
from pathlib import Path

import tiny
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
from comfyui.build import build  # noqa: E402
from echoreel.method.adapter import ActionAdapter  # noqa: E402

base = Path(sys.argv[1])
for folder in ("diffusion_models", "vae", "echoreel"):
    (base / "models" / folder).mkdir(parents=True, exist_ok=True)
(base / "custom_nodes").mkdir(exist_ok=True)
wan, vae = tiny.wan(), tiny.wan_vae()
save_file(
    tiny.renamed(wan.state_dict(), tiny.WAN_NAMES), base / "models/diffusion_models/tiny_wan.safetensors"
)
save_file(tiny.wan_vae_names(vae.state_dict()), base / "models/vae/tiny_wan_vae.safetensors")
torch.manual_seed(11)
adapter = ActionAdapter.for_base(wan)
with torch.no_grad():
    for p in adapter.integrations.parameters():
        p.add_(torch.randn_like(p) * (0.1 if p.ndim > 1 else 0.05))
    adapter.prism.norm_tokens.running_mean.normal_()  # buffers must travel, too
adapter.save_pretrained(base / "models/echoreel/tiny")
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
