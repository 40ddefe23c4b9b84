"""A step of adapter training: ours against the paper's schedule on the same widths.

    python benchmarks/training.py [--size reduced|modelscope|wan] [--device cpu|cuda] [--repeats N]
        [--precision fp32|bf16] [--peak TFLOPS]

Ours: latents and captions were encoded before, the Prism makes a few slots a frame, and neither autoencoder
nor text encoder is there. The paper's: both work in every step, and the Prism keeps all places of the
latents. It has the published depth and width (18 layers of 640; a quarter of the width where the base has a
quarter of its own), or in a row of its own ours. Weights are random; nothing is downloaded. Each row is a
process of its own, of one pair; "time" is the processor's on a CPU, and memory is without the libraries.
--peak: of the GPU in bfloat16, for the share reached.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
from overhead import timed
from results import Table, parser_of, quartiles
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from echoreel.bases.base import Base
from echoreel.bases.encoding import encode_video
from echoreel.bases.known_bases import KNOWN
from echoreel.bases.lookup import base_of
from echoreel.bases.sketch import parameters
from echoreel.common.randomness import seeded
from echoreel.method.adapter import ActionAdapter
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.integration import IntegrationSettings
from echoreel.method.networks import preset_sizes
from echoreel.training.adapter_loss import FrozenBase, adapter_loss
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.gradient_checkpointing import recompute_in_training
from echoreel.training.pair_cache import Pairs
from echoreel.training.precision import Precision, fast_kernels

PAPER, OUR_SIZE = "paper", "paper, with a Prism of our depth and width"
ROWS = (PAPER, OUR_SIZE, "ours", "ours, checkpointed")


@dataclass(frozen=True)
class Case:
    """A base with random weights, and the clip that it trains on."""

    make: Callable[[], Any]
    frames: int
    pixels: tuple[int, int]  # height, width
    text_tokens: int
    widths: float = 1.0  # of the published ones


def reduced() -> Any:
    """ModelScope, all of whose parts have a quarter of their channels, or nearly."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = AutoencoderKL(block_out_channels=(32, 64, 128, 128), layers_per_block=2, **blocks)
    text = CLIPTextConfig(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=23, num_attention_heads=4
    )
    unet = UNet3DConditionModel(
        sample_size=16, block_out_channels=(96, 160, 320, 320), cross_attention_dim=256, attention_head_dim=32
    )
    return TextToVideoSDPipeline(vae, CLIPTextModel(text), None, unet, DDIMScheduler())


CASES = {
    "reduced": Case(reduced, 16, (128, 128), 77, widths=0.25),
    "modelscope": Case(KNOWN["modelscope"].make, 16, (256, 256), 77),
    "wan": Case(KNOWN["wan-1.3b"].make, 33, (240, 416), 512),
}


