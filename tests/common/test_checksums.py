"""Checksums: what a disk changes is told, and what other programs write is never called damaged."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.modeling_utils import ModelMixin
from helpers.damage import flipped
from helpers.toy_models import toy_adapter, toy_pipeline
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from echoreel.bases.loading import load_base
from echoreel.common import checksums
from echoreel.common.checksums import add_sum, check_sum, damaged_weights, packaged_sums, with_sum
from echoreel.common.errors import AdapterMismatch, BaseUnsupported, CheckpointError, EchoReelError
from echoreel.common.places import WEIGHTS
from echoreel.evaluation.actorbench.judge import Judge, JudgeSettings
from echoreel.generation.this_machine import examined
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter

TENSORS = {"b": torch.arange(7.0), "a": torch.arange(6).reshape(2, 3), "c": torch.zeros(3).half()}
OTHERS = {name: tensor + 1 for name, tensor in TENSORS.items()}
FILE = "diffusion_pytorch_model.safetensors"


def metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    told: dict[str, str] = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    return told


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "a.safetensors", {"format": "pt", "note": "ä"})
    add_sum(tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_a_bit_that_flips_is_told_wherever_it_is(file: Path) -> None:
    whole = file.read_bytes()
    check_sum(file)
    for place in (*range(whole.index(b'"b"'), whole.index(b"  ")), *range(-82, 0)):
        file.write_bytes(flipped(whole, place))
        with pytest.raises(
            CheckpointError, match=r"^its weights are damaged: a\.safetensors is not as it was"
        ):
            check_sum(file)


def test_tensors_metadata_and_permissions_stay(file: Path, tmp_path: Path) -> None:
    found = load_file(file)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert {key: text for key, text in metadata(file).items() if key != checksums.KEY} == {
        "format": "pt",
        "note": "ä",
    }
    (tmp_path / "usual").touch()
    assert file.stat().st_mode == (tmp_path / "usual").stat().st_mode
    once = file.read_bytes()
    add_sum(file)
    assert file.read_bytes() == once
    assert [*tmp_path.glob("*.partial*")] == []


@pytest.mark.parametrize("data", [b"", b"x", save(TENSORS)[:-1], struct.pack("<Q", 2**40) + b"{}"])
def test_what_is_not_whole_gets_no_checksum(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    add_sum(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == data


def header(path: Path, change: Callable[[str], str]) -> None:
    """Write the file with another header."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    text = change(data[8:end].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[end:])


def kept(tensors: dict[str, Tensor]) -> Callable[[Path], None]:
    """A program that writes other tensors and keeps the metadata, with our checksum in it."""
    return lambda path: save_file(tensors, path, metadata(path))


BY_OTHERS: dict[str, Callable[[Path], None]] = {
    "no metadata": lambda path: save_file(OTHERS, path),
    "metadata of its own": lambda path: save_file(OTHERS, path, {"format": "pt"}),
    "the same once more": lambda path: save_file(load_file(path), path, metadata(path)),
    "half precision": kept({name: tensor.half() for name, tensor in OTHERS.items()}),
    "bfloat16 of half": kept({**OTHERS, "c": OTHERS["c"].bfloat16()}),
    "a tensor more": kept({**OTHERS, "d": torch.zeros(2)}),
    "a tensor less": kept({"a": OTHERS["a"]}),
    "other numbers": kept(OTHERS),
    "another name": kept({f"x.{name}": tensor for name, tensor in OTHERS.items()}),
    "another shape": kept({**OTHERS, "a": OTHERS["a"].T.contiguous()}),
    "another note": lambda path: header(path, lambda text: text.rstrip().replace("ä", "a title")),
    "a checksum of another program": lambda path: save_file(OTHERS, path, {checksums.KEY: "00000000"}),
    "a header that nests": lambda path: header(path, lambda text: "[" * 100_000),
    "no header": lambda path: header(path, lambda text: "[]"),
    "metadata of numbers": lambda path: header(
        path, lambda text: f'{{"__metadata__": {{"{checksums.KEY}": 1}}}}'
    ),
    "a giant header": lambda path: header(path, lambda text: text + " " * 2**22),
    "nothing": lambda path: path.write_bytes(b"") and None,
}


