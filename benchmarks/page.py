"""What the page costs: seconds to start, memory while idle, memory over many generations.

    python benchmarks/page.py [--generations N] [--steps N] [--out FILE]

The page runs in a process of its own, which says how long its imports took and how long it then took until
the page was served and had answered once. Generations are asked for over HTTP, as the page's own tab does:
the embedded base, the example's reference, with the base's own video to compare. Memory is what the process
holds (resident set). Needs the extra `ui`.
"""

import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
from results import parser_of, tell

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers.page_client import PageClient, file_data  # noqa: E402

SERVE = """
import sys, time
began = time.perf_counter()
from pathlib import Path
from echoreel.page.page import PageSettings, served
imported = time.perf_counter()
out = Path(sys.argv[1])
settings = PageSettings(outputs=out / "outputs", library=out / "library", bench=out / "bench", browser=False)
with served(settings) as address:
    print(address, imported - began, time.perf_counter() - imported, flush=True)
    sys.stdin.read()
"""
MEBIBYTE = 2**20
PAUSE, LONGEST = 0.2, 300.0  # seconds between looks for a result, and until one is missed
PROMPT = "a person with brown hair in a red sweater doing a cartwheel on a grassy field"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SERVE, folder]
        page = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            found = measured(page, Path(folder), options.generations, options.steps)
        finally:
            page.terminate()
            page.wait(60)
    tell(found, options.out)


def measured(page: "subprocess.Popen[str]", folder: Path, generations: int, steps: int) -> dict[str, Any]:
    """Seconds and mebibytes."""
    assert page.stdout is not None
    address, imports, start = page.stdout.readline().split()
    began = time.perf_counter()
    httpx.get(address, timeout=60).raise_for_status()
    answer = time.perf_counter() - began
    time.sleep(2)
    process = psutil.Process(page.pid)
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(psutil.getloadavg()[0], 1),
        "import_seconds": round(float(imports), 1),
        "start_seconds": round(float(start) + answer, 1),
        "idle_memory": memory(process),
        "memory_after": {},
    }
    client = PageClient(address)
    drop_the_example(client)
    for number in range(1, generations + 1):
        generate(client, steps, folder / "outputs")
        if number in (1, generations) or number % 10 == 0:
            found["memory_after"][number] = memory(process)
            print(number, found["memory_after"][number], "MiB", file=sys.stderr)
    return found


def memory(process: psutil.Process) -> int:
    return round(process.memory_info().rss / MEBIBYTE)


def drop_the_example(client: PageClient) -> None:
    """Give the tab the example's clip, which the page keeps for it."""
    content = (ROOT / "echoreel" / "assets" / "cartwheel.mp4").read_bytes()
    path = client.upload("cartwheel.mp4", content).json()[0]
    event = client.event_of("drop")
    worked, output = client.call(event, [[file_data(path)], *client.values(event)[1:]])
    assert worked, output


def generate(client: PageClient, steps: int, outputs: Path) -> None:
    """Ask for a video and wait until it is there."""
    before = len([*outputs.glob("2*")])
    event = client.event_of("generate")
    worked, output = client.call(event, client.values(event, Prompt=PROMPT, Steps=str(steps)))
    assert worked, output
    for _ in range(int(LONGEST / PAUSE)):
        time.sleep(PAUSE)
        if len([*outputs.glob("2*")]) > before:
            return
    raise TimeoutError(f"no video after {LONGEST:g} s")


if __name__ == "__main__":
    main()