class Schedule:
    """A row: how a pair comes to the loss."""

    def __init__(self, row: str, case: Case, device: torch.device, precision: Precision) -> None:
        torch.manual_seed(0)
        with device:
            pipe = case.make()
        pipe.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.precision = precision
        self.base, self.case, self.device, self.row = base_of(pipe), case, device, row
        self.paper = row in (PAPER, OUR_SIZE)
        self.chance, self.step = np.random.default_rng(0), 0
        for part in (p for p in pipe.components.values() if isinstance(p, nn.Module)):
            part.eval().requires_grad_(False)
        if row == "ours, checkpointed":
            recompute_in_training(self.base)
            self.base.denoiser.train()  # diffusers checkpoints only then; nothing here has dropout
        frames = self.filmed()
        latents = encode_video(self.base, frames[None]).float()
        self.known = latents, self.tokens("known")
        self.adapter = self.fresh(latents.shape[-2:]).to(device).train()
        if not self.paper:
            names = [n for n, p in pipe.components.items() if isinstance(p, nn.Module) and "text" in n]
            pipe.register_modules(**dict.fromkeys([*names, *(["vae"] if not self.base.needs_image else [])]))
        self.frozen = FrozenBase(self.adapter, self.base, cast(Any, self.tokens))
        self.settings = AdapterTaskSettings(batch=1)
        self.optimizer = torch.optim.AdamW(self.adapter.parameters(), lr=1e-5, fused=True)

    def fresh(self, size: tuple[int, int]) -> ActionAdapter:
        """The paper's Prism has all places; Integration the sites' width."""
        if not self.paper:
            return ActionAdapter.for_base(self.base)
        published = DensePrismSettings(latent_size=size)
        narrower = {
            name: int(getattr(published, name) * self.case.widths) for name in ("width", "caption_width")
        }
        dense = published.model_copy(update=narrower)
        if self.row == OUR_SIZE:
            ours = cast(CompactPrismSettings, preset_sizes(self.base)[0])
            same = {
                "width": ours.width,
                "depth": ours.depth,
                "heads": ours.heads,
                "caption_width": ours.width,
            }
            dense = published.model_copy(update=same)
        integration = IntegrationSettings(inner_width=None, heads=8)
        adapter: ActionAdapter = ActionAdapter(
            family=self.base.name,
            sites=ActionAdapter.for_base(self.base).config["sites"],
            latent_channels=self.base.latent_channels,
            caption_width=self.base.caption_width,
            prism_config=dense.model_dump(mode="json"),
            integration_config=integration.model_dump(mode="json"),
        )
        return adapter

    def filmed(self) -> Any:
        """Frames as a decoder would give them; reading files is not counted."""
        return self.chance.integers(0, 255, (self.case.frames, *self.case.pixels, 3), dtype=np.uint8)

    @torch.no_grad()
    def tokens(self, caption: str) -> Tensor:
        """Text tokens (L, D): in the paper's schedule of a caption that was never seen."""
        encoder = getattr(self.base.pipe, "text_encoder", None)
        if encoder is None:
            return self.known[1]
        ids = torch.randint(0, 1000, (1, self.case.text_tokens), device=self.device)
        return encoder(ids)[0][0].float().cpu()

    def batch(self) -> Pairs:
        self.step += 1
        target, reference = self.known[0], self.known[0]
        if self.paper:
            target, reference = (encode_video(self.base, self.filmed()[None]).float() for _ in range(2))
        captions = [f"{self.step} target"], [[f"{self.step} reference"]]
        return Pairs(target.to(self.device), reference[:, None].to(self.device), *captions)

    def train(self) -> None:
        """One step."""
        with fast_kernels(self.device, self.precision):
            loss = adapter_loss(self.frozen, self.batch(), self.settings, seeded(self.step))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def measured(
    row: str, case: Case, device: torch.device, precision: Precision, repeats: int
) -> dict[str, Any]:
    """Seconds (lower quartile, median, upper), most memory, operations of one step."""
    libraries = timed(lambda: None, device)[1]
    schedule = Schedule(row, case, device, precision)
    with FlopCounterMode(display=False) as counter:
        schedule.train()
    found = [timed(schedule.train, device) for _ in range(repeats)]
    return {
        "seconds": quartiles([seconds for seconds, _ in found]),
        "peak_bytes": max(most for _, most in found) - libraries,
        "flop": counter.get_total_flops(),
        "adapter": parameters(schedule.adapter),
        "base": parameters(cast(Base, schedule.base).denoiser),
    }


def report(facts: dict[str, Any], paper: dict[str, Any], peak: float | None) -> tuple[str, ...]:
    """Of a row all but its name."""
    low, middle, high = facts["seconds"]
    faster, less = paper["seconds"][1] / middle, facts["peak_bytes"] / paper["peak_bytes"]
    share = f"{facts['flop'] / middle / peak / 1e12:.0%}" if peak else ""
    return (
        f"{middle:.2f} s ({low:.2f} to {high:.2f})",
        f"{faster:.1f} x",
        f"{facts['peak_bytes'] / 2**30:.2f} GiB",
        f"{less:.0%}",
        f"{facts['flop'] / 1e12:.2f} TFLOP",
        f"{facts['adapter'] / 1e6:.1f} M",
        share,
    )


def main() -> None:
    parser = parser_of(__doc__, out="")
    parser.add_argument("--size", choices=CASES, default="reduced")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: bf16 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", type=float, help="TFLOP/s of the GPU in bfloat16")
    parser.add_argument("--row", choices=ROWS, help="one row alone, as JSON")
    options = parser.parse_args()
    if options.row:
        torch.set_num_threads(1)
        device = torch.device(options.device)
        precision = options.precision or ("bf16" if device.type == "cuda" else "fp32")
        facts = measured(options.row, CASES[options.size], device, precision, options.repeats)
        print(json.dumps(facts))
        return
    columns = ("faster", "most memory", "of the paper's", "operations", "adapter", "of the peak")
    table = Table("schedule", "a step", *columns)
    paper: dict[str, Any] = {}
    for row in ROWS:
        done = subprocess.run([sys.executable, *sys.argv, "--row", row], stdout=subprocess.PIPE, check=True)
        facts = json.loads(done.stdout.splitlines()[-1])
        paper = paper or facts
        table.add(row, *report(facts, paper, options.peak))


if __name__ == "__main__":
    main()