@pytest.mark.parametrize("way", BY_OTHERS)
def test_what_other_programs_write_is_never_called_damaged(file: Path, way: str) -> None:
    BY_OTHERS[way](file)
    check_sum(file)


def test_every_door_of_an_adapter_tells_a_flipped_bit(tmp_path: Path) -> None:
    pipe = toy_pipeline()
    toy_adapter(pipe).save_pretrained(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(flipped(whole))
    for load in (load_adapter, ActionAdapter.from_pretrained):
        with pytest.raises(
            AdapterMismatch, match=r"cannot be loaded: its weights are damaged: diff.* get the"
        ):
            load(str(tmp_path))
    (tmp_path / FILE).write_bytes(whole)
    load_adapter(tmp_path).attach(pipe).detach()


def test_what_users_do_with_an_adapter_raises_no_false_alarm(tmp_path: Path) -> None:
    toy_adapter(toy_pipeline()).save_pretrained(tmp_path / "one")
    assert load_adapter(tmp_path / "one").dtype == torch.float32
    half = ActionAdapter.from_pretrained(tmp_path / "one", torch_dtype=torch.bfloat16)
    half.half().save_pretrained(tmp_path / "half", variant="fp16")
    assert ActionAdapter.from_pretrained(tmp_path / "half", variant="fp16").dtype == torch.float32
    other = load_adapter(tmp_path / "one")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    other.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len([*(tmp_path / "shards").glob("*.safetensors")]) > 1
    ModelMixin.save_pretrained(other, tmp_path / "diffusers")
    assert checksums.KEY not in metadata(tmp_path / "diffusers" / FILE)
    toy_adapter(toy_pipeline(), seed=5).save_pretrained(tmp_path / "one")  # over what is there
    for name in ("one", "shards", "diffusers"):
        load_adapter(tmp_path / name)
    for path in tmp_path.glob("*/*.safetensors"):
        assert (checksums.KEY in metadata(path)) == (path.parent.name != "diffusers")


def test_a_judge_holds_a_checksum(tmp_path: Path) -> None:
    Judge(JudgeSettings(widths=(8, 8, 8), hidden=8)).save(tmp_path)
    Judge.load(tmp_path)
    file = tmp_path / "judge.safetensors"
    file.write_bytes(flipped(file.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"the judge in .*: its weights are damaged: judge\.safetensors"
    ):
        Judge.load(tmp_path)


def test_the_packaged_weights_are_those_of_their_checksums() -> None:
    told = json.loads((WEIGHTS / checksums.SUMS).read_text())
    assert told == packaged_sums(), "after a change of the packaged weights, run scripts/weight_sums.py"


def test_damaged_packaged_weights_are_told_by_every_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors: dict[str, tuple[Callable[[], object], type[EchoReelError]]] = {
        "base": (load_base, BaseUnsupported),
        "adapter": (load_adapter, AdapterMismatch),
        "judges": (Judge.load, CheckpointError),
    }
    told = {f"{kind}/x.safetensors": 0 for kind in doors}
    for kind, (load, error) in doors.items():
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "x.safetensors").write_bytes(b"changed")
        (tmp_path / checksums.SUMS).write_text(json.dumps(told))
        with monkeypatch.context() as patch:
            patch.setattr(checksums, "WEIGHTS", tmp_path)
            assert damaged_weights(kind) == f"{kind}/x.safetensors"
            with pytest.raises(
                error, match=rf"packaged weights are damaged: {kind}/x\.safetensors is not as it"
            ):
                load()
            findings = {finding.subject: finding for finding in examined()}
            assert "the embedded model is damaged" in findings["weights"].told
            (tmp_path / checksums.SUMS).write_text("{")
            assert damaged_weights(kind) == checksums.SUMS
            (tmp_path / checksums.SUMS).unlink()
            assert damaged_weights(kind) is None  # an older package


def test_bytes_and_files_get_the_same(file: Path) -> None:
    again = file.with_name("again.safetensors")
    again.write_bytes(with_sum(save(TENSORS)))
    save_file(TENSORS, file)
    add_sum(file)
    assert again.read_bytes() == file.read_bytes()
