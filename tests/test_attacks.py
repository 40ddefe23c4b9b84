"""Files of others, made to harm: each ends in one of our errors, and no code was run and nothing was lost."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers.make_videos import counting, film
from helpers.toy_models import save_toys, toy_adapter, toy_pipeline, toy_tokens
from safetensors import numpy as tensors_of

from comfyui.adapters import load_adapter as load_nodes_adapter
from echoreel.bases.encoding import encoded_for, encoders_of
from echoreel.bases.loading import load_base
from echoreel.cli.library_answers import write_sheet
from echoreel.cli.output import Answer
from echoreel.common.errors import (
    AdapterMismatch,
    CheckpointError,
    EchoReelError,
    InUse,
    OutputError,
    VideoError,
)
from echoreel.evaluation.actorbench.report_page import write_page
from echoreel.evaluation.heldout.report import HeldoutReport
from echoreel.generation.generate import generate
from echoreel.generation.settings import GenerationSettings
from echoreel.library.actions.text_embedder import PACKAGE, load_embedder
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import Store
from echoreel.media.reference_file import FACTS, EncodedFrames, StoredReference, write_reference
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import write_video
from echoreel.method.adapter import ActionAdapter
from echoreel.method.loading import load_adapter
from echoreel.training.encode_pairs import prepare_pairs
from echoreel.training.manifest import read_manifest
from echoreel.training.pair_cache import PairSet, PairSetError, PairSetWriter
from echoreel.training.prepare_settings import PrepareSettings
from echoreel.training.run_folder import RunFolder

SIZE = 32, 32
QUICK = GenerationSettings(steps=1, num_frames=4, height=32, width=32)
CODE = """
open({ran!r}, "w")
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin
from transformers import PretrainedConfig, PreTrainedModel
class Config(PretrainedConfig): model_type = "evil"
class Model(PreTrainedModel): config_class = Config
class Part(ModelMixin, ConfigMixin): pass
class Pipe(DiffusionPipeline): pass
"""
MAPS = {
    "model_type": "evil",
    "auto_map": {
        "AutoConfig": "evil.Config",
        "AutoModel": "evil.Model",
        "AutoTokenizer": ["evil.Part", None],
        "AutoImageProcessor": "evil.Part",
    },
}
# What a base's index says of its parts, and the file in which a part names code.
BASES: dict[str, tuple[dict[str, Any], str]] = {
    "a tokenizer's own class": ({"tokenizer": ["transformers", "AutoTokenizer"]}, "tokenizer/config.json"),
    "a text model's own class": ({"text_encoder": ["transformers", "AutoModel"]}, "text_encoder/config.json"),
    "an image processor's own class": (
        {"feature_extractor": ["transformers", "AutoImageProcessor"]},
        "feature_extractor/preprocessor_config.json",
    ),
    "a denoiser's own module": ({"unet": ["evil", "Part"]}, "unet/evil.json"),
    "a scheduler's own module": ({"scheduler": ["evil", "Part"]}, "scheduler/evil.json"),
    "a pipeline's own module": ({"_class_name": ["evil", "Pipe"]}, "evil.json"),
    "a module that a hub name means": ({"unet": ["someone/evil", "Part"]}, "unet/evil.json"),
    "a module of Python": ({"unet": ["subprocess", "Popen"]}, "unet/evil.json"),
    "a module that is imported": (
        {"unet": ["echoreel.method.networks", "AdapterNetworks"]},
        "unet/evil.json",
    ),
}


class Pickled:
    """Runs code when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = str(ran)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.ran, "w")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter for it, and a video."""
    folder = tmp_path_factory.mktemp("whole")
    save_toys(folder)
    film(folder / "clip.mp4", counting(12, 32, 32), fps=8)
    return folder


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole / "base", tmp_path / "base")


@pytest.fixture
def clip(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole / "clip.mp4", tmp_path / "clip.mp4"))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A reference file that holds something for a base."""
    made = EncodedFrames(
        np.zeros((4, 4, 4, 4), np.float32), np.zeros((3, 16), np.float32), "maker", size=SIZE
    )
    times = np.arange(4) / 8
    path = tmp_path / "reference.safetensors"
    write_reference(path, StoredReference(counting(4, 32, 32), times, 8.0, "a man", encoded=(made,)))
    return path


