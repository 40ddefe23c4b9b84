"""Files of others that do not fit their kind: each is told at once and takes no memory."""

import json
import os
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from helpers.motion_libraries import write_library
from helpers.places import ROOT
from helpers.toy_measures import toy_videomae
from safetensors import numpy as tensors_of

from comfyui.adapters import load_adapter as load_nodes_adapter
from echoreel.actors import motion_library
from echoreel.actors.motion_library import COLUMNS, MotionLibrary, synthetic_library
from echoreel.bases.loading import load_base
from echoreel.bases.part_sizes import check_lora
from echoreel.bases.sketch import sketched
from echoreel.common.errors import (
    AdapterMismatch,
    BaseUnsupported,
    CheckpointError,
    EchoReelError,
    ModelMissing,
    MotionLibraryError,
    OutputError,
    SettingsError,
)
from echoreel.common.files import locked, turn
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.evaluation.actorbench.report import EvaluationReport
from echoreel.evaluation.heldout.report import HeldoutReport
from echoreel.evaluation.measure.action_classifier import ActionClassifier
from echoreel.generation.notes import is_notes
from echoreel.generation.results_folder import ResultsFolder
from echoreel.library.sources.layouts import READERS
from echoreel.method.loading import load_adapter
from echoreel.page.bench_tab import bench_pictures
from echoreel.page.result_panel import _of_result
from echoreel.released.convert_file import read_tensors
from echoreel.training.pair_cache import PairSet, PairSetError
from echoreel.training.publish import publish
from echoreel.training.run_facts import published_facts
from echoreel.training.run_folder import RunFolder
from echoreel.training.run_log import RunLog

VIDEO = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


def changed(file: Path, **values: Any) -> None:
    """Say other values in a .json; of a dict those given."""
    told = json.loads(file.read_text())
    for key, value in values.items():
        told[key] = {**told[key], **value} if isinstance(told.get(key), dict) and key != "sites" else value
    file.write_text(json.dumps(told))


GIANTS: dict[str, dict[str, Any]] = {
    "layers": {"prism_config": {"depth": 10**8}},
    "slots": {"prism_config": {"slots": 10**9}},
    "heads": {"prism_config": {"heads": 10**8}},
    "places": {"prism_config": {"kind": "dense", "latent_size": [10**6, 10**6]}},
    "reach": {"integration_config": {"kind": "frames", "reach": 10**9}},
    "sites": {"sites": {f"blocks.{number}": 8 for number in range(5000)}},
    "a site": {"sites": {"blocks.0": 10**9}},
    "latents": {"latent_channels": 10**9},
    "captions": {"caption_width": 10**9},
}


@pytest.mark.parametrize("giant", GIANTS)
def test_an_adapter_of_giant_sizes_is_refused_before_it_is_made(
    toys: Path, tmp_path: Path, giant: str
) -> None:
    """Made, each would take minutes or gigabytes: the test's own time says that none is."""
    adapter = shutil.copytree(toys / "adapter", tmp_path / "adapter")
    changed(adapter / CONFIG, **GIANTS[giant])
    for load in (load_adapter, load_nodes_adapter):
        with pytest.raises(AdapterMismatch, match=r"its config cannot be|bytes|not an adapter .*need"):
            load(adapter)


