"""ComfyUI's memory management loads and frees our parts whole. "meta" stands for a GPU: moved, never computed."""

import copy

import comfy_env as env  # first: it finds ComfyUI

# isort: split
import tiny
import torch

from comfyui.models import Whole
from echoreel.method.adapter import ActionAdapter

GPU, CPU = torch.device("meta"), torch.device("cpu")
adapter = ActionAdapter.for_base(tiny.wan())
print("ComfyUI", env.VERSION)
for name in ("integrations", "prism"):
    module = getattr(adapter, name)
    size = sum(p.nbytes for p in module.parameters())
    for told, memory in (("enough", 1e32), ("none, as with --novram", 0.1), ("half", size / 2)):
        patcher = Whole(copy.deepcopy(module), load_device=GPU, offload_device=CPU)
        patcher.partially_load(GPU, memory)
        stay = [n for n, t in patcher.model.state_dict().items() if t.device == CPU]
        freed = patcher.partially_unload(CPU, size)
        print(f"  {name}, memory: {told}: {len(stay)} tensors stay behind, {freed} bytes are freed in part")
        assert not stay, stay
        assert freed == 0
