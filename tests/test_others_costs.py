"""What files of others cost and replace: configs against their weights, tables, recipes; and outputs that
replace only what their own command wrote."""

import importlib
import json
import shutil
import sys
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub.constants as hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.damage import full_disk
from helpers.toy_models import changed, toy_lvdm_pipeline
from helpers.toy_transformers import toy_wan
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tokenizers.normalizers import Precompiled
from typer.testing import CliRunner

from comfyui.library import find as find_in_library
from echoreel.actors.write_clips import write_caption
from echoreel.bases import part_sizes
from echoreel.bases.encoding import encode_captions
from echoreel.bases.loading import load_base, model_name
from echoreel.bases.sketch import sketched
from echoreel.cli import app
from echoreel.common.errors import (
    AdapterMismatch,
    BaseUnsupported,
    CheckpointError,
    EchoReelError,
    OutputError,
    SettingsError,
)
from echoreel.common.files import remove_folder
from echoreel.common.settings import load_settings
from echoreel.evaluation.actorbench.report import EvaluationReport
from echoreel.library.choose_pairs import Pairs, write_manifest
from echoreel.library.clips import LibraryClip
from echoreel.library.datasets import DatasetPairs, write_dataset
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.table_values import CatalogueError
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import Store
from echoreel.method.loading import load_adapter
from echoreel.training.publish import model_card
from echoreel.training.run_facts import TrainingFacts
from echoreel.training.train_adapter import AdapterRecipe

CONFIG = "config.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Further bases."""
    folder = tmp_path_factory.mktemp("whole")
    toy_lvdm_pipeline().save_pretrained(folder / "lvdm")
    toy_wan().save_pretrained(folder / "wan")
    return folder


GIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "positions": ("unet", {"motion_max_seq_length": 10**9}),
    "widths": ("unet", {"block_out_channels": [40_000, 40_000]}),
    "captions": ("unet", {"cross_attention_dim": 10**9}),
    "latents": ("vae", {"latent_channels": 50_000}),
    "text": ("text_encoder", {"hidden_size": 10**9}),
}


@pytest.mark.parametrize("giant", GIANTS)
def test_a_base_asks_for_no_more_numbers_than_its_weights_have(base: Path, giant: str) -> None:
    part, values = GIANTS[giant]
    changed(base / part / CONFIG, **values)
    with pytest.raises(BaseUnsupported, match=f"config of {part} asks for .* its weights have"):
        load_base(base)


def test_the_limit_is_for_every_kind_of_base(
    whole: Path, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lvdm = shutil.copytree(whole / "lvdm", tmp_path / "lvdm")
    changed(lvdm / "unet" / CONFIG, cross_attention_dim=10**9)
    with pytest.raises(BaseUnsupported, match="config of unet asks for"):
        load_base(lvdm)
    wan = shutil.copytree(whole / "wan", tmp_path / "wan")
    file = Path(
        shutil.copy(wan / "transformer" / "diffusion_pytorch_model.safetensors", tmp_path / "one.safetensors")
    )
    changed(wan / "transformer" / CONFIG, ffn_dim=10**9)
    with pytest.raises(BaseUnsupported, match="config of transformer asks for"):
        load_base(file, parts=wan)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("base", "adapter"):
        repository = tmp_path / "hub" / f"models--some--{name}"
        shutil.copytree(toys / name, repository / "snapshots" / ("a" * 40))
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("a" * 40)
    assert model_name(load_base("some/base")) == "some/base"
    assert model_name(load_adapter("some/adapter")) == "some/adapter"
    found = tmp_path / "hub" / "models--some--base" / "snapshots" / ("a" * 40)
    changed(found / "unet" / CONFIG, motion_max_seq_length=10**9)
    with pytest.raises(BaseUnsupported, match=r"base some/base: .* config of unet asks for"):
        load_base("some/base")
    found = tmp_path / "hub" / "models--some--adapter" / "snapshots" / ("a" * 40) / CONFIG
    told = json.loads(found.read_text())
    changed(found, prism_config=told["prism_config"] | {"width": 4096, "feed_forward": 4096})
    with pytest.raises(AdapterMismatch, match=r"adapter some/adapter: .* asks for"):
        load_adapter("some/adapter")


SKETCHES: dict[str, tuple[str, dict[str, Any], str]] = {
    "steps": ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "num_train_timesteps"),
    "layers": ("unet/config.json", {"layers_per_block": 10**8}, "unet has layers_per_block"),
    "blocks": ("unet/config.json", {"block_out_channels": [8] * 5000}, "block_out_channels has 5000 entries"),
    "endless": (
        "vae/config.json",
        {"scaling_factor": float("inf")},
        "vae has scaling_factor inf, need a finite",
    ),
    "no autoencoder": ("model_index.json", {"vae": [None, None]}, "names no vae, need AutoencoderKL; get"),
    "a model": ("model_index.json", {"_class_name": "CogVideoXTransformer3DModel"}, "is not a pipeline"),
    "modules": (
        "unet/config.json",
        {"layers_per_block": 1000, "transformer_layers_per_block": 1000},
        "unet has over 1000 modules",
    ),
}


