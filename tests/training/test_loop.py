"""The training loop and its run folder: killed or not, the same bits."""

import errno
import importlib.util
import json
import math
import os
import pty
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import safetensors.torch
import torch
from helpers.damage import full_disk
from helpers.forks import code_of, forked, wait_until
from helpers.toy_training_task import SETTINGS, ToyTask
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from echoreel.common.errors import CheckpointError, OutputError, SettingsError
from echoreel.common.settings import checked
from echoreel.training.loop import FitSettings, TrainingDiverged, fit
from echoreel.training.run_folder import RunFolder, Snapshot, load_trained, train_mode, trained_state
from echoreel.training.run_log import Headline


def newest(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the newest checkpoint, optimizer included."""
    path = RunFolder(folder).latest()
    assert path is not None
    optimizer = torch.load(path / "optimizer.pt", weights_only=True)
    moments = {f"{i}.{k}": v for i, s in optimizer["state"].items() for k, v in s.items()}
    ema = {f"ema.{k}": v for k, v in load_file(path / "ema.safetensors").items()}
    return load_file(path / "weights.safetensors") | ema | moments


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def metrics(folder: Path) -> list[dict[str, float]]:
    """Logged numbers without those that depend on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("elapsed", "samples_per_second")} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert fit(ToyTask(), SETTINGS, folder) == 12
    return folder


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGHUP, 1)]
)
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path, uninterrupted: Path, sign: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    child = forked(fit, ToyTask(pause=0.1), SETTINGS, run, said=tmp_path / "said")
    wait_until(RunFolder(run).latest, child)
    time.sleep(0.15)
    os.kill(child.pid or 0, sign)
    ended, said = code_of(child), (tmp_path / "said").read_text()
    assert ended == code, said
    assert sign is signal.SIGKILL or f"{sign.name}: stopped with a checkpoint at step" in said
    stopped = RunFolder(run).latest()
    assert stopped is not None
    assert 3 <= int(stopped.name.removeprefix("step-")) < 12
    assert fit(ToyTask(), SETTINGS, run) == 12
    assert_same(newest(run), newest(uninterrupted))
    assert metrics(run) == metrics(uninterrupted)


def test_prefetching_changes_nothing(tmp_path: Path, uninterrupted: Path) -> None:
    for ahead in (0, 3):
        task = ToyTask()
        fit(task, SETTINGS.model_copy(update={"prefetch": ahead}), tmp_path / str(ahead))
        assert sorted(task.seen) == list(range(12))
        assert_same(newest(tmp_path / str(ahead)), newest(uninterrupted))


def test_accumulating_equals_the_big_batch(tmp_path: Path) -> None:
    small, big = (ToyTask(rows, dropout=0, noise=0) for rows in (4, 8))
    for task in (small, big):
        task.module[2] = nn.Identity()  # batch statistics do differ
    plain = FitSettings(steps=6, warmup=0, learning_rate=1e-2)
    fit(small, plain.model_copy(update={"accumulate": 2}), tmp_path / "small")
    fit(big, plain, tmp_path / "big")
    for a, b in zip(small.module.parameters(), big.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_run_can_be_extended_and_its_learning_rate_cannot_change(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"schedule": "constant"})
    fit(ToyTask(), settings.model_copy(update={"steps": 7}), tmp_path / "extended")
    fit(ToyTask(), settings, tmp_path / "extended")
    fit(ToyTask(), settings, tmp_path / "whole")
    assert_same(newest(tmp_path / "extended"), newest(tmp_path / "whole"))
    with pytest.raises(CheckpointError, match=r"learning_rate was 0\.01, is 0\.02"):
        fit(ToyTask(), settings.model_copy(update={"learning_rate": 2e-2}), tmp_path / "extended")


def test_the_average_is_that_of_the_formula_and_exported(tmp_path: Path) -> None:
    settings = FitSettings(steps=5, warmup=0, learning_rate=1e-2, ema=0.3, checkpoint_every=1)
    task, states = ToyTask(), []
    for steps in range(1, 6):  # one step at a time, to see every state
        fit(task, settings.model_copy(update={"steps": steps}), tmp_path)
        states.append(task.module[4].weight.detach().clone())
    expected = ToyTask().module[4].weight.detach().clone()
    for step, weight in enumerate(states, 1):
        decay = min(0.3, step / (9 + step))
        expected = decay * expected + (1 - decay) * weight
    fresh = ToyTask()
    assert load_trained(tmp_path, fresh.module) == 5
    torch.testing.assert_close(fresh.module[4].weight, nn.Parameter(expected))
    load_trained(tmp_path, fresh.module, ema=False)
    assert torch.equal(fresh.module[4].weight, states[-1])


