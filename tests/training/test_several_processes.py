"""Two processes train what one does, with the base whole in each or spread over both."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.forks import code_of, forked
from helpers.toy_models import FRAMES, toy_pipeline
from helpers.toy_training_task import PLAIN, ToyTask, plain_task
from helpers.toy_transformers import toy_wan_22
from safetensors.torch import load_file
from torch import Tensor

from echoreel.common.errors import BaseUnsupported, CheckpointError, SettingsError
from echoreel.common.settings import load_settings
from echoreel.training import train_adapter
from echoreel.training.loop import fit
from echoreel.training.pair_cache import PairSetWriter
from echoreel.training.run_folder import RunFolder
from echoreel.training.spread_base import process_device, spread_over_processes
from echoreel.training.train_adapter import AdapterRecipe, train

RECIPE = """\
folder = "one"
base = "{0}/base"
pairs = "{0}/pairs"
[task]
batch = 2
held_back = 2
sheet_pairs = 1
sheet_steps = 1
gradient_checkpointing = true
[fit]
steps = 2
warmup = 0
accumulate = 2
ema = 0.5
sheet_every = 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes, and of one that takes the same batches."""
    folder = tmp_path_factory.mktemp("together")
    toy_pipeline().save_pretrained(folder / "base")
    clips = np.random.default_rng(0).normal(size=(12, 2, 4, FRAMES, 8, 8)).astype(np.float16)
    PairSetWriter(folder / "pairs").write(0, clips[:, 0], clips[:, 1:], [["a man", "a woman"]] * 12)
    (folder / "adapter.toml").write_text(RECIPE.format(folder))
    two = PLAIN.model_copy(update={"accumulate": 2})
    fit(plain_task(), two, folder / "one")
    fit(plain_task(), two.model_copy(update={"steps": 3}), folder / "begun")
    train(load_settings(folder / "adapter.toml", AdapterRecipe, [f"folder={folder}/alone"]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    several = [
        forked(together, folder, said=folder / f"said-{rank}", RANK=rank, LOCAL_RANK=rank, **told)
        for rank in ("0", "1")
    ]
    for rank, process in enumerate(several):
        assert code_of(process) == 0, (folder / f"said-{rank}").read_text()
    return folder


def together(folder: Path) -> None:
    """What two processes train: a run of their own, one that a single process began, and adapters of a recipe
    with the base whole in each process and spread over both."""
    fit(plain_task(), PLAIN, folder / "two")
    fit(plain_task(), PLAIN.model_copy(update={"accumulate": 2}), folder / "begun")
    loaded, load = [], train_adapter.load_frozen
    train_adapter.load_frozen = lambda *a: loaded.append(load(*a)) or loaded[-1]
    for spread in ("false", "true"):
        told = [f"folder={folder}/spread-{spread}", f"fit.spread_base={spread}", "fit.accumulate=1"]
        train(load_settings(folder / "adapter.toml", AdapterRecipe, told))
    held = [
        [getattr(p, "_local_tensor", p).numel() for p in each.base.denoiser.parameters()] for each in loaded
    ]
    (folder / f"held-{os.environ['RANK']}.json").write_text(json.dumps([sum(each) for each in held]))


def weights(folder: Path) -> dict[str, Tensor]:
    """Parameters, and what batch norms have counted."""
    step = RunFolder(folder).latest()
    assert step is not None
    return load_file(step / "weights.safetensors")


@pytest.mark.parametrize(
    ("several", "single"),
    [("two", "one"), ("begun", "one"), ("spread-false", "alone"), ("spread-true", "alone")],
)
def test_two_processes_have_the_parameters_of_one(trained: Path, several: str, single: str) -> None:
    found, wanted = weights(trained / several), weights(trained / single)
    assert found.keys() == wanted.keys()
    assert any("norm_tokens.running_mean" in name for name in wanted) == (single == "alone")
    for name, parameter in wanted.items():
        torch.testing.assert_close(found[name], parameter, rtol=0, atol=1e-6)
    assert json.loads((RunFolder(trained / several).latest() / "state.json").read_text())["batches"] == 2


def test_a_spread_base_also_shows_its_videos(trained: Path) -> None:
    sheets = [trained / name / "sheets" / "step-000002.png" for name in ("alone", "spread-true")]
    assert all(sheet.stat().st_size > 0 for sheet in sheets)


def test_each_process_keeps_a_part_of_a_spread_base(trained: Path) -> None:
    for rank in range(2):
        whole, part = json.loads((trained / f"held-{rank}.json").read_text())
        assert 0.4 * whole < part < 0.6 * whole


def test_a_step_that_processes_cannot_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(plain_task(), PLAIN.model_copy(update={"accumulate": 6, "steps": 1}), tmp_path)
    monkeypatch.setattr("echoreel.training.loop._Training.world", 4)
    with pytest.raises(CheckpointError, match=r"6 batches a step, which 4 processes cannot share .* 1 or 2"):
        fit(plain_task(), PLAIN.model_copy(update={"accumulate": 6}), tmp_path)


def test_what_cannot_be_spread_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="spread_base: toy has no frozen base"):
        fit(ToyTask(), PLAIN.model_copy(update={"spread_base": True}), tmp_path)
    with pytest.raises(BaseUnsupported, match="got a Wan with 2 denoisers, need one"):
        spread_over_processes(toy_wan_22(), torch.device("cpu"))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(SettingsError, match=r"accelerate was told to use DeepSpeed.*start with torchrun"):
        fit(ToyTask(), PLAIN, tmp_path)


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert process_device() == torch.device("cuda", 3)
