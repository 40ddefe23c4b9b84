"""Generations one at a time, the others waiting in turn: they go on whoever watches, and can be cancelled."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from echoreel.common.errors import EchoReelError
from echoreel.common.memory import give_back
from echoreel.generation.progress import Progress, nothing_to_see
from echoreel.generation.request import GenerationRequest
from echoreel.media.images import Frames

MOST_WAITING = 5
REMEMBERED = 20  # jobs that are over
SECONDS_TO_END = 20.0
SECONDS_BETWEEN_LOOKS = 1.0  # at the video while it is made, at least
LOOKS_SHARE = 0.1  # of the time that they may take

State: TypeAlias = Literal["waiting", "running", "finished", "failed", "cancelled"]
Make: TypeAlias = Callable[[GenerationRequest, Callable[[Progress], None]], Path]
"""Makes a request's result and returns its folder; tells of its progress, and passes on what that raises."""


class Cancelled(Exception):
    """The user wants no more of this job."""


@dataclass(eq=False)
class Job:
    """One generation, from the question to its result."""

    number: int
    request: GenerationRequest
    state: State = "waiting"
    progress: Progress | None = None
    error: str = ""
    result: Path | None = None  # its folder
    first_step: float = 0.0  # seconds of a clock that only counts up
    first_share: float = 0.0
    cancelling: threading.Event = field(default_factory=threading.Event)
    preview: Frames | None = None  # (T, H, W, 3) uint8: the video as it was a moment ago
    next_look: float = 0.0  # seconds of that clock

    @property
    def seconds_left(self) -> float | None:
        """At the pace since the first step; None before the second."""
        if self.state != "running" or self.progress is None or self.progress.share <= self.first_share:
            return None
        pace = (time.monotonic() - self.first_step) / (self.progress.share - self.first_share)
        return pace * (1 - self.progress.share)

    def told(self, progress: Progress) -> None:
        """Remember how far it is and, now and then, how its video looks."""
        began = time.monotonic()
        if self.progress is None:
            self.first_step, self.first_share = began, progress.share
        self.progress = replace(progress, look=nothing_to_see)  # which holds latents
        if began >= self.next_look:
            self.preview = progress.look()
            now = time.monotonic()
            self.next_look = now + max(SECONDS_BETWEEN_LOOKS, (now - began) / LOOKS_SHARE)


class Jobs:
    """A thread that does them in turn. Methods may be called from any thread."""

    def __init__(self, make: Make, most_waiting: int = MOST_WAITING) -> None:
        self._make, self._most = make, most_waiting
        self._all: list[Job] = []  # that wait or run, in turn
        self._over: list[Job] = []  # in the order in which they ended
        self._changed = threading.Condition(threading.RLock())
        self._count, self._closed = 0, False
        self._thread = threading.Thread(target=self._work, name="generations", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest) -> Job:
        """Put it behind those that wait. Raises EchoReelError when too many do."""
        with self._changed:
            if len(self.waiting()) >= self._most:
                raise EchoReelError(
                    f"{self._most} generations are waiting already; cancel one, or wait until one is done"
                )
            self._count += 1
            job = Job(self._count, request)
            self._all.append(job)
            self._changed.notify_all()
        return job

    def cancel(self, number: int) -> None:
        """End a job after its present step, or take it out of those that wait. One that is over stays so."""
        with self._changed:
            for job in [*self._all]:
                if job.number == number:
                    job.cancelling.set()
                    if job.state == "waiting":
                        self._end(job, "cancelled")

    def close(self) -> None:
        """Cancel all, and wait until the present step is done, but not for long."""
        with self._changed:
            self._closed = True
            for job in self._all:
                job.cancelling.set()
            self._changed.notify_all()
        self._thread.join(SECONDS_TO_END)

    def waiting(self) -> list[Job]:
        """In turn."""
        return [job for job in [*self._all] if job.state == "waiting"]

    def running(self) -> Job | None:
        return next((job for job in [*self._all] if job.state == "running"), None)

    def last(self, finished: bool = False) -> Job | None:
        """The one that was over last, or that was finished last."""
        over = [job for job in [*self._over] if job.state == "finished" or not finished]
        return over[-1] if over else None

    def _end(self, job: Job, state: State) -> None:
        with self._changed:
            job.state, job.preview = state, None
            self._all.remove(job)
            self._over = [*self._over[1 - REMEMBERED :], job]

    def _next(self) -> Job | None:
        """The next to be done, once there is one; None after `close`."""
        with self._changed:
            while not (waiting := self.waiting()) and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            waiting[0].state = "running"
            return waiting[0]

    def _work(self) -> None:
        while (job := self._next()) is not None:

            def tell(progress: Progress, job: Job = job) -> None:
                job.told(progress)
                if job.cancelling.is_set():
                    raise Cancelled

            try:
                job.result = self._make(job.request, tell)
                self._end(job, "finished")
            except Cancelled:
                self._end(job, "cancelled")
            except (EchoReelError, OSError) as error:
                job.error = str(error)
                self._end(job, "failed")
            except Exception as error:  # of a model: the thread lives on for the next job
                job.error = f"the generation failed: {type(error).__name__}: {error}"
                self._end(job, "failed")
            give_back()
