"""What a training tells: metrics.jsonl, TensorBoard and other logs on request, progress on stderr."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from accelerate.tracking import GeneralTracker
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from echoreel.common.errors import OutputError
from echoreel.common.extras import needs
from echoreel.common.files import why_not_written, write_atomic
from echoreel.common.places import regular_file, small_file

GONE = suppress(OSError)
"""Around what goes to the terminal: when it has been closed, training goes on, to a checkpoint at least."""


VALIDATION = "validation/"  # before the names of its numbers


class Headline(NamedTuple):
    """Which numbers of a validation people see, and what they mean."""

    names: tuple[str, ...]
    meaning: str


class RunLog:
    """One line of numbers per log interval, in a file that resumes with its run.

    Lines past `start` are dropped: they were written after the checkpoint, or cut short by a kill. So a
    resumed file reads like that of an uninterrupted run. `active=False` (every process but the
    first) writes and shows nothing.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        steps: range,
        tensorboard: bool,
        active: bool = True,
        headline: Headline | None = None,
        trackers: Sequence[GeneralTracker] = (),
    ) -> None:
        """`steps`: from the first step of this start to the last of the run. Raises MissingExtra.

        headline: which numbers of a validation people see; the rest are only in the files. trackers: further
        logs.
        """
        self._headline, self._trackers = headline, trackers
        self.path, self.name, self.active = folder / "metrics.jsonl", name, active
        self._board: Any = (
            _summary_writer(folder / "tensorboard", steps.start) if tensorboard and active else None
        )
        self._console = Console(stderr=True)
        self._steps, self._explained = steps, False
        self._progress: Progress | None = None
        if active:
            write_atomic(self.path, _kept_lines(self.path, steps.start))

    def __enter__(self) -> "RunLog":
        if self.active and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self._console)
            self._progress.add_task(self.name, total=self._steps.stop, completed=self._steps.start)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            with GONE:
                self._progress.stop()
        if self._board:
            self._board.close()
        for tracker in self._trackers:
            tracker.finish()

    def note(self, text: str) -> None:
        """Tell people something about this start."""
        if self.active:
            self._print(f"{self.name}: {text}")

    def advance(self, step: int) -> None:
        """Move the progress bar to `step` steps done."""
        if self._progress:
            with GONE:
                self._progress.update(self._progress.task_ids[0], completed=step)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record the numbers of `step` everywhere. Raises OutputError."""
        if not self.active:
            return
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {why_not_written(error)}") from error
        if self._board:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        for tracker in self._trackers:
            tracker.log(dict(numbers), step=step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in self._shown(numbers).items())
        self._print(f"{self.name} {step}/{self._steps.stop}  {shown}")

    def _shown(self, numbers: Mapping[str, float]) -> Mapping[str, float]:
        """Those for people; before the first of a validation, what they mean."""
        found = {name for name in numbers if name.startswith(VALIDATION)}
        if self._headline is None or not found:
            return numbers
        if not self._explained:
            self._explained = True
            self.note(f"{self._headline.meaning}; {self.path} has {len(found)} numbers")
        chosen = {VALIDATION + name for name in self._headline.names}
        return {name: value for name, value in numbers.items() if name not in found - chosen}

    def _print(self, text: str) -> None:
        with GONE:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _kept_lines(path: Path, last_step: int) -> bytes:
    """Whole lines of the file up to `last_step`. Raises OutputError for a pipe or a device."""
    if not path.exists():
        return b""
    regular_file(path, OutputError, "a new folder")
    try:
        data = small_file(path)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}, no log of a training; move it away") from error
    kept = []
    for line in data.splitlines(keepends=True):
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = told.get("step") if isinstance(told, dict) else None
        if isinstance(step, int) and step <= last_step:
            kept.append(line)
    return b"".join(kept)


def _summary_writer(folder: Path, start: int) -> Any:
    with needs("tensorboard", "tensorboard = true"):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder), purge_step=start + 1)
