"""Every door of Python to a file of others has the checks that the command line has."""

import json
import os
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.places import ROOT
from helpers.toy_measures import toy_videomae
from helpers.toy_models import changed
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor

from echoreel import ActionAdapter, load_adapter
from echoreel.bases.encoding import encode_captions
from echoreel.bases.loading import load_base
from echoreel.bases.part_sizes import check_pictures
from echoreel.bases.sketch import sketched
from echoreel.common.errors import (
    AdapterMismatch,
    BaseUnsupported,
    CheckpointError,
    EchoReelError,
    ModelMissing,
)
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.evaluation.measure.action_classifier import ActionClassifier
from echoreel.evaluation.measure.clip_and_videomae import ClipEncoder, VideoEncoder
from echoreel.generation.generate import generate
from echoreel.library.actions.text_embedder import PACKAGE, load_embedder
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources import read_parquet
from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.table_values import CatalogueError
from echoreel.library.tables import LibraryError, Store

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


@pytest.fixture
def adapter(toys: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toys / "adapter", tmp_path / "adapter")


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    """The text model that comes with the extra `library`; its weights are a link."""
    folder = tmp_path / "embedder"
    folder.mkdir()
    for path in (Path(str(files(PACKAGE))) / "model").iterdir():
        if path.is_file() and path.suffix != ".json":
            (folder / path.name).symlink_to(path)
        elif path.is_file():
            shutil.copy(path, folder)
    return folder


def spoilt(file: Path, value: float) -> None:
    """One number of one tensor is another one."""
    held = load_file(file)
    name = sorted(held)[-1]
    held[name].view(-1)[-1] = value
    save_file(held, file, {"format": "pt"})


def test_an_adapter_is_checked_by_every_door(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads((adapter / CONFIG).read_text())
    prism = told["prism_config"]
    for changes in (
        {"prism_config": prism | {"width": 4096, "feed_forward": 4096}},
        {"prism_config": prism | {"depth": 10**8}},
        {"sites": {"blocks.0": 10**9}},
        {"sites": None},
        {"prism_config": 5},
    ):
        (adapter / CONFIG).write_text(json.dumps(told | changes))
        for load in (load_adapter, ActionAdapter.from_pretrained):
            with pytest.raises(AdapterMismatch, match="cannot be loaded") as error:
                load(adapter)
            assert "validation error" not in str(error.value)  # pydantic's words are for programmers
    (adapter / CONFIG).write_text(json.dumps(told))
    assert load_adapter(adapter).config["_name_or_path"] == str(adapter)
    assert ActionAdapter.from_pretrained(str(adapter.parent), subfolder="adapter").config["sites"]


def test_no_door_of_an_adapter_unpickles(adapter: Path) -> None:
    torch.save(load_file(adapter / WEIGHTS), adapter / "diffusion_pytorch_model.bin")
    (adapter / WEIGHTS).unlink()
    with pytest.raises((EchoReelError, OSError)):
        ActionAdapter.from_pretrained(adapter, use_safetensors=False)


def test_an_adapter_that_is_nowhere_is_told() -> None:
    with pytest.raises(OSError, match="no such folder"):
        ActionAdapter.from_pretrained("no/adapter/here")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_told(
    toys: Path, adapter: Path, tmp_path: Path, value: float
) -> None:
    spoilt(adapter / WEIGHTS, value)
    for load in (load_adapter, ActionAdapter.from_pretrained):
        with pytest.raises(AdapterMismatch, match="hold NaN or infinite values, in "):
            load(adapter)
    judge = shutil.copytree(ROOT / "echoreel" / "weights" / "judges", tmp_path / "judge")
    spoilt(judge / "judge.safetensors", value)
    with pytest.raises(CheckpointError, match=f"the judge in {judge}: its weights hold NaN"):
        Judge.load(judge)
    lora = tmp_path / "lora.safetensors"
    save_file({"unet.x.lora_A.weight": torch.full((2, 8), value)}, lora)
    with pytest.raises(EchoReelError, match="hold NaN or infinite values, in "):
        load_base(toys / "base", loras=[lora])


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": 60_000},
        {"widths": [60_000] * 3},
        {"hidden": 10**12},
        {"dilations": [1] * 10**5},
        {"dilations": [10**6, 2, 4]},  # it pads every video by as many frames
    ],
)
def test_a_judge_takes_no_memory_for_what_its_config_says(tmp_path: Path, settings: dict[str, Any]) -> None:
    judge = shutil.copytree(ROOT / "echoreel" / "weights" / "judges", tmp_path / "judge")
    told = json.loads((judge / "judge.json").read_text())
    (judge / "judge.json").write_text(json.dumps(told | {"settings": told["settings"] | settings}))
    with pytest.raises(CheckpointError, match="is damaged"):
        Judge.load(judge)


