"""(Target, references) pairs as cached latents and captions: written once, mapped into memory in training.

```
pairs/
├── settings.json               what the pairs were made with, if the maker says so (`PairSetWriter.bind`)
├── shard-00000.captions.json   per pair its captions: the target's, then its references'
└── shard-00000.safetensors     targets (N, C, T, h, w) and references (N, R, C, T, h, w), float16
```
The tensors of a shard are written last and renamed into place, so a shard is there whole or not at all. Its
metadata says what it was made of (`Origin`) and which captions belong to it.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from echoreel.common.errors import CheckpointError, EchoReelError
from echoreel.common.files import locked, remove_leftovers, write_atomic
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import check_ends, small_file
from echoreel.common.settings import Settings
from echoreel.common.text import json_value
from echoreel.training.run_folder import bind_settings

_SHARD = re.compile(r"shard-\d+\.safetensors")
_CAPTIONS = TypeAdapter(list[list[str]])


class PairSetError(EchoReelError):
    """A folder of pairs is missing, damaged, or does not fit what is asked of it."""


class Pairs(NamedTuple):
    """A batch of pairs: latents scaled as the base denoises them, float32."""

    targets: Tensor  # (B, C, T, h, w)
    references: Tensor  # (B, R, C, T, h, w)
    captions: list[str]  # of the targets
    reference_captions: list[list[str]]  # per target, of its R references


@dataclass(frozen=True, config={"extra": "forbid", "allow_inf_nan": False})
class Origin:
    """What a shard was made of; empty where its maker did not say (before version 0.2)."""

    sources: str = ""  # a digest of settings, captions and video files
    probe: tuple[float, ...] = ()  # what the autoencoder makes of a test picture, see `autoencoder_probe`

    captions: str = ""  # a digest of the shard's captions, which the writer fills in

    @classmethod
    def of(cls, metadata: Mapping[str, str] | None) -> "Origin":
        """From a shard's metadata. Raises ValueError for what is none of ours."""
        return _ORIGIN.validate_python(json_value((metadata or {}).get("origin", "{}")))

    def metadata(self) -> dict[str, str]:
        """As a shard's file has it: one entry, since safetensors writes several in any order."""
        return {"origin": json.dumps(asdict(self), sort_keys=True)}


_ORIGIN = TypeAdapter(Origin)


class PairSetWriter:
    """Writes shards in any order; what is already there stays, so a killed preparation goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, and clear what a killed one left. Raises OutputError."""
        with locked(self.folder / "pairs.lock", f"another process prepares pairs in {self.folder}"):
            remove_leftovers(self.folder, r"shard-\d+(\.captions)?|settings")
            yield

    def bind(self, settings: Settings) -> None:
        """Store what the pairs are made with.

        Raises CheckpointError if earlier ones were made otherwise, or by another program.
        """
        file, shards = self.folder / "settings.json", shards_in(self.folder)
        if shards and not file.exists():
            raise CheckpointError(
                f"{self.folder} has {shards[0].name}, but no settings.json of a preparation that wrote it; "
                "move it, or choose another folder"
            )
        bind_settings(file, settings, compare=bool(shards))

    def made_of(self, number: int) -> Origin | None:
        """What shard `number` was made of; None when there is no such shard, or a damaged one."""
        try:
            return origin_of(self._path(number))
        except PairSetError:
            return None

    def write(
        self,
        number: int,
        targets: NDArray[np.float16],
        references: NDArray[np.float16],
        captions: Sequence[Sequence[str]],
        origin: Origin | None = None,
    ) -> None:
        """Shard `number`: latents (N, C, T, h, w) and (N, R, C, T, h, w), per pair 1 + R captions.

        Raises PairSetError when the parts do not fit each other or are not finite, OutputError.
        """
        clips = 1 + references.shape[1]
        if references.shape[:1] + references.shape[2:] != targets.shape:
            raise PairSetError(
                f"targets {targets.shape} and references {references.shape} do not fit each other"
            )
        if [len(row) for row in captions] != [clips] * len(targets):
            raise PairSetError(
                f"need {clips} captions for each of {len(targets)} pairs: target, then references"
            )
        if not (np.isfinite(targets).all() and np.isfinite(references).all()):
            raise PairSetError(
                f"the base's autoencoder made latents of shard {number} that are NaN or beyond float16; "
                "load the base in another precision"
            )
        path = self._path(number)
        told = json.dumps([list(row) for row in captions]).encode()
        tensors = {"targets": targets, "references": references}
        arrays = {name: np.ascontiguousarray(t, np.float16) for name, t in tensors.items()}
        marked = replace(origin or Origin(), captions=sha256(told).hexdigest())
        write_atomic(_captions_path(path), told)
        write_atomic(path, save(arrays, marked.metadata()))

    def keep(self, numbers: Collection[int]) -> int:
        """Remove all other shards, which earlier preparations made of more pairs. Returns how many."""
        kept = {self._path(number) for number in numbers}
        others = [path for path in shards_in(self.folder) if path not in kept]
        for path in others:
            path.unlink()
            _captions_path(path).unlink(missing_ok=True)
        return len(others)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"


