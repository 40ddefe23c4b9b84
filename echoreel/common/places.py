"""What may be read and where may be written: asked before any work is done."""

import errno
import os
import re
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from echoreel.common.errors import EchoReelError, OutputError
from echoreel.common.files import PARTIAL, already_there, flush
from echoreel.common.text import json_value

WEIGHTS = Path(__file__).parents[1] / "weights"  # base/ and adapter/: the embedded ones
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
URL = re.compile(r"([a-z][a-z0-9+]+):/+(.+)", re.DOTALL)
ROOM = 64 * 1024  # bytes that must fit into a place before work for it begins
NAME_BYTES = 255  # of a file's name, where the system does not say
SMALL_FILE = 64 * 2**20  # bytes of a file of facts, such as a .json


def regular_file(path: Path, error: type[EchoReelError], need: str) -> os.stat_result:
    """What the system says of a file that can be read to its end: no folder, pipe or device.

    need: such as "a video file", for the message. Raises `error`.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte in the name
        if url := URL.match(str(path)):  # a path holds no two slashes beside each other
            raise error(f"{url[1]}://{url[2]}: this is a URL; download it, and give the path") from None
        raise error(f"{path}: there is no such file; give the path of {need}") from None
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); give the path of {need}") from reason
    if stat.S_ISREG(found.st_mode):
        return found
    what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
    raise error(f"{path}: this is {what}; give the path of {need}")


def at_home(path: Path | str) -> Path:
    """The path with the home folder in place of `~`; as it is where nobody knows that folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or one without a home, as in a container
        return Path(path)


def resolved(path: Path | str) -> Path:
    """The whole path, links followed; a circle of links stays, so that opening it tells the reason."""
    return Path(os.path.realpath(path))


def has_no_home(path: Path) -> bool:
    """Whether a path still begins with a `~` for which nobody knows a folder."""
    return bool(path.parts) and path.parts[0].startswith("~")


def small_file(path: Path, most: int = SMALL_FILE) -> bytes:
    """The bytes of a file of facts that somebody else may have made.

    Raises OSError where it has more bytes, or no end, as a pipe or a device.
    """
    check_ends(path)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"has over {most} bytes", str(path))
    return data


def check_ends(path: Path) -> None:
    """Raises OSError for what has no end: opening a pipe or a device may wait for ever."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder says by itself what is wrong
        raise OSError(errno.EINVAL, "is a pipe or a device", str(path))


def check_readable(folder: Path) -> None:
    """Raises OSError for files of a model that others would read for ever, or a .json of giant size."""
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if path.exists():
            check_ends(path)
            if path.suffix == ".json" and path.stat().st_size > SMALL_FILE:
                raise OSError(errno.EFBIG, f"has over {SMALL_FILE} bytes", str(path))


def check_outputs(files: Sequence[Path], inputs: Sequence[Path | str] = (), overwrite: bool = False) -> None:
    """Raises OutputError unless all files can be written, before the work that makes them. Writes nothing.

    A file that is there is refused unless `overwrite`; one of the inputs, by whatever name or link, always.
    """
    if len(set(files)) < len(files):
        raise OutputError(f"{files[0]}: two outputs have this name; choose another name")
    for file in files:
        if "\0" in str(file):
            raise OutputError(f"{file}: a null byte in the name; choose another name")
        if ".." in file.parts and not file.parent.exists():  # once that folder is made, it is another name
            raise OutputError(f"{file}: has .. after a folder that is not there; write the name without it")
        _check_names(file)
        if file.is_dir():
            raise OutputError(f"{file}: is a folder; give the name of a file")
        if any(_same(file, Path(each)) for each in inputs):
            raise OutputError(f"{file}: is an input, which is never replaced; choose another name")
        if os.path.lexists(file) and not overwrite:
            raise already_there(file)
        if file.exists() and not file.is_file():
            raise OutputError(f"{file}: is a pipe or a device; give the name of a file")
    for place, file in {_place(file): file for file in reversed(files)}.items():
        _check_room(place, file)


def check_below(folder: Path, names: Collection[str]) -> None:
    """Raises OutputError where one of these folders in an output folder leads elsewhere: files there may be
    of others, with names that ours have."""
    for name in names:
        path = folder / name
        if not resolved(path).is_relative_to(resolved(folder)) or (path.is_symlink() and not path.exists()):
            raise OutputError(
                f"{path}: is a link to elsewhere or to nothing; remove it, or choose another folder"
            )


def check_own(path: Path, keys: Collection[str]) -> None:
    """Raises OutputError for a file that exists and is not JSON, whole or a line each, with these keys:
    somebody else wrote it, so it is not replaced."""
    if not os.path.lexists(path):
        return
    try:
        data = small_file(path)
        told = _first_value(data.decode())
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or not {*keys} <= told.keys():
        raise OutputError(
            f"{path}: already exists, and this command did not write it, or it is damaged; move it away, or "
            "choose another name"
        )


def _first_value(text: str) -> Any:
    try:
        return json_value(text)
    except ValueError:
        return json_value(text.partition("\n")[0])


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, through links and other spellings."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _place(file: Path) -> Path:
    """The nearest folder above the file that is there."""
    return next(folder for folder in file.absolute().parents if os.path.lexists(folder))


def _check_names(file: Path) -> None:
    """Raises OutputError for a name, or that of a folder to be made, that is too long for its place."""
    try:
        place = _place(file)
        most = os.pathconf(place, "PC_NAME_MAX") if hasattr(os, "pathconf") else NAME_BYTES
        for name in file.absolute().relative_to(place).parts:
            if (count := len(os.fsencode(name))) > most:
                raise OutputError(f"{name[:40]}…: a name of {count} bytes, at most {most}; shorten it")
    except OSError as error:  # the whole path is too long
        raise OutputError(
            f"{file.name[:40]}…: cannot be written ({error.strerror}); choose another place"
        ) from error


def _check_room(place: Path, file: Path) -> None:
    """Raises OutputError unless a little can be written to the folder; whatever its permissions say."""
    if not place.is_dir():
        raise OutputError(
            f"{file}: cannot be written, {place.name} is not a writable folder; choose another place"
        )
    trial = place / f".{token_hex(6)}{PARTIAL}"
    try:
        trial.write_bytes(bytes(ROOM))
        flush(trial)
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror}); choose another place") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