GIANTS = [
    {"num_hidden_layers": 10**8},
    {"hidden_size": 10**5, "num_attention_heads": 1},
    {"vocab_size": 10**10},
    {"num_labels": 10**8},
]


@pytest.mark.parametrize("giant", GIANTS)
def test_a_text_model_takes_no_memory_for_what_its_config_says(embedder: Path, giant: dict[str, Any]) -> None:
    changed(embedder / CONFIG, **giant)
    with pytest.raises(EchoReelError, match=r"asks for \d+ numbers|at most 10"):
        load_embedder(str(embedder))
    for encoder in (ClipEncoder, VideoEncoder, ActionClassifier):
        with pytest.raises(ModelMissing, match=r"asks for \d+ numbers|at most 10"):
            encoder(str(embedder))


KERNEL = "kernels-community/flash-attn3:flash"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"_attn_implementation": KERNEL}, KERNEL),
        ({"text_config": {"_attn_implementation": KERNEL}}, KERNEL),
        ({"attn_implementation": {"": KERNEL}}, KERNEL),  # one for each part
        ({"_attn_implementation": {"text_config": KERNEL}}, KERNEL),
        ({"layers": [{"experts_implementation": KERNEL}]}, KERNEL),
        (
            {"attn_implementation": "flash_attention_2"},
            "flash_attention_2",
        ),  # of the hub where none is installed
        ({"attn_implementation": "paged|flash_attention_3"}, "paged|flash_attention_3"),
    ],
)
def test_no_config_has_a_kernel_of_the_hub_run(
    toys: Path, embedder: Path, tmp_path: Path, asked: dict[str, Any], named: str
) -> None:
    """transformers would fetch it, where the package `kernels` is installed."""
    base = shutil.copytree(toys / "base", tmp_path / "base")
    changed(embedder / CONFIG, **asked)
    changed(base / "text_encoder" / CONFIG, **asked)
    told = re.escape(f"asks for code of the hub, {named}, which is never run")
    with pytest.raises(EchoReelError, match=told):
        load_embedder(str(embedder))
    with pytest.raises(ModelMissing, match=told):
        ActionClassifier(str(embedder))
    for load in (load_base, sketched):  # the latter makes its parts without weights
        with pytest.raises(EchoReelError, match=told):
            load(str(base))


