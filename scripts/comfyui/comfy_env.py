"""ComfyUI's Python modules from the folder that COMFY names, on the CPU, without its server; and our nodes."""

import os
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.argv[1:], ARGUMENTS = [], sys.argv[1:]  # which ComfyUI would read
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [os.environ["COMFY"], str(ROOT)]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing(False)
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
import comfyui_version  # noqa: E402

VERSION = comfyui_version.__version__
