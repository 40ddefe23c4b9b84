"""Newer versions than those tested: one warning, no refusal, and nothing where all is as tested."""

import importlib.metadata
import tomllib
import warnings
from collections.abc import Iterator

import pytest
from helpers.places import ROOT
from packaging.requirements import Requirement
from packaging.version import Version
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.common import versions
from echoreel.common.versions import NEWEST_TESTED, UntestedVersion, untested, warn_if_untested

REAL = importlib.metadata.version


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Versions that are told in place of the real ones."""
    told: dict[str, str] = {}
    monkeypatch.setattr(versions.importlib.metadata, "version", lambda name: told.get(name) or REAL(name))
    warn_if_untested.cache_clear()
    yield told
    warn_if_untested.cache_clear()


def test_the_tested_versions_are_those_of_the_constraints(installed: dict[str, str]) -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    installed |= pins
    for package, tested in NEWEST_TESTED.items():
        assert Version(pins[package]).release[: len(Version(tested).release)] == Version(tested).release
        assert untested(package) == ""


@pytest.mark.parametrize(
    ("version", "newer"),
    [("2.13.0+cpu", False), ("2.13.9", False), ("2.9", False), ("2.14.0", True), ("3.0.0a1", True)],
)
def test_only_a_newer_minor_version_is_told(installed: dict[str, str], version: str, newer: bool) -> None:
    installed["torch"] = version
    assert untested("torch").startswith(f"torch {version} is newer than 2.13, ") is newer
    assert bool(untested("torch")) is newer


def test_it_is_told_once_and_nothing_is_refused(installed: dict[str, str]) -> None:
    installed["diffusers"] = "0.43.0"
    with pytest.warns(UntestedVersion, match=r"^diffusers 0\.43\.0 is newer than 0\.42, "):
        warn_if_untested("torch", "diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_untested("torch", "diffusers")


def test_doctor_tells_it_and_finds_no_problem(installed: dict[str, str]) -> None:
    installed["lancedb"] = "0.99.0"
    done = CliRunner().invoke(app, ["doctor"])
    assert "note    newer        lancedb 0.99.0 is newer than 0.40" in done.stdout
    assert done.exit_code == 0


def test_the_command_line_tells_it_without_a_place_in_the_code(
    installed: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoreel.cli.output import plain_warnings

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    installed["torch"] = "2.99.0"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        plain_warnings()
        warn_if_untested("torch")
    assert capsys.readouterr().err.startswith("note: torch 2.99.0 is newer than 2.13")


def test_requirements_shut_nobody_out() -> None:
    """An upper bound is for what is known to break: none today."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounded = [*project["dependencies"]]
    for name, extra in project["optional-dependencies"].items():
        bounded += [] if name == "dev" else extra
    for line in bounded:
        operators = {each.operator for each in Requirement(line).specifier}
        assert operators <= {">="}, line
        assert operators or line.startswith("echoreel["), f"{line}: say the oldest version that works"


def test_ftfy_is_asked_for_only_while_diffusers_calls_it() -> None:
    """It asks for it nowhere, and Wan pipelines end in a NameError without it."""
    from inspect import getsource

    from diffusers.pipelines.wan import pipeline_wan

    assert "ftfy.fix_text(" in getsource(pipeline_wan)