def edit(path: Path, facts: Mapping[str, Any] | None = None, **tensors: Any) -> Path:
    """Say other facts in a reference file, or hold other tensors; None removes one."""
    data = path.read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    metadata[FACTS] = json.dumps(json.loads(metadata[FACTS]) | dict(facts or {}))
    held = tensors_of.load(data) | {name.replace("__", "."): array for name, array in tensors.items()}
    path.write_bytes(tensors_of.save({k: v for k, v in held.items() if v is not None}, metadata))
    return path


@pytest.mark.parametrize("attack", BASES)
def test_no_code_of_a_base_is_run(base: Path, tmp_path: Path, attack: str) -> None:
    parts, config = BASES[attack]
    index = base / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | parts))
    place = base / config
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(MAPS))
    (place.parent / "tokenizer_config.json").write_text(json.dumps(MAPS | {"tokenizer_class": "Evil"}))
    (place.parent / "evil.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    with pytest.raises(EchoReelError):
        load_base(base)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("steps", [3 * 10**8, 10**400, 0, -1, 1e9, "1000"])
def test_a_schedule_of_any_length_takes_no_memory(base: Path, steps: Any) -> None:
    file = base / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_train_timesteps": steps}))
    with pytest.raises(EchoReelError, match="num_train_timesteps"):
        load_base(base)


def test_the_nodes_adapter_takes_no_memory_for_what_its_config_says(whole: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(whole / "adapter", tmp_path / "adapter")
    config = json.loads((adapter / "config.json").read_text())
    giant = config | {"sites": dict.fromkeys(config["sites"], 10**12), "caption_width": 10**12}
    (adapter / "config.json").write_text(json.dumps(giant))
    with pytest.raises(AdapterMismatch, match="not an adapter of EchoReel"):
        load_nodes_adapter(adapter)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("part", ["base/unet/diffusion_pytorch_model", "base/text_encoder/model", "adapter"])
def test_nothing_is_unpickled_whatever_its_name(whole: Path, tmp_path: Path, part: str, suffix: str) -> None:
    for name in ("base", "adapter"):
        shutil.copytree(whole / name, tmp_path / name)
    stem = "adapter/diffusion_pytorch_model" if part == "adapter" else part
    (tmp_path / f"{stem}.safetensors").unlink()
    torch.save({"weight": Pickled(tmp_path / "ran")}, tmp_path / f"{stem}{suffix}")
    load, name = (load_adapter, "adapter") if part == "adapter" else (load_base, "base")
    with pytest.raises(EchoReelError):
        load(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["modules.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("text", ["3", "[3]", "{", "[" * 50_000, '{"a": 1}'])
def test_damaged_embedders_are_told(tmp_path: Path, file: str, text: str) -> None:
    for path in (Path(str(files(PACKAGE))) / "model").iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / file).unlink(missing_ok=True)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    if (file, text) == ("1_Pooling/config.json", '{"a": 1}'):
        assert load_embedder(str(tmp_path)).width > 0
        return
    with pytest.raises(EchoReelError, match="embedder"):
        load_embedder(str(tmp_path))


def test_rows_of_a_library_lead_nowhere_else(clip: Path, tmp_path: Path) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    for folder in (mine, out, tmp_path / "mine2"):
        folder.mkdir()
        shutil.copy(clip, folder / "a.mp4")
    (mine / "link.mp4").symlink_to(out / "a.mp4")
    (mine / "folder").symlink_to(out)
    (mine / "text.mp4").write_text("secret")
    inside = [
        "../out/a.mp4",
        f"{out}/a.mp4",
        "link.mp4",
        "folder/a.mp4",
        "x/../../out/a.mp4",
        "text.mp4",
        ".",
    ]
    inside += [
        "\u2024\u2024/out/a.mp4",
        "..\uff0fout/a.mp4",
        f"file:{out}/a.mp4",
        "a\0b",
        "",
        "/proc/self/environ",
    ]
    roots = [f"{mine}/../out", f"{mine}2", "", ".", "/", f"{mine}/folder", f"/proc/self/root{out}", "~"]
    rows = [(str(mine), path) for path in inside] + [(root, "a.mp4") for root in roots]
    rows += [("", f"file://{out}/a.mp4"), ("", f"{out}/a.mp4"), (str(mine), "a.mp4")]
    store = Store(tmp_path / "theirs", create=True)
    clips = [{"id": i, "video": i, "root": root, "path": path} for i, (root, path) in enumerate(rows)]
    store.add("clips", pa.Table.from_pylist(clips, schemas()["clips"]))
    library = ReferenceLibrary.open(tmp_path / "theirs", embedder="none")
    library.permissions.allow([mine])
    written, problems = library.export(tmp_path / "copies", library.clips(100))
    assert len(written) == 1
    assert len(problems) == len(rows) - 1


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:2,\nfile://{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile clip.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>',
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".m3u8", ".safetensors"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_video_names_no_other_file(clip: Path, kind: str, suffix: str) -> None:
    path = clip.with_name(f"list{suffix}")
    path.write_text(PLAYLISTS[kind].format(clip))
    with pytest.raises(VideoError):
        ReferenceVideo.from_file(path)


@pytest.mark.parametrize("text", ["mine", '{"path": 1}', "[1]", "\n", '{"id": 7, "path": "my.mp4"}'])
def test_an_export_keeps_a_manifest_of_others(clip: Path, tmp_path: Path, text: str) -> None:
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([clip], quiet=True)
    manifest = tmp_path / "out" / "manifest.jsonl"
    library.export(manifest.parent, library.clips())
    library.export(manifest.parent, library.clips())  # its own it may replace
    manifest.write_text(text)
    with pytest.raises(OutputError, match="no export wrote it"):
        library.export(manifest.parent, library.clips())
    assert manifest.read_text() == text


def test_pairs_keep_shards_of_another_program(tmp_path: Path) -> None:
    theirs = tmp_path / "shard-00007.safetensors"
    theirs.write_bytes(b"theirs")
    with pytest.raises(CheckpointError, match=r"has shard-00007\.safetensors, but no settings\.json"):
        PairSetWriter(tmp_path).bind(PrepareSettings())
    assert theirs.read_bytes() == b"theirs"


def test_pairs_keep_copies_of_shards_that_are_named_otherwise(tmp_path: Path) -> None:
    writer, latents = PairSetWriter(tmp_path), np.zeros((1, 4, 4, 4, 4), np.float16)
    for number in (0, 1):
        writer.write(number, latents, latents[:, None], [["a man", "a man"]])
    mine = [tmp_path / name for name in ("shard-1.safetensors", "shard-000001.safetensors")]
    for path in mine:
        shutil.copy(tmp_path / "shard-00001.safetensors", path)
    assert len(PairSet.open(tmp_path)) == 2
    assert writer.keep([0]) == 1
    assert all(path.exists() for path in mine)


def test_a_folder_in_place_of_a_shard_is_told(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.safetensors").mkdir()
    with pytest.raises(PairSetError, match="this is a folder; give the path of a shard of pairs, or move it"):
        PairSet.open(tmp_path)


def test_a_circle_of_links_is_told_wherever_it_is(clip: Path, tmp_path: Path) -> None:
    for name in ("loop", "run/sheets", "evaluation/videos", "videos/a man running.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to((tmp_path / name).name)
    manifest = tmp_path / "pairs.jsonl"
    pair = {"target": "loop/a.mp4", "caption": "a man", "references": [{"path": clip.name}]}
    manifest.write_text(json.dumps(pair))
    with pytest.raises(VideoError, match="Too many levels of symbolic links"):
        prepare_pairs(toy_pipeline(), manifest, tmp_path / "pairs", PrepareSettings(frames=4, size=SIZE))
    with pytest.raises(PairSetError, match="Too many levels of symbolic links"):
        read_manifest(tmp_path / "loop")
    with pytest.raises(OutputError), RunFolder(tmp_path / "run").locked():
        pass
    with pytest.raises(OutputError):
        HeldoutReport.check_places(tmp_path / "evaluation")
    added = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none").add(
        [tmp_path / "videos"], quiet=True
    )
    assert "Too many levels of symbolic links" in str(added.problems)


CHANGES: dict[str, Callable[[ActionAdapter], Any]] = {
    "attach": lambda adapter: adapter.attach(toy_pipeline()),
    "detach": lambda adapter: adapter.detach(),
    "tokens": lambda adapter: adapter.set_tokens(toy_tokens(adapter)),
    "clear": lambda adapter: adapter.clear_references(),
    "scale": lambda adapter: adapter.set_scale(0),
    "window": lambda adapter: adapter.set_window(0, 0.5),
    "guidance": lambda adapter: adapter.set_guidance("both"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_thread_changes_no_video(change: str) -> None:
    pipe = toy_pipeline()
    adapter, refused = toy_adapter(pipe), []

    def other() -> None:
        with pytest.raises(InUse):
            CHANGES[change](adapter)
        refused.append(change)

    with adapter.reading(pipe):
        adapter.set_tokens(toy_tokens(adapter))
        before = adapter._held.state
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert adapter._held.state is before
    assert refused == [change]
    CHANGES[change](adapter)


def test_damaged_reference_files_raise_only_our_errors(stored: Path) -> None:
    good, dice = stored.read_bytes(), np.random.default_rng(1)
    header = int.from_bytes(good[:8], "little") + 8
    for number in range(300):
        data = bytearray(good[: dice.integers(len(good))] if number < 60 else good)
        for place in dice.integers(min(header, len(data)), size=dice.integers(4)) if data else ():
            data[place] = dice.integers(256)
        stored.write_bytes(data)
        for read in (ReferenceVideo.load, ReferenceVideo.from_file):
            try:
                read(stored).describe()
            except EchoReelError:
                continue


FRAMES = np.zeros((4, 32, 32, 3), np.uint8)
FACTS_THAT_CANNOT_BE: list[dict[str, Any]] = [
    *({"fps": fps} for fps in (1e300, float("inf"), float("nan"), -1, 10**400, "x")),
    *({"duration": seconds} for seconds in (float("inf"), float("nan"), -1)),
    *({"caption": text} for text in ("\0", "x" * 70_000, 1)),
    *({"frames": count} for count in (3, 10**30)),
    *(
        {"encoded": told}
        for told in ([], "x", [{"maker": "m", "family": "f", "base": "b", "size": [10**9, 1]}])
    ),
    {"extra": 1},
]
TENSORS_THAT_CANNOT_BE: list[dict[str, Any]] = [
    *(
        {"times": times}
        for times in (None, np.zeros(4), np.array([0, np.nan, 1, 2]), np.arange(4.0)[::-1].copy())
    ),
    *({"frames": frames} for frames in (None, FRAMES.astype(np.float32), FRAMES[:2].copy())),
    {"extra": FRAMES},
    {"encoded__0__latents": np.full((4, 4, 4, 4), np.nan, np.float32)},
    {"encoded__0__latents": np.zeros(4, np.float32)},
    {"encoded__0__caption": None},
]


@pytest.mark.parametrize("facts", FACTS_THAT_CANNOT_BE, ids=lambda facts: f"{facts}"[:40])
def test_facts_of_a_reference_file_that_cannot_be(stored: Path, facts: dict[str, Any]) -> None:
    with pytest.raises(EchoReelError):
        ReferenceVideo.from_file(edit(stored, facts))


@pytest.mark.parametrize("number", range(len(TENSORS_THAT_CANNOT_BE)))
def test_tensors_of_a_reference_file_that_cannot_be(stored: Path, number: int) -> None:
    with pytest.raises(VideoError):
        ReferenceVideo.from_file(edit(stored, **TENSORS_THAT_CANNOT_BE[number]))


@pytest.mark.parametrize(
    ("latents", "caption"), [((7, 4, 4, 4), (3, 16)), ((4, 4, 4, 4), (3, 99)), ((4, 1, 1, 1), (1, 1))]
)
def test_what_a_reference_file_holds_for_a_base_has_to_be_of_it(
    stored: Path, latents: tuple[int, ...], caption: tuple[int, ...]
) -> None:
    pipe = toy_pipeline()
    told = {"maker": encoders_of(pipe, SIZE), "family": "AnimateDiff", "base": "b", "size": SIZE}
    tensors = {"encoded__0__latents": latents, "encoded__0__caption": caption}
    edit(
        stored, {"encoded": [told]}, **{name: np.zeros(shape, np.float32) for name, shape in tensors.items()}
    )
    with pytest.raises(VideoError, match="what is stored for this base is damaged"):
        generate("a man", stored, base=pipe, adapter=toy_adapter(pipe), settings=QUICK)


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30, np.nan])
@pytest.mark.parametrize("where", ["latents", "caption"])
def test_numbers_of_a_reference_that_no_encoder_makes_are_its_own_fault(
    clip: Path, tmp_path: Path, where: str, value: float
) -> None:
    pipe = toy_pipeline()
    made = encoded_for(pipe, ReferenceVideo.from_file(clip), SIZE, "toy")
    getattr(made.encoded[0], where).flat[0] = value
    told = f"{where if where == 'latents' else 'a caption'} with (values up to|NaN)"
    with pytest.raises(VideoError, match=rf"clip\.mp4: what is stored for this base is damaged \({told}"):
        generate("a man", made, base=pipe, adapter=toy_adapter(pipe), settings=QUICK)
    made.save(tmp_path / "made.safetensors")
    with pytest.raises(VideoError, match=rf"made\.safetensors: not a reference file .*encoded\.0 has {told}"):
        generate("a man", tmp_path / "made.safetensors", base=pipe, adapter=toy_adapter(pipe), settings=QUICK)


def test_an_adapter_that_makes_nan_of_a_reference_is_told(clip: Path) -> None:
    pipe = toy_pipeline()
    adapter = toy_adapter(pipe)
    with torch.no_grad():
        for parameter in adapter.prism.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(AdapterMismatch, match=r"the adapter made NaN or infinite values of clip\.mp4 in tor"):
        generate("a man", clip, base=pipe, adapter=adapter, settings=QUICK)


def test_no_output_replaces_what_it_was_made_from(clip: Path, tmp_path: Path) -> None:
    pipe = toy_pipeline()
    result = generate("a man", clip, base=pipe, adapter=toy_adapter(pipe), settings=QUICK)
    was = clip.read_bytes()
    os.link(clip, tmp_path / "hard.mp4")
    (tmp_path / "soft.mp4").symlink_to(clip)
    (tmp_path / "picture.png").symlink_to(clip)
    for name in ("clip.mp4", "hard.mp4", "soft.mp4", "../{}/clip.mp4", "none/../clip.mp4"):
        for write in (result.save, result.compare_video):
            with pytest.raises(OutputError, match=r"is an input|has \.\. after a folder that is not there"):
                write(tmp_path / name.format(tmp_path.name))
    with pytest.raises(OutputError, match="is an input"):
        result.compare(tmp_path / "picture.png")
    assert clip.read_bytes() == was


def test_names_on_the_report_are_text(tmp_path: Path) -> None:
    evil = "a' onerror='alert(1)' <script>"
    report: Any = SimpleNamespace(
        folder=tmp_path, markdown=lambda: f"| {evil} |\n| --- |\n| {evil} |\n\n{evil}\n"
    )
    page = write_page(report, [tmp_path / "sheets" / f"{evil}.png"]).read_text()
    assert "<script" not in page
    assert "' onerror='" not in page


def test_no_sheet_of_a_library_replaces_its_video(whole: Path, tmp_path: Path) -> None:
    video = tmp_path / "a_man_running.webp"
    result = ReferenceVideo.from_file(whole / "clip.mp4")
    write_video(video, result.frames, 8)
    library = ReferenceLibrary.open(tmp_path / "library", create=True, embedder="none")
    library.add([video], quiet=True)
    was = video.read_bytes()
    with pytest.raises(OutputError, match="is an input"):
        write_sheet(library, library.clips(), video, Answer(as_json=False))
    assert video.read_bytes() == was
