"""A pytest plugin: tests marked gpu are skipped without a GPU; where CI is set, only listed reasons are."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

NEEDS_GPU, NEEDS_MOTIONS = "needs a GPU", "needs the motion library beside the checkout"
NEEDS_CHROMIUM = "needs Chromium; scripts/chromium installs it"
ALLOWED_IN_CI = {
    NEEDS_GPU: "its machines have none",
    NEEDS_CHROMIUM: "no package of Python's brings it",
    NEEDS_MOTIONS: "its recordings are not ours to publish in the repository",
    "needs ray": "it is large, and only --ray needs it; pip install it, and these run",
    "needs torchao": "it prints where there is no GPU; pip install it, and these run",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch  # not above: a process that hands tests to others needs none

        if not torch.cuda.is_available():
            pytest.skip(NEEDS_GPU)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_in_ci((yield))


def _failed_in_ci(report: Report) -> Report:
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if reason not in ALLOWED_IN_CI:
            report.outcome, report.longrepr = "failed", f"skipped, which fails where CI is set: {reason}"
    return report