@pytest.mark.parametrize("sketch", SKETCHES)
def test_a_base_that_is_only_looked_at_has_the_same_limits(
    base: Path, sketch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_sizes, "MOST_MODULES", 1000)
    file, values, why = SKETCHES[sketch]
    changed(base / file, **values)
    for look in (sketched, load_base):
        with pytest.raises(BaseUnsupported, match=why):
            look(str(base))


@pytest.mark.parametrize("kind", [torch.bool, torch.int8, torch.int64])
@pytest.mark.parametrize("part", ["vae/diffusion_pytorch_model", "text_encoder/model"])
def test_weights_of_another_type_are_told(base: Path, part: str, kind: torch.dtype) -> None:
    file = base / f"{part}.safetensors"
    held = load_file(file)
    name = next(name for name in sorted(held) if name.endswith(".weight"))
    save_file(held | {name: held[name].to(kind)}, file, {"format": "pt"})
    with pytest.raises(BaseUnsupported, match=f"has the tensor {name} of .*, need floating-point"):
        load_base(base)


def catalogue(path: Path, **columns: Any) -> int:
    told = {"caption": ["a man runs"], "video": ["a.mp4"]} | columns
    pq.write_table(pa.table(told), path, compression="zstd")
    batches, _ = read_catalogue(path)
    return sum(map(len, batches))


def test_lists_and_times_of_parquet_cost_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(CatalogueError, match="say that they hold 500000 rows"):
        catalogue(path, caption=pa.array([["a"] * 500_000]))
    assert catalogue(path, caption=pa.array([["a"] * 5000])) == 5000
    with pytest.raises(CatalogueError, match=r"column start is of list.* need seconds"):
        catalogue(path, start=pa.array([[1.0] * 9]))
    assert catalogue(path, start=["1.5"], end=pa.array([2])) == 1
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array(["9" * 1_000_000]))
    same = {"caption": ["a man runs"] * 1000, "video": ["a.mp4"] * 1000}
    assert catalogue(path, **same, start=long) == 0


