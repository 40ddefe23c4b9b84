"""The shape of the package: folders that say what they hold, public names that are there, imports that cost
nothing. The order of imports is importlinter.toml's."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import echoreel

PACKAGE = Path(echoreel.__file__).parent

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "numba", "av", "PIL", "numpy")


def modules() -> dict[str, Path]:
    """Name below `echoreel` -> file, without the package itself (whose public names point down the flow)."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del names[""]
    return names


def test_only_these_lie_beside_the_folders() -> None:
    assert {path.name for path in PACKAGE.glob("*.*")} == {"__init__.py", "__main__.py", "py.typed"}


def test_nothing_is_expected_beside_a_checkout() -> None:
    """An installed package has no motion library by default; it says what is missing."""
    assert not [path for path in PACKAGE.rglob("*.py") if "../" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("folder", [name for name, path in modules().items() if path.name == "__init__.py"])
def test_every_folder_says_what_is_in_it(folder: str) -> None:
    assert importlib.import_module(f"echoreel.{folder}").__doc__


@pytest.mark.parametrize("name", echoreel.__all__)
def test_public_names_resolve_and_stay_what_they_are(name: str) -> None:
    """Also after submodules were imported, which set attributes of the package."""
    first = getattr(echoreel, name)
    for module in modules():
        if module != "__main__":
            importlib.import_module(f"echoreel.{module}")
    assert getattr(echoreel, name) is first
    assert name in dir(echoreel)
    assert not isinstance(first, type(sys))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'ActionAdaptor'"):
        echoreel.ActionAdaptor  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after `code` ran in a fresh interpreter."""
    report = f"{code}\nimport sys; print('\\n'.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import echoreel").isdisjoint({*HEAVY, "pydantic", "typer", "rich"})


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["echoreel", "--help"]
from echoreel.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert loaded_by(code).isdisjoint(HEAVY)


def test_the_page_waits_with_models_until_they_are_needed() -> None:
    """An idle page is small: torch and diffusers come with the first generation."""
    loaded = loaded_by("import echoreel.page.page")
    assert "gradio" in loaded
    assert loaded.isdisjoint({"torch", "diffusers", "transformers", "lancedb", "matplotlib"})
