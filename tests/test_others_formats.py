"""Files of others that are of the right kind and say what cannot be: schedules, LoRAs, indexes, tables."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from helpers.damage import flipped
from helpers.toy_models import changed, toy_pipeline
from safetensors.torch import save_file

from echoreel.bases.loading import load_base
from echoreel.bases.noise_schedule import check_noise
from echoreel.common.errors import BaseUnsupported, CheckpointError, EchoReelError
from echoreel.generation.continuing import WindowFolder, continued
from echoreel.generation.generate import generate
from echoreel.generation.windows import Plan
from echoreel.library.sources import read_tables
from echoreel.library.sources.catalogues import read_catalogue
from echoreel.library.sources.table_values import CatalogueError
from echoreel.media.images import Frames
from echoreel.media.reference_times import VideoTime
from echoreel.media.reference_video import ReferenceVideo
from echoreel.released.convert_file import read_tensors

CONFIG = "config.json"
SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"trained_betas": [0.1, 0.2, 0.3]}, "has 3 betas for 1000 steps"),
        ({"trained_betas": [float("nan")] * 1000}, "betas hold NaN"),
        ({"beta_start": float("nan")}, "betas hold NaN"),
        ({"beta_start": -1.0}, "betas are -1 to"),
        ({"beta_end": 2.0}, "betas are .* to 2,"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": float("nan")}, "sigmas hold NaN"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": -5.0}, "sigmas are .* need 0 to 1"),
    ],
)
def test_a_schedule_that_is_none_is_told(base: Path, values: dict[str, Any], why: str) -> None:
    import diffusers

    told = json.loads((base / SCHEDULER).read_text())
    kind = getattr(diffusers, values.get("_class_name", told["_class_name"]))
    (base / SCHEDULER).write_text(json.dumps({"num_train_timesteps": 1000} | values))
    with pytest.raises(CheckpointError, match=f"its scheduler.*{why}"):
        check_noise(kind.from_config(kind.load_config(str(base), subfolder="scheduler")))


def test_a_base_of_three_betas_is_refused(base: Path) -> None:
    changed(base / SCHEDULER, num_train_timesteps=1000, trained_betas=[0.1, 0.2, 0.3])
    with pytest.raises(BaseUnsupported, match="has 3 betas for 1000 steps, need one for each"):
        load_base(base)


@pytest.mark.parametrize(
    "values",
    [
        *({"steps_offset": offset} for offset in (10**12, -5000, "x")),
        {"thresholding": True, "dynamic_thresholding_ratio": 5},
    ],
)
def test_a_scheduler_that_cannot_step_is_told(values: dict[str, Any]) -> None:
    pipe = toy_pipeline()
    pipe.scheduler = DDIMScheduler(num_train_timesteps=1000, **values)
    with pytest.raises(EchoReelError, match="the base's DDIMScheduler fails"):
        generate("a man", base=pipe, steps=2, num_frames=2, height=32, width=32)


def test_a_scheduler_of_a_few_betas_is_a_schedule(base: Path) -> None:
    config = {"_class_name": "IPNDMScheduler", "num_train_timesteps": 1000}
    (base / SCHEDULER).write_text(json.dumps(config))
    index = json.loads((base / "model_index.json").read_text())
    changed(base / "model_index.json", scheduler=["diffusers", config["_class_name"]])
    assert index["scheduler"] != ["diffusers", config["_class_name"]]
    assert type(load_base(base).scheduler).__name__ == config["_class_name"]


@pytest.mark.parametrize("facts", [{"unet.r": -1}, {"unet.r": 0}, {"unet.rank_pattern": {"to_q": -3}}])
def test_a_lora_of_no_rank_is_told(toys: Path, tmp_path: Path, facts: dict[str, Any]) -> None:
    file = tmp_path / "lora.safetensors"
    save_file({"unet.x.lora_A.weight": torch.zeros(2, 8)}, file, {"lora_adapter_metadata": json.dumps(facts)})
    with pytest.raises(EchoReelError, match="need at least 1, at most 4096"):
        load_base(toys / "base", loras=[file])


@pytest.mark.parametrize(
    "name", ["unet.lora_A.weight", "lora_unet_x.lora_down.weight", "lora_A", "a..b", "x"]
)
def test_a_lora_of_odd_names_is_told(toys: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "lora.safetensors"
    save_file({name: torch.zeros(2, 8)}, file)
    with pytest.raises(EchoReelError) as told:
        load_base(toys / "base", loras=[file])
    _, _, reason = str(told.value).partition(str(file))
    assert len(reason.removeprefix(": cannot be loaded: ").split()) > 5, reason


@pytest.mark.parametrize("value", [5, [], "x", {"quant_method": "x"}, {"quant_method": 5}, {}])
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_an_odd_quantization_is_told(base: Path, part: str, value: Any) -> None:
    changed(base / part / CONFIG, quantization_config=value)
    try:
        load_base(base)
    except BaseUnsupported as told:
        assert "cannot be loaded: " in str(told)  # noqa: PT017


@pytest.mark.parametrize("shard", ["/etc/passwd", "../../../../../etc/passwd", "", 5, None, "\0"])
def test_an_index_that_names_another_file_is_told(base: Path, shard: Any) -> None:
    name = "diffusion_pytorch_model.safetensors"
    (base / "unet" / name).rename(base / "unet" / "other.safetensors")
    told = {"metadata": {"total_size": 1}, "weight_map": {"conv_in.weight": shard}}
    (base / "unet" / f"{name}.index.json").write_text(json.dumps(told))
    with pytest.raises(BaseUnsupported, match="cannot be loaded: ") as error:
        load_base(base)
    assert "root:" not in str(error.value)


def test_a_sparse_tensor_of_any_size_is_told(tmp_path: Path) -> None:
    sparse = torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**7), check_invariants=True)
    torch.save({"state_dict": {"model.diffusion_model.x": sparse}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="x is a sparse tensor"):
        read_tensors(tmp_path / "a.ckpt")


def rows(path: Path, text: str) -> tuple[int, int]:
    """Of a catalogue: rows, and rows that were refused."""
    path.write_text(text)
    batches, refused = read_catalogue(path)
    return sum(map(len, batches)), refused.counts.total()


def test_an_open_quote_costs_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(*values: Any, **named: Any) -> bool:
        nonlocal read
        read += sum(map(len, values[0]))
        return closed(*values, **named)

    closed = read_tables._is_closed
    monkeypatch.setattr(read_tables, "_is_closed", counted)
    monkeypatch.setattr(read_tables, "RETRIED_CHARACTERS", 100_000)
    monkeypatch.setattr(read_tables, "RECORD_CHARACTERS", 20_000)
    text = "path,caption\n" + 'a.mp4,"a man, runs\n' + "b.mp4,x\n" * 50_000
    assert sum(rows(tmp_path / "a.csv", text)) == 50_001
    assert read < 150_000
    many = "path,caption\n" + ('"' + "x" * 900 + "\n") * 900
    assert rows(tmp_path / "a.csv", many) == (0, 900)
    assert read < 400_000


def test_a_table_of_any_number_of_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="has 10002 columns, at most 10000"):
        rows(tmp_path / "a.csv", "path,caption" + ",x" * 10_000 + "\n")


def test_empty_lines_of_a_table_are_no_rows(tmp_path: Path) -> None:
    text = "path,caption\n\na.mp4,a man runs\n\n\nb.mp4,a man sits\n\n"
    assert rows(tmp_path / "a.csv", text) == (2, 0)
    assert next(iter(read_tables.read_table(tmp_path / "a.csv").rows)).numbers == [3, 6]


def deeper(frames: int, read: Callable[[], Any]) -> Any:
    return deeper(frames - 1, read) if frames else read()


@pytest.mark.parametrize(
    "row", ["{}", '{"path": "a", "caption": "b", "start": {}}', '{"type": "image", "x": {}}']
)
def test_rows_that_nest_are_refused_wherever_they_are_read(tmp_path: Path, row: str) -> None:
    first, nest = '{"path": "a.mp4", "caption": "a man runs"}', "[" * 600 + "]" * 600
    (tmp_path / "a.json").write_text(f"[{first}, {row.replace('{}', nest)}]")
    batches, refused = read_catalogue(tmp_path / "a.json")
    assert deeper(400, lambda: sum(map(len, batches))) == 1
    assert refused.counts.total() == 1


def numpy_file(frames: Any, **header: Any) -> bytes:
    """A file of this array, or one whose header says something else of it."""
    stream = io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False} | header)
        return stream.getvalue() + frames.tobytes()
    np.save(stream, frames)
    return stream.getvalue()


MINE = np.full((4, 8, 8, 3), 7, np.uint8)
ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, a=MINE)
WINDOWS = {
    "an archive": ARCHIVE.getvalue(),
    "a giant shape": numpy_file(MINE, shape=(4, 10**6, 10**6, 3)),
    "a negative shape": numpy_file(MINE, shape=(-4, 8, 8, 3)),
    "no frames": numpy_file(MINE[:0]),
    "too few frames": numpy_file(MINE[:1]),
    "too many frames": numpy_file(np.concatenate([MINE, MINE])),
    "four channels": numpy_file(np.zeros((4, 8, 8, 4), np.uint8)),
    "no width": numpy_file(MINE[:, :, :0]),
    "other numbers": numpy_file(MINE.astype(np.float32)),
    "columns first": numpy_file(MINE, shape=MINE.shape, fortran_order=True),
    "a header that nests": b"\x93NUMPY\x01\x00" + (5000).to_bytes(2, "little") + b"[" * 4999 + b"\n",
    "an open header": b"\x93NUMPY\x01\x00" + (60).to_bytes(2, "little") + b"[" * 59 + b"\n",
    "nothing": b"",
    "another size": numpy_file(np.zeros((4, 4, 4, 3), np.uint8)),
}


@pytest.mark.parametrize("content", WINDOWS)
def test_a_window_of_others_is_made_again(tmp_path: Path, content: str) -> None:
    """Whichever of the two finished windows it is in place of."""
    plan = Plan("continued", VideoTime(7, 8.0), ((0, 4), (3, 7)))
    for foreign in (1, 2):
        folder = WindowFolder(tmp_path / "windows" / "key", 2)
        whole = continued(plan, lambda *_: MINE, None, folder)
        file = tmp_path / "windows" / "key" / f"window-{foreign}-of-2.npy"
        file.write_bytes(WINDOWS[content])
        assert np.array_equal(continued(plan, lambda *_: MINE, None, folder), whole)
        folder.remove()
        assert not (tmp_path / "windows").exists()


def test_a_damaged_or_swapped_window_is_made_again(tmp_path: Path) -> None:
    plan = Plan("continued", VideoTime(10, 8.0), ((0, 4), (3, 7), (6, 10)))
    folder, made = WindowFolder(tmp_path / "key", 3), list[int]()

    def film_window(number: int, image: Frames | None) -> Frames:
        made.append(number)
        return MINE + number

    def again() -> list[int]:
        """Which windows are made."""
        made.clear()
        assert np.array_equal(continued(plan, film_window, None, folder), whole)
        return [*made]

    whole = continued(plan, film_window, None, folder)
    first, second, third = (tmp_path / "key" / f"window-{number}-of-3.npy" for number in (1, 2, 3))
    assert again() == []
    second.write_bytes(flipped(second.read_bytes(), -5))
    assert again() == [1]
    second.write_bytes(first.read_bytes())
    assert again() == [1]
    (tmp_path / "other").mkdir()
    WindowFolder(tmp_path / "other", 3).write(2, MINE)
    third.write_bytes((tmp_path / "other" / third.name).read_bytes())
    assert again() == [2]
    third.write_bytes(numpy_file(MINE + 2))  # of an older version, without a checksum
    assert again() == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_in_place_of_a_window_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "window-1-of-2.npy")
    (tmp_path / "link").symlink_to(tmp_path)
    folder = WindowFolder(tmp_path / "link", 2)
    assert folder.read(0, 4) is None
    folder.remove()  # what cannot be removed stays, and is no fault
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("kind", ["duration", "date", "twice"])
def test_columns_of_parquet_that_cannot_be_are_told(tmp_path: Path, kind: str) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    starts = {"duration": pa.array([2**62], pa.duration("s")), "date": pa.array([2**31 - 1], pa.date32())}
    columns = {"path": pa.array(["a.mp4"]), "caption": pa.array(["a man runs"])}
    last = ("path", columns["path"]) if kind == "twice" else ("start", starts[kind])
    table = pa.table([*columns.values(), last[1]], names=[*columns, last[0]])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(CatalogueError, match="export it"):
        read_catalogue(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("shape", "fps"), [((2, 1, 256, 3), 8.0), ((2, 512, 1, 3), 8.0), ((2, 8, 8, 3), 2e-5)]
)
def test_a_notebook_shows_frames_of_any_shape_and_rate(shape: tuple[int, ...], fps: float) -> None:
    assert "data:image/webp" in ReferenceVideo(np.zeros(shape, np.uint8), fps=fps)._repr_html_()


def test_a_rate_below_a_frame_a_day_is_told() -> None:
    with pytest.raises(EchoReelError, match=r"fps: got 1e-300, need 1\.2e-05 to 1000"):
        ReferenceVideo(np.zeros((2, 8, 8, 3), np.uint8), fps=1e-300)
