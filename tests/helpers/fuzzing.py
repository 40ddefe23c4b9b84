"""Every reader of other people's files, with good files to start from, and ways to make them bad."""

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from echoreel.bases.loading import WEIGHTS
from echoreel.common.errors import EchoReelError
from echoreel.common.settings import load_settings
from echoreel.generation.request import GenerationRequest
from echoreel.library.sources.captions import beside
from echoreel.library.sources.read_tables import read_table
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import probe, read_image, write_video
from echoreel.method.loading import load_adapter
from echoreel.released.convert_file import read_tensors
from echoreel.training.manifest import read_manifest
from echoreel.training.pair_cache import PairSet
from echoreel.training.train_adapter import AdapterRecipe
from helpers.make_videos import counting, film
from helpers.places import ROOT

RECIPE = 'folder = "run"\npairs = "pairs"\nbase = "embedded"\n[task]\nbatch = 2\nheld_back = 4\n'
RECIPE += "validation_levels = [0.5, 0.9]\n[prism]\nwidth = 64\n[fit]\nsteps = 3\nlearning_rate = 1e-3\n"
PAIR = {"target": "a.mp4", "caption": "a man is running", "start": 1.5, "end": 4}
PAIR |= {"references": [{"path": "b.mp4", "caption": "a woman is running", "start": 0.0, "end": 2.5}]}
SRT = "1\n00:00:01,000 --> 00:00:03,500\na man runs\n\n2\n00:01:00,000 --> 00:01:02,000\n<i>he</i> runs\n"
CSV = 'path,caption,start,end\na.mp4,"a man, running",0,2.5\nb.mp4,a woman is dancing,1,4\n'
NOTES = {
    "prompt": "a man is running",
    "seeds": [0, 1],
    "settings": {"steps": 2, "guidance_scale": 2.0, "num_frames": 16, "window": [0.0, 1.0], "compare": True},
    "references": [{"file": "a.mp4", "caption": "running", "strength": 1.0, "start": 0.0, "crop": "middle"}],
}
TEXTS = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b'"' * 3,
    b"[" * 3000,
    b"{" * 300,
)
NUMBERS = (
    b"-1",
    b"0",
    b"1e309",
    b"nan",
    b"-inf",
    b"9" * 30,
    b"9" * 5000,
    b"1e-320",
    b"true",
    b"null",
    b'"x"',
)
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Reader:
    """One reader: the name that its file has, the file that is made bad, and the good files beside it."""

    file: str
    good: Callable[[Path], object]
    read: Callable[[Path], object]


def _video(suffix: str) -> Callable[[Path], object]:
    return lambda path: film(path, counting(12)) if suffix == ".mkv" else write_video(path, counting(12), 8)


def _watched(path: Path) -> None:
    probe(path)
    ReferenceVideo.from_file(path)


def _result(path: Path) -> None:
    write_video(path, counting(4), 8, notes=json.dumps(NOTES))


def _picture(path: Path) -> None:
    Image.fromarray(counting(1)[0]).save(path)


def _reference(path: Path) -> None:
    ReferenceVideo(counting(8), caption="a man is running").save(path)


def _adapter(path: Path) -> None:
    shutil.copytree(WEIGHTS / "adapter", path.parent, dirs_exist_ok=True)


def _shard(path: Path) -> None:
    from safetensors.numpy import save_file

    latents = np.zeros((4, 4, 2, 4, 4), np.float16)
    path.with_name("shard-00000.captions.json").write_text(json.dumps([["a man is running"] * 2] * 4))
    save_file({"targets": latents, "references": latents[:, None]}, path)


def _checkpoint(path: Path) -> None:
    import torch

    torch.save({"state_dict": {"a.weight": torch.zeros(4, 4), "b": torch.ones(3)}, "step": 3}, path)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8")


def _pairs(path: Path) -> object:
    return PairSet.open(path.parent).batch([0, 3])


