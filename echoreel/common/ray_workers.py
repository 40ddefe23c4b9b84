"""Ray's workers: on this machine, or on a cluster."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from echoreel.common.extras import needs


@contextmanager
def ray_workers(workers: int) -> Iterator[Any]:
    """Ray with its data sets: of the cluster that RAY_ADDRESS names, else of this machine alone, for so many
    workers, and stopped in the end. Raises MissingExtra without Ray."""
    with needs("ray", "--ray"):
        import ray
        import ray.data
    mine = not ray.is_initialized()
    if mine:
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "lancedb fork", RuntimeWarning)  # Ray's fork starts a program
            ray.init(**here, log_to_driver=False, logging_level=logging.ERROR)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    finally:
        if mine:
            ray.shutdown()
