"""Optional packages: a plain installation says which extra brings them."""

import subprocess
import sys
import tomllib

import pytest
from helpers.places import ROOT

from echoreel.common.errors import MissingExtra
from echoreel.common.extras import EXTRAS, needs


def test_every_package_is_in_the_extra_that_its_message_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.values():
        assert any(line.split("[")[0].split(">")[0] == package for line in extras[extra]), (package, extra)


def test_a_missing_package_is_named_and_a_broken_one_told_apart() -> None:
    with pytest.raises(MissingExtra) as missing, needs("peft", "--lora"):
        raise ModuleNotFoundError
    assert str(missing.value) == (
        "--lora needs the package peft; run pip install 'echoreel[lora]', or in a clone scripts/setup lora"
    )
    with pytest.raises(MissingExtra, match="installed, but broken: no libGL"), needs("peft", "--lora"):
        raise ImportError("no libGL")


def test_without_extras_every_command_works_or_names_the_extra() -> None:
    command = [sys.executable, "tests/helpers/every_command.py", "--block-extras"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
