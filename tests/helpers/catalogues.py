"""Catalogues of captions and URLs, and a writer that adds one to a library in small writes."""

from pathlib import Path

from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.table_rows import Intake, of_catalogue
from echoreel.library.tables import Store

VERBS = ("carving", "kicking", "painting", "juggling", "folding", "washing", "lifting", "peeling")


def catalogue(folder: Path, rows: int, name: str = "a", first: int = 0) -> Path:
    """A CSV of captions with URLs."""
    path = folder / f"{name}.csv"
    lines = [
        f"https://videos.example/{i}.mp4,a man is {VERBS[i % 8]} a box in room {i}\n"
        for i in range(first, first + rows)
    ]
    path.write_text("url,caption\n" + "".join(lines))
    return path


def take(store: Store, path: Path, rows_of_a_write: int = 1000) -> Intake:
    """Add a catalogue, in writes of so many rows."""
    intake = Intake(store)
    for batch in read_catalogue(path)[0]:
        for first in range(0, len(batch), rows_of_a_write):
            intake.take(of_catalogue(batch.slice(first, rows_of_a_write)))
            intake.write()
    return intake
