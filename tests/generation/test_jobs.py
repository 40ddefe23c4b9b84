"""Jobs: one at a time and in turn, cancelled at any moment, whatever becomes of the one before."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.make_videos import counting

from echoreel.common.errors import EchoReelError, VideoError
from echoreel.generation import jobs as module
from echoreel.generation.jobs import Job, Jobs
from echoreel.generation.progress import Progress
from echoreel.generation.request import GenerationRequest
from echoreel.media.images import Frames


class Maker:
    """Makes a request in steps, each when the test lets it."""

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)
        self.made: list[str] = []

    def __call__(self, request: GenerationRequest, tell: Callable[[Progress], None]) -> Path:
        for step in range(1, 4):
            assert self.step.acquire(timeout=10)
            tell(Progress(step, 3, 1, 1))
            if request.prompt == "fail":
                raise VideoError("broken.mp4: not a video")
            if request.prompt == "crash":
                raise RuntimeError("of the model")
        self.made.append(request.prompt)
        return Path(request.prompt)


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def jobs(maker: Maker) -> Iterator[Jobs]:
    jobs = Jobs(maker, most_waiting=2)
    yield jobs
    maker.step.release(9)
    jobs.close()


def ask(jobs: Jobs, prompt: str) -> Job:
    return jobs.submit(GenerationRequest(prompt=prompt))


def until(holds: Callable[[], object]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it never came to that")


def test_one_at_a_time_and_in_turn(jobs: Jobs, maker: Maker) -> None:
    first = ask(jobs, "one")
    until(lambda: jobs.running() is first)
    second, third = ask(jobs, "two"), ask(jobs, "three")
    assert jobs.waiting() == [second, third]
    maker.step.release(2)
    until(lambda: first.progress == Progress(2, 3, 1, 1))
    assert first.seconds_left is not None
    maker.step.release(7)
    until(lambda: third.state == "finished")
    assert maker.made == ["one", "two", "three"]
    assert jobs.last() is third
    assert third.result == Path("three")


def test_too_many_are_refused_in_a_sentence(jobs: Jobs) -> None:
    first = ask(jobs, "one")
    until(lambda: jobs.running() is first)
    ask(jobs, "two"), ask(jobs, "three")
    with pytest.raises(EchoReelError, match="2 generations are waiting already; cancel one"):
        ask(jobs, "four")
    assert len(jobs.waiting()) == 2


def test_cancelled_while_it_runs_and_while_it_waits(jobs: Jobs, maker: Maker) -> None:
    first = ask(jobs, "one")
    until(lambda: jobs.running() is first)
    second, third = ask(jobs, "two"), ask(jobs, "three")
    jobs.cancel(second.number)
    assert second.state == "cancelled"
    jobs.cancel(first.number)
    maker.step.release(4)
    until(lambda: third.state == "finished")
    assert first.state == "cancelled"
    assert maker.made == ["three"]


@pytest.mark.parametrize(
    ("prompt", "error"),
    [("fail", "broken.mp4: not a video"), ("crash", "the generation failed: RuntimeError: of the model")],
)
def test_a_failure_is_a_sentence_and_the_next_goes_on(
    jobs: Jobs, maker: Maker, prompt: str, error: str
) -> None:
    failed, after = ask(jobs, prompt), ask(jobs, "after")
    maker.step.release(4)
    until(lambda: after.state == "finished")
    assert (failed.state, failed.error) == ("failed", error)


def test_a_look_is_kept_while_the_job_runs_and_takes_a_small_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    looked: list[float] = []

    def look() -> Frames:
        looked.append(clock[0])
        clock[0] += 0.25
        return counting(2)

    job = Job(1, GenerationRequest(prompt="a"))
    for step in range(1, 10):
        job.told(Progress(step, 9, 1, 1, look))
        clock[0] += 1.0
    assert looked == [100.0, 103.25, 106.5]  # each takes 0.25 s, a tenth of 2.5 s
    assert job.preview is not None
    assert job.progress == Progress(9, 9, 1, 1)
