"""A pytest plugin for diffusers' own tests: what came of each; `--attach` joins an adapter to pipelines.

`scripts/diffusers-tests` runs them with it and without. A fresh adapter changes nothing, so no test may come
out otherwise.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import nn

from echoreel.bases.base import plain
from echoreel.common.errors import BaseUnsupported
from echoreel.method.adapter import ActionAdapter
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.integration import IntegrationSettings

PRISM = CompactPrismSettings(width=16, depth=1, heads=2, slots=4, token_width=8)
INTEGRATION = IntegrationSettings(heads=2, feed_forward=6)
FRAMES = 4  # of the reference whose tokens are read


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attach", action="store_true", help="attach a fresh adapter to each video pipeline")
    parser.addoption("--told", type=Path, required=True, help="the JSON file for what came of each test")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Told(config.getoption("told"), bool(config.getoption("attach"))))


class Told:
    """What came of each test, and the adapters that were attached."""

    def __init__(self, file: Path, attach: bool) -> None:
        self.file, self.attach = file, attach
        self.tests: dict[str, tuple[str, str]] = {}
        self.refused: set[str] = set()
        self.attached = 0
        self.adapters: WeakKeyDictionary[nn.Module, ActionAdapter] = WeakKeyDictionary()

    def pytest_collection_finish(self) -> None:
        """Every pipeline of these tests is imported now."""
        for kind in below(DiffusionPipeline) if self.attach else ():
            if "__init__" in vars(kind):
                kind.__init__ = self.attaching(kind, vars(kind)["__init__"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            crash = getattr(report.longrepr, "reprcrash", None)
            self.tests[report.nodeid] = report.outcome, crash.message if crash else ""

    def pytest_sessionfinish(self) -> None:
        told = {"tests": self.tests, "attached": self.attached, "refused": sorted(self.refused)}
        self.file.write_text(json.dumps(told))

    def attaching(self, kind: type, make: Callable[..., None]) -> Callable[..., None]:
        """A pipeline's `__init__` that attaches in the end; not that of a class below it."""

        @functools.wraps(make)
        def made(pipe: DiffusionPipeline, *arguments: Any, **named: Any) -> None:
            make(pipe, *arguments, **named)
            if type(pipe) is kind:
                self.join(pipe)

        return made

    def join(self, pipe: DiffusionPipeline) -> None:
        """Attach to a pipeline, unless its denoiser has an adapter: pipelines that share one share that.

        Torch's chance stays as it was, since the test goes on to use it.
        """
        parts = (getattr(pipe, name, None) for name in ("unet", "transformer", "transformer_2"))
        denoisers = [plain(each) for each in parts if each is not None]
        if any(each in self.adapters for each in denoisers):
            return
        with torch.random.fork_rng():
            try:
                adapter = ActionAdapter.for_base(pipe, prism=PRISM, integration=INTEGRATION).attach(pipe)
            except BaseUnsupported:
                self.refused.add(type(pipe).__name__)
                return
            adapter.set_tokens(torch.randn(1, FRAMES * PRISM.slots, PRISM.token_width))
        self.attached += 1
        self.adapters.update(dict.fromkeys(denoisers, adapter))


def below(kind: type) -> set[type]:
    return {each for child in kind.__subclasses__() for each in {child, *below(child)}}
