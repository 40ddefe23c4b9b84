"""The net below every command: whatever fails, and wherever it runs, it is told in one sentence."""

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from echoreel.cli import app, main
from echoreel.cli.output import answering, stop
from echoreel.common.errors import EchoReelError
from echoreel.library.reference_library import ReferenceLibrary

CAPTION = "ein Läufer 走路, a man is running"
FAULT = "error: this is a fault of EchoReel:"
LIST = ("library", "list", "library")

FAILURES: dict[str, tuple[BaseException, int, str]] = {
    "the user's": (EchoReelError("a.mp4: is\n no video"), 2, "error: a.mp4: is; no video"),
    "a full disk": (OSError(errno.ENOSPC, "No space left", "a.mp4"), 2, "error: a.mp4: No space left"),
    "no temporary folder": (
        FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
        2,
        "error: no folder for temporary files; set TMPDIR to one that you may write to",
    ),
    "stopped": (KeyboardInterrupt(), 130, "stopped"),
    "stopped with a word": (KeyboardInterrupt("stopped after step 3"), 130, "stopped after step 3"),
    "unforeseen": (KeyError("x"), 1, f"{FAULT} KeyError: 'x'; run again with --debug for the trace"),
    "unforeseen, without a word": (
        AssertionError(),
        1,
        f"{FAULT} AssertionError; run again with --debug for the trace",
    ),
    "unforeseen, many words": (
        RuntimeError("x" * 5000),
        1,
        f"{FAULT} RuntimeError: {'x' * 286}…; run again with --debug for the trace",
    ),
    **{
        f"no memory, {type(error).__name__}": (
            error,
            1,
            "error: not enough memory; use fewer frames, a smaller size or batch, or close programs",
        )
        for error in (
            MemoryError(),
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
            ),
        )
    },
    "nested": (
        RecursionError("maximum recursion depth exceeded"),
        1,
        "error: a file nests deeper than can be read; run again with --debug to see which",
    ),
}


@pytest.mark.parametrize(("error", "code", "sentence"), FAILURES.values(), ids=FAILURES.keys())
def test_every_failure_is_one_sentence(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(ReferenceLibrary, "open", fail)
    done = CliRunner().invoke(app, [*LIST])
    assert (done.exit_code, done.stderr, done.stdout) == (code, f"{sentence}\n", "")
    for arguments in (("--debug", *LIST), (*LIST, "--debug")):
        told = CliRunner().invoke(app, arguments)
        assert told.exception is error or told.exit_code == 130


@pytest.fixture
def usual_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a command finds them that is started from a terminal; afterwards all is as before."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.usefixtures("usual_signals")
def test_a_signal_stops_a_command_as_ctrl_c_does(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is half written is removed on the way, as after any exception; nohup's SIGHUP changes nothing."""
    came: list[int] = []

    def opened(*_: Any, **__: Any) -> None:
        came.append(1)
        signal.raise_signal(signal.Signals[name])
        raise EchoReelError("went on")

    monkeypatch.setattr(ReferenceLibrary, "open", opened)
    monkeypatch.setattr(sys, "argv", ["echoreel", *LIST])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, *capsys.readouterr(), came) == (130, "", "stopped\n", [1])
    signal.signal(signal.Signals[name], signal.SIG_IGN)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, *capsys.readouterr()) == (2, "", "error: went on\n")


@pytest.mark.usefixtures("usual_signals")
def test_a_stop_that_a_library_turns_into_another_error_is_a_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As safetensors does, where a signal comes while it reads; or swallows."""

    def opened(*_: Any, **__: Any) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise EchoReelError("its file is damaged")

    monkeypatch.setattr(ReferenceLibrary, "open", opened)
    monkeypatch.setattr(sys, "argv", ["echoreel", *LIST])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, *capsys.readouterr()) == (130, "", "stopped\n")
    with (
        pytest.raises(typer.Exit) as left,
        answering(as_json=False, debug=False),
        suppress(KeyboardInterrupt),
    ):
        stop(signal.SIGINT, None)
    assert left.value.exit_code == 130


@pytest.mark.parametrize(
    ("name", "said"), [("TORCH_LOGS", 'try TORCH_LOGS="help"'), ("HF_HUB_DOWNLOAD_TIMEOUT", "base 10: 'abc'")]
)
def test_a_variable_that_a_package_refuses_is_told(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words are those of torch and huggingface_hub, which read it once, when they are imported."""
    monkeypatch.setenv(name, "abc")
    (tmp_path / "refusing.py").write_text(f"raise ValueError({said!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ReferenceLibrary, "open", lambda *_, **__: import_module("refusing"))
    done = CliRunner().invoke(app, [*LIST])
    told = f"error: a package refuses the environment variable {name}=abc; correct it, or unset it\n"
    assert (done.exit_code, done.stderr, done.stdout) == (2, told, "")


@pytest.mark.parametrize(
    ("columns", "kept"), [("9" * 11, False), ("0", False), ("abc", False), ("120", True)]
)
@pytest.mark.usefixtures("usual_signals")
def test_a_terminal_of_nonsense_width_is_ignored(
    columns: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("echoreel.cli.app", lambda: None)
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    main()
    assert ("COLUMNS" in os.environ) == kept


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library of one clip, whose caption is in several scripts."""
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "c.jsonl").write_text(json.dumps({"path": "a.mp4", "caption": CAPTION}))
    ReferenceLibrary.open(folder / "library", True, "none").add([folder / "c.jsonl"], quiet=True)
    return folder


ASCII = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LC_ALL": "C"}
NOWHERE = {"HOME": os.devnull, "XDG_DATA_HOME": "", "TMPDIR": os.devnull}
SURROUNDINGS: dict[str, tuple[str, dict[str, str], int, str]] = {
    "an ASCII terminal": ("list library", ASCII, 0, "L\\xe4ufer"),
    "no home, writing": ("add new c.jsonl --embedder none", NOWHERE, 2, "set XDG_DATA_HOME to a folder"),
    "all closed": ("list library <&- >&- 2>&-", {}, 0, ""),
    "stdout full, facts": ("list library --json >/dev/full", {}, 2, "error: No space left on device\n"),
    "nobody reads": ("list library --json | true; exit ${PIPESTATUS[0]}", {}, 1, ""),
}


@pytest.mark.skipif(sys.platform != "linux", reason="calls bash, and /dev/full")
@pytest.mark.parametrize(("call", "environment", "code", "said"), SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_wherever_it_runs(place: Path, call: str, environment: dict[str, str], code: int, said: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m echoreel library {call}"],
        cwd=place,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
    )
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == code, told
    assert said in told
    assert "Traceback" not in told
    assert bool(told) == bool(said)
