"""What the adapter costs on large bases: a denoising step, memory, parameters, a training step.

    python benchmarks/overhead.py [BASE ...] [--size toy|small|full] [--device cpu|cuda] [--repeats N]
        [--out FILE]
    python benchmarks/overhead.py --sizes

A step is guided: both branches, in one call of the denoiser or in two, as the base's pipeline does it.
"base" is the base alone, "1" and "4" read so many references, whose tokens are there; "paper" runs the Prism
again at every step, and both branches read, as the released EchoReel code does. They take turns in a random
order in every round, after one round that is not counted. A condition's overhead is the median over rounds of
its time over the base's in the same round; the spread is that of its middle half. On a CPU, time is the
processor's: on a machine that does other work too, the clock says little. Weights are random; nothing is
downloaded.
"""

import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bases import CASES, Case
from results import Table, parser_of, quartiles
from torch import Tensor

from echoreel.bases.known_bases import KNOWN
from echoreel.bases.lookup import base_of
from echoreel.bases.sketch import parameters, sketched
from echoreel.method.adapter import ActionAdapter
from echoreel.method.fitted_sizes import token_grid
from echoreel.method.networks import preset_sizes
from echoreel.method.references import ReferenceSet
from echoreel.training.gradient_checkpointing import recompute_in_training

CONDITIONS = ("base", "1", "4", "paper")


class Guiding:
    """Stands for a pipeline that guides: attachments ask it nothing else."""

    do_classifier_free_guidance = True

    def __init__(self, component: str, denoiser: Any) -> None:
        setattr(self, component, denoiser)


