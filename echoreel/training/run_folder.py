"""A run folder: atomic, resumable, finds its latest checkpoint by itself.

```
run/
├── settings.json       what the run was started with; compared on resume
├── metrics.jsonl       one line per log interval (run_log.py)
├── sheets/             pictures of progress
├── captions/           text tokens, of a base whose text encoders are freed (caption_store.py)
└── step-000123/        weights.safetensors, ema.safetensors, optimizer.pt, state.json
```
A checkpoint is written beside, flushed to disk and renamed, so a folder named `step-…` is complete by
construction, whenever the process was killed. Nothing else in the folder is ever removed.
Over 300 lines since what is written, checked and taken over of a checkpoint lies together.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import torch
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echoreel.bases.missing_tensors import check_finite
from echoreel.common.errors import CheckpointError, OutputError
from echoreel.common.files import (
    absent,
    check_only,
    file_sum,
    files_in,
    locked,
    remove_folder,
    remove_leftovers,
    undone,
    write_atomic,
    written_beside,
)
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import check_below, check_ends, check_own, small_file
from echoreel.common.settings import Settings
from echoreel.common.torch_file import load_tensors

_STEP = re.compile(r"step-([0-9]{6}|[1-9][0-9]{6,})")  # as `_place` names it: others are the user's

FILES = ("weights.safetensors", "ema.safetensors", "optimizer.pt", "state.json")  # all of a checkpoint's
FOLDERS = ("sheets", "captions", "tensorboard")  # of a run, beside its checkpoints and its result


class RunState(Settings):
    """Where a training was."""

    step: NonNegativeInt
    task: str
    elapsed: Annotated[float, Field(ge=0, le=3.6e9)]  # seconds; a million hours
    totals: dict[str, FiniteFloat]  # since the last log line
    ema: bool | None = None  # whether there are averaged weights; none = written before this was told
    batches: PositiveInt | None = None  # of a step, over all processes; none = likewise
    sums: dict[str, int] | None = None  # CRC-32 of the files beside it; none = likewise


@dataclass(frozen=True)
class Snapshot:
    """All that a training needs to go on: tensors by name, the optimizer's state dict, plain numbers."""

    weights: dict[str, Tensor]  # trained parameters and their modules' buffers, in their own dtype
    ema: dict[str, Tensor]  # float32 shadows of the trained parameters; empty without EMA
    optimizer: dict[str, Any]
    state: RunState