def test_validation_sees_the_average_and_leaves_the_weights(tmp_path: Path) -> None:
    fit(ToyTask(), SETTINGS, tmp_path)
    exported = ToyTask()
    load_trained(tmp_path, exported.module)
    exported.module.eval()
    assert metrics(tmp_path)[-1]["validation/error"] == pytest.approx(exported.validate()["error"], abs=1e-6)


def test_only_what_trains_is_saved_and_frozen_parts_stay_in_evaluation_mode(uninterrupted: Path) -> None:
    saved = newest(uninterrupted)
    assert not any(name.startswith("0.") for name in saved if "weight" in name)
    assert {"1.weight", "2.running_mean", "ema.4.bias"} <= saved.keys()
    module = ToyTask().module
    train_mode(module)
    assert [part.training for part in module] == [False, True, True, True, True]
    tied = nn.ModuleDict({"a": module[4], "b": module[4]})
    assert trained_state(tied).keys() == {"a.weight", "a.bias"}


def test_leftovers_are_cleared_and_old_checkpoints_pruned(tmp_path: Path) -> None:
    (tmp_path / ".step-000099.0123abcd.partial").mkdir()
    (tmp_path / ".step-000099.0123abcd.partial" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / ".settings.0123abcd.partial.json").write_bytes(b"{")
    fit(ToyTask(), SETTINGS.model_copy(update={"sheet_every": 6}), tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.parent.name[:4] != "step"}
    files = {"metrics.jsonl", "settings.json"}
    sheets = {"sheets", "sheets/step-000006.png", "sheets/step-000012.png"}
    assert left == files | sheets | {"step-000009", "step-000012"}


def test_a_damaged_or_foreign_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    fit(ToyTask(), SETTINGS, tmp_path)
    other = ToyTask()
    other.name = "another"
    with pytest.raises(CheckpointError, match="trains 'toy', not 'another'"):
        fit(other, SETTINGS.model_copy(update={"steps": 13}), tmp_path)
    with pytest.raises(CheckpointError, match="does not fit the module"):
        load_trained(tmp_path, nn.Linear(3, 3))
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        load_trained(tmp_path / "nothing", nn.Linear(3, 3))
    (tmp_path / "step-000012" / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="step-000012 is damaged"):
        fit(ToyTask(), SETTINGS, tmp_path)


def test_two_trainings_cannot_share_a_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked(), pytest.raises(OutputError, match="another process trains"):
        fit(ToyTask(), SETTINGS, tmp_path)


class Diverging(ToyTask):
    """Its loss breaks when it sees batch 4."""

    def batch(self, step: int) -> dict[str, Tensor]:
        """Rows of the toy, broken in batch 4."""
        batch = super().batch(step)
        return {"x": batch["x"] * float("nan")} if step == 4 else batch


def test_a_broken_loss_names_its_step_and_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"loss nan.* at step 5, on batch 4; "):
        fit(Diverging(), SETTINGS, tmp_path)
    latest = RunFolder(tmp_path).latest()
    assert latest is not None
    assert latest.name == "step-000003"


def test_the_time_budget_ends_with_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = SETTINGS.model_copy(update={"minutes": 1e-6})
    assert fit(ToyTask(), settings, tmp_path) == 1
    assert "fit.minutes ran out at step 1 of" in caplog.text
    assert fit(ToyTask(), settings, tmp_path) == 2
    latest = RunFolder(tmp_path).latest()
    assert latest is not None
    assert latest.name == "step-000002"


def test_bf16_trains_float32_parameters(tmp_path: Path) -> None:
    task = ToyTask()
    fit(task, SETTINGS.model_copy(update={"precision": "bf16", "steps": 2}), tmp_path)
    assert {p.dtype for p in task.module.parameters()} == {torch.float32}