def test_an_adapter_asks_for_no_more_numbers_than_its_weights_have(toys: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(toys / "adapter", tmp_path / "adapter")
    changed(adapter / CONFIG, prism_config={"width": 4096, "feed_forward": 4096})
    with pytest.raises(AdapterMismatch, match=r"asks for \d{9,} numbers, its weights have \d{4,6} bytes"):
        load_adapter(adapter)


@pytest.mark.parametrize(
    ("part", "key"), [("unet", "layers_per_block"), ("text_encoder", "num_hidden_layers")]
)
@pytest.mark.parametrize("count", [10**8, [1, 10**8], 1e300])
def test_a_base_of_giant_depth_is_refused_before_it_is_made(
    toys: Path, tmp_path: Path, part: str, key: str, count: Any
) -> None:
    base = shutil.copytree(toys / "base", tmp_path / "base")
    changed(base / part / CONFIG, **{key: count})
    with pytest.raises(BaseUnsupported, match=f"{part} has {key} .*at most 1024"):
        load_base(base)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def shard(folder: Path, origin: str = "{}", pairs: int = 2, kind: str = "float16") -> Path:
    """A folder of pairs."""
    folder.mkdir()
    targets, references = np.zeros((pairs, 4, 2, 2, 2), kind), np.zeros((pairs, 1, 4, 2, 2, 2), kind)
    data = tensors_of.save({"targets": targets, "references": references}, {"origin": origin})
    (folder / "shard-00000.safetensors").write_bytes(data)
    (folder / "shard-00000.captions.json").write_text(json.dumps([["a", "b"]] * pairs))
    return folder


def checkpoint(folder: Path, optimizer: Any) -> Path:
    step = folder / "step-000001"
    step.mkdir(parents=True)
    (step / "weights.safetensors").write_bytes(tensors_of.save({"a": np.zeros(1)}))
    (step / "state.json").write_text('{"step": 1, "task": "x", "elapsed": 0, "totals": {}}')
    torch.save(optimizer, step / "optimizer.pt")
    return folder


def finished(folder: Path, toys: Path) -> Path:
    """A run that `publish` takes."""
    shutil.copytree(toys / "adapter", folder / "adapter")
    recipe = {"folder": "run", "pairs": "pairs", "fit": {"steps": 6, "learning_rate": 1e-3}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "metrics.jsonl").write_text('{"step": 6, "elapsed": 3.5}\n')
    return folder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(toys: Path, tmp_path: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        adapter = shutil.copytree(toys / "adapter", tmp_path / f"adapter of {name}")
        piped(adapter / name)
        with pytest.raises(AdapterMismatch, match=f"{name} cannot be read"):
            load_nodes_adapter(adapter)
    for name in ("captions.json", "safetensors"):
        pairs = shard(tmp_path / f"pairs of {name}")
        piped(pairs / f"shard-00000.{name}")
        with pytest.raises(PairSetError, match="a pipe or a device"):
            PairSet.open(pairs)
    for name in ("optimizer.pt", "state.json", "weights.safetensors"):
        run = checkpoint(tmp_path / f"run of {name}", {})
        piped(run / "step-000001" / name)
        with pytest.raises(CheckpointError, match="is a pipe or a device"):
            RunFolder(run).load()
    os.mkfifo(tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="a pipe or a device"):
        read_tensors(tmp_path / "checkpoint.pt")
    run = finished(tmp_path / "finished", toys)
    piped(run / "metrics.jsonl")
    with pytest.raises(EchoReelError, match="is damaged"):
        publish(run, "mine", "mit", tmp_path / "out")
    (tmp_path / "published").mkdir()
    os.mkfifo(tmp_path / "published" / "training.json")
    assert published_facts(tmp_path / "published") is None
    os.mkfifo(tmp_path / "notes.json")
    assert not is_notes(tmp_path / "notes.json")
    run = checkpoint(tmp_path / "resumed", {})
    os.mkfifo(run / "metrics.jsonl")
    with pytest.raises(OutputError, match="a pipe or a device"):
        RunLog(run, "adapter", range(1, 2), tensorboard=False)
    (run / "metrics.jsonl").unlink()
    with (run / "metrics.jsonl").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OutputError, match=r"metrics\.jsonl: has over \d+ bytes, no log of a training"):
        RunLog(run, "adapter", range(1, 2), tensorboard=False)
    judge = shutil.copytree(ROOT / "echoreel" / "weights" / "judges", tmp_path / "judge")
    piped(judge / "judge.json")
    with pytest.raises(CheckpointError, match="is damaged"):
        Judge.load(judge)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_in_a_models_folder_is_not_waited_for(toys: Path, tmp_path: Path) -> None:
    """diffusers and transformers open what is there."""
    base = shutil.copytree(toys / "base", tmp_path / "base")
    piped(base / "unet" / WEIGHTS)
    for read in (load_base, sketched):
        with pytest.raises(EchoReelError, match=f"{WEIGHTS}: is a pipe or a device"):
            read(str(base))
    (base / "unet" / WEIGHTS).unlink()
    with (base / "model_index.json").open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(EchoReelError, match=r"model_index\.json: has over \d+ bytes"):
        load_base(str(base))
    adapter = shutil.copytree(toys / "adapter", tmp_path / "adapter")
    piped(adapter / WEIGHTS)
    with pytest.raises(EchoReelError, match=f"{WEIGHTS}: is a pipe or a device"):
        load_adapter(adapter)
    toy_videomae(tmp_path / "classifier")
    piped(tmp_path / "classifier" / "model.safetensors")
    with pytest.raises(ModelMissing, match="safetensors: is a pipe or a device"):
        ActionClassifier(str(tmp_path / "classifier"))
    os.mkfifo(tmp_path / "lora.safetensors")
    with pytest.raises(OSError, match="is a pipe or a device"):
        check_lora(str(tmp_path / "lora.safetensors"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_lock_of_others_is_neither_waited_for_nor_followed(tmp_path: Path) -> None:
    lock, mine = tmp_path / "pairs.lock", tmp_path / "mine"
    for make in (os.mkfifo, lambda path: path.symlink_to(mine)):
        make(lock)
        for held in (locked(lock, "taken"), turn(lock, 1)):
            with pytest.raises(OutputError, match="is a link, a folder or a pipe"), held:
                pass
        lock.unlink()
    assert not mine.exists()


def test_nothing_is_written_where_a_folder_of_others_leads(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for name in ("sheets", "videos", "videos/ours-1"):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        pictures.mkdir(exist_ok=True)
        (folder / name).symlink_to(pictures)
        with pytest.raises(OutputError, match=f"{name}: is a link to elsewhere"):
            HeldoutReport.check_places(folder)
    with pytest.raises(OutputError, match="sheets: is a link"), RunFolder(tmp_path / "sheets").locked():
        pass
    with pytest.raises(OutputError, match="sheets: is a link"):
        EvaluationReport.check_places(tmp_path / "sheets")


@pytest.mark.parametrize(
    "origin", ["5", '"x"', "[1]", "[" * 100_000, "{", '{"probe": [1e999]}', '{"sources": [1]}', '{"more": 1}']
)
def test_what_a_shard_says_of_itself_may_be_anything(tmp_path: Path, origin: str) -> None:
    with pytest.raises(
        PairSetError, match=r"shard-00000\.safetensors is not .*: another program made it, or"
    ):
        PairSet.open(shard(tmp_path / "pairs", origin))


@pytest.mark.parametrize(("pairs", "kind"), [(0, "float16"), (2, "int64"), (2, "bool"), (2, "float32")])
def test_pairs_that_are_none_are_told(tmp_path: Path, pairs: int, kind: str) -> None:
    with pytest.raises(PairSetError, match="need some, of F16"):
        PairSet.open(shard(tmp_path / "pairs", pairs=pairs, kind=kind))


def compressed(path: Path) -> None:
    """What torch wrote, as a small file that unpacks to a large one."""
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_a_compressed_file_of_torch_is_not_unpacked(tmp_path: Path) -> None:
    run = checkpoint(tmp_path / "run", {"a": torch.zeros(1 << 18)})
    optimizer = run / "step-000001" / "optimizer.pt"
    assert RunFolder(run).load() is not None
    compressed(optimizer)
    assert optimizer.stat().st_size < 4096
    with pytest.raises(CheckpointError, match=r"optimizer\.pt is compressed"):
        RunFolder(run).load()
    with pytest.raises(CheckpointError, match=r"optimizer\.pt is compressed"):
        read_tensors(optimizer)


@pytest.mark.parametrize(
    "code",
    [b".", b"0.", b"}q\0h\5.", b"X\xff\xff\xff\x7fa.", b"K\1K\2s.", b"]K\1K\2u.", b"K\1b.", b"NQ.", b""],
)
def test_damaged_pickles_are_told(tmp_path: Path, code: bytes) -> None:
    run = checkpoint(tmp_path / "run", {})
    path = run / "step-000001" / "optimizer.pt"
    with ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\2" + code)
        archive.writestr("a/version", "3")
    with pytest.raises(CheckpointError, match=r"step-000001 is damaged \(.+\)"):
        RunFolder(run).load()
    with pytest.raises(CheckpointError, match="not a file of plain tensors"):
        read_tensors(path)


def test_an_optimizer_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a list, need a dict"):
        RunFolder(checkpoint(tmp_path / "run", [1])).load()


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "5",
        '{"step": Infinity, "elapsed": 1}',
        '{"step": NaN, "elapsed": 1}',
        '{"step": 1, "elapsed": null}',
        '{"step": 1, "elapsed": 1, "validation/right": "x"}',
        "\\ud800",
        "",
    ],
)
def test_odd_logs_are_not_published(toys: Path, tmp_path: Path, line: str) -> None:
    run = finished(tmp_path / "run", toys)
    (run / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(EchoReelError, match=r"metrics\.jsonl is damaged"):
        publish(run, "mine", "mit", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_publish_replaces_only_what_it_wrote_and_follows_no_link(toys: Path, tmp_path: Path) -> None:
    run, out = finished(tmp_path / "run", toys), tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    with pytest.raises(OutputError, match=r"no training\.json of an earlier publication"):
        publish(run, "mine", "mit", out)
    assert (out / "README.md").read_text() == "mine"
    (out / "README.md").unlink()
    publish(run, "mine", "mit", out)
    publish(run, "again", "mit", out)
    (tmp_path / "secret").write_text("secret")
    (run / "adapter" / CONFIG).unlink()
    (run / "adapter" / CONFIG).symlink_to(tmp_path / "secret")
    with pytest.raises(EchoReelError, match="a link to a file elsewhere"):
        publish(run, "mine", "mit", out)
    assert "again" in (out / "README.md").read_text()


def with_header(path: Path, shape: str) -> None:
    """An archive whose positions declare a shape that they do not have."""
    told = f"{{'descr':'<f2','fortran_order':False,'shape':{shape}}}".encode()
    told += b" " * (118 - len(told) % 64) + b"\n"
    with ZipFile(path, "w") as archive:
        archive.writestr("positions.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(told)) + told)


def with_bytes(path: Path, place: int, value: int) -> None:
    """An archive whose parts say something else of themselves; place: in the central directory's entry."""
    data = bytearray(path.read_bytes())
    for mark, shift in ((b"PK\1\2", 0), (b"PK\3\4", -2)):
        at = data.find(mark)
        while at >= 0:
            data[at + place + shift] = value
            at = data.find(mark, at + 4)
    path.write_bytes(data)


def with_values(path: Path, **values: Any) -> None:
    with np.load(path) as archive:
        held = dict(archive)
    np.savez(path, **(held | values))


MOTIONS: dict[str, Callable[[Path], object]] = {
    "a giant shape": lambda path: with_header(path, "(1000000000000, 18, 3)"),
    "a shape of many digits": lambda path: with_header(path, f"({'9' * 60}, 18, 3)"),
    "a password": lambda path: with_bytes(path, 8, 1),
    "an unknown compression": lambda path: with_bytes(path, 10, 97),
    "a name in place of names": lambda path: with_values(path, joints=np.array("a")),
    "text": lambda path: with_values(path, positions=np.full((9, 18, 3), "1")),
    "bools": lambda path: with_values(path, positions=np.zeros((900, 18, 3), bool)),
    "a number": lambda path: with_values(path, positions=np.float64(3)),
    "NaN": lambda path: with_values(path, positions=np.full((900, 18, 3), np.nan)),
    "no rate": lambda path: with_values(path, fps=0.0),
    "a rate backwards": lambda path: with_values(path, fps=-1.0),
    "a rate of NaN": lambda path: with_values(path, fps=np.nan),
    "an infinite rate": lambda path: with_values(path, fps=np.inf),
}


@pytest.mark.parametrize("damage", MOTIONS)
def test_damaged_motions_are_told(tmp_path: Path, damage: str) -> None:
    library = write_library(tmp_path / "motions", synthetic_library())
    MOTIONS[damage](library / "motions.npz")
    with pytest.raises(MotionLibraryError, match="not a motion archive"):
        MotionLibrary.load(library)


def test_motions_that_unpack_to_too_much_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = write_library(tmp_path / "motions", synthetic_library())
    monkeypatch.setattr(motion_library, "ARCHIVE_BYTES", 10_000)
    with pytest.raises(MotionLibraryError, match="over 10000 bytes once it is unpacked"):
        MotionLibrary.load(library)


def test_tables_of_many_columns_take_no_time(tmp_path: Path) -> None:
    """Each row would have a value for each of them."""
    names = ",".join(map(str, range(500_000)))
    library = write_library(tmp_path / "motions", synthetic_library())
    (library / "motions.csv").write_text(f"{','.join(COLUMNS)},{names}\n" + "7,walking\n" * 1000)
    with pytest.raises(MotionLibraryError, match="columns, at most 10000"):
        MotionLibrary.load(library)
    shutil.copy(VIDEO, tmp_path)
    (tmp_path / "a.csv").write_text(
        f"label,youtube_id,time_start,time_end,{names}\n" + "run,cartwheel,0,1\n" * 1000
    )
    lost = Counter[str]()
    assert not [*READERS["kinetics"](tmp_path, lost)]
    assert lost.total() == 1


@pytest.mark.parametrize("row", [b"7,walking\n", b'7,"' + b"x" * 200_000 + b'",a,0,5,s,r\n', b"\xff\xfe"])
def test_damaged_tables_of_motions_are_told(tmp_path: Path, row: bytes) -> None:
    library = write_library(tmp_path / "motions", synthetic_library())
    with (library / "motions.csv").open("ab") as file:
        file.write(row)
    with pytest.raises(MotionLibraryError, match=r"motions\.csv"):
        MotionLibrary.load(library)


@pytest.mark.parametrize(
    "row",
    [
        "run,cartwheel,1e400,5",
        "run,cartwheel,nan,5",
        "run,cartwheel,-5,9",
        "run,cartwheel,9,5",
        "run,cartwheel,0,1e9",
        f'"{"x" * 200_000}",cartwheel,0,1',
    ],
)
def test_rows_of_a_data_set_with_times_that_cannot_be_are_counted(tmp_path: Path, row: str) -> None:
    shutil.copy(VIDEO, tmp_path)
    lost = Counter[str]()
    (tmp_path / "a.csv").write_text(f"label,youtube_id,time_start,time_end\nrun,cartwheel,0,1\n{row}\n")
    assert len([*READERS["kinetics"](tmp_path, lost)]) == 1
    assert lost.total() == 1


@pytest.mark.parametrize(("layout", "name"), [("kinetics", "a.csv"), ("ssv2", "a.json")])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_labels_that_are_no_file_give_no_clip(
    tmp_path: Path, layout: str, name: str, make: Callable[[Path], None]
) -> None:
    shutil.copy(VIDEO, tmp_path)
    make(tmp_path / name)
    assert [*READERS[layout](tmp_path, Counter[str]())] == []


NOTES = [
    '{"prompt": "x", "seeds": [1], "references": 5}',
    '{"prompt": "x", "seeds": [1], "references": [5, null]}',
    '{"prompt": "x", "seeds": [1], "settings": [1]}',
    '{"prompt": "x", "seeds": 7, "settings": null}',
    '{"prompt": {"a": 1}, "seeds": {"b": 2}, "references": {"x": 1}}',
]


@pytest.mark.parametrize("notes", NOTES)
def test_the_page_shows_a_result_whatever_its_notes_say(tmp_path: Path, notes: str) -> None:
    shutil.copy(VIDEO, tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text(notes)
    (found,) = ResultsFolder(tmp_path).past()
    assert "a.mp4" in _of_result(found)[0]


def test_a_report_shows_no_file_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    report = tmp_path / "report"
    (report / "sheets").mkdir(parents=True)
    (report / "sheets" / "own.png").write_bytes(b"own")
    (report / "sheets" / "link.png").symlink_to(tmp_path / "secret.png")
    (report / "report.png").symlink_to("/etc/passwd")
    assert bench_pictures(report) == [report / "sheets" / "own.png"]


def test_notes_over_the_limit_are_not_read(tmp_path: Path) -> None:
    shutil.copy(VIDEO, tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text('{"seeds": [1], "prompt": "' + "x" * 5_000_000 + '"}')
    assert ResultsFolder(tmp_path).past() == []


def test_a_reference_of_any_name_is_lost_in_a_sentence(tmp_path: Path) -> None:
    names = ["x" * 5000, "..", "/etc/passwd", "C:\\a.mp4", "//host/share/a.mp4"]
    told = {"prompt": "x", "seeds": [1], "settings": {}, "references": [{"file": name} for name in names]}
    (tmp_path / "a.json").write_text(json.dumps(told))
    request, lost = ResultsFolder(tmp_path).restored(tmp_path / "a.json")
    assert request.references == ()
    assert len(lost) == len(names)
    told["references"] = [{"file": "a\0b"}]
    (tmp_path / "a.json").write_text(json.dumps(told))
    with pytest.raises(SettingsError, match="need a name without null bytes"):
        ResultsFolder(tmp_path).restored(tmp_path / "a.json")
