"""Where adapters and reference files lie: folders of models that ComfyUI knows by their names."""

import contextlib
import hashlib
from contextlib import suppress
from pathlib import Path

import folder_paths

from echoreel.common.errors import AdapterMismatch
from echoreel.media.reference_file import SUFFIX, is_reference_file

from .adapters import CONFIG

ADAPTERS, REFERENCES = "echoreel", "echoreel_references"
for folder in (ADAPTERS, REFERENCES):
    folder_paths.add_model_folder_path(folder, str(Path(folder_paths.models_dir) / folder))

NONE = "none found"


def make_folders() -> None:
    """So that people see where adapters and references go. Where nobody may write, they can do without."""
    for kind in (ADAPTERS, REFERENCES):
        with contextlib.suppress(OSError):
            Path(folder_paths.get_folder_paths(kind)[0]).mkdir(parents=True, exist_ok=True)


def adapters() -> list[str]:
    roots = map(Path, folder_paths.get_folder_paths(ADAPTERS))
    return sorted({path.parent.name for root in roots for path in root.glob(f"*/{CONFIG}")}) or [NONE]


def reference_files() -> list[str]:
    roots = map(Path, folder_paths.get_folder_paths(REFERENCES))
    found = {path.name for root in roots for path in root.glob(f"*{SUFFIX}") if is_reference_file(path)}
    return sorted(found) or [NONE]


def located(kind: str, name: str, inside: str = "") -> Path:
    """Raises AdapterMismatch where no folder of models has it."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(kind)]
    for root in roots:
        path = root / str(name)  # a workflow of others may say a number
        with suppress(OSError):  # such as a name that is too long
            if path.parent == root and name != ".." and (path / inside).exists():  # no name leads out
                return path
    what = f"a folder with {CONFIG}" if kind == ADAPTERS else "a reference file"
    raise AdapterMismatch(f"{name}: not there; put {what} into {roots[0]} and refresh the page (R)")


def stamp(path: Path) -> str:
    """Changes when a file, or one in a folder, does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [file.stat() if file.exists() else file.lstat() for file in files]  # a link may lead nowhere
    told = [(file.name, s.st_mtime_ns, s.st_size) for file, s in zip(files, states, strict=True)]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def free(folder: Path, stem: str) -> Path:
    """A name that no file has."""
    number = 1
    while (path := folder / f"{stem}_{number:05}{SUFFIX}").exists():
        number += 1
    return path
