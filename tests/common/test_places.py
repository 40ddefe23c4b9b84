"""What a path means."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.common.places import at_home

NOBODY = "~nobody-of-this-name/base"


def test_a_home_folder_that_nobody_knows_is_a_name_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert at_home("~/base") == Path("/home/me/base")
    assert at_home(NOBODY) == Path(NOBODY)


@pytest.mark.parametrize(
    "call",
    [
        ["recipe", NOBODY],
        ["info", NOBODY],
        ["info", f"{NOBODY}.safetensors"],
        ["info", "--adapter", NOBODY],
        ["library", "list", NOBODY],
    ],
)
def test_every_door_says_that_there_is_no_such_place(call: list[str]) -> None:
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 2
    assert "there is no" in done.stderr