def test_only_what_the_run_wrote_is_removed(tmp_path: Path) -> None:
    mine = {
        "holiday.mp4.partial",
        "sub/my.partial.results/data.csv",
        "step-000003/notes.txt",
        "step-000001/picture.png",
        "step-2/.partial",
        "step-1/weights.safetensors",  # copies of checkpoints, to be kept
        "step-0000002/state.json",
    }
    for name in mine - {"step-000003/notes.txt"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    fit(ToyTask(), SETTINGS.model_copy(update={"steps": 3}), tmp_path)
    (tmp_path / "step-000003" / "notes.txt").write_text("mine")
    fit(ToyTask(), SETTINGS, tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert mine <= left
    assert "step-000003/weights.safetensors" in left  # pruned whole or not at all
    assert not (tmp_path / "step-000006").exists()


def test_a_foreign_folder_in_a_checkpoints_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "step-000003").mkdir()
    (tmp_path / "step-000003" / "notes.txt").write_text("mine")
    task = ToyTask()
    with pytest.raises(OutputError, match=r"step-000003 has a file that EchoReel did not write, notes\.txt"):
        fit(task, SETTINGS, tmp_path)
    assert task.seen == []  # told before the first step
    assert [path.name for path in (tmp_path / "step-000003").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "steps", "told"),
    [
        ("step-000006/notes.txt", 6, "step-000006 has a file that EchoReel did not write"),
        ("step-000007/notes.txt", 7, "step-000007 has a file that EchoReel did not write"),  # the last one
        ("step-000006", 6, "step-000006: is a file, need a folder; move it"),
        ("step-000003/notes.txt", 6, None),  # the newest checkpoint: never written again
        ("step-000005/notes.txt", 6, None),  # no checkpoint is due there
        ("step-000009/notes.txt", 6, None),  # behind the end
        ("step-6/notes.txt", 6, None),  # named otherwise
    ],
)
def test_only_what_is_in_the_way_of_a_checkpoint_to_come_is_refused(
    tmp_path: Path, name: str, steps: int, told: str | None
) -> None:
    fit(ToyTask(), SETTINGS.model_copy(update={"steps": 3}), tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    task = ToyTask()
    if told is None:
        assert fit(task, SETTINGS.model_copy(update={"steps": steps}), tmp_path) == steps
    else:
        with pytest.raises(OutputError, match=told):
            fit(task, SETTINGS.model_copy(update={"steps": steps}), tmp_path)
        assert task.seen == []
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("part", ["weights.safetensors", "ema.safetensors", "optimizer.pt"])
def test_a_full_disk_ends_in_a_sentence_and_the_run_resumes(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The disk is full from step 6 on, in the middle of one file."""

    def save_file(tensors: dict[str, Tensor], path: Path) -> None:
        if part == path.name and any(tmp_path.glob("step-*")):
            path.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        safetensors.torch.save_file(tensors, path)

    def save(state: object, file: BinaryIO) -> None:
        if part == "optimizer.pt" and any(tmp_path.glob("step-*")):
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        torch.serialization.save(state, file)

    with monkeypatch.context() as patched:
        patched.setattr("echoreel.training.run_folder.save_file", save_file)
        patched.setattr("echoreel.training.run_folder.torch.save", save)
        with pytest.raises(
            OutputError, match=r"step-000006: cannot be written: No space left.*free some space"
        ):
            fit(ToyTask(), SETTINGS, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.jsonl", "settings.json", "step-000003"}
    fit(ToyTask(), SETTINGS, tmp_path)
    assert_same(newest(tmp_path), newest(uninterrupted))


def test_a_disk_that_is_full_from_the_start_leaves_nothing(tmp_path: Path) -> None:
    with full_disk(8), pytest.raises(OutputError, match="cannot be written: No space left"):
        fit(ToyTask(), SETTINGS, tmp_path / "new" / "run")
    assert [*tmp_path.iterdir()] == []


def damaged_optimizer(path: Path) -> None:
    state = torch.load(path / "optimizer.pt", weights_only=True)
    state["state"][0]["exp_avg"] = torch.zeros(3, 3)
    torch.save(state, path / "optimizer.pt")


def flipped(path: Path) -> None:
    """A bit of the last number."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flipped(path / "weights.safetensors"),
        lambda path: (path / "optimizer.pt").write_bytes(b""),
        lambda path: torch.save({}, path / "optimizer.pt"),
        damaged_optimizer,
        lambda path: (path / "ema.safetensors").unlink(),
        lambda path: save_file({}, path / "ema.safetensors"),
        lambda path: (path / "state.json").write_text("{}"),
        lambda path: (path / "state.json").write_text("[" * 100_000),
        lambda path: (path / "state.json").unlink(),
    ],
)
def test_a_damaged_file_of_a_checkpoint_is_told(
    tmp_path: Path, uninterrupted: Path, damage: Callable[[Path], object]
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    damage(tmp_path / "run" / "step-000012")
    with pytest.raises(CheckpointError, match=r"step-000012 is damaged \(.+\); delete it to resume"):
        fit(ToyTask(), SETTINGS.model_copy(update={"steps": 13}), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "step-000012")
    fit(ToyTask(), SETTINGS, tmp_path / "run")
    assert_same(newest(tmp_path / "run"), newest(uninterrupted))


STORED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a moment of another shape": lambda told: told["state"][0].update(exp_avg=torch.zeros(3, 3)),
    "a moment that is missing": lambda told: told["state"][0].pop("exp_avg_sq"),
    "a moment too many": lambda told: told["state"][0].update(max_exp_avg_sq=torch.zeros(1)),
    "NaN": lambda told: told["state"][0]["exp_avg"].fill_(torch.nan),
    "a negative square": lambda told: told["state"][0]["exp_avg_sq"].fill_(-1),
    "a negative step": lambda told: told["state"][0]["step"].fill_(-1),
    "no groups": lambda told: told.update(param_groups=[]),
}