class PairSet:
    """Pairs by number, read from disk as they are asked for."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """`shards`: files of one folder, in order. Raises PairSetError."""
        self.name = str(shards[0].parent)
        opened = [_opened(path) for path in shards]
        self._files = [file for file, _ in opened]
        self._captions = [captions for _, captions in opened]
        self.probes = {origin_of(path).probe for path in shards}
        shapes = {tuple(file.get_slice("references").get_shape()[1:]) for file in self._files}
        if len(shapes) != 1:
            raise PairSetError(f"shards hold references of several shapes: {sorted(shapes)}")
        self.shape: tuple[int, ...] = shapes.pop()  # (R, C, T, h, w)
        self._ends = list(accumulate(len(captions) for captions in self._captions))

    @classmethod
    def open(cls, folder: Path) -> "PairSet":
        """Every complete shard of the folder, in order. Raises PairSetError when there is none."""
        shards = shards_in(Path(folder))
        if not shards:
            raise PairSetError(f"{folder} holds no pairs (shard-….safetensors); prepare some first")
        return cls(shards)

    def __len__(self) -> int:
        return self._ends[-1]

    def batch(self, indices: Sequence[int]) -> Pairs:
        """The pairs of these numbers, 0 to len - 1."""
        found = [self._locate(index) for index in indices]
        captions = [self._captions[shard][row] for shard, row in found]
        return Pairs(
            targets=self._read("targets", found),
            references=self._read("references", found),
            captions=[row[0] for row in captions],
            reference_captions=[row[1:] for row in captions],
        )

    def all_latents(self) -> NDArray[np.float16]:
        """Every clip (N * (1 + R), C, T, h, w), pair by pair, target before references; in memory."""
        return np.concatenate([_clips(file) for file in self._files])

    def all_captions(self) -> list[str]:
        """The caption of every clip, in the order of `all_latents`."""
        return [caption for captions in self._captions for row in captions for caption in row]

    def _locate(self, index: int) -> tuple[int, int]:
        """Shard and row of a pair."""
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        shard = bisect_right(self._ends, index)
        return shard, index - (self._ends[shard - 1] if shard else 0)

    def _read(self, name: str, found: Sequence[tuple[int, int]]) -> Tensor:
        rows = [self._files[shard].get_slice(name)[row : row + 1] for shard, row in found]
        return torch.from_numpy(np.concatenate(rows).astype(np.float32))


def shards_in(folder: Path) -> list[Path]:
    """Every complete shard, in order."""
    return sorted(path for path in folder.glob("shard-*.safetensors") if _SHARD.fullmatch(path.name))


def origin_of(shard: Path) -> Origin:
    """What a shard was made of. Raises PairSetError when it is missing or damaged."""
    try:
        check_ends(shard)
        with safe_open(shard, framework="np") as file:
            return Origin.of(file.metadata())
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _damaged(shard, error) from error


def _opened(path: Path) -> tuple[Any, list[list[str]]]:
    """A shard's file, mapped into memory, and its captions. Raises PairSetError."""
    try:
        check_ends(path)
        file = safe_open(path, framework="np")
        targets, references = (tuple(file.get_slice(name).get_shape()) for name in ("targets", "references"))
        kinds = {file.get_slice(name).get_dtype() for name in ("targets", "references")}
        stored = small_file(_captions_path(path))
        captions = _CAPTIONS.validate_json(stored)
        digest = Origin.of(file.metadata()).captions
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error
    if len(targets) != 5 or (*references[:1], *references[2:]) != targets or len(references) != 6:
        raise _damaged(path, f"targets {targets} and references {references} do not fit each other")
    if kinds != {"F16"} or not references[0]:
        raise _damaged(path, f"{references[0]} pairs of {', '.join(sorted(kinds))}, need some, of F16")
    fits = [len(row) for row in captions] == [1 + references[1]] * references[0]
    if not fits or digest not in ("", sha256(stored).hexdigest()):
        raise _damaged(path, "its captions are not those that it was made with")
    return file, captions


def _damaged(shard: Path, why: Exception | str) -> PairSetError:
    reason = why if isinstance(why, str) else hint_of(why)
    return PairSetError(f"{shard} is damaged ({reason}); delete it and run the same preparation again")


def _captions_path(shard: Path) -> Path:
    return shard.with_suffix(".captions.json")


def _clips(file: Any) -> NDArray[np.float16]:
    """All clips of a shard (N * (1 + R), C, T, h, w)."""
    targets, references = file.get_tensor("targets"), file.get_tensor("references")
    clips: NDArray[np.float16] = np.concatenate([targets[:, None], references], axis=1)
    return clips.reshape(-1, *clips.shape[2:])