@pytest.mark.parametrize("text", [".".join(["a"] * 30_000) + "=1", "a={" + ".".join(["'a'"] * 9_000) + "=1}"])
def test_a_recipes_keys_have_few_parts(tmp_path: Path, text: str) -> None:
    """Read, the first takes four gigabytes."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SettingsError, match="a key of over 64 parts"):
        load_settings(tmp_path / "a.toml", AdapterRecipe)


def test_of_many_mistakes_some_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("\n".join(f"k{number}=1" for number in range(5000)))
    with pytest.raises(SettingsError, match=r"5003 mistakes: .*; and 4993 more$") as told:
        load_settings(tmp_path / "a.toml", AdapterRecipe)
    assert len(str(told.value)) < 5000


@pytest.mark.parametrize("text", ['"{}"=1', 'x=1\n["{}"]\n["{}"]', '[fit]\n"{}"=1', '["{}"]\nx=[["{}"]]'])
def test_a_key_of_any_length_is_told_in_short(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text.replace("{}", "k" * 100_000))
    with pytest.raises(SettingsError) as told:
        load_settings(tmp_path / "a.toml", AdapterRecipe)
    assert len(str(told.value)) < 1000


def pairs(tmp_path: Path) -> Pairs:
    one = LibraryClip("1", "a man runs", "run", "run", str(tmp_path), "a.mp4", "1", 0.0, 2.0, None, None)
    return Pairs([(one, [replace(one, id="2", path="b.mp4", video="2")])], seen=2, actions=1)


@pytest.mark.parametrize("name", ["a.jsonl", "a.report.json", "train.jsonl", "report.json", "heldout.jsonl"])
@pytest.mark.parametrize("text", ["mine", '{"path": 1}', "[1]", ""])
def test_prepare_replaces_only_its_own_files(tmp_path: Path, name: str, text: str) -> None:
    def write() -> None:
        if name.startswith("a."):
            write_manifest(pairs(tmp_path), tmp_path / "a.jsonl")
        else:
            both = DatasetPairs(pairs(tmp_path), pairs(tmp_path), heldout_actions=("run",))
            write_dataset(both, tmp_path)

    write()
    write()  # its own it may replace
    (tmp_path / name).unlink()
    (tmp_path / "theirs").write_text(text)
    (tmp_path / name).symlink_to(tmp_path / "theirs")
    with pytest.raises(OutputError, match="already exists, and this command did not write it"):
        write()
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "theirs").read_text() == text


@pytest.mark.parametrize("room", [0, 100, 250, 400, 600])
def test_a_full_disk_leaves_no_half_of_a_manifest_or_data_set(tmp_path: Path, room: int) -> None:
    both = DatasetPairs(pairs(tmp_path), pairs(tmp_path), heldout_actions=("run",))
    with full_disk(min(room, 200)), pytest.raises(OutputError, match="No space left"):
        write_manifest(pairs(tmp_path), tmp_path / "new" / "a.jsonl")
    with full_disk(room), pytest.raises(OutputError, match="No space left"):
        write_dataset(both, tmp_path / "new" / "data")
    assert [*tmp_path.iterdir()] == []


def test_a_manifest_replaces_no_video_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0video")
    with pytest.raises(OutputError, match=r"a\.mp4: already exists"):
        write_manifest(pairs(tmp_path), tmp_path / "a.mp4")


def test_a_manifest_replaces_none_that_was_written_by_hand(tmp_path: Path) -> None:
    """What this command writes has its report beside it."""
    manifest = tmp_path / "pairs.jsonl"
    for _ in range(2):
        write_manifest(pairs(tmp_path), manifest)
    (tmp_path / "pairs.report.json").unlink()
    before = manifest.read_text()
    with pytest.raises(OutputError, match=r"pairs\.jsonl: already exists, .*without its pairs\.report\.json"):
        write_manifest(pairs(tmp_path), manifest)
    assert manifest.read_text() == before


def test_clips_keep_captions_of_others(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("mine")
    (tmp_path / "000001.txt").symlink_to(tmp_path / "theirs")
    with pytest.raises(OutputError, match=r"000001\.txt: already exists and holds something else"):
        write_caption(tmp_path / "000001.txt", b"a man runs")
    assert (tmp_path / "theirs").read_text() == "mine"
    for _ in range(2):  # killed between caption and video, it is written again
        write_caption(tmp_path / "000000.txt", b"a man runs")


@pytest.mark.parametrize("name", ["report.json", "report.md", "report.html", "tradeoff.png"])
def test_an_evaluation_replaces_only_reports(tmp_path: Path, name: str) -> None:
    report = EvaluationReport((), {}, {}, 0, "", tmp_path)
    report.write()
    EvaluationReport.check_places(tmp_path)
    (tmp_path / "report.json").unlink()
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        EvaluationReport.check_places(tmp_path)


def test_a_folder_with_a_link_of_the_users_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "videos").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="a file that EchoReel did not write, videos"):
        remove_folder(tmp_path / "run", ["config.json"])


def test_names_on_a_model_card_are_text() -> None:
    evil = "x\n# <script>alert(1)</script> ![a](http://evil/x.png) `rm` | $(rm -rf ~); rm"
    facts = TrainingFacts(name=evil, base=evil, license="mit", data=evil, steps=1, hours=1.0)
    body = ModelCard(model_card(facts)).text
    text, code, table = body.split("```")
    for part in ("<script", "![a]", "`rm`", "| $(", "\n# <"):
        assert part not in text + table
    assert f"--base '{' '.join(evil.split())}' --adapter" in code


def test_no_manifest_names_files_that_the_user_did_not_allow(tmp_path: Path) -> None:
    store = Store(tmp_path / "theirs", create=True)
    rows = [
        {"id": n, "video": n, "root": str(tmp_path), "path": f"{n}.mp4", "caption": "a man runs"}
        for n in range(4)
    ]
    store.add("clips", pa.Table.from_pylist(rows, schemas()["clips"]))
    library, dropped = ReferenceLibrary.open(tmp_path / "theirs", embedder="none"), Counter[str]()
    assert not [*library.readable(dropped)]
    assert dropped.total() == 4
    command = ["prepare", "manifest", str(tmp_path / "theirs"), str(tmp_path / "a.jsonl")]
    assert "4 in folders that are not allowed" in " ".join(CliRunner().invoke(app, command).output.split())
    library.permissions.allow([tmp_path])
    assert len([*library.readable(dropped)]) == 4


def test_no_name_of_a_workflow_leads_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: dict[str, list[str]] = {}
    known = ModuleType("folder_paths")
    monkeypatch.setattr(known, "models_dir", str(tmp_path), raising=False)
    add = lambda kind, place: places.setdefault(kind, []).append(place)  # noqa: E731
    monkeypatch.setattr(known, "add_model_folder_path", add, raising=False)
    monkeypatch.setattr(known, "get_folder_paths", places.__getitem__, raising=False)
    monkeypatch.setitem(sys.modules, "folder_paths", known)
    folders = importlib.import_module("comfyui.folders")
    monkeypatch.delitem(sys.modules, "comfyui.folders")
    for folder in ("echoreel/mine", "secret"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / CONFIG).write_text("{}")
    assert folders.located("echoreel", "mine", CONFIG) == tmp_path / "echoreel" / "mine"
    for name in ("../secret", str(tmp_path / "secret"), "..", "", "mine/..", "x" * 5000, "a\0b", None, 5):
        with pytest.raises(AdapterMismatch, match="not there; put a folder"):
            folders.located("echoreel", name, CONFIG)
    before = folders.stamp(tmp_path / "secret")
    (tmp_path / "secret" / "link").symlink_to("nowhere")
    assert folders.stamp(tmp_path / "secret") != before
    for library in ("s3://theirs/library", "http://127.0.0.1/a", "\\\\theirs\\library", "x" * 5000):
        with pytest.raises(EchoReelError, match=r"need a folder on this machine|give a folder"):
            find_in_library(library, "a man runs", 1)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"unet.r": 10**9}, "at most 4096"),
        ({"unet.rank_pattern": {"to_q": 10**9}}, "at most 4096"),
        ({"unet.target_modules": "(a*)*(a*)*(.*)*x$"}, "has a pattern, need names"),
        ({"unet.alpha_pattern": {"(a*)*(a*)*(.*)*x$": 1}}, "has a pattern, need names"),
    ],
)
def test_a_lora_asks_for_no_giant_rank_and_no_pattern(
    toys: Path, tmp_path: Path, facts: dict[str, Any], why: str
) -> None:
    file = tmp_path / "lora.safetensors"
    save_file({"unet.x.lora_A.weight": torch.zeros(2, 8)}, file, {"lora_adapter_metadata": json.dumps(facts)})
    with pytest.raises(EchoReelError, match=why):
        load_base(toys / "base", loras=[file])


def put(letters: str, by: str) -> dict[str, Any]:
    """A step of a normalizer."""
    return {"type": "Replace", "pattern": {"String": letters}, "content": by}


def charsmap(text: bytes) -> dict[str, str]:
    """Sentencepiece's table of letters: a tree (darts-clone's double array) that puts a text for each `a`."""
    tree = np.zeros(512, "<u4")
    tree[0] = 256 << 10  # its children are at 256 ^ letter
    tree[256 ^ ord("a")] = 1 << 10 | 256 | ord("a")  # a letter, whose text is told at this place ^ 1
    tree[256 ^ ord("a") ^ 1] = 1 << 31  # the text at 0
    table = len(tree.tobytes()).to_bytes(4, "little") + tree.tobytes() + text + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": b64encode(table).decode()}


ADDED = {"SpecialToken": {"id": "[BOS]", "type_id": 0}}
LONG_PROMPTS: dict[str, tuple[str, dict[str, Any], str]] = {  # they make gigabytes of some letters
    "a text for a letter": (
        "tokenizer.json",
        {"normalizer": {"type": "Sequence", "normalizers": [put("a", "a" * 2000)] * 3}},
        "makes over 1024 letters of one",
    ),
    "two for one, again and again": (
        "tokenizer.json",
        {"normalizer": {"type": "Sequence", "normalizers": [put("e", "ee")] * 34}},
        "makes over 1024 letters of one",
    ),
    "a beginning": (
        "tokenizer.json",
        {"normalizer": {"type": "Prepend", "prepend": "a" * 2000}},
        "makes over 1024 letters of one",
    ),
    "a table of letters": (
        "tokenizer.json",
        {"normalizer": charsmap(b"a" * 2000)},
        "makes over 1024 letters of one",
    ),
    "tokens around": (
        "tokenizer.json",
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [ADDED] * 2000,
                "pair": [],
                "special_tokens": {"[BOS]": {"id": "[BOS]", "ids": [2], "tokens": ["[BOS]"]}},
            }
        },
        "puts 2000 tokens around a prompt",
    ),
    "a length": ("tokenizer_config.json", {"model_max_length": 10**9}, "fills prompts up to 1000000000"),
    "further tokens": (
        "tokenizer_config.json",
        {"additional_special_tokens": [f"z{number}" for number in range(2000)]},
        "additional_special_tokens has 2000 entries, at most 1024",
    ),
}


def test_a_table_of_letters_makes_of_each_a_text() -> None:
    """What the limit is for: the tokenizers' library does follow such a table."""
    found = Precompiled(b64decode(charsmap(b"b" * 1000)["precompiled_charsmap"]))
    assert found.normalize_str("xaa") == "x" + "b" * 2000


@pytest.mark.parametrize("way", LONG_PROMPTS)
def test_a_tokenizer_that_makes_any_prompt_a_giant_one_is_told(base: Path, way: str) -> None:
    file, values, why = LONG_PROMPTS[way]
    changed(base / "tokenizer" / file, **values)
    with pytest.raises(BaseUnsupported, match=why):
        load_base(base)


def test_words_that_are_looked_up_piece_by_piece_are_short(base: Path) -> None:
    file = base / "tokenizer" / "tokenizer.json"
    model = json.loads(file.read_text())["model"]
    changed(file, model=model | {"max_input_chars_per_word": 10**9})
    with pytest.raises(BaseUnsupported, match="looks up words of 1000000000 letters, at most 1000"):
        load_base(base)


def test_a_pattern_without_end_of_a_tokenizer_is_told(base: Path) -> None:
    """Its library panics, which is no Exception of Python's."""
    pattern = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
    changed(base / "tokenizer" / "tokenizer.json", normalizer=pattern)
    pipe = load_base(base)
    encode_captions(pipe, ["a man"])
    with pytest.raises(CheckpointError, match=r"fails \(PanicException: .*; get its files again"):
        encode_captions(pipe, ["a" * 40 + "b"])
