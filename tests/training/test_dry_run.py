"""What a training needs, told before it starts: right where it can be checked, honest about the machine."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.toy_bases import TOYS
from helpers.toy_models import toy_pipeline
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from echoreel.bases.lookup import base_of
from echoreel.bases.sketch import parameters, sketched
from echoreel.cli import app
from echoreel.common.settings import load_settings, validated
from echoreel.method.adapter import ActionAdapter
from echoreel.training import dry_run as module
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.adapter_task import AdapterTask
from echoreel.training.dry_run import dry_run, held_bytes
from echoreel.training.memory import BYTES_PER_PARAMETER
from echoreel.training.pair_cache import PairSet, PairSetWriter
from echoreel.training.pair_shards import Part
from echoreel.training.step_cost import META, step_cost
from echoreel.training.train_adapter import AdapterRecipe

RECIPE = (
    'folder = "run"\nbase = "base"\npairs = "pairs"\n[task]\nbatch = 2\nheld_back = 2\n[fit]\nsteps = 7\n'
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    toy_pipeline().save_pretrained("base")
    Path("my.toml").write_text(RECIPE)
    return tmp_path


def write_pairs(folder: str = "pairs") -> None:
    latents = torch.randn(8, 2, 4, 4, 8, 8).half().numpy()
    PairSetWriter(Path(folder)).write(0, latents[:, 0], latents[:, 1:], [["a man", "a woman"]] * 8)


@pytest.mark.parametrize("toy", ["AnimateDiff", "Wan 2.1", "LTX", "CogVideoX"])
def test_operations_are_those_of_a_real_step(toy: str, tmp_path: Path) -> None:
    """Of the denoiser and the adapter, forward and backward, as torch counts them on real tensors."""
    pipe = TOYS[toy]()
    pipe.save_pretrained(tmp_path / "base")
    sketch = sketched(str(tmp_path / "base"))[0]
    with META:
        adapter = ActionAdapter.for_base(sketch)
    found = step_cost(sketch, adapter, (2, 4, 4, 8, 8), 1, 16, False)
    base, real = base_of(pipe), ActionAdapter.for_base(pipe)
    base.denoiser.requires_grad_(False)
    real.train().attach(base.bare())
    latents, captions = torch.randn(2, 4, 4, 8, 8), torch.randn(2, 16, 16)
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        real.set_tokens(real.encode(latents, captions, captions))
        timesteps = torch.ones(2)
        base.predict(base.denoiser, latents, timesteps, captions, base.condition(latents)).mean().backward()
    assert found.flop == pytest.approx(counter.get_total_flops(), rel=0.1)  # fused attention computes more


def test_a_larger_step_takes_more_and_checkpointing_less_memory() -> None:
    """At the size of Wan 2.1 1.3B with few blocks: a step's memory grows with its tokens."""

    def memory(batch: int, checkpointing: bool) -> int:
        base = sketched("wan-1.3b")[0]
        base.denoiser.blocks = base.denoiser.blocks[:12]
        with META:
            adapter = ActionAdapter.for_base(base)
        return step_cost(base, adapter, (batch, 16, 3, 16, 16), 1, 512, checkpointing).memory

    one, two = memory(1, False), memory(2, False)
    assert two == pytest.approx(2 * one, rel=0.15)
    assert memory(1, True) < 0.5 * one


def test_the_command_says_what_is_needed_and_shows_the_first_batch(world: Path) -> None:
    done = CliRunner().invoke(app, ["train", "my.toml", "--dry-run"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "pairs       not encoded yet" in done.stdout
    assert "step        2 pairs of 16 latent frames of 8x8, 1 references" in done.stdout
    assert "machine     no GPU; main memory with" in done.stdout
    write_pairs()
    small = np.zeros((1, 2, 4, 2, 8, 8), np.float16)
    PairSetWriter(Path("pairs")).write_parts(
        1, {"8": Part(small[:, 0], small[:, 1:], [["a man", "a woman"]])}
    )
    done = CliRunner().invoke(app, ["train", "my.toml", "--dry-run", "--json"])
    needs = json.loads(done.stdout)
    assert (needs["pairs"], needs["buckets"]) == (9, 2)
    assert (needs["latents"], needs["fits"]) == ([2, 4, 4, 8, 8], True)  # of the larger bucket
    assert needs["optimizer"] == needs["adapter_parameters"] * BYTES_PER_PARAMETER
    assert (world / "run" / "first-batch.png").is_file()
    assert [path.name for path in (world / "run").iterdir()] == ["first-batch.png"]


def test_the_sheet_shows_the_batch_that_the_first_step_takes(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs()
    shown = []
    monkeypatch.setattr(module, "_rows", lambda base, pairs, most: shown.append(pairs) or [])
    monkeypatch.setattr(module, "contact_sheet", lambda rows: None)
    monkeypatch.setattr(module, "write_image", lambda path, image: None)
    dry_run(load_settings("my.toml", AdapterRecipe))
    pipe = toy_pipeline()
    settings = AdapterTaskSettings(batch=2, held_back=2)
    task = AdapterTask(ActionAdapter.for_base(pipe), pipe, PairSet.open(Path("pairs")), settings)
    assert torch.equal(shown[0].targets, task.batch(0).targets)


def test_what_does_not_fit_is_told_with_a_way_out(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda device: 2**10)
    done = CliRunner().invoke(app, ["train", "my.toml", "--dry-run"])
    assert done.exit_code == 1
    assert "it does not fit; set gradient_checkpointing = true" in done.stdout


def test_a_large_base_is_counted_without_its_weights(world: Path) -> None:
    done = CliRunner().invoke(
        app, ["train", "my.toml", "--dry-run", "--json", "--set", "base=modelscope", "--set", "task.batch=1"]
    )
    needs = json.loads(done.stdout)
    assert parameters(sketched("modelscope")[0].denoiser) == needs["denoiser_parameters"] > 1.4e9
    assert needs["weights"] > 4 * 1.4e9
    assert not (world / "run").exists()


def test_memory_follows_how_the_base_is_held(world: Path) -> None:
    """Of Wan 2.1 1.3B: 1.42 B parameters, in 30 blocks."""
    base = sketched("wan-1.3b")[0]

    def held(**more: object) -> tuple[int, int]:
        told = {"folder": "run", "base": "base", "pairs": "none", "fit": {"steps": 1}}
        return held_bytes(base, validated(AdapterRecipe, told | more), 2)

    assert held() == (2 * parameters(base.denoiser), 0)
    assert 1.4e9 < held(quantize="int8")[0] < 1.5e9
    assert 0.8e9 < held(quantize="nf4")[0] < 0.9e9
    assert held(quantize="fp8-storage")[0] == pytest.approx(1.419e9 + 2 * 1.4e9 / 30, rel=0.02)
    on_gpu, waiting = held(stream_base=True)
    assert on_gpu < 0.25e9
    assert waiting > 0.95 * 2 * 1.4e9
    task = {"batch": 2, "gradient_checkpointing": True}
    told = {"folder": "run", "base": "base", "pairs": "pairs", "fit": {"steps": 1}, "task": task}
    needs = dry_run(validated(AdapterRecipe, told | {"stream_base": True}))
    assert needs.text_encoders == 4 * parameters(toy_pipeline().text_encoder)
    assert needs.waiting > 0
    assert "of text encoders, then freed" in " ".join(needs.told())
    assert "of blocks in main memory" in " ".join(needs.told())