@pytest.mark.parametrize(
    ("file", "asked", "told"),
    [
        (CONFIG, {"attn_implementation": KERNEL}, "asks for code of the hub"),
        (CONFIG, {"num_hidden_layers": 10**6}, "has num_hidden_layers 1000000"),
        (
            CONFIG,
            {"hidden_size": 12 * 10**6, "intermediate_size": 10**8},
            "its config asks for [0-9]+ numbers",
        ),
        ("adapter_config.json", {"peft_type": "LORA", "r": 10**9}, "an adapter of peft, which is not read"),
    ],
)
def test_the_config_of_a_model_is_checked_by_its_hub_id(
    embedder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    asked: dict[str, Any],
    told: str,
) -> None:
    commit, model = "0" * 40, tmp_path / "hub" / "models--someone--text"
    shutil.copytree(embedder, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert load_embedder("someone/text").encode(["a man"]).shape == (1, 384)
    place = model / "snapshots" / commit / file
    place.write_text(json.dumps((json.loads(place.read_text()) if place.exists() else {}) | asked))
    with pytest.raises(EchoReelError, match=told):
        load_embedder("someone/text")
    with pytest.raises(ModelMissing, match=told):
        ActionClassifier("someone/text")


@pytest.mark.parametrize("way", ["eager", "sdpa", None])
def test_ways_of_torch_to_compute_layers_may_be_named(base: Path, way: str | None) -> None:
    changed(base / "text_encoder" / CONFIG, attn_implementation=way)
    load_base(base)


def test_no_adapter_of_peft_is_added_to_a_model(toys: Path, embedder: Path, tmp_path: Path) -> None:
    """transformers would read its giant ranks, its patterns, and another folder that it names."""
    base = shutil.copytree(toys / "base", tmp_path / "base")
    for folder in (embedder, base / "text_encoder"):
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 10**9}))
    with pytest.raises(EchoReelError, match="an adapter of peft, which is not read"):
        load_embedder(str(embedder))
    with pytest.raises(EchoReelError, match="text_encoder has an adapter_config"):
        load_base(base)


@pytest.mark.parametrize("giant", [{"num_frames": 10**9}, {"image_size": 10**6}, {"num_frames": 10**6}])
def test_a_videomae_takes_no_time_for_what_its_config_says(tmp_path: Path, giant: dict[str, Any]) -> None:
    toy_videomae(tmp_path)
    changed(tmp_path / CONFIG, **giant)
    for encoder in (VideoEncoder, ActionClassifier):
        with pytest.raises(ModelMissing, match=r"asks for positions of \d+ numbers, at most"):
            encoder(str(tmp_path))


def test_a_text_model_that_gives_no_numbers_is_told(embedder: Path) -> None:
    weights = next(embedder.glob("*.safetensors"))
    held = load_file(weights)
    name = next(name for name in held if name.endswith("LayerNorm.weight"))
    weights.unlink()
    save_file(held | {name: torch.full_like(held[name], np.nan)}, weights, {"format": "pt"})
    with pytest.raises(EchoReelError, match="gives NaN or infinite values"):
        load_embedder(str(embedder)).encode(["a man runs"])


def test_the_facts_of_a_lora_are_checked_by_its_hub_id(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--some--lora"
    file = repository / "snapshots" / ("a" * 40) / "pytorch_lora_weights.safetensors"
    file.parent.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    facts = {"lora_adapter_metadata": json.dumps({"unet.r": 10**9})}
    save_file({"unet.x.lora_A.weight": torch.zeros(2, 8)}, file, facts)
    with pytest.raises(EchoReelError, match="at most 4096"):
        load_base(toys / "base", loras=["some/lora"])


def test_a_parquet_of_many_columns_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_parquet, "FACT_BYTES", 20_000)
    few = pa.table({"caption": ["a man runs"], "video": ["a.mp4"]})
    many = pa.table({"caption": ["a man runs"], "video": ["a.mp4"]} | {f"c{n}": [1] for n in range(500)})
    pq.write_table(few, tmp_path / "few.parquet")
    pq.write_table(many, tmp_path / "many.parquet")
    batches, _ = read_catalogue(tmp_path / "few.parquet")
    assert sum(map(len, batches)) == 1
    with pytest.raises(CatalogueError, match="bytes about its columns and parts, at most 20000"):
        read_catalogue(tmp_path / "many.parquet")


@pytest.mark.skipif(os.name != "posix", reason="this system has no such permissions")
def test_what_is_saved_may_be_read_as_any_new_file(adapter: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        load_adapter(adapter).save_pretrained(tmp_path / "out")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o644}


def test_an_adapters_config_that_nests_is_told_by_every_door(adapter: Path) -> None:
    (adapter / CONFIG).write_text('{"a":' + "[" * 200_000 + "]" * 200_000 + "}")
    for load in (load_adapter, ActionAdapter.from_pretrained):
        with pytest.raises(AdapterMismatch, match="cannot be loaded"):
            load(adapter)