def changed_state(path: Path, **values: object) -> None:
    """What a checkpoint says of itself, without checksums, as others may have written it."""
    told = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(told | {"sums": None} | values))


@pytest.mark.parametrize("change", STORED)
def test_an_optimizer_of_others_is_told(tmp_path: Path, uninterrupted: Path, change: str) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    path = tmp_path / "run" / "step-000012"
    changed_state(path)
    told = torch.load(path / "optimizer.pt", weights_only=True)
    STORED[change](told)
    torch.save(told, path / "optimizer.pt")
    with pytest.raises(CheckpointError, match="its optimizer has the state of other parameters"):
        fit(ToyTask(), SETTINGS.model_copy(update={"steps": 13}), tmp_path / "run")


def test_settings_of_an_optimizer_of_others_are_not_taken(tmp_path: Path, uninterrupted: Path) -> None:
    for name in ("mine", "theirs"):
        shutil.copytree(uninterrupted, tmp_path / name)
    path = tmp_path / "theirs" / "step-000012"
    changed_state(path)
    told = torch.load(path / "optimizer.pt", weights_only=True)
    for group in told["param_groups"]:
        group.update(maximize=True, betas=(5.0, -1.0), weight_decay=1e9, amsgrad=True)
    torch.save(told, path / "optimizer.pt")
    for name in ("mine", "theirs"):
        fit(ToyTask(), SETTINGS.model_copy(update={"steps": 13}), tmp_path / name)
    assert_same(newest(tmp_path / "mine"), newest(tmp_path / "theirs"))


@pytest.mark.parametrize("values", [{"elapsed": 1e308}, {"totals": {"loss": math.inf}}, {"step": 11}])
def test_numbers_of_a_checkpoint_that_cannot_be_are_told(
    tmp_path: Path, uninterrupted: Path, values: dict[str, Any]
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    changed_state(tmp_path / "run" / "step-000012", **values)
    with pytest.raises(CheckpointError, match="step-000012 is damaged"):
        fit(ToyTask(), SETTINGS.model_copy(update={"steps": 13}), tmp_path / "run")


def test_odd_lines_of_the_log_are_dropped(tmp_path: Path, uninterrupted: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"a": 1}\n[1]\n7\n{"step": "x"}\n' + "[" * 100_000 + '\n{"step": 12, "loss"')
    fit(ToyTask(), SETTINGS, tmp_path / "run")
    assert metrics(tmp_path / "run") == metrics(uninterrupted)


@pytest.mark.parametrize(
    "values",
    [
        {"betas": (2, 0.9)},
        {"betas": (-1, 0.9)},
        {"betas": (0.9, float("nan"))},
        {"betas": (0.9, 1)},
        {"steps": 10**30},
        {"accumulate": 10**9},
        {"prefetch": 10**6},
        {"learning_rate": float("inf")},
        {"learning_rate": 1e-320},  # these train nothing
        {"learning_rate": 1e-30},
        {"warmup": 10**18},
        {"gradient_clip": 1e-320},
        {"gradient_clip": 1e-30},
        {"gradient_clip": float("nan")},
        {"minutes": float("inf")},
    ],
)
def test_absurd_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(values))):
        checked(FitSettings, steps=1, **values) if "steps" not in values else checked(FitSettings, **values)


