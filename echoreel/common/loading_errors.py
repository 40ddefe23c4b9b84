"""Why files of others do not work, in plain words: what other libraries say is for programmers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from echoreel.common.errors import CheckpointError, EchoReelError

MOST_KEYS = 10  # of a file that are told to be wrong
HINT = 160  # characters of a library's own words
MEMORY = re.compile("out of memory|allocate memory|unable to allocate", re.IGNORECASE)
AGAIN = "get its files again"
KNOWN = {
    "trust_remote_code|custom code": ("it needs code of its own, which is never run", "take one without"),
    "size mismatch|mismatched_sizes|because .* expected shape": (
        "its weights have other sizes than its config says",
        AGAIN,
    ),
    "no file named|not appear to have|does not contain": ("it lacks a file", "get all of its files again"),
    "model type `|Unrecognized model": ("transformers does not know this kind of model", "give another one"),
    "Unable to load weights": ("its file is damaged, or of another kind", "get it again"),
    "Repo id must": ("it is not a file, a folder or a hub id", "give one of them"),
    "Can't load (image|feature|the)": ("one of its .json files cannot be read", AGAIN),
    "not a valid JSON|Expecting (value|property|',')": ("one of its .json files is not JSON", AGAIN),
}
"""What is in the words of diffusers and transformers (a pattern); the cause, and what to do."""
PACKAGES = re.compile(r"(echoreel|transformers|diffusers|tokenizers)\.(?!bases\.ports\.)")


def reason_of(error: Exception) -> str:
    """The cause, and what to do, without a full stop at its end."""
    if isinstance(error, EchoReelError):
        return " ".join(str(error).split()).rstrip(".")
    return "; ".join(_cause_and_advice(error))


def _cause_and_advice(error: Exception) -> tuple[str, str]:
    said = str(error).strip()
    if isinstance(error, MemoryError) or MEMORY.search(said):
        return "not enough memory", "close programs, or take a smaller one"
    if isinstance(error, ImportError):
        return f"it needs a package that is not installed ({hint_of(error)})", "install it"
    if type(error).__name__ == "SafetensorError":
        return f"one of its .safetensors files is damaged ({hint_of(error)})", AGAIN
    if isinstance(error, OSError) and error.strerror:
        name = f"{Path(str(error.filename)).name}: " if error.filename else ""
        return f"{name}{error.strerror}", AGAIN
    for pattern, told in KNOWN.items():
        if re.search(pattern, said):
            return told
    return f"its files are damaged, or of another kind ({_named(error)})", "get them again"


def hint_of(error: BaseException) -> str:
    """A few words of what a library says, or which keys are wrong; behind a sentence of ours, in brackets."""
    if isinstance(error, ValidationError):
        keys = [".".join(map(str, each["loc"])) or "all of it" for each in error.errors()]
        return f"wrong or missing: {', '.join(dict.fromkeys(keys[:MOST_KEYS]))}"
    first = " ".join(next(iter(str(error).strip().splitlines()), "").split())
    first = re.sub(r"^\[Errno \d+\] ", "", first).rstrip(".") or type(error).__name__
    return first if len(first) <= HINT else f"{first[:HINT].rsplit(' ', 1)[0]} …"


def _named(error: BaseException) -> str:
    kind, hint = type(error).__name__, hint_of(error)
    return kind if hint == kind else f"{kind}: {hint}"


def why_not_loaded(kind: str, source: Path | str, error: Exception, advice: str = "") -> str:
    """The whole sentence. source: a folder or file, or as text a hub id. advice: in place of the usual."""
    if isinstance(source, str) and isinstance(error, OSError):  # also those of the network and the hub
        why = f"{kind} {source}: no such folder, and the hub cannot be reached or has no such {kind}"
        return f"{why}; {advice}" if advice else why
    if advice and not isinstance(error, EchoReelError):
        return f"{kind} {source}: cannot be loaded: {_cause_and_advice(error)[0]}; {advice}"
    return f"{kind} {source}: cannot be loaded: {reason_of(error)}"


@contextmanager
def blamed(owner: str, advice: str = AGAIN) -> Iterator[None]:
    """Within, what fails inside a class of transformers or diffusers is told as a fault of its files.

    These libraries check little of a config, so a part may load and then fail. owner: of the class, such as
    "the base's". Raises CheckpointError.
    """
    try:
        yield
    except (EchoReelError, OSError, MemoryError):
        raise
    except BaseException as error:  # of any class of theirs: no common type
        if not (isinstance(error, Exception) or _is_panic(error)):
            raise
        name = _at_fault(error.__traceback__)
        if name is None or MEMORY.search(str(error)):
            raise
        refused = isinstance(error, ValueError) and name.endswith("Pipeline")
        how = f"refuses: {hint_of(error)}" if refused else f"fails ({_named(error)})"
        raise CheckpointError(f"{owner} {name} {how}; {advice}") from error


@contextmanager
def panics_told(what: str) -> Iterator[None]:
    """Within, a panic of a library that is written in Rust is told as a fault of its files. Raises
    CheckpointError."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise CheckpointError(f"{what} fails ({hint_of(error)}); {AGAIN}") from error


def _is_panic(error: BaseException) -> bool:
    """Its class is no Exception, and no module has it by name."""
    return type(error).__name__ == "PanicException"


def _at_fault(step: TracebackType | None) -> str | None:
    """The class of another library that an error arose in; None where our own code called torch."""
    found = None
    while step is not None:
        frame, step = step.tb_frame, step.tb_next
        if package := PACKAGES.match(frame.f_globals.get("__name__", "")):
            its = type(frame.f_locals["self"]).__name__ if "self" in frame.f_locals else None
            found = None if package[1] == "echoreel" else its or found or frame.f_code.co_name
    return found
