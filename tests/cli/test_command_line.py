"""The command line as people meet it: the main job, what it prints, and one sentence for every wrong call."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from diffusers import UNetMotionModel
from helpers.every_command import commands
from helpers.make_videos import counting, film
from helpers.toy_models import toy_pipeline, toy_unet
from PIL import Image
from typer.testing import CliRunner

from echoreel import __version__
from echoreel.cli import app
from echoreel.cli.generate import parts_of
from echoreel.cli.output import answering
from echoreel.common.errors import EchoReelError, VideoMissing
from echoreel.generation.request import GenerationRequest
from echoreel.media.video_files import probe
from echoreel.method.adapter import ActionAdapter

PROMPT = "a woman in a red coat doing a cartwheel"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an adapter for it, one for another base, and files to refer to."""
    folder = tmp_path_factory.mktemp("world")
    pipe = toy_pipeline()
    pipe.save_pretrained(folder / "base")
    torch.manual_seed(0)
    adapter = ActionAdapter.for_base(pipe)
    torch.nn.init.normal_(next(iter(adapter.integrations.values())).attention.out.weight)
    adapter.save_pretrained(folder / "adapter")
    wider = UNetMotionModel.from_config({**toy_unet().config, "block_out_channels": (8, 24)})
    ActionAdapter.for_base(wider).save_pretrained(folder / "other-adapter")
    film(folder / "cartwheel.mp4", counting(40), fps=10)
    (folder / "cartwheel.txt").write_text("a man doing a cartwheel\n")
    (folder / "notes.txt").write_text("no video\n")
    return folder


@pytest.fixture
def call(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command line in `world`; `OUT` in an argument is a folder of the test's own."""
    monkeypatch.chdir(world)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [argument.replace("OUT", str(tmp_path)) for argument in arguments])

    return run


MODELS = ("--base", "base", "--adapter", "adapter", "--steps", "2")
WHOLE = ("generate", PROMPT, "--reference", "cartwheel.mp4", *MODELS, "-o", "OUT/a.mp4")