class Bench:
    """A base, a fresh adapter, and what they are shown."""

    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        with device:
            self.denoiser = case.build().to(device, dtype).eval().requires_grad_(False)
            self.adapter = ActionAdapter.for_base(self.denoiser)
        self.base = base_of(self.denoiser)
        for integration in self.adapter.integrations.values():  # zeros would cost the same
            torch.nn.init.normal_(integration.feed.out.weight, std=1e-3)
        self.pipe = Guiding(self.base.component, self.denoiser)
        self.noisy = torch.randn(1, *case.latents, device=device, dtype=dtype)
        self.captions = torch.randn(2, *case.captions, device=device, dtype=dtype)
        self.references = torch.randn(1, *case.latents, device=device, dtype=dtype)

    def tokens(self) -> Tensor:
        return self.adapter.encode(self.references, self.captions[1:], self.captions[1:])

    def prepare(self, condition: str) -> None:
        """Attached or not, with the references set."""
        self.adapter.detach()
        if condition != "base":
            self.adapter.attach(self.pipe)
            self.adapter.set_guidance("both" if condition == "paper" else "positive")
            self.adapter.set_tokens([self.tokens()] * (4 if condition == "4" else 1))

    def step(self, condition: str) -> None:
        """One guided step. The paper's: each branch's tokens anew."""
        if condition == "paper":
            pair = torch.cat([self.references] * 2)
            tokens = self.adapter.encode(pair, self.captions[[1, 1]], self.captions)
            centres = self.adapter.prism.slot_centres
            self.adapter._held.change(references=ReferenceSet.of_tokens([tokens], [1.0], centres, True))
        if not self.base.negative:
            self.call(self.noisy.expand(2, -1, -1, -1, -1), self.captions)
            return
        for row, context in enumerate((self.base.negative[0], "cond")):
            with self.denoiser.cache_context(context):
                self.call(self.noisy, self.captions[row : row + 1])

    def call(self, noisy: Tensor, captions: Tensor) -> Tensor:
        timesteps = torch.full((len(noisy),), 500, device=noisy.device)
        return self.base.predict(self.denoiser, noisy, timesteps, captions, {})

    def train(self, optimizer: torch.optim.Optimizer) -> None:
        """One step of adapter-only training on one clip."""
        self.adapter.attach(self.denoiser)
        self.adapter.set_tokens(self.tokens())
        self.call(self.noisy, self.captions[1:]).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def timed(call: Callable[[], Any], device: torch.device) -> tuple[float, int]:
    """Seconds (of the processor on a CPU) and the most bytes held meanwhile."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - began, torch.cuda.max_memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # the most from now on; Linux only
    began = time.process_time()
    call()
    seconds = time.process_time() - began
    lines = Path("/proc/self/status").read_text().splitlines()
    most = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return seconds, most


@torch.no_grad()
def steps(bench: Bench, repeats: int, device: torch.device) -> dict[str, Any]:
    """Of each condition: seconds, overhead over the base with its spread, peak memory."""
    rounds: list[dict[str, tuple[float, int]]] = []
    order, shuffled = [*CONDITIONS], random.Random(0)
    for _ in range(repeats + 1):
        shuffled.shuffle(order)
        found = {}
        for condition in order:
            bench.prepare(condition)
            found[condition] = timed(lambda: bench.step(condition), device)  # noqa: B023
        rounds.append(found)
    facts: dict[str, Any] = {}
    for condition in CONDITIONS:
        times = [found[condition][0] for found in rounds[1:]]
        over = [found[condition][0] / found["base"][0] - 1 for found in rounds[1:]]
        facts[condition] = {
            "seconds": quartiles(times)[1],
            "overhead": quartiles(over),
            "peak_bytes": statistics.median(found[condition][1] for found in rounds[1:]),
        }
    bench.adapter.detach()
    return facts


def training(bench: Bench, repeats: int, device: torch.device) -> dict[str, Any]:
    """A step of adapter-only training, without gradient checkpointing and then with it."""
    facts = {}
    optimizer = torch.optim.AdamW(bench.adapter.parameters(), lr=1e-5)
    bench.adapter.train()
    for name in ("plain", "checkpointed"):
        if name == "checkpointed":
            recompute_in_training(bench.denoiser)
            bench.denoiser.train()  # diffusers checkpoints only then; nothing here has dropout
        found = [timed(lambda: bench.train(optimizer), device) for _ in range(repeats + 1)][1:]
        facts[name] = {
            "seconds": quartiles([seconds for seconds, _ in found]),
            "peak_bytes": max(most for _, most in found),
        }
    return facts


def sizes() -> None:
    """Sizes of the adapters of all bases that have a short name, as a table."""
    columns = ("tokens a frame", "slots a frame", "Prism", "tokens", "Integration", "sites", "adapter")
    table = Table("base", *columns, "share")
    for name in KNOWN:
        table.add(name, *sizes_of(name))


def sizes_of(name: str) -> tuple[object, ...]:
    """Of one of them."""
    base = sketched(name)[0]
    with torch.device("meta"):
        adapter = ActionAdapter.for_base(base)
    grid, sites = token_grid(base), len(adapter.config["sites"])
    prism, integration = preset_sizes(base)
    mine, theirs = parameters(adapter), parameters(base.denoiser)
    return (
        f"{grid.rows} x {grid.columns}",
        f"{prism.rows} x {prism.slots // prism.rows}",
        f"{prism.depth} layers of {prism.width}",
        prism.token_width,
        f"{integration.inner_width}, {integration.feed_forward}",
        f"{sites} of {len(base.find_sites())}",
        f"{mine / 1e6:.1f} M",
        f"{mine / theirs:.1%}",
    )


def report(name: str, facts: dict[str, Any]) -> None:
    """A base's numbers as rows of tables."""
    for condition, found in facts["steps"].items():
        low, middle, high = (f"{100 * x:+.1f} %" for x in found["overhead"])
        memory = f"{found['peak_bytes'] / 2**30:.2f} GiB"
        print(f"| {name} | {condition} | {found['seconds']:.3f} s | {middle} ({low} to {high}) | {memory} |")
    for kind, found in facts.get("training", {}).items():
        low, middle, high = (f"{x:.3f}" for x in found["seconds"])
        memory = f"{found['peak_bytes'] / 2**30:.2f} GiB"
        print(f"| {name} | training, {kind} | {middle} s ({low} to {high}) | | {memory} |", flush=True)


def main() -> None:
    """Measure and print; write the numbers where asked."""
    parser = parser_of(__doc__)
    parser.add_argument("bases", nargs="*", metavar="BASE", help=f"of {', '.join(CASES['full'])}; none: all")
    parser.add_argument("--size", choices=CASES, default="toy")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, help="default: bfloat16 on a GPU, else float32")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--skip-training", action="store_true")
    parser.add_argument("--sizes", action="store_true", help="sizes that fit each known base, nothing else")
    arguments = parser.parse_args()
    if arguments.sizes:
        sizes()
        return
    device = torch.device(arguments.device)
    dtype = getattr(torch, arguments.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    found: dict[str, Any] = {"machine": platform.platform(), "torch": torch.__version__, "dtype": str(dtype)}
    for name in arguments.bases or CASES[arguments.size]:
        bench = Bench(CASES[arguments.size][name], device, dtype)
        facts: dict[str, Any] = {"steps": steps(bench, arguments.repeats, device)}
        if not arguments.skip_training:
            facts["training"] = training(bench, arguments.repeats, device)
        facts["parameters"] = {"base": parameters(bench.denoiser), "adapter": parameters(bench.adapter)}
        report(name, facts)
        found[name] = facts
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
