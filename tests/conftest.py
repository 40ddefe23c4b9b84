"""For every test: one thread, so that results repeat and other work on the machine is left in peace."""

import gc
import os
import tempfile

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, which asks
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never download
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="echoreel-tests-")  # what a user allows a library

pytest_plugins = ["helpers.skips", "pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """Load the models' libraries where tests run, not in a process that hands tests to others."""
    if config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        gc.disable()  # it would look, again and again, at all that is being imported and stays
        config.pluginmanager.import_plugin("helpers.shared_fixtures")


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections, each of which looks at millions of objects."""
    gc.collect()
    gc.freeze()
    gc.enable()