def test_the_main_job(call: Any, tmp_path: Path) -> None:
    done = call(*WHOLE, "--seed", "7", "--compare", "--show-frames", "--start", "1", "--end", "2.5")
    assert (done.exit_code, done.stderr) == (0, "")
    files = ["a-frames.png", "a.mp4", "a.json", "a-compare.png", "a-compare.mp4"]
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "reference: 12 frames, 1.00 s to 2.30 s of cartwheel.mp4 at 8 fps "
        "(it is 4.00 s long; start and end choose another part), stretched over the video made"
    )
    assert lines[1].startswith("base: base is a AnimateDiffPipeline, family AnimateDiff, in float32; ")
    assert lines[2:-1] == [f"wrote {tmp_path / name}" for name in files]
    assert lines[-1].startswith("16 frames of 32x32, 2 steps, seed 7: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    assert probe(tmp_path / "a.mp4").height == 256
    notes = json.loads((tmp_path / "a.json").read_text())
    assert notes["references"][0]["caption"] == "a man doing a cartwheel"


def test_the_last_video_is_not_replaced_without_a_word(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = ("generate", PROMPT, "--base", str(world / "base"), "--steps", "1")
    assert "wrote out.mp4\n" in call(*plain).stdout
    assert "wrote out2.mp4\n" in call(*plain).stdout
    assert "wrote out.mp4 over the one that was there\n" in call(*plain, "-o", "out.mp4").stdout


def test_json_is_all_that_is_printed(call: Any, tmp_path: Path) -> None:
    done = call(*WHOLE, "--seed", "7", "--seed", "8", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["files"] == [str(tmp_path / name) for name in ("a-7.mp4", "a-8.mp4", "a.json")]
    assert (facts["seeds"], facts["base"], facts["adapter"]) == ([7, 8], "base", "adapter")
    assert facts["references"][0]["frames"] == 16
    assert facts["seconds"] > 0
    assert facts["peak_memory_bytes"] > 0


def test_several_references_with_options_each_or_for_all(call: Any) -> None:
    two = ("--reference", "cartwheel.mp4")
    done = call(*WHOLE, *two, "--start", "0.5", "--start", "2", "--strength", "0.5", "--json")
    assert [r["timestamps"][0] for r in json.loads(done.stdout)["references"]] == [0.5, 2.0]
    assert [r["strength"] for r in json.loads(done.stdout)["references"]] == [0.5, 0.5]
    wrong = call(*WHOLE, *two, "--end", "1", "--end", "2", "--end", "3")
    assert wrong.stderr == "error: --end: got 3 for 2 references, need one, or one for each\n"


def test_a_reference_for_a_part_of_the_video(call: Any, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    halves = ("-r", "cartwheel.mp4@0-50%", "-r", "cartwheel.mp4@50-100%")
    done = call("generate", PROMPT, *halves, *MODELS, "-o", "OUT/a.mp4")
    assert done.exit_code == 0, done.output
    assert ", stretched over 0% to 50% of the video made" in done.output
    told = [each["during"] for each in json.loads(out.read_text())["references"]]
    assert told == [[0, 0.5], [0.5, 1]]
    assert [each.during for each in GenerationRequest.restored(out).references] == [(0, 0.5), (0.5, 1)]
    named = tmp_path / "a@10-20%"
    named.write_bytes((world / "cartwheel.mp4").read_bytes())
    assert parts_of([named, tmp_path / "b@10-20%"]) == ([named, tmp_path / "b"], [(0, 1), (0.1, 0.2)])
    wrong = call("generate", PROMPT, "-r", "cartwheel.mp4@50-20%", *MODELS, "-o", "OUT/b.mp4")
    assert wrong.exit_code == 2
    assert "during: got 0.5 to 0.2" in wrong.output


def test_a_reference_in_a_loop_of_a_video_of_two_windows(call: Any, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    asked = ("-r", "cartwheel.mp4", "--start", "1", "--end", "1.5", "--align", "loop", "--speed", "0.5")
    long = (*MODELS, "--frames", "16", "--seconds", "3", "--show-frames", "-o", "OUT/a.mp4")
    done = call("generate", PROMPT, *asked, *long)
    assert done.exit_code == 0, done.output
    assert (
        "reference: 1.00 s to 1.50 s of cartwheel.mp4 at the video's frame rate, in a loop over "
        "the video made, at 0.5 times its speed\n"
    ) in done.stdout
    assert "24 frames (3.0 s) in 2 windows of 16, which overlap (FreeNoise)\n" in done.stdout
    details = json.loads(out.read_text())
    (told,) = details["references"]
    assert (told["align"], told["speed"], details["windows"]) == ("loop", 0.5, [[0, 16], [8, 24]])
    assert probe(tmp_path / "a.mp4").frames == 24
    again = GenerationRequest.restored(out)
    assert (again.references[0].align, again.references[0].speed) == ("loop", 0.5)
    assert (again.settings.seconds, again.references[0].read().seconds) == (3.0, 0.5)
    with Image.open(tmp_path / "a-frames.png") as sheet:
        assert sheet.height > 96  # a row of the 8 frames that were read
    slow = call("generate", PROMPT, "-r", "cartwheel.mp4", *long[:-1], "OUT/b.mp4", "--end", "0.5")
    assert "cartwheel.mp4 plays at 0.17 times its speed, stretched over the video" in slow.stdout
    wrong = call("generate", PROMPT, *asked, "--align", "stretch", *MODELS, "-o", "OUT/c.mp4")
    assert wrong.stderr == "error: --align: got 2 for 1 references, need one, or one for each\n"
    wrong = call("generate", PROMPT, "-r", "cartwheel.mp4", "--align", "once", *MODELS, "-o", "OUT/c.mp4")
    assert wrong.stderr == "error: align: got 'once', need stretch, start, loop, ping-pong\n"


def test_references_come_from_a_library(call: Any, tmp_path: Path) -> None:
    plain = [counting(12) for _ in range(2)]
    film(tmp_path / "one.mp4", plain[0], fps=8)
    film(tmp_path / "cut.mp4", np.concatenate([plain[0], 255 - plain[1]]), fps=8)
    rows = [f"{name}.mp4,{text}\n" for name in ("one", "cut") for text in ("a cat jumping", "a dog jumping")]
    (tmp_path / "videos.csv").write_text("path,caption\n" + "".join(rows))
    assert call("library", "add", "OUT/lib", "OUT/videos.csv", "--embedder", "none").exit_code == 0
    command = ("generate", "a man jumping", *MODELS, "--steps", "1", "-o", "OUT/a.mp4")
    done = call(*command, "--library", "OUT/lib", "--references", "3", "--compare", "--min-score", "1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert '2 of 3 references: no more match "jumping"' in done.stdout
    assert "warning: the camera cuts at 1.5 s of cut.mp4" in done.stdout
    assert (tmp_path / "a-compare.mp4").exists()
    (tmp_path / "one.mp4").unlink()
    done = call(*command, "--library", "OUT/lib", "--skip-bad", "--compare")
    assert (done.exit_code, done.stdout.count("one.mp4")) == (2, 1)  # the place once, with the reason
    assert f"skipped {tmp_path}/cut.mp4: the camera cuts at 1.5 s\n" in done.stdout
    assert "nothing to compare without a reference" in done.stderr
    for option in (("--references", "2"), ("--action", "x"), ("--min-score", "0.5"), ("--skip-bad",)):
        assert f"error: {option[0]}: is about --library" in call(*command, *option).stderr


def test_times_are_taken_as_clocks_show_them(call: Any) -> None:
    done = call(*WHOLE, "--start", "0:00:01", "--end", "0:02.5", "--json")
    assert json.loads(done.stdout)["references"][0]["timestamps"][0] == 1.0
    assert "is not a time; give seconds" in call(*WHOLE, "--start", "soon").stderr.replace("\n", "")
    url = call("generate", PROMPT, "-r", "https://example.com/a.mp4")
    assert url.stderr.startswith("error: https://example.com/a.mp4: this is a URL; download it")


def test_references_are_cropped_to_what_moves(call: Any, tmp_path: Path) -> None:
    walk = np.full((16, 48, 128, 3), 90, np.uint8)
    for index, picture in enumerate(walk):
        picture[12:44, 6 + 6 * index : 18 + 6 * index] = (40, 60, 200)
    film(tmp_path / "walk.mp4", walk)
    command = ("generate", PROMPT, "-r", "OUT/walk.mp4", *MODELS, "--show-frames", "-o", "OUT/a.mp4")
    done = call(*command, "--crop", "moving")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.search(
        r"at 8 fps, stretched over the video made, cropped to the (\d+)x\1 pixels around what moves$",
        done.stdout,
        re.MULTILINE,
    )
    assert (tmp_path / "a-frames.png").exists()
    told = " ".join(call(*command).stdout.split())
    assert "cropped to" not in told
    assert "warning: walk.mp4: what moves is outside the middle of the picture; set crop" in told
    still = call(*WHOLE, "--end", "0.3", "--crop", "left")
    assert (still.exit_code, still.stderr) == (2, "error: crop: got 'left', need middle or moving\n")


def test_a_long_vertical_video_of_a_phone_is_an_ordinary_reference(call: Any, tmp_path: Path) -> None:
    film(tmp_path / "phone.mp4", counting(300, height=180, width=320), fps=30, rotation=90)
    command = ("generate", PROMPT, "-r", "OUT/phone.mp4", "--start", "4", *MODELS, "-o", "OUT/a.mp4")
    done = call(*command, "--compare", "--show-frames")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "16 frames, 4.00 s to 5.87 s of phone.mp4 at 8 fps (it is 10.00 s long; " in done.stdout
    assert probe(tmp_path / "a-compare.mp4").width == 3 * (256 + 8)  # as the base sees it: its square middle
    with Image.open(tmp_path / "a-frames.png") as sheet:
        assert sheet.width == 8 * (96 * 180 // 320 + 8)  # and it stands upright


WRONG = {
    "a reference that is missing": (["-r", "missing.mp4"], "missing.mp4: there is no such file"),
    "a text file as reference": (["-r", "notes.txt"], "notes.txt: not a readable video"),
    "a start beyond the end": (["--start", "100"], "no frame from 100.00 s on; choose an earlier start"),
    "an end before the start": (["--start", "2", "--end", "1"], "end: got 1.0, need seconds after the start"),
    "a negative strength": (["--strength", "-1"], "strength: got -1.0, need 0 or more"),
    "no steps": (["--steps", "0"], "steps: got 0, need greater than or equal to 1"),
    "a scale out of range": (["--scale", "11"], "scale: got 11.0, need less than or equal to 10"),
    "a seed twice": (["--seed", "1", "--seed", "1"], "got seeds [1, 1], need at least one, and each once"),
    "an output of no known kind": (["-o", "OUT/a.avi"], "a.avi: cannot write '.avi' videos"),
    "an output inside a file": (["-o", "notes.txt/a.mp4"], "notes.txt is not a writable folder"),
    "a base that is missing": (["--base", "no/such/base"], "base no/such/base: there is no such folder"),
    "a base that is none": (["--base", "."], "base .: holds no model_index.json"),
    "a short name misspelt": (["--base", "wan-1.b"], "give a folder or a hub id, or one of wan-1.3b, "),
    "a file that is missing": (["--base", "wan.safetensors"], "base wan.safetensors: there is no such file"),
    "a URL": (["-r", "https://example.com/a.mp4"], "this is a URL; download it, and give the path"),
    "a count without library": (["--references", "2"], "--references: is about --library; give one, or"),
    "an action without library": (["--action", "kick"], "--action: is about --library; give one, or leave"),
    "a preset of no known name": (["--preset", "bets"], "got 'bets', need 'draft', 'normal' or 'best'"),
    "a hub id offline": (["--base", "nobody/none"], "the hub cannot be reached or has no such base"),
    "an adapter that is none": (["--adapter", "base"], "adapter base: holds no config.json"),
    "an adapter of another base": (["--adapter", "other-adapter"], "this adapter was made for another base"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_call_gives_one_sentence(call: Any, tmp_path: Path, options: list[str], message: str) -> None:
    given = [] if "-r" in options else ["-r", "cartwheel.mp4"]
    done = call("generate", PROMPT, *given, *MODELS, "-o", "OUT/a.mp4", *options)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_prompts_and_comparisons(call: Any) -> None:
    empty = call("generate", " ", "-o", "OUT/a.mp4")
    assert (empty.exit_code, empty.stderr) == (
        2,
        "error: the prompt is empty; say what the video should show\n",
    )
    strong = call("generate", PROMPT, "--strength", "2", "-o", "OUT/a.mp4")
    assert strong.stderr == "error: --strength: belongs to --reference; give one, or leave it out\n"
    alone = call("generate", PROMPT, "--compare", "-o", "OUT/a.mp4")
    assert alone.exit_code == 2
    assert alone.stderr.startswith("error: nothing to compare")


def test_an_unknown_key_of_a_recipe_names_the_nearest(call: Any, world: Path) -> None:
    (world / "wrong.toml").write_text(
        'folder = "run"\npairs = "pairs"\n[fit]\nsteps = 1\nlearning_rat = 1.0\n'
    )
    done = call("train", "wrong.toml", "--set", "task.batc=2")
    assert done.exit_code == 2
    assert "2 mistakes: " in done.stderr
    assert "task.batc: unknown key; did you mean batch?" in done.stderr
    assert "fit.learning_rat: unknown key; did you mean learning_rate?" in done.stderr
    assert call("train", "missing.toml").stderr.startswith("error: missing.toml: there is no such file")
    assert not (world / "run").exists()


def test_from_ordinary_videos_to_a_video_of_one_s_own_adapter(call: Any, world: Path, tmp_path: Path) -> None:
    line = {"target": "cartwheel.mp4", "caption": PROMPT, "references": [{"path": "cartwheel.mp4"}]}
    (world / "pairs.jsonl").write_text(5 * f"{json.dumps(line)}\n")
    told = call("prepare", "pairs", "pairs.jsonl", "OUT/pairs", "--base", "base", "--frames", "4")
    assert told.exit_code == 0
    assert told.stdout == (
        f"{tmp_path / 'pairs'} holds 5 pairs, 5 of them new\n"
        "cropping cut away 25% of a target's picture and 25% of a reference's; "
        "`--buckets auto` in another folder may keep more\n"
    )
    (world / "recipe.toml").write_text(
        'base = "base"\n[task]\nbatch = 2\nheld_back = 2\n[fit]\nsteps = 1\nwarmup = 0\nvalidate_every = 1\n'
    )
    trained = call("train", "recipe.toml", "--set", "folder=OUT/run", "--set", "pairs=OUT/pairs", "--json")
    assert trained.exit_code == 0, trained.stderr
    assert json.loads(trained.stdout) == {"adapter": str(tmp_path / "run" / "adapter")}
    made = call(*WHOLE, "--adapter", "OUT/run/adapter", "--json")
    assert json.loads(made.stdout)["adapter"] == str(tmp_path / "run" / "adapter")


def test_info_tells_what_fits_what(call: Any) -> None:
    told = call("info", "base", "--adapter", "adapter")
    assert told.exit_code == 0
    assert "base: AnimateDiffPipeline, family AnimateDiff" in told.stdout
    assert "16 frames of 32x32 at 8 fps" in told.stdout
    facts = json.loads(call("info", "base", "--json").stdout)
    assert facts["adapter"]["name"] == "fresh"
    assert len(facts["sites"]) == 7
    assert "made for another base" in call("info", "base", "--adapter", "other-adapter").stderr


def test_ctrl_c_is_130_and_debug_shows_the_error(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, answering(as_json=True, debug=False):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr() == ("", "stopped\n")
    with pytest.raises(EchoReelError), answering(as_json=False, debug=True):
        raise EchoReelError("as it is")
    assert isinstance(call(*WHOLE, "-r", "missing.mp4", "--debug").exception, VideoMissing)


def test_every_command_has_an_example_and_its_common_options(call: Any) -> None:
    assert call("--help").exit_code == 0
    for command in commands(app):
        told = call(*command.split(), "--help")
        assert told.exit_code == 0
        assert f"Example: echoreel {command}" in " ".join(told.stdout.split())
        assert command == "ui" or "--json" in told.stdout  # the page answers in a browser
        assert "--debug" in told.stdout
    assert call("generat").exit_code == 2
    assert call("--version").stdout == f"echoreel {__version__}\n"
