"""What is shown of texts that others wrote."""

from pathlib import Path

from helpers.make_videos import counting, film
from typer.testing import CliRunner

from echoreel.cli import app
from echoreel.common.text import in_one_row, printable


def test_no_text_steers_a_terminal_or_turns_round_what_it_shows() -> None:
    assert printable("a\x1b[2J\u202egnp.exe\u2066") == "a\\x1b[2J\\u202egnp.exe\\u2066"
    assert printable("two\nlines, \u05e9\u200f and 动作") == "two\nlines, \u05e9\u200f and 动作"
    assert in_one_row("a\nb\tc") == "a\\nb\\tc"


def test_a_file_name_begins_no_line_of_a_list(tmp_path: Path) -> None:
    film(tmp_path / "a\n0000000000000000  forged.mp4", counting(16), fps=8)
    (tmp_path / "a\n0000000000000000  forged.txt").write_text("a man \u202e running")
    run = CliRunner()
    done = run.invoke(app, ["library", "add", f"{tmp_path}/lib", str(tmp_path), "--embedder", "none"])
    assert done.exit_code == 0, done.output
    lines = run.invoke(app, ["library", "list", f"{tmp_path}/lib"]).stdout.splitlines()
    assert not [line for line in lines if line.startswith("0000000000000000")]
    assert any("\\n0000000000000000  forged.mp4" in line for line in lines)
    assert any("\\u202e running" in line for line in lines)
