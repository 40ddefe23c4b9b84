"""A run folder: atomic, resumable, finds its latest checkpoint by itself.

```
run/
├── settings.json       what the run was started with; compared on resume
├── metrics.jsonl       one line per log interval (runlog.py)
├── sheets/             pictures of progress
└── step-000123/        weights.safetensors, ema.safetensors, optimizer.pt, state.json
```
A checkpoint is written beside (`step-000123.partial`), flushed to disk and renamed, so a folder named
`step-…` is complete by construction, whenever the process was killed.
"""

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echoreel.common.errors import CheckpointError
from echoreel.common.files import PARTIAL, flush, write_atomic
from echoreel.common.settings import Settings

_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Snapshot:
    """All that a training needs to go on: tensors by name, the optimizer's state dict, plain numbers."""

    weights: dict[str, Tensor]  # trained parameters and their modules' buffers, in their own dtype
    ema: dict[str, Tensor]  # float32 shadows of the trained parameters; empty without EMA
    optimizer: dict[str, Any]
    state: dict[str, Any]  # JSON: step, task, elapsed, …


class RunFolder:
    """One training's folder. `keep` checkpoints stay, older ones go."""

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path = Path(path)
        self.keep = keep

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process and clear what a killed one left.

        Raises CheckpointError when another process trains here or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "run.lock").open("w")
        except OSError as error:
            raise CheckpointError(f"cannot write the run folder {self.path}: {error.strerror}") from error
        with lock:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise CheckpointError(
                        f"another process trains in {self.path}; wait for it or choose another folder"
                    ) from error
            self._remove_leftovers()
            yield

    def bind(self, settings: Settings, free: Collection[str] = (), file: str = "settings.json") -> None:
        """Store the run's settings; once there is a checkpoint, compare them first (`bind_settings`)."""
        bind_settings(self.path / file, settings, free, compare=self.latest() is not None)

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [
            (int(m[1]), p) for p in self.path.glob("step-*") if (m := _STEP.fullmatch(p.name)) and p.is_dir()
        ]
        return [path for _, path in sorted(found)]

    def latest(self) -> Path | None:
        """The newest complete checkpoint, if there is one."""
        found = self.checkpoints()
        return found[-1] if found else None

    def save(self, step: int, snapshot: Snapshot) -> Path:
        """Write checkpoint `step` (replacing one of that step) and prune old ones. Returns its folder."""
        target = self.path / f"step-{step:06d}"
        partial = target.with_name(target.name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_on_cpu(snapshot.weights), partial / "weights.safetensors")
        if snapshot.ema:
            save_file(_on_cpu(snapshot.ema), partial / "ema.safetensors")
        torch.save(snapshot.optimizer, partial / "optimizer.pt")
        (partial / "state.json").write_text(json.dumps(snapshot.state))
        for file in (*partial.iterdir(), partial):
            flush(file)
        if target.exists():
            self._remove(target)
        partial.replace(target)
        flush(self.path)
        for old in self.checkpoints()[: -self.keep]:
            self._remove(old)
        return target

    def load(self) -> Snapshot | None:
        """The newest checkpoint on the CPU, None when there is none. Raises CheckpointError if damaged."""
        path = self.latest()
        if path is None:
            return None
        try:
            ema = path / "ema.safetensors"
            return Snapshot(
                weights=load_file(path / "weights.safetensors"),
                ema=load_file(ema) if ema.exists() else {},
                optimizer=torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True),
                state=json.loads((path / "state.json").read_text()),
            )
        except (OSError, SafetensorError, RuntimeError, UnpicklingError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); delete it to go on from the one before"
            ) from error

    def _remove_leftovers(self) -> None:
        for left in list(self.path.rglob(f"*{PARTIAL}*")):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)

    def _remove(self, checkpoint: Path) -> None:
        """Rename first: killed in between, no half-deleted folder passes for a complete one."""
        doomed = checkpoint.with_name(checkpoint.name + ".old" + PARTIAL)
        checkpoint.rename(doomed)
        shutil.rmtree(doomed)


def bind_settings(path: Path, settings: Settings, free: Collection[str] = (), compare: bool = True) -> None:
    """Store settings as JSON; with `compare`, refuse to change what is stored already.

    Fields named in `free` (dotted) may differ; the newest values are stored. A field that the stored file
    does not know yet counts as having been at its default. Raises CheckpointError naming what changed.
    """
    if compare and path.exists():
        try:
            stored = type(settings).model_validate_json(path.read_bytes())
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, e["loc"])) or "the whole file" for e in error.errors())
            raise CheckpointError(f"{path} does not fit this version: {wrong}; start a new folder") from error
        if changed := _differences(stored, settings, free):
            raise CheckpointError(
                f"{path.parent} was started with other settings: {'; '.join(changed)}. "
                "Set them back to go on, or choose another folder"
            )
    write_atomic(path, settings.model_dump_json(indent=2).encode() + b"\n")


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """Live tensors that a training changes: parameters with `requires_grad`, and persistent buffers.

    Submodules with parameters none of which trains are frozen and left out whole, buffers included.
    A tensor shared by several modules appears once, under its first name.
    """
    found: dict[str, Tensor] = {}
    persistent = module.state_dict().keys()
    for prefix, part in _trained_modules(module):
        own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for name, tensor in own:
            trains = tensor.requires_grad or not isinstance(tensor, nn.Parameter)
            if (
                trains
                and prefix + name in persistent
                and not any(tensor is other for other in found.values())
            ):
                found[prefix + name] = tensor
    return found


def train_mode(module: nn.Module) -> None:
    """Training mode for what trains, evaluation mode for frozen submodules (their dropout stays off)."""
    module.eval()
    for _, part in _trained_modules(module):
        part.training = True


def load_trained(folder: Path, module: nn.Module, ema: bool = True) -> int:
    """Put the newest weights of a run into `module` (same structure, any float dtype). Returns their step.

    With `ema`, averaged weights where the run kept any. Raises CheckpointError when the folder has no
    checkpoint or its tensors do not fit.
    """
    snapshot = RunFolder(folder).load()
    if snapshot is None:
        raise CheckpointError(f"{folder} has no checkpoint; train into it first")
    copy_state({**snapshot.weights, **(snapshot.ema if ema else {})}, trained_state(module))
    return int(snapshot.state["step"])


@torch.no_grad()
def copy_state(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy stored tensors into live ones. Raises CheckpointError when names or shapes differ."""
    wrong = sorted(source.keys() ^ target.keys()) or [
        f"{name} {tuple(source[name].shape)}, need {tuple(tensor.shape)}"
        for name, tensor in target.items()
        if source[name].shape != tensor.shape
    ]
    if wrong:
        raise CheckpointError(
            f"the checkpoint does not fit the module at {len(wrong)} tensors, first {wrong[0]}; "
            "build the module with the settings of the run"
        )
    for name, tensor in target.items():
        tensor.copy_(source[name])


def _trained_modules(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(`"path."`, module) of everything that is not inside a frozen submodule, outermost first."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        return
    yield prefix, module
    for name, child in module.named_children():
        yield from _trained_modules(child, f"{prefix}{name}.")


def _differences(stored: Settings, now: Settings, free: Collection[str]) -> list[str]:
    before, after = _flat(stored.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    return [
        f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
        and not any(name == f or name.startswith(f + ".") for f in free)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
