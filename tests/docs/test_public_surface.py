"""`echoreel.__all__` is the whole public surface, and each of its names says how it is used."""

import inspect
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.places import ROOT

import echoreel

NAMES = [name for name in echoreel.__all__ if not name.startswith("_")]


CANNOT_FAIL = {"ReferenceVideo.sheet"}


def callables() -> Iterator[tuple[str, object]]:
    """Public functions, classes, and the public methods that we wrote."""
    for name in NAMES:
        found = getattr(echoreel, name)
        yield name, found
        if inspect.isclass(found):
            for method, function in inspect.getmembers(found, inspect.isroutine):
                ours = (getattr(function, "__module__", None) or "").startswith("echoreel.")
                if ours and not method.startswith("_"):
                    yield f"{name}.{method}", function


def sections(text: str) -> set[str]:
    return set(re.findall(r"^(Args|Attributes|Returns|Yields|Raises):$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "found"), list(callables()), ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_public_name_has_a_docstring(name: str, found: object) -> None:
    assert inspect.getdoc(found), name


def told_in_full() -> list[str]:
    """Functions, and methods that take arguments; of a library those that begin and answer."""
    found = [name for name, each in callables() if not inspect.isclass(each) and arguments(each)]
    most = (
        "ReferenceLibrary.open",
        "ReferenceLibrary.add",
        "ReferenceLibrary.search",
        "ReferenceLibrary.take",
    )
    return [name for name in found if not name.startswith("ReferenceLibrary.") or name in most]


def arguments(function: object) -> list[str]:
    return [each for each in inspect.signature(function).parameters if each not in ("self", "cls")]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", told_in_full())
def test_functions_say_what_they_take_give_and_raise(name: str) -> None:
    found: object = echoreel
    for part in name.split("."):
        found = getattr(found, part)
    text = inspect.getdoc(found) or ""
    given = "Yields" if "Yields:" in text else "Returns"
    signature = inspect.signature(found)  # type: ignore[arg-type]
    wanted = {"Args", *(["Raises"] if name not in CANNOT_FAIL else [])} | (
        {given} if signature.return_annotation not in (None, "None") else set()
    )
    assert wanted <= sections(text)
    told = re.findall(r"^ {4}\*{0,2}(\w+): ", text, re.MULTILINE)
    assert [each for each in arguments(found) if each not in told] == []


@pytest.mark.parametrize("name", ["GenerationSettings", "ReferenceVideo", "GenerationResult", "Measurement"])
def test_values_say_what_each_field_is(name: str) -> None:
    found = getattr(echoreel, name)
    text = inspect.getdoc(found) or ""
    fields = getattr(found, "model_fields", None) or found.__dataclass_fields__
    told = re.findall(r"^ {4}(\w+): ", text, re.MULTILINE)
    assert [field for field in fields if field not in told] == []


def test_every_promise_of_the_threat_model_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "threat-model.md").read_text()))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 20
    assert named - defined == set()


def test_the_site_s_pages_are_written_and_every_link_leads_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference has every public name, every command and every settings class of a recipe."""
    script = str(ROOT / "scripts" / "site_pages.py")
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path)])
    monkeypatch.syspath_prepend(ROOT / "scripts")
    runpy.run_path(script, run_name="__main__")
    pages = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*.md")}
    named = re.findall(r'"([\w/.-]+\.md)"', (ROOT / "zensical.toml").read_text())
    assert [name for name in named if name not in pages] == []
    broken = [
        (name, target)
        for name, path in pages.items()
        for target in re.findall(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []
    assert all(f"heading: {name}" in pages["reference/python.md"].read_text() for name in NAMES)
    commands = pages["reference/command-line.md"].read_text()
    assert commands.count("\n## echoreel ") >= 20
    settings = pages["reference/settings.md"].read_text()
    assert "| `gradient_clip` | float | `1.0` | >= 0 | greatest norm of all gradients; 0 = off |" in settings
