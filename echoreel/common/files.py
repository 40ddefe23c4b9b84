"""Files and folders that are there whole or not at all."""

import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from zlib import crc32

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from echoreel.common.errors import EchoReelError, OutputError

PARTIAL = ".partial"
SECONDS_OF_A_WRITER = 30.0  # that another process may take to write its files
NAME_KEPT = 40  # characters of a file's name in the name it has while it is written: long names stay legal


@contextmanager
def written_beside(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A new name beside `path`, to write a file or a folder to; it takes the place of `path` in the end.

    If the block raises, what it wrote is removed, folders made for it too, and `path` stays as it was; a
    block that writes nothing changes nothing. A folder replaces only a folder without other files than its
    own. Raises OutputError for a full disk, a missing permission and the like and, without `overwrite`, for
    a file that is there.
    """
    partial, around = _new_name(path), absent(path.parents)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.exists():
            for part in [partial, *(partial.rglob("*") if partial.is_dir() else ())]:
                make_readable(part)
                flush(part)
            if partial.is_dir() and path.is_dir():
                remove_folder(path, files_in(partial))
            _put(partial, path, overwrite)
            flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written: {why_not_written(error)}") from error
    finally:
        _remove(partial)
        _remove_each(around)


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside, flush, rename. Raises OutputError."""
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """All of them, or none where one cannot be written; the last one takes its place first.

    Raises OutputError.
    """
    if folders := [path for path in files if os.path.isdir(path) and not os.path.islink(path)]:
        raise OutputError(f"{folders[0]}: cannot be written: Is a directory; choose another place")
    with ExitStack() as all_or_none:
        for path, data in files.items():
            partial = all_or_none.enter_context(written_beside(path))
            partial.write_bytes(data)
            flush(partial)


def remove_leftovers(folder: Path, names: str) -> None:
    """Remove what killed writers left beside files; the pattern `names` says which, without their suffix."""
    ours = re.compile(rf"\.({names})\.[0-9a-f]{{8}}{re.escape(PARTIAL)}(\.\w+)?")
    for path in [*folder.iterdir()] if folder.is_dir() else ():
        if ours.fullmatch(path.name):
            _remove(path)


def remove_folder(folder: Path, names: Collection[str]) -> None:
    """Remove a folder of files of these names (relative, with slashes).

    Raises OutputError, and removes nothing, when it has other files.
    """
    check_only(folder, names)
    doomed = _new_name(folder)
    folder.rename(doomed)  # first: killed in between, no half-deleted folder passes for a whole one
    _remove(doomed)


def check_only(folder: Path, names: Collection[str]) -> None:
    """Raises OutputError for a folder with other files than those of these names, or a file in its place."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, need a folder; move it, or choose another folder")
    if others := sorted(files_in(folder) - {*names}):
        raise OutputError(
            f"{folder} has a file that EchoReel did not write, {others[0]}; move it, or choose another folder"
        )


@contextmanager
def undone(made: Collection[Path], is_kept: Callable[[], bool]) -> Iterator[None]:
    """If the block is refused and nothing is to be kept, remove what it made.

    made: files, then folders from the innermost, none of which was there before. A folder with other files
    stays.
    """
    try:
        yield
    except EchoReelError:
        _remove_each(() if is_kept() else made)
        raise


def absent(paths: Iterable[Path]) -> list[Path]:
    """Those that are not there."""
    return [path for path in paths if not os.path.lexists(path)]


def check_lock(path: Path) -> None:
    """Raises OutputError for a lock that is no file: a link leads elsewhere, a pipe is waited for."""
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise OutputError(f"{path}: is a link, a folder or a pipe, need a file; remove it")


@contextmanager
def locked(path: Path, taken: str) -> Iterator[None]:
    """Hold a lock file for this process. Raises OutputError, saying `taken`, when another one does.

    A file that was not there is removed in the end, and folders made for it in which nothing is.
    """
    check_lock(path)
    lock, new, around = FileLock(path, timeout=0), absent([path]), absent(path.parents)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise OutputError(f"{taken}; wait for it or choose another folder") from error
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {why_not_written(error)}") from error
        try:
            yield
        finally:
            _remove_each(new)  # while it is held: who opened it meanwhile finds that it is gone
            lock.release()
    finally:
        _remove_each(around)


@contextmanager
def turn(path: Path, number: int, wait: bool = False) -> Iterator[bool]:
    """Hold turn `number` of a lock file for this process, or yield False where another process has it.

    With `wait`, wait for it. The system gives it back when the process ends, however it ends. Not by
    filelock, which would need a file for each of some thousand turns. Raises OutputError where files cannot
    be locked.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OutputError(f"{path}: this system has no such locks; use Linux or macOS") from error
    check_lock(path)
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {why_not_written(error)}") from error
        with file:  # closed, it is given back
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
                mine = True
            except (BlockingIOError, PermissionError):
                mine = False
            except OSError as error:
                raise OutputError(f"{path}: cannot be locked: {why_not_written(error)}") from error
            if os.fstat(file.fileno()).st_nlink:  # else another process was refused meanwhile, and removed it
                yield mine
                return


def remove_lock(path: Path) -> None:
    """Remove the lock file of `turn`, unless another process has one."""
    with suppress(ImportError, OSError):
        import fcntl

        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """While files that belong together are put into a folder, another process that does so waits.

    Not for ever: what never ends holds nobody up, nor does a system or a disk without such locks. Leaves no
    file. Not for a thread that has it already.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows; a folder that is not there yet tells so by itself
        yield
        return
    try:
        until = time.monotonic() + SECONDS_OF_A_WRITER
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        yield
    finally:
        os.close(handle)


def files_in(folder: Path) -> set[str]:
    """Relative names, with slashes, of all files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in found}


def file_sum(path: Path) -> int:
    """CRC-32 of a file: tells what a disk lost. Raises OSError."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = crc32(block, found)
    return found


def flush(path: Path) -> None:
    """fsync a file or, where the system can, a folder."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_readable(file: Path) -> None:
    """Give a file the permissions of any other new file here; safetensors writes for its owner alone."""
    if file.is_file() and not file.stat().st_mode & 0o077:
        other = _new_name(file)
        other.touch()
        file.chmod(other.stat().st_mode)
        other.unlink()


def why_not_written(error: Exception) -> str:
    """The reason in a few words, and what to do."""
    reason = getattr(error, "strerror", None) or str(error).split("I/O error: ")[-1]
    full = "No space left" in reason or "quota" in reason.lower()
    return f"{reason}; {'free some space' if full else 'choose another place'}"


def _new_name(path: Path) -> Path:
    """Of a file or folder that is not whole: hidden, beside `path`, of its suffix, and of this call alone."""
    stem = path.stem[:NAME_KEPT].replace(":", "-")  # FFmpeg takes what is before a colon for a protocol
    return path.with_name(f".{stem}.{token_hex(4)}{PARTIAL}{path.suffix[:NAME_KEPT]}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _remove_each(made: Iterable[Path]) -> None:
    """But for folders in which something is."""
    for path in made:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _put(partial: Path, path: Path, overwrite: bool) -> None:
    """Rename; without `overwrite` never over a file that came while we worked."""
    if overwrite:
        partial.replace(path)
        return
    try:
        os.link(partial, path)
        partial.unlink()
    except OSError:  # it came meanwhile, or a file system without hard links
        if os.path.lexists(path):
            raise already_there(path) from None
        partial.rename(path)


def already_there(path: Path) -> OutputError:
    """The error for a file that is not to be replaced."""
    return OutputError(f"{path}: already exists; choose another name, or add --overwrite")
