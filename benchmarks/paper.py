"""One denoising step of full-size LVDM: plain, with a reference, and on the paper's schedule.

    python benchmarks/paper.py [--threads N] [--repeats N] [--out FILE.json]

Random weights of the released sizes in float32: 4 GB for the base, 2.5 GB for Prism and integrations. "plain"
is the base alone; "with" reads cached action tokens; "paper" runs the Prism again at every call, as the
released code does. Each is the median of the repeats (one for "paper") after one call that is not counted.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from echoreel.adapter import ActionAdapter
from echoreel.backbones.lvdm import LVDMUNet


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@torch.no_grad()
def measure(repeats: int) -> dict[str, float]:
    """Seconds a step of each condition, for one video of 16 frames at 256 x 256 pixels."""
    torch.manual_seed(0)
    unet = LVDMUNet().eval()
    latent, reference = torch.randn(1, 4, 16, 32, 32), torch.randn(1, 4, 16, 32, 32)
    text, caption = torch.randn(1, 77, 768), torch.randn(1, 77, 768)

    def step() -> None:
        unet(latent, 500, text)

    found = {"plain": seconds(step, repeats)}
    adapter = ActionAdapter.for_base(unet, preset="paper-lvdm").attach(unet)
    began = time.perf_counter()
    tokens = adapter.encode(reference, caption, text)
    found["prism_once"] = time.perf_counter() - began
    adapter.set_tokens(tokens)
    found["with"] = seconds(step, repeats)

    def step_as_released() -> None:
        adapter.set_tokens(adapter.encode(reference, caption, text))
        step()

    found["paper"] = seconds(step_as_released, 1)
    return found


def main() -> None:
    """Measure and print; write the numbers where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = measure(arguments.repeats)
    ratio = found["with"] / found["plain"] - 1
    for name, value in found.items():
        print(f"{name:12}{value:8.2f} s")
    print(f"with a reference: {ratio:+.1%} of a step (goal: at most +10 %)")
    if arguments.out:
        facts = found | {
            "threads": arguments.threads,
            "torch": torch.__version__,
            "machine": platform.platform(),
        }
        arguments.out.write_text(json.dumps(facts, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