class RunFolder:
    """One training's folder. `keep` checkpoints stay, older ones go."""

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path = Path(path)
        self.keep = keep

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process and clear what a killed one left. Raises OutputError."""
        check_below(self.path, FOLDERS)
        with locked(self.path / "run.lock", f"another process trains in {self.path}"):
            remove_leftovers(self.path, r"step-\d+|settings|recipe|metrics|adapter")
            remove_leftovers(self.path / "sheets", r"step-\d+")
            yield

    def undone(self) -> AbstractContextManager[None]:
        """If the block is refused before there is a line of the log, remove what was not here before."""
        log = self.path / "metrics.jsonl"
        made = [self.path / "recipe.json", self.path / "settings.json", log, self.path, *self.path.parents]

        def has_begun() -> bool:
            return self.latest() is not None or (log.is_file() and log.stat().st_size > 0)

        return undone(absent(made), has_begun)

    def check_result(self, name: str) -> Path:
        """The folder that the result goes to. Raises OutputError when another program or run filled it."""
        result = self.path / name
        if result.exists() and self.latest() is None:
            raise OutputError(
                f"{result} exists, but {self.path} has no checkpoint of a training that wrote it; move it, "
                "or choose another folder"
            )
        return result

    def check_steps(self, steps: int, every: int) -> None:
        """Raises OutputError where something of others is in the place of a checkpoint that is to come.

        steps: of the whole training. every: after so many steps a checkpoint is written, as at the end.
        """
        newest = self.latest()
        first = -1 if newest is None else _step(newest)
        for path in sorted(self.path.glob("step-*")):
            step = _step(path) if _STEP.fullmatch(path.name) else -1
            due = step == steps or (every and step % every == 0)
            if due and first < step <= steps and path == self._place(step):
                check_only(path, FILES)

    def bind(self, settings: Settings, free: Collection[str] = (), file: str = "settings.json") -> None:
        """Store the run's settings; once there is a checkpoint, compare them first (`bind_settings`).

        Raises OutputError without one where somebody else's file has the name of one of a run.
        """
        started = self.latest() is not None
        if not started:
            keys = [key for key in ("steps", "fit") if key in type(settings).model_fields]
            for name, known in ((file, keys), ("metrics.jsonl", ["step"])):
                if (self.path / name).exists() and (self.path / name).stat().st_size:
                    check_own(self.path / name, known)
        bind_settings(self.path / file, settings, free, compare=started)

    def checkpoints(self) -> list[Path]:
        """Checkpoints, oldest first; a folder of such a name with none of their files is not one."""
        found = [
            path
            for path in self.path.glob("step-*")
            if _STEP.fullmatch(path.name) and any((path / name).is_file() for name in FILES)
        ]
        return sorted(found, key=lambda path: (_step(path), path))

    def latest(self) -> Path | None:
        """The newest checkpoint, if there is one."""
        found = self.checkpoints()
        return found[-1] if found else None

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint (replacing one of that step) and prune old ones. Returns its folder.

        An old one to which somebody added files stays. Raises OutputError; then nothing has changed.
        """
        target = self._place(snapshot.state.step)
        with written_beside(target) as partial:
            partial.mkdir()
            save_file(_on_cpu(snapshot.weights), partial / "weights.safetensors")
            if snapshot.ema:
                save_file(_on_cpu(snapshot.ema), partial / "ema.safetensors")
            with (partial / "optimizer.pt").open("wb") as file:
                _save_optimizer(snapshot.optimizer, file)
            sums = {file.name: file_sum(file) for file in partial.iterdir()}
            state = snapshot.state.model_copy(update={"sums": sums})
            (partial / "state.json").write_text(state.model_dump_json())
        for old in self.checkpoints()[: -self.keep]:
            if files_in(old) <= {*FILES}:
                remove_folder(old, FILES)
        return target

    def _place(self, step: int) -> Path:
        return self.path / f"step-{step:06d}"

    def load(self) -> Snapshot | None:
        """The newest checkpoint on the CPU, None when there is none. Raises CheckpointError if damaged."""
        path = self.latest()
        if path is None:
            return None
        try:
            for name in FILES:
                if (path / name).exists():
                    check_ends(path / name)
            state = RunState.model_validate_json(small_file(path / "state.json"))
            if state.step != _step(path):
                raise ValueError(f"state.json is of step {state.step}")
            for name, written in (state.sums or {}).items():
                if name in FILES and file_sum(path / name) != written:
                    raise ValueError(f"{name} is not as it was written")
            ema = path / "ema.safetensors"
            weights = load_file(path / "weights.safetensors")
            averaged = load_file(ema) if state.ema or (state.ema is None and ema.exists()) else {}
            for held in (weights, averaged):
                check_finite(held)
            optimizer = _state_dict(load_tensors(path / "optimizer.pt"))
            return Snapshot(weights=weights, ema=averaged, optimizer=optimizer, state=state)
        except (OSError, EOFError, SafetensorError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged ({hint_of(error)}); delete it to resume from the one before"
            ) from error


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _state_dict(found: object) -> dict[str, Any]:
    """Raises ValueError for what no optimizer wrote."""
    if isinstance(found, dict):
        return found
    raise ValueError(f"optimizer.pt holds a {type(found).__name__}, need a dict")


def _save_optimizer(state: Mapping[str, Any], file: BinaryIO) -> None:
    """Raises OSError; torch tells a full disk in a RuntimeError of its own."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def bind_settings(path: Path, settings: Settings, free: Collection[str] = (), compare: bool = True) -> None:
    """Store settings as JSON; with `compare`, refuse to change what is stored already.

    Fields named in `free` (dotted) may differ; the newest values are stored. A field that the stored file
    does not know yet counts as having been at its default. Raises CheckpointError naming what changed.
    """
    if compare:
        check_settings(path, settings, free)
    write_atomic(path, settings.model_dump_json(indent=2).encode() + b"\n")


def check_settings(path: Path, settings: Settings, free: Collection[str] = ()) -> None:
    """The comparison of `bind_settings`; writes nothing."""
    if path.exists():
        try:
            stored = type(settings).model_validate_json(small_file(path))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); start a new folder") from error
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                told = f"{path} is damaged (no JSON); delete it to go on with the settings that you give"
                raise CheckpointError(told) from error
            wrong = ", ".join(".".join(map(str, e["loc"])) or "the whole file" for e in error.errors())
            raise CheckpointError(f"{path} does not fit this version: {wrong}; start a new folder") from error
        if changed := _differences(stored, settings, free):
            raise CheckpointError(
                f"{path.parent} was started with other settings: {'; '.join(changed)}. "
                "Restore them to resume, or choose another folder"
            )


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
    return snapshot.state.step


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
