"""Functions that run in forks of the test's process: what they need is loaded already."""

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

from accelerate.state import AcceleratorState, GradientState

LONGEST = 120  # seconds that no fork here takes


def forked(call: Callable[..., object], *given: object, said: int | Path, **environment: str) -> ForkProcess:
    """A process that calls this, as one just started does: with the usual signals and warnings.

    said: the file that gets what it says, or a terminal that becomes its own.
    """

    def run() -> None:
        os.environ |= environment
        for sign in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(sign, signal.SIG_DFL)  # tests run under nohup would hand down that it is ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        place = said if isinstance(said, int) else os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(place, stream)
        sys.stdout, sys.stderr = (open(i, "w", buffering=1, closefd=False) for i in (1, 2))  # noqa: SIM115
        warnings.resetwarnings()  # which are errors here
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        call(*given)

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    with warnings.catch_warnings():  # threads of other tests, which a fork does not have, are no harm here
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        process.start()
    return process


def wait_until(true: Callable[[], object], process: ForkProcess) -> None:
    """Raises AssertionError where the process ends before, or it takes too long."""
    deadline = time.monotonic() + LONGEST
    while not true():
        assert process.is_alive(), process.exitcode
        assert time.monotonic() < deadline
        time.sleep(0.01)


def code_of(process: ForkProcess) -> int | None:
    """Its exit code; none where it goes on for too long, and is killed."""
    process.join(LONGEST)
    code = process.exitcode
    process.kill()
    return code
