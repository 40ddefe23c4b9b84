"""For many tests: every base, an adapter that acts, videos in two steps. A plugin of tests/conftest.py."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import DDIMScheduler

from echoreel.method.adapter import ActionAdapter
from helpers.toy_bases import KIN, TOYS
from helpers.toy_models import save_toys, toy_adapter


@pytest.fixture(params=[name for name in TOYS if name not in KIN])
def pipe(request: pytest.FixtureRequest) -> Any:
    return TOYS[request.param]()


@pytest.fixture
def adapter(pipe: Any) -> Iterator[ActionAdapter]:
    adapter = toy_adapter(pipe)
    yield adapter
    adapter.detach()


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and an adapter for it, as folders to copy: `base` and `adapter`."""
    folder = tmp_path_factory.mktemp("toys")
    save_toys(folder)
    return folder


@pytest.fixture
def base(toys: Path, tmp_path: Path) -> Path:
    """The base's folder, to change."""
    return shutil.copytree(toys / "base", tmp_path / "base")


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded base's videos take two steps, whatever is asked: for what runs, however it looks."""
    plan = DDIMScheduler.set_timesteps
    monkeypatch.setattr(
        DDIMScheduler,
        "set_timesteps",
        lambda self, steps, *more, **named: plan(self, min(steps, 2), *more, **named),
    )
