"""For every test: one thread, so that results repeat and other work on the machine is left in peace."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never download

import torch

torch.set_num_threads(1)
