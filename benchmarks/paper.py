"""One denoising step of full-size LVDM: plain, with a reference, and on the paper's schedule.

    python benchmarks/paper.py [--threads N] [--repeats N] [--skip-paper] [--out FILE.json]

Random weights of the released sizes in float32: 4 GB for the base, 2.5 GB for Prism and integrations. "plain"
is the base alone; "with" reads cached action tokens; both take turns, after one call each that is not
counted, and the medians are told. "paper" runs the Prism again at every call, as the released code does: the
sum of "with", one pass of the Prism, and the keys and values of its tokens. Of each, the time on the clock
and the processor's; on a machine that does other work too, only the latter says something.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from results import parser_of

from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.method.adapter import ActionAdapter

Times = tuple[float, float]  # seconds on the clock, and of the processor


def timed(call: Callable[[], Any]) -> Times:
    """How long a call takes."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def median(times: list[Times]) -> Times:
    """Of each kind of seconds."""
    clock, processor = zip(*times, strict=True)
    return statistics.median(clock), statistics.median(processor)


@torch.no_grad()
def measure(repeats: int, skip_paper: bool) -> dict[str, Times]:
    """Times of a step in each condition, for one video of 16 frames at 256 x 256 pixels."""
    torch.manual_seed(0)
    unet = LVDMUNet().eval()
    adapter = ActionAdapter.for_base(unet, preset="paper-lvdm")
    latent, reference = torch.randn(1, 4, 16, 32, 32), torch.randn(1, 4, 16, 32, 32)
    text, caption = torch.randn(1, 77, 768), torch.randn(1, 77, 768)
    tokens = torch.randn(1, 16, 4096)
    adapter.attach(unet).set_tokens(tokens)
    found: dict[str, list[Times]] = {"plain": [], "with": []}
    for turn in range(repeats + 1):
        for name, times in found.items():
            adapter.attach(unet) if name == "with" else adapter.detach()
            times.append(timed(lambda: unet(latent, 500, text)))
            print(f"{name} {turn}: {times[-1][0]:.2f} s, processor {times[-1][1]:.2f} s", flush=True)
    medians = {name: median(times[1:]) for name, times in found.items()}
    if not skip_paper:
        adapter.attach(unet)
        medians["keys"] = timed(lambda: adapter.set_tokens(tokens))
        medians["prism"] = timed(lambda: adapter.encode(reference, caption, text))
        parts = [medians[name] for name in ("with", "keys", "prism")]
        medians["paper"] = (sum(part[0] for part in parts), sum(part[1] for part in parts))
    return medians


def main() -> None:
    """Measure and print; write the numbers where asked."""
    parser = parser_of(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-paper", action="store_true", help="leave out the Prism's minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = measure(arguments.repeats, arguments.skip_paper)
    for name, (clock, processor) in found.items():
        print(f"{name:8}{clock:8.2f} s, processor {processor:8.2f} s")
    clock, processor = (found["with"][i] / found["plain"][i] - 1 for i in range(2))
    print(f"with a reference: {clock:+.1%} of a step, processor {processor:+.1%} (goal: at most +10 %)")
    if arguments.out:
        facts = found | {
            "threads": arguments.threads,
            "torch": torch.__version__,
            "machine": platform.platform(),
        }
        arguments.out.write_text(json.dumps(facts, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
