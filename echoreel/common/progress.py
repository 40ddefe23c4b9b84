"""How far a loop is: a bar in a terminal; where nobody sees one, as under nohup, a line every half minute."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import track

QUIET = 30.0  # seconds between such lines, and before the first

Item = TypeVar("Item")


class Lines:
    """The lines on stderr that take a bar's place where there is no terminal."""

    def __init__(self, told: str, total: int | None = None) -> None:
        """told: what is counted. total: of how many, where that is known."""
        self.total = total
        self._told, self._began = told, monotonic()
        self._last = self._began

    def at(self, done: int) -> None:
        """So many are done: a line, if one is due."""
        now = monotonic()
        if not done or now - self._last < QUIET:
            return
        self._last, text = now, f"{self._told}: {done} done"
        if self.total:
            minutes, seconds = divmod(round((now - self._began) / done * (self.total - done)), 60)
            text = f"{self._told}: {100 * done // self.total} % done, {minutes}:{seconds:02} left"
        print(text, file=sys.stderr, flush=True)


def tracked(items: Sequence[Item], told: str, transient: bool = False) -> Iterable[Item]:
    """The items one by one, with what is `told` on stderr.

    transient: whether the bar goes when it is full.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        return track(items, told, console=console, transient=transient)
    return _told(items, Lines(told, len(items)))


def _told(items: Sequence[Item], lines: Lines) -> Iterator[Item]:
    for done, item in enumerate(items):
        lines.at(done)
        yield item
