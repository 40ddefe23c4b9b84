"""The line on stderr that tells how far one source is; without a terminal, one every half minute."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from echoreel.common.progress import Lines


class Bar:
    """The line of one source."""

    def __init__(self, progress: Progress, text: str) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=None)
        seen = progress.disable or progress.console.is_terminal
        self._lines = None if seen else Lines(text)

    def of(self, total: int | None) -> None:
        self._progress.update(self._task, total=total)
        if self._lines:
            self._lines.total = total

    def on(self, count: int) -> None:
        self._progress.update(self._task, advance=count)
        if self._lines:
            self._lines.at(int(self._progress.tasks[self._task].completed))

    def done(self) -> None:
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, total=task.completed)


class _Rate(TextColumn):
    """Things a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        from rich.text import Text

        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")


def bars(quiet: bool) -> Progress:
    """Where the lines are drawn."""
    columns = (
        TextColumn("{task.description}", markup=False),  # names of files may hold brackets
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=quiet)
