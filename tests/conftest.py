"""For every test: one thread, so that results repeat and other work on the machine is left in peace. For the
contract: every base, and an adapter that acts."""

import gc
import os
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never download
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="echoreel-tests-")  # what a user allows a library

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.toy_bases import KIN, TOYS
from helpers.toy_models import toy_adapter

from echoreel.method.adapter import ActionAdapter

torch.set_num_threads(1)

pytest_plugins = ["helpers.skips", "pytester"]


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections, each of which looks at millions of objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=[name for name in TOYS if name not in KIN])
def pipe(request: pytest.FixtureRequest) -> Any:
    return TOYS[request.param]()


@pytest.fixture
def adapter(pipe: Any) -> Iterator[ActionAdapter]:
    adapter = toy_adapter(pipe)
    yield adapter
    adapter.detach()
