"""What was freed is given back."""

import sys

import numpy as np
import psutil
import pytest

from echoreel.common.memory import give_back


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
def test_freed_memory_goes_back_to_the_system() -> None:
    """A small block at the end keeps glibc from doing so by itself."""
    process = psutil.Process()
    blocks = [np.ones(64_000, np.uint8) for _ in range(1500)]
    kept = blocks.pop()
    held = process.memory_info().rss
    blocks.clear()
    give_back()
    assert held - process.memory_info().rss > 60_000_000
    assert kept.all()
