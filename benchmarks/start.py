"""What `echoreel generate` on the embedded base does before its first step, and what of it others need.

    python benchmarks/start.py [--repeats N] [--out FILE.json]

Each row is a process of its own; rows take turns, and the least processor time of the rounds counts, since a
busy machine only adds to it. "one pipeline" imports the one pipeline of diffusers from its own file; what
ours takes beyond that is all that other imports here could save. The last row generates with one step.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from library import machine

IMPORTS = {
    "torch": "import torch",
    "and torch._dynamo, which diffusers asks for": "import torch, torch._dynamo",
    "transformers' CLIP": "from transformers import CLIPTextModel, CLIPTokenizer",
    "two parts of diffusers": "from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL; "
    "from diffusers.models.unets.unet_motion_model import UNetMotionModel",
    "one pipeline": "from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline",
    "ours": "import echoreel.bases.loading, echoreel.generation.generate",
}


def spent(command: list[str], folder: str) -> tuple[float, float]:
    """Seconds of the processor and of the clock that a process takes."""
    began = time.perf_counter()
    paths = os.pathsep.join(str(Path(path).absolute()) for path in ("", *sys.path) if path is not None)
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed with {process.returncode}: {' '.join(command)}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    commands = {name: [sys.executable, "-c", code] for name, code in IMPORTS.items()}
    film = ["generate", "a man running", "--steps", "1"]
    generate = [sys.executable, "-m", "echoreel", *film]
    commands["generate, one step"] = generate
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.repeats):
            commands["generate, one step"] = [*generate, "-o", f"{number}.mp4"]
            for name, command in commands.items():
                times[name].append(spent(command, folder))
    rows = {
        name: {"processor_s": round(min(found)[0], 2), "least_s": round(min(each[1] for each in found), 2)}
        for name, found in times.items()
    }
    text = json.dumps({"machine": machine(), "rows": rows}, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
