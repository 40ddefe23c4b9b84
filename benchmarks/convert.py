"""Convert a checkpoint of EchoReel's full size: time and peak memory.

    python benchmarks/convert.py KEYS.json FOLDER [--keep]

KEYS.json: tensor name -> shape of the whole U-Net, as `keys_echoreel_lvdm.json` of the parity fixtures. A
DeepSpeed checkpoint of those, an autoencoder and a text encoder (random float32) is written to FOLDER, then
`echoreel convert` runs on it as a process of its own, and what it wrote is loaded and compared with the
checkpoint, tensor by tensor. Needs 15 GB on the disk, which are given back unless --keep. The tokenizer is
the embedded base's: no hub is asked.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from results import parser_of, run
from transformers import CLIPTextConfig, CLIPTextModel

import echoreel
from echoreel.bases.loading import load_base
from echoreel.method.loading import load_adapter
from echoreel.released.convert_encoders import AUTOENCODER, CLIP_TEXT, autoencoder_names
from echoreel.released.convert_file import AUTOENCODER_PREFIX, TEXT, UNET, WRAPPER, read_tensors
from echoreel.released.original_names import adapter_names, original_names, unused_names

TOKENIZER = Path(echoreel.__file__).parent / "weights" / "base" / "tokenizer"


def make_checkpoint(keys: Path, file: Path) -> None:
    """Write random tensors of all names and shapes, as DeepSpeed does."""
    shapes = {
        UNET + name: tuple(shape) for name, shape in json.loads(keys.read_text(encoding="utf-8")).items()
    }
    with torch.device("meta"):
        vae, text = AutoencoderKL(**AUTOENCODER), CLIPTextModel(CLIPTextConfig(**CLIP_TEXT))
    names = autoencoder_names(vae)
    shapes |= {AUTOENCODER_PREFIX + names[name]: tuple(x.shape) for name, x in vae.state_dict().items()}
    shapes |= {TEXT + name: tuple(x.shape) for name, x in text.state_dict().items()}
    tensors = {WRAPPER + name: torch.empty(shape).uniform_(-0.05, 0.05) for name, shape in shapes.items()}
    torch.save({"module": tensors, "global_steps": 1}, file)


def main() -> None:
    """Make, convert, load; print what each took."""
    parser = parser_of(__doc__, out="")
    parser.add_argument("keys", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)  # the making process itself
    arguments = parser.parse_args()
    file, out = arguments.folder / "checkpoint.pt", arguments.folder / "paper"
    if arguments.make:
        make_checkpoint(arguments.keys, file)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, __file__, str(arguments.keys), str(arguments.folder), "--make"], check=True
    )
    print(f"{file}: {file.stat().st_size / 1e9:.2f} GB", flush=True)
    command = [sys.executable, "-m", "echoreel", "convert", str(file), "--kind", "echoreel-lvdm"]
    printed, spent = run([*command, "-o", str(out), "--tokenizer", str(TOKENIZER)])
    print(f"{printed}convert: {spent.seconds:.0f} s, peak memory {spent.memory / 1e9:.2f} GB", flush=True)
    compare(file, out)
    if not arguments.keep:
        for path in sorted(arguments.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def compare(file: Path, out: Path) -> None:
    """Load base and adapter; SystemExit unless every tensor is there with the checkpoint's numbers."""
    tensors = read_tensors(file)
    pipe, adapter = load_base(out / "base", device="cpu"), load_adapter(out / "adapter")
    known = {UNET + name for name in unused_names(adapter, pipe.unet)}
    for module, names, prefix in (
        (pipe.unet, original_names(pipe.unet), UNET),
        (adapter, adapter_names(adapter, pipe.unet), UNET),
        (pipe.vae, autoencoder_names(pipe.vae), AUTOENCODER_PREFIX),
        (pipe.text_encoder, {name: name for name in pipe.text_encoder.state_dict()}, TEXT),
    ):
        known |= {prefix + name for name in names.values()}
        for ours, tensor in module.state_dict().items():
            if not torch.equal(tensors[prefix + names[ours]].flatten(), tensor.flatten()):
                raise SystemExit(f"{ours}: other numbers than the checkpoint's {names[ours]}")
    unknown = len(set(tensors) - known)
    print(f"loaded: {len(tensors)} tensors, all compared or known to be unused but {unknown}")


if __name__ == "__main__":
    main()