@pytest.mark.parametrize("warmup", [1, 2, 200])
def test_a_warmup_that_never_ends_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], warmup: int
) -> None:
    fit(ToyTask(), FitSettings(steps=2, warmup=warmup, learning_rate=1e-2), tmp_path)
    told = " ".join(capsys.readouterr().err.split())
    assert ("fit.warmup is 200 of 2 steps, so the learning rate ends at 0.0001; lower" in told) == (
        warmup == 200
    )


def test_a_closed_terminal_costs_no_checkpoint(tmp_path: Path) -> None:
    """The terminal is gone: SIGHUP, and every word to it is an error."""
    terminal, child_side = pty.openpty()
    child = forked(closing, terminal, fit, ToyTask(pause=0.1), SETTINGS, tmp_path, said=child_side)
    os.close(child_side)
    wait_until(RunFolder(tmp_path).latest, child)
    os.close(terminal)  # while step 4 is computed, which is logged
    os.kill(child.pid or 0, signal.SIGHUP)
    code_of(child)
    stopped = RunFolder(tmp_path).latest()
    assert stopped is not None
    assert stopped.name in ("step-000004", "step-000005")


def closing(file: int, call: Callable[..., object], *given: object) -> None:
    """Call it without this open file, of which the fork has a copy."""
    os.close(file)
    call(*given)


def test_a_checkpoint_is_written_after_so_many_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on by 20 seconds whenever it is read."""
    clock = iter(range(10**6))
    monkeypatch.setattr("echoreel.training.loop.time.monotonic", lambda: 20.0 * next(clock))
    saved: list[int] = []
    save = RunFolder.save

    def kept(run: RunFolder, snapshot: Snapshot) -> Path:
        saved.append(snapshot.state.step)
        return save(run, snapshot)

    monkeypatch.setattr(RunFolder, "save", kept)
    rare = {"checkpoint_every": 0, "validate_every": 0, "log_every": 100}
    fit(ToyTask(), SETTINGS.model_copy(update={**rare, "checkpoint_minutes": 1}), tmp_path / "often")
    assert saved == [4, 8, 12]
    saved.clear()
    fit(ToyTask(), SETTINGS.model_copy(update={**rare, "checkpoint_minutes": 0}), tmp_path / "last")
    assert saved == [12]


def test_people_see_the_headline_and_the_file_has_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Watched(ToyTask):
        headline = Headline(("right",), "right is the error")

        def validate(self) -> dict[str, float]:
            return {"right": 1.0, "right@0.5": 2.0, "gain": 3.0}

    fit(Watched(), SETTINGS, tmp_path)
    said = capsys.readouterr().err
    assert said.count(f"toy: right is the error; {tmp_path / 'metrics.jsonl'} has 3 numbers") == 1
    assert said.count("validation/right 1") == 3
    assert "gain" not in said
    assert "@" not in said
    assert metrics(tmp_path)[-1]["validation/gain"] == 3.0


def test_any_of_accelerates_trackers_gets_the_numbers(tmp_path: Path) -> None:
    fit(ToyTask(), checked(FitSettings, **SETTINGS.model_dump() | {"trackers": ["tensorboard"]}), tmp_path)
    events = EventAccumulator(str(next(tmp_path.rglob("events.out*")).parent)).Reload()
    assert [event.step for event in events.Scalars("validation/error")] == [4, 8, 12]
    missing = next(name for name in ("aim", "swanlab", "clearml") if importlib.util.find_spec(name) is None)
    with pytest.raises(SettingsError, match=f"the package of {missing} is not installed"):
        fit(ToyTask(), checked(FitSettings, steps=1, trackers=[missing]), tmp_path / "other")
    with pytest.raises(SettingsError, match="trackers"):
        checked(FitSettings, steps=1, trackers=["wandbb"])


@pytest.mark.parametrize("name", ["settings.json", "metrics.jsonl"])
@pytest.mark.parametrize("text", ['{"mine": 1}', "my notes", "[1]"])
def test_files_of_the_user_with_a_name_of_ours_are_not_replaced(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(OutputError, match=f"{name}: already exists, and this command did not write it"):
        fit(ToyTask(), SETTINGS, tmp_path)
    assert (tmp_path / name).read_text() == text