def _captions(path: Path) -> object:
    return beside(path.with_suffix(".mp4"))


def listed(path: Path) -> list[object]:
    """All rows of a table."""
    return [row for rows in read_table(path).rows for row in rows]


READERS = {
    **{
        f"video{suffix}": Reader(f"a{suffix}", _video(suffix), _watched)
        for suffix in (".mp4", ".mkv", ".gif", ".webp")
    },
    "settings of a result": Reader("a.mp4", _result, GenerationRequest.restored),
    "picture.png": Reader("a.png", _picture, read_image),
    "picture.jpg": Reader("a.jpg", _picture, read_image),
    "reference file": Reader("a.safetensors", _reference, ReferenceVideo.load),
    "adapter's weights": Reader(
        "adapter/diffusion_pytorch_model.safetensors", _adapter, lambda path: load_adapter(path.parent)
    ),
    "adapter's config": Reader("adapter/config.json", _adapter, lambda path: load_adapter(path.parent)),
    "pairs": Reader(
        "pairs/shard-00000.safetensors", _shard, lambda path: PairSet.open(path.parent).batch([0, 3])
    ),
    "checkpoint": Reader("a.pt", _checkpoint, read_tensors),
    "recipe": Reader("a.toml", _text(RECIPE), lambda path: load_settings(path, AdapterRecipe)),
    "a recipe of ours": Reader(
        "b.toml",
        lambda path: shutil.copy(ROOT / "recipes" / "adapter.toml", path),
        lambda path: load_settings(path, AdapterRecipe),
    ),
    "manifest": Reader("a.jsonl", _text(f"{json.dumps(PAIR)}\n" * 2), read_manifest),
    "notes": Reader("a.json", _text(json.dumps(NOTES)), GenerationRequest.restored),
    "srt": Reader("a.srt", _text(SRT), _captions),
    "vtt": Reader("a.vtt", _text(f"WEBVTT\n\n{SRT}".replace(",", ".")), _captions),
    "caption.json": Reader("a.json", _text(json.dumps([PAIR])), _captions),
    "csv": Reader("t.csv", _text(CSV), listed),
    "jsonl": Reader("t.jsonl", _text(f"{json.dumps(PAIR)}\n" * 3), listed),
    "json": Reader("t.json", _text(json.dumps({"a": PAIR, "b": [PAIR]})), listed),
}


def outcome(reader: Reader, path: Path) -> str:
    """What is wrong, if anything: a file is read, or refused with one of our errors in words."""
    try:
        reader.read(path)
    except EchoReelError as error:
        return "" if str(error).strip() else f"{type(error).__name__} without a word"
    except MemoryError:
        return "MemoryError"
    except OSError as error:
        return "" if error.filename else f"{type(error).__name__} without a file's name: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


def made_bad(data: bytes, chance: random.Random) -> bytes:
    """A few bytes or pieces changed, more of them near the head, where formats say their sizes."""
    bad = bytearray(data)
    for _ in range(1 << chance.randint(0, 4)):
        place = (
            chance.randrange(max(1, len(bad)))
            if chance.random() < 0.5
            else chance.randrange(min(len(bad), 600) + 1)
        )
        match chance.randint(0, 8):
            case 0 | 1 | 2:
                bad[place : place + 1] = bytes([chance.randrange(256)])
            case 3:
                bad[place : place + 4] = chance.choice(
                    (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1")
                )
            case 4:
                del bad[place : place + chance.choice((1, 4, 64, 1 << 12))]
            case 5:
                bad[place:place] = bad[place : place + chance.choice((4, 64, 512))]
            case 6:
                bad[place:place] = chance.choice(TEXTS)
            case 7:
                if found := list(NUMBER.finditer(bytes(bad[:100_000]))):
                    number = chance.choice(found)
                    bad[number.start() : number.end()] = chance.choice(NUMBERS)
            case _:
                if chance.random() < 0.3:
                    del bad[place:]
    return bytes(bad)