def test_what_a_judge_says_of_itself_may_be_anything(tmp_path: Path) -> None:
    judge = shutil.copytree(ROOT / "echoreel" / "weights" / "judges", tmp_path / "judge")
    changed(judge / "judge.json", accuracy=[1])
    assert Judge.load(judge).accuracy == {}
    count = len(Judge.load(judge).actions)
    for actions in ([{}] * count, "x" * count):
        changed(judge / "judge.json", actions=actions)
        with pytest.raises(CheckpointError, match="is damaged"):
            Judge.load(judge)


def test_reading_a_library_makes_nothing(tmp_path: Path) -> None:
    """It may be in a place that is only read."""
    store = Store(tmp_path / "theirs", create=True)
    before = sorted((tmp_path / "theirs").rglob("*"))
    library = ReferenceLibrary.open(tmp_path / "theirs", embedder="none")
    assert library.stats()["encoded"] == 0
    assert store.rows("encoded").num_rows == 0
    assert sorted((tmp_path / "theirs").rglob("*")) == before


def test_a_place_that_is_only_read_is_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "theirs", create=True)

    def written() -> None:
        raise RuntimeError("lance error: LanceError(IO): Read-only file system (os error 30), /a/b.rs:7")

    with pytest.raises(
        LibraryError, match="cannot be written: Read-only file system; free the place"
    ) as told:
        store._guarded("clips", written)
    assert "delete" not in str(told.value)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.bool])
def test_an_adapter_of_whole_numbers_is_told(adapter: Path, kind: torch.dtype) -> None:
    held = {name: tensor.to(kind) for name, tensor in load_file(adapter / WEIGHTS).items()}
    save_file(held, adapter / WEIGHTS, {"format": "pt"})
    for load in (load_adapter, ActionAdapter.from_pretrained):
        with pytest.raises(AdapterMismatch, match="need floating-point"):
            load(adapter)


def with_ids(folder: Path, way: str) -> None:
    """A tokenizer with an id that its text model has no vector for."""
    told = json.loads((folder / "tokenizer.json").read_text())
    if way == "a word":
        told["model"]["vocab"]["man"] = 10**6
    else:
        told["post_processor"]["special_tokens"]["[EOS]"]["ids"] = [10**6]
    (folder / "tokenizer.json").write_text(json.dumps(told))


@pytest.mark.parametrize("way", ["a word", "the end of every text"])
def test_a_tokenizer_of_ids_beyond_its_text_model_is_told(toys: Path, tmp_path: Path, way: str) -> None:
    folder = shutil.copytree(toys / "base", tmp_path / "base")
    with_ids(folder / "tokenizer", way)
    with pytest.raises(BaseUnsupported, match="has ids up to 1000000, its text model has vectors for"):
        load_base(folder)
    model = shutil.copytree(folder / "text_encoder", tmp_path / "model")
    shutil.copytree(folder / "tokenizer", model, dirs_exist_ok=True)
    with pytest.raises(EchoReelError, match="has ids up to 1000000, its text model has vectors for"):
        load_embedder(str(model))


def test_a_part_that_loads_and_then_fails_is_told(toys: Path, tmp_path: Path) -> None:
    """Its config says what its class does not check."""
    folder = shutil.copytree(toys / "base", tmp_path / "base")
    changed(folder / "text_encoder" / CONFIG, layer_norm_eps=None)
    pipe = load_base(folder)
    with pytest.raises(EchoReelError, match=r"the base's .* fails .*get its files again"):
        encode_captions(pipe, ["a man"])
    with pytest.raises(EchoReelError, match=r"the base's .* fails .*get its files again"):
        generate("a man", base=pipe, steps=1, num_frames=2, height=32, width=32)


@pytest.mark.parametrize("sizes", [{"crop_size": 50_000}, {"size": {"shortest_edge": 10**9}}])
def test_pictures_of_giant_sides_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="pixels a side, at most 4096"):
        check_pictures(CLIPImageProcessor(**sizes))
    check_pictures(CLIPImageProcessor())
