"""What `echoreel generate` on the embedded base does before its first step, and what of it others need.

    python benchmarks/start.py [--repeats N] [--out FILE.json]

Each row is a process of its own; rows take turns, and the least processor time of the rounds counts, since a
busy machine only adds to it. "one pipeline" imports the one pipeline of diffusers from its own file; what
ours takes beyond that is all that other imports here could save. The last row generates with one step.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from results import machine, parser_of, run, tell

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
    paths = os.pathsep.join(str(Path(path).absolute()) for path in ("", *sys.path) if path is not None)
    environment = os.environ | {"PYTHONPATH": paths}
    took = run(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)[1]
    return took.processor, took.seconds


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
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
    tell({"machine": machine(), "rows": rows}, options.out)


if __name__ == "__main__":
    main()
