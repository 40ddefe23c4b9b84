"""`echoreel library add` is killed, again and again, at moments spread over its run; nothing may be lost.

    python benchmarks/library_crash.py [--kills 50] [--rows 20000] [--out FILE.json]

After every kill the library must open, hold whole writes only, and no fewer rows than before; in the end the
same command must bring exactly the rows that are missing, so that every row of the catalogue is there once.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import parser_of, tell

from echoreel.library.tables import Store, is_library

ADD = """
import sys
from echoreel.library.sources import add_sources, catalogues
from echoreel.cli import app
add_sources.ROWS_OF_A_WRITE = int(sys.argv.pop(1))  # many writes, so that kills meet them
catalogues.ROWS = add_sources.ROWS_OF_A_WRITE
app()
"""


def write_catalogue(path: Path, rows: int) -> None:
    verbs = ("carving", "kicking", "painting", "juggling", "folding", "washing", "lifting", "peeling")
    rows_of_it = [{"path": f"{i}.mp4", "caption": f"a man is {verbs[i % 8]} box {i}"} for i in range(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of_it), encoding="utf-8")


def measure(kills: int, rows: int, rows_of_a_write: int, folder: Path) -> dict[str, Any]:
    """How many rows each kill left; raises AssertionError where something is lost."""
    catalogue, place = folder / "catalogue.jsonl", folder / "library"
    write_catalogue(catalogue, rows)
    arguments = ["library", "add", str(place), str(catalogue), "--embedder", "none", "--json"]
    command = [sys.executable, "-c", ADD, str(rows_of_a_write), *arguments]
    chance, left, killed, whole = random.Random(0), [0], 0, 0
    while killed < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_writing(place, process)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:  # it was done before: from the beginning
            assert len(Store(place).ids()) == rows
            shutil.rmtree(place)
            left, whole = [*left, 0], whole + 1
            continue
        killed += 1
        left.append(_rows_whole(place, rows, rows_of_a_write))
        assert left[-1] >= left[-2], f"{left[-2]} rows before, {left[-1]} now"
    done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert _rows_whole(place, rows, rows_of_a_write) == rows
    assert done["clips"] == rows - left[-1]
    result = {"kills": killed, "rows": rows, "finished_between_kills": whole}
    return result | {"added_in_the_end": done["clips"], "rows_after_kills": left}


def _rows_whole(place: Path, rows: int, rows_of_a_write: int) -> int:
    """How many there are; raises AssertionError unless each is there once, and whole writes only."""
    if not is_library(str(place)):  # killed before its first moment
        return 0
    ids = Store(place).ids().tolist()
    assert len({*ids}) == len(ids), "a row is there twice"
    assert len(ids) == rows or len(ids) % rows_of_a_write == 0, f"{len(ids)} rows: half a write"
    return len(ids)


def _wait_for_writing(place: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until the process has begun to write, or ends; the start of Python is no place for a kill."""
    versions = place / "clips.lance" / "_versions"
    before = len(os.listdir(versions)) if versions.exists() else 0
    while process.poll() is None and (not versions.exists() or len(os.listdir(versions)) == before):
        time.sleep(0.005)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rows-of-a-write", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.kills, options.rows, options.rows_of_a_write, Path(folder))
    tell(result, options.out)


if __name__ == "__main__":
    main()
