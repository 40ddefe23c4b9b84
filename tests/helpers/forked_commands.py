"""Commands run in forks of one process that has loaded everything, and what each has to make.

For `scripts/kills` and `scripts/surroundings`.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from echoreel.cli import main
from echoreel.released import convert_file
from helpers.make_videos import film
from helpers.moving_squares import arc, moving
from helpers.released_checkpoint import toy_checkpoint

CLOCK = ("elapsed", "samples_per_second", "seconds", "added", "created", "peak_memory_bytes")
"""Keys of what is written that tell time or memory, not what was made."""
LONGEST = 900  # seconds that no command here takes; a lock that nobody holds would


@dataclass(frozen=True)
class Task:
    """A command, the files that it makes (a glob), and a command whose answer has to be the same after it."""

    command: tuple[str, ...]
    made: str
    asked: tuple[str, ...] = ()


GENERATE = "generate|a man is running|-r|videos/0.mp4|--steps|2|--compare|-o|o.mp4"
TASKS = {
    "train": Task(("train", "train.toml"), "run/**/*"),
    "prepare": Task(("prepare", "pairs", "pairs.jsonl", "new", "--frames", "8"), "new/**/*"),
    "library": Task(("library", "add", "lib", "videos"), "lib.*", ("library", "list", "lib", "--json")),
    "generate": Task(tuple(GENERATE.split("|")), "o*"),
    "convert": Task(
        ("convert", "checkpoint.pt", "--kind", "echoreel-lvdm", "--tokenizer", "tokenizer", "-o", "paper"),
        "paper*/**/*",
    ),
}


def start(arguments: tuple[str, ...], folder: Path, first: Callable[[], object] = lambda: None) -> int:
    """Run a command in a fork of this process, which has loaded everything. Returns its process id.

    What it says goes to the file `said` beside the folder. The fork does `first` before the command.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        said = os.open(folder.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        first()
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["echoreel", *arguments]
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 71
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
        with suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def finish(arguments: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Run a command to its end. Returns its exit code, -9 if it took too long, and what it said."""
    code = waited(start(arguments, folder))
    said = (folder.parent / "said").read_text(errors="replace")
    return code, said if code != -signal.SIGKILL else "took too long: a lock that nobody holds?"


def waited(child: int) -> int:
    """The exit code of a fork; it is killed after `LONGEST`."""
    ends = time.monotonic() + LONGEST
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(folder: Path, task: Task) -> dict[str, str]:
    """Each file's content without the clock, and the answer of `asked`."""
    found = {
        path.relative_to(folder).as_posix(): digest(path) for path in folder.glob(task.made) if path.is_file()
    }
    if task.asked:
        code, said = finish(task.asked, folder)
        found["asked"] = f"{code} {json.dumps(without_clock(json.loads(said)), sort_keys=True)}"
    return found


def digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".mp4":  # frames, and what it says of itself: with the seconds that it took
        with av.open(str(path)) as container:
            told = {**container.metadata}
            frames = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
        told["comment"] = without_clock(json.loads(told.get("comment") or "{}"))
        content = b"".join(frames) + json.dumps(told, sort_keys=True).encode()
    elif path.suffix in (".json", ".jsonl"):
        rows = (
            [json.loads(content)]
            if path.suffix == ".json"
            else [json.loads(row) for row in content.splitlines()]
        )
        content = json.dumps(without_clock(rows), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def told(path: Path) -> str:
    """What a short file says, to see in what it differs."""
    return f": {path.read_text()[:3000]}" if path.suffix == ".json" and path.is_file() else ""


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_clock(each) for name, each in value.items() if name not in CLOCK}
    if isinstance(value, list):
        each_of = [without_clock(each) for each in value]
        return sorted(each_of, key=lambda each: json.dumps(each, sort_keys=True))
    return value


def prepared(folder: Path) -> None:
    """What the commands read: videos with captions, a manifest, pairs, a recipe, a checkpoint."""
    (folder / "videos").mkdir(parents=True)
    rows = []
    for number, action in enumerate(("running", "dancing", "running", "dancing", "jumping", "jumping")):
        frames = moving(arc, frames=20, square=16 + 2 * number).frames
        film(folder / f"videos/{number}.mp4", np.roll(frames, 9 * number, axis=-1 - number % 2))
        (folder / f"videos/{number}.txt").write_text(f"a man is {action}")
        reference = {"path": f"videos/{(number + 1) % 6}.mp4"}
        rows.append(
            {"target": f"videos/{number}.mp4", "caption": f"a man is {action}", "references": [reference]}
        )
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "train.toml").write_text(
        'folder = "run"\npairs = "pairs"\n[task]\nbatch = 1\nheld_back = 2\n'
        "[fit]\nsteps = 3\nwarmup = 0\nvalidate_every = 0\ncheckpoint_every = 1\nlog_every = 1\nema = 0.9\n"
    )
    _, constants = toy_checkpoint(folder)
    for name, value in constants.items():
        setattr(convert_file, name, value)
    code, said = finish(
        ("prepare", "pairs", "pairs.jsonl", "pairs", "--size", "32x32", "--frames", "4"), folder
    )
    assert code == 0, said


def warm(folder: Path) -> None:
    """Load what every command would load first, in this process."""
    import echoreel.generation.generate
    import echoreel.library.sources.add_sources
    import echoreel.training.encode_pairs
    import echoreel.training.train_adapter  # noqa: F401


def fresh(top: Path) -> Path:
    """The folder of every run, since names of places are in what is made."""
    shutil.rmtree(top / "work", ignore_errors=True)
    return Path(shutil.copytree(top / "inputs", top / "work"))


def ended(task: Task, folder: Path, wanted: dict[str, str]) -> list[str]:
    """Run the command to its end. Returns what is not as in a run that nobody killed."""
    code, said = finish(task.command, folder)
    if code != 0 and not (code == 2 and "already exists" in said):
        return [f"exit code {code}: {said.strip()[-300:]}"]
    found = result(folder, task)
    names = sorted(found.keys() ^ wanted.keys())
    return [f"other files: {names}"] * bool(names) + [
        f"{name} differs{told(folder / name)}"
        for name in found.keys() & wanted.keys()
        if found[name] != wanted[name]
    ]
