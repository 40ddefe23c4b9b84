"""What benchmarks share: how they are asked, how they tell what they found, and what a process costs."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple


def parser_of(doc: str | None, out: str = "a JSON file") -> argparse.ArgumentParser:
    """Told by the first line of a module's docstring; with --out, unless that is no file."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    if out:
        parser.add_argument("--out", type=Path, help=out)
    return parser


class Table:
    """Lines of Markdown, each printed as soon as it is known."""

    def __init__(self, *columns: str) -> None:
        self.lines = list[str]()
        self.head(*columns)

    def head(self, *columns: str) -> None:
        """The first row, or that of a further table, which an empty line parts from the last."""
        self.lines += [""] if self.lines else []
        self.add(*columns)
        self.add(*["---"] * len(columns))

    def add(self, *cells: object) -> None:
        self.lines.append(f"| {' | '.join(map(str, cells))} |")
        print(self.lines[-1], flush=True)

    def write(self, path: Path | None, *after: str) -> None:
        """To a file, if one was asked for. after: more lines."""
        if path:
            path.write_text("\n".join([*self.lines, *after]) + "\n", encoding="utf-8")


def tell(facts: Any, path: Path | None) -> None:
    """Print facts as JSON, and write them to a file, if one was asked for."""
    text = json.dumps(facts, indent=2, default=float)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def kept_or_lost(folder: Path | None) -> Iterator[Path]:
    """The folder, made; or one that is removed in the end."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as lost:
        yield Path(lost)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


class Spent(NamedTuple):
    """By a process: seconds of the clock and of the processor; the most bytes held, with mapped files."""

    seconds: float
    processor: float
    memory: int


def run(command: Sequence[str], **popen: Any) -> tuple[str, Spent]:
    """What a process of its own prints, and what it took; SystemExit where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **popen)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed with {process.returncode}: {' '.join(command)}")
    seconds = time.perf_counter() - began
    return printed, Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def machine() -> dict[str, Any]:
    """Where and of what commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {"processor": name, "cores": os.cpu_count(), "commit": commit, "load": os.getloadavg()[0]}
