"""Training an adapter on a toy base: only it trains, killed or not, and its early signal is honest."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.places import RECIPES
from helpers.toy_models import FRAMES, toy_adapter, toy_pipeline
from helpers.toy_videocrafter import toy_videocrafter_image_pipeline
from safetensors.torch import load_file

from echoreel.bases.loading import load_base
from echoreel.common.errors import (
    AdapterMismatch,
    BaseUnsupported,
    CheckpointError,
    EchoReelError,
    OutputError,
    SettingsError,
)
from echoreel.common.randomness import seeded
from echoreel.common.settings import checked, load_settings
from echoreel.method.adapter import ActionAdapter
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.integration import FrameIntegrationSettings, IntegrationSettings
from echoreel.training import train_adapter
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.adapter_task import AdapterTask
from echoreel.training.dry_run import dry_run
from echoreel.training.loop import FitSettings, TrainingDiverged, fit
from echoreel.training.memory import free_memory
from echoreel.training.pair_cache import Pairs, PairSet, PairSetError, PairSetWriter
from echoreel.training.pair_shards import Origin, Part
from echoreel.training.prism_reader import Reader
from echoreel.training.run_folder import RunFolder
from echoreel.training.step_pairs import shuffled_roles
from echoreel.training.train_adapter import AdapterRecipe, train
from echoreel.training.train_prism import PrismRecipe, PrismTask, train_prism

RECIPE = RECIPES / "adapter-toy.toml"
PAIRS, REFERENCES = 24, 2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy base, and pairs in which target and references share a colour that no caption tells."""
    folder = tmp_path_factory.mktemp("world")
    toy_pipeline().save_pretrained(folder / "base")
    rng = np.random.default_rng(0)
    colour = np.where(np.arange(PAIRS) // 4 % 2, 1.0, -1.0).reshape(-1, 1, 1, 1, 1, 1)
    clips = colour + 0.1 * rng.normal(size=(PAIRS, 1 + REFERENCES, 4, FRAMES, 8, 8))
    captions = [[f"a man {'dancing' if clip else 'jumping'}"] * (1 + REFERENCES) for clip in range(PAIRS)]
    writer = PairSetWriter(folder / "pairs")
    writer.write(0, clips[:, 0].astype(np.float16), clips[:, 1:].astype(np.float16), captions)
    return folder


def recipe(world: Path, folder: Path, *overrides: str) -> AdapterRecipe:
    places = [f"folder={folder}", f"base={world / 'base'}", f"pairs={world / 'pairs'}"]
    return load_settings(RECIPE, AdapterRecipe, [*places, *overrides])


def toy_task(world: Path, **settings: object) -> AdapterTask:
    """A narrow adapter on the toy base."""
    pipe = toy_pipeline()
    config = ActionAdapter.for_base(pipe).config
    torch.manual_seed(0)
    adapter = ActionAdapter(
        family=config.family,
        sites=config.sites,
        latent_channels=config.latent_channels,
        caption_width=config.caption_width,
        prism_config=config.prism_config | {"width": 32, "depth": 1, "slots": 4, "token_width": 32},
        integration_config=config.integration_config | {"inner_width": 32},
    )
    checked = AdapterTaskSettings.model_validate({"batch": 4, "held_back": 12, **settings})
    return AdapterTask(adapter, pipe, PairSet.open(world / "pairs"), checked)


def test_batches_of_several_shapes_train(world: Path, tmp_path: Path) -> None:
    """Beside the world's pairs one of another aspect and length, which fills every 21st batch by itself."""
    shutil.copytree(world / "pairs", tmp_path / "pairs")
    clips = np.ones((1, 1 + REFERENCES, 4, 2, 6, 10), np.float16)
    writer = PairSetWriter(tmp_path / "pairs")
    writer.write_parts(1, {"40x24x2": Part(clips[:, 0], clips[:, 1:], [["a man"] * (1 + REFERENCES)])})
    task = toy_task(tmp_path, held_back=4, batch=2)
    assert {*map(tuple, (task.batch(step).targets.shape for step in range(21)))} == {
        (2, 4, FRAMES, 8, 8),
        (2, 4, 2, 6, 10),
    }
    for batch in (task.batch(step) for step in range(21)):
        if batch.targets.shape[2] == 2:
            task.loss(batch, seeded(0)).backward()
    assert any(p.grad is not None and p.grad.any() for p in task.module.parameters())
    assert task._validation._pairs.targets.shape == (4, 4, FRAMES, 8, 8)


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert train(recipe(world, folder)) == folder / "adapter"
    return folder


def test_a_recipe_trains_an_adapter_that_loads_again(trained: Path) -> None:
    adapter = ActionAdapter.from_pretrained(trained / "adapter")
    step = RunFolder(trained).latest()
    assert step is not None
    averaged = load_file(step / "ema.safetensors")
    assert averaged.keys() == dict(adapter.named_parameters()).keys()
    for name, parameter in adapter.named_parameters():
        assert torch.equal(parameter, averaged[name])
    assert (trained / "sheets" / "step-000008.png").stat().st_size > 0


def test_only_the_adapter_is_in_the_checkpoint_and_only_it_changes(world: Path, tmp_path: Path) -> None:
    task = toy_task(world)
    before = {name: tensor.clone() for name, tensor in task.base.pipe.unet.state_dict().items()}
    fit(task, FitSettings(steps=2, warmup=0, validate_every=0), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.base.pipe.unet.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in task.base.pipe.unet.parameters())
    step = RunFolder(tmp_path).latest()
    assert step is not None
    assert load_file(step / "weights.safetensors").keys() == task.module.state_dict().keys()


def test_every_part_of_the_adapter_gets_gradients(world: Path, tmp_path: Path) -> None:
    task = toy_task(world)
    fit(
        task, FitSettings(steps=2, warmup=0, validate_every=0), tmp_path
    )  # at zero-init only the last layers do
    task.loss(task.batch(2), seeded(0)).backward()
    assert [name for name, p in task.module.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_resumed_equals_uninterrupted(world: Path, trained: Path, tmp_path: Path) -> None:
    train(recipe(world, tmp_path, "fit.steps=4"))
    train(recipe(world, tmp_path))
    for name in ("weights.safetensors", "ema.safetensors"):
        ours, theirs = (load_file(folder / "step-000008" / name) for folder in (tmp_path, trained))
        assert [n for n in theirs if not torch.equal(ours[n], theirs[n])] == []
    with pytest.raises(CheckpointError, match=r"task\.high_noise was 1\.0, is 2\.0"):
        train(recipe(world, tmp_path, "task.high_noise=2.0"))


def test_the_right_reference_wins_once_trained(world: Path, tmp_path: Path) -> None:
    task = toy_task(world, held_back=8, drop_caption=0, references=1)
    fresh = task.validate()
    assert fresh["right"] == fresh["shuffled"] == fresh["none"]
    fit(task, FitSettings(steps=40, learning_rate=5e-3, warmup=0, ema=0), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = lines[-1]
    assert found["validation/none"] == fresh["none"]
    assert found["validation/right"] < found["validation/shuffled"]
    assert found["validation/gain_t"] > 3
    for name in ("validation/right", "validation/right_motion"):
        levels = [found[f"{name}@{level}"] for level in ("0.5", "0.75", "0.95")]
        assert found[name] == pytest.approx(sum(levels) / 3)


def test_gradient_checkpointing_gives_the_same_loss_and_gradients(world: Path) -> None:
    plain, checkpointed = toy_task(world), toy_task(world, gradient_checkpointing=True)
    losses = [task.loss(task.batch(0), seeded(0)) for task in (plain, checkpointed)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    for a, b in zip(plain.module.parameters(), checkpointed.module.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad)


def test_gradient_checkpointing_trains_in_bf16_as_well(world: Path, tmp_path: Path) -> None:
    settings = FitSettings(steps=1, warmup=0, validate_every=0, precision="bf16")
    for name, wanted in (("plain", False), ("checkpointed", True)):
        fit(toy_task(world, gradient_checkpointing=wanted), settings, tmp_path / name)
    ours, theirs = (
        load_file(tmp_path / name / "step-000001" / "weights.safetensors")
        for name in ("plain", "checkpointed")
    )
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_batches_are_a_function_of_their_number(world: Path) -> None:
    task = toy_task(world, swap_roles=True, drop_caption=0.5, drop_reference_caption=0.5)
    first, again, other = (
        task.batch(3),
        toy_task(world, swap_roles=True, drop_caption=0.5).batch(3),
        task.batch(4),
    )
    assert torch.equal(first.targets, again.targets)
    assert first.captions == again.captions
    assert not torch.equal(first.targets, other.targets)
    counts = {task.batch(step).references.shape[1] for step in range(10)}
    assert counts == {1, 2}
    assert "" in [caption for step in range(4) for caption in task.batch(step).captions]


def test_disturbed_references_are_no_targets(world: Path, tmp_path: Path) -> None:
    """Targets are 0 here, references 1."""
    clips = np.tile(np.arange(2.0).reshape(1, 2, 1, 1, 1, 1), (PAIRS, 1, 4, FRAMES, 8, 8)).astype(np.float16)
    for disturbed in (False, True):
        writer = PairSetWriter(tmp_path / str(disturbed) / "pairs")
        writer.write(0, clips[:, 0], clips[:, 1:], [["a man"] * 2] * PAIRS, Origin(disturbed=disturbed))
    recipe = PrismRecipe(folder=tmp_path, pairs=tmp_path, held_back=4, fit=FitSettings(steps=1))
    pairs = (PairSet.open(tmp_path / name / "pairs") for name in ("False", "True"))
    tasks = [PrismTask(toy_pipeline(), data, recipe) for data in pairs]
    seen = [{*torch.cat([task.batch(step).targets for step in range(5)]).unique().tolist()} for task in tasks]
    assert seen == [{0.0, 1.0}, {0.0}]
    toy_task(tmp_path / "False", swap_roles=True)
    toy_task(tmp_path / "True")
    with pytest.raises(PairSetError, match=r"disturbed on purpose .*set task\.swap_roles = false"):
        toy_task(tmp_path / "True", swap_roles=True)


def test_held_back_pairs_are_never_trained_on(world: Path) -> None:
    task = toy_task(world, held_back=4)
    held = PairSet.open(world / "pairs").batch(range(4)).targets
    seen = torch.cat([task.batch(step).targets for step in range(10)])
    assert not any(torch.equal(target, other) for target in held for other in seen)


def test_roles_keep_latents_and_captions_together() -> None:
    clips = torch.arange(6.0).reshape(2, 3, 1, 1, 1, 1)
    pairs = Pairs(clips[:, 0], clips[:, 1:], ["0", "3"], [["1", "2"], ["4", "5"]])
    targets = set()
    for seed in range(20):
        swapped = shuffled_roles(pairs, 1, swap=True, generator=seeded(seed))
        kept = shuffled_roles(pairs, 2, swap=False, generator=seeded(seed))
        for made in (swapped, kept):
            assert [str(int(t)) for t in made.targets.flatten()] == made.captions
            assert [
                [str(int(r)) for r in row.flatten()] for row in made.references
            ] == made.reference_captions
        assert torch.equal(kept.targets, pairs.targets)
        assert swapped.references.shape[1] == 1
        targets.update(swapped.captions)
    assert targets == set("012345")


def test_parts_that_do_not_fit_are_named(world: Path, tmp_path: Path) -> None:
    writer = PairSetWriter(tmp_path)
    writer.write(
        0, np.zeros((4, 3, 2, 8, 8), np.float16), np.zeros((4, 1, 3, 2, 8, 8), np.float16), [["", ""]] * 4
    )
    pipe = toy_pipeline()
    adapter = ActionAdapter.for_base(pipe)
    with pytest.raises(PairSetError, match="pairs have 3 latent channels, the base 4"):
        AdapterTask(adapter, pipe, PairSet.open(tmp_path), AdapterTaskSettings(held_back=2))
    pipe.scheduler.register_to_config(prediction_type="score")
    with pytest.raises(BaseUnsupported, match="predicts 'score'"):
        AdapterTask(adapter, pipe, PairSet.open(world / "pairs"), AdapterTaskSettings())


def trained_prism(world: Path, folder: Path, steps: int, **more: Any) -> tuple[Path, dict[str, float]]:
    """An adapter whose Prism learned alone, and the last numbers of its run."""
    fit = FitSettings(steps=steps, learning_rate=3e-3, warmup=5, validate_every=steps)
    run, base = folder / "prism", str(world / "base")
    adapter = train_prism(PrismRecipe(folder=run, base=base, batch=4, held_back=8, fit=fit, **more))
    return adapter, json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def test_a_prism_learns_alone_and_an_adapter_goes_on_from_it_with_the_prism_frozen(
    world: Path, tmp_path: Path
) -> None:
    start, last = trained_prism(world, tmp_path, 30, pairs=world / "pairs")
    assert last["validation/right"] < 0.8 * last["validation/shuffled"]
    settings = ("freeze_prism=true", "fit.steps=2", f"start={start}")
    folder = train(recipe(world, tmp_path / "adapter", *settings))
    before, after = (ActionAdapter.from_pretrained(path).state_dict() for path in (start, folder))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"integrations"}


def test_a_prism_goes_on_from_an_adapter_and_learns_what_moves(world: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    way = np.where(np.arange(PAIRS) // 4 % 2, 1.0, -1.0).reshape(-1, 1, 1, 1, 1, 1)
    look = rng.normal(size=(PAIRS, 2, 4, 1, 8, 8))
    clips = (look + way * np.linspace(-1, 1, FRAMES).reshape(-1, 1, 1)).astype(np.float16)
    PairSetWriter(tmp_path / "pairs").write(0, clips[:, 0], clips[:, 1:], [["a man"] * 2] * PAIRS)
    ActionAdapter.for_base(toy_pipeline()).save_pretrained(tmp_path / "start")
    start = str(tmp_path / "start")
    folder, last = trained_prism(world, tmp_path, 40, pairs=tmp_path / "pairs", start=start)
    assert last["validation/right_motion"] < 0.5 * last["validation/motion"]
    assert last["validation/shuffled_motion"] > last["validation/motion"]  # it moves the wrong way
    before, after = (
        ActionAdapter.from_pretrained(path).state_dict() for path in (tmp_path / "start", folder)
    )
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"prism"}


def test_a_start_of_another_base_or_with_sizes_is_refused(world: Path, tmp_path: Path) -> None:
    pairs, settings = PairSet.open(world / "pairs"), {"folder": tmp_path, "fit": FitSettings(steps=1)}
    pipe = toy_pipeline()
    config = dict(ActionAdapter.for_base(pipe).config)
    parts = ("family", "latent_channels", "caption_width", "prism_config", "integration_config")
    sites = {name: 2 * width for name, width in config["sites"].items()}
    ActionAdapter(**{name: config[name] for name in parts}, sites=sites).save_pretrained(tmp_path / "wide")
    started = {"pairs": world / "pairs", "start": str(tmp_path / "wide"), "held_back": 4} | settings
    with pytest.raises(AdapterMismatch):
        PrismTask(pipe, pairs, PrismRecipe.model_validate(started))
    sized = started | {"prism": CompactPrismSettings(width=16, heads=2, slots=3)}
    with pytest.raises(SettingsError, match="a start has its own sizes"):
        PrismTask(pipe, pairs, PrismRecipe.model_validate(sized))


def test_what_was_learned_of_reading_is_taught_as_far_as_sizes_are_alike() -> None:
    config = dict(ActionAdapter.for_base(toy_pipeline()).config)
    parts = ("family", "sites", "latent_channels", "caption_width", "prism_config")
    own_width = IntegrationSettings(inner_width=None, heads=2).model_dump()
    adapter = ActionAdapter(**{name: config[name] for name in parts}, integration_config=own_width)
    reader = Reader(adapter, 4)
    reader.teach(adapter)
    for integration in adapter.integrations.values():
        taught, learned = integration.token_place.time.weight, reader.integrations[1].token_place.time.weight
        assert torch.equal(taught, learned)
        assert not integration.attention.out.weight.any()


def test_a_prism_of_other_sizes_is_watched_on_pairs_of_its_own(world: Path, tmp_path: Path) -> None:
    pairs = PairSet.open(world / "pairs")
    few = pairs.batch(range(4))
    writer = PairSetWriter(tmp_path / "others")
    captions = [[c, *others] for c, others in zip(few.captions, few.reference_captions, strict=True)]
    writer.write(0, few.targets.half().numpy(), few.references.half().numpy(), captions)
    settings = PrismRecipe(
        folder=tmp_path,
        base=str(world / "base"),
        prism=CompactPrismSettings(width=16, heads=2, slots=3),
        pairs=world / "pairs",
        validation=tmp_path / "others",
        batch=len(pairs),
        held_back=4,
        fit=FitSettings(steps=1),
    )
    task = PrismTask(load_base(world / "base"), pairs, settings)
    assert task.adapter.prism.slots_per_frame == 3
    everything = pairs.batch(range(len(pairs)))
    clips = torch.cat([everything.targets[:, None], everything.references], 1).mean(dim=(2, 3, 4, 5))
    drawn = task.batch(0).targets.mean(dim=(1, 2, 3, 4))
    owners = (clips[None] - drawn[:, None, None]).abs().amin(2).argmin(1)
    assert sorted(owners.tolist()) == [*range(len(pairs))]  # none of them is held back
    with torch.no_grad():
        told = task.validate()
    changes = few.targets.half().float()
    changes = changes - changes.mean(2, keepdim=True)
    assert told["motion"] == pytest.approx(changes.square().mean().item(), rel=1e-4)


def test_integrations_that_read_whole_frames_are_not_taught_by_place() -> None:
    config = dict(toy_adapter(toy_pipeline()).config)
    parts = ("family", "sites", "latent_channels", "caption_width", "prism_config")
    frames = FrameIntegrationSettings(heads=2).model_dump()
    adapter = ActionAdapter(**{name: config[name] for name in parts}, integration_config=frames)
    with pytest.raises(SettingsError, match="got a preset whose integrations read whole frames"):
        Reader(adapter, 4)


def test_image_to_video_trains_on_its_targets_first_frame(world: Path, tmp_path: Path) -> None:
    pipe = toy_videocrafter_image_pipeline()
    settings = AdapterTaskSettings.model_validate({"batch": 2, "held_back": 2})
    task = AdapterTask(ActionAdapter.for_base(pipe), pipe, PairSet.open(world / "pairs"), settings)
    task.loss(task.batch(0), seeded(0)).backward()
    grads = [p.grad for p in task.module.integrations.parameters() if p.grad is not None]
    assert any(grad.abs().sum() > 0 for grad in grads)
    assert all(grad.isfinite().all() for grad in grads)
    task.sheet(tmp_path / "sheet.png")  # there is none, since a film needs a first frame


def test_a_step_names_its_pairs(world: Path, tmp_path: Path) -> None:
    task = toy_task(world, held_back=4, batch=2)
    shown = [int(number) for number in task.told(3).split(" of ")[0].removeprefix("pairs ").split(", ")]
    stored = PairSet.open(world / "pairs").batch(shown)
    assert torch.equal(task.batch(3).targets, stored.targets)
    assert task.told(3).endswith(f" of {world / 'pairs'}")
    broken = toy_task(world, batch=2)
    for parameter in broken.module.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match=r"at step 1, on pairs \d+, \d+ of "):
        fit(broken, FitSettings(steps=1, ema=0), tmp_path)


@pytest.mark.parametrize("wrong", ["pairs=none", "base=none", "start=none"])
def test_a_refused_training_leaves_nothing(world: Path, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "here").mkdir()
    prism = {"base": str(world / "base"), "pairs": world / "pairs", "fit": {"steps": 1}}
    name, value = wrong.split("=")
    for folder in ("new/run", "here"):
        with pytest.raises(EchoReelError, match="none"):
            train(recipe(world, tmp_path / folder, wrong))
        with pytest.raises(EchoReelError, match="none"):
            train_prism(PrismRecipe.model_validate(prism | {name: value, "folder": tmp_path / folder}))
    assert [*tmp_path.rglob("*")] == [tmp_path / "here"]


@pytest.mark.parametrize("wrong", ["task.references=9", "task.held_back=500", "task.swap_roles=true"])
def test_a_training_that_its_pairs_refuse_leaves_no_captions(world: Path, tmp_path: Path, wrong: str) -> None:
    clips = np.zeros((PAIRS, 2, 4, FRAMES, 8, 8), np.float16)
    writer = PairSetWriter(tmp_path / "pairs")
    writer.write(0, clips[:, 0], clips[:, 1:], [["a man"] * 2] * PAIRS, Origin(disturbed=True))
    place = f"pairs={tmp_path / 'pairs'}"
    for start in (train, dry_run):
        with pytest.raises(PairSetError, match=wrong.split(".")[1].split("=")[0]):
            start(recipe(world, tmp_path / "run", place, "task.swap_roles=false", wrong))
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


@pytest.mark.parametrize("wrong", [{"RANK": "x"}, {"WORLD_SIZE": "0"}, {"RANK": "5"}, {"LOCAL_RANK": ""}])
def test_variables_that_no_launcher_sets_are_told(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"in the environment, need numbers, RANK below WORLD_SIZE"):
        train(recipe(world, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_adapter_of_others_in_the_run_folder_stays(world: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "config.json").write_text("mine")
    prism = {"folder": tmp_path, "base": str(world / "base"), "pairs": world / "pairs", "fit": {"steps": 1}}
    for start in (
        lambda: train(recipe(world, tmp_path)),
        lambda: train_prism(PrismRecipe.model_validate(prism)),
    ):
        with pytest.raises(OutputError, match=r"adapter exists, but .* has no checkpoint of a training"):
            start()
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == ["config.json"]
    assert not any(tmp_path.glob("step-*"))


def test_a_finished_adapter_with_a_note_in_it_keeps_the_note(
    world: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    assert train(recipe(world, tmp_path / "run")) == tmp_path / "run" / "adapter"  # written anew
    with monkeypatch.context() as patched:
        patched.setattr(train_adapter, "_facts", lambda recipe: None)  # its log has no line
        train(recipe(world, tmp_path / "run"))
    assert not (tmp_path / "run" / "adapter" / "training.json").exists()
    (tmp_path / "run" / "adapter" / "notes.txt").write_text("mine")
    monkeypatch.setattr(train_adapter, "load_frozen", None)  # told before the base is loaded
    with pytest.raises(OutputError, match=r"did not write, notes\.txt"):
        train(recipe(world, tmp_path / "run"))
    assert (tmp_path / "run" / "adapter" / "notes.txt").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"batch": 1_000_000},
        {"validation_levels": []},
        {"validation_levels": [float("nan")]},
        {"validation_levels": [-1]},
        {"validation_levels": [1.0]},
        {"validation_levels": [0.5, 0.5000001]},  # one name in the log
        {"high_noise": 1e30},
        {"motion_loss": float("inf")},
        {"sheet_steps": 10**9},
    ],
)
def test_absurd_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(values))):
        checked(AdapterTaskSettings, **values)


def test_pairs_that_do_not_say_their_base_are_told(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    toy_task(world)
    assert "do not say which base made them" in caplog.text


def test_an_adapter_that_does_not_fit_into_memory_is_refused_before_it_is_made(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoreel.training.memory.free_memory", lambda device: 2**30)
    with pytest.raises(SettingsError, match=r"at least .* GiB to train, and 1\.0 GiB are free"):
        train(recipe(world, tmp_path, "preset=paper"))
    assert free_memory(torch.device("cpu")) > 2**20
