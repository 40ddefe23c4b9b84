"""(Target, references) pairs as cached latents and captions: written once, mapped into memory in training.

`pair_shards` says what lies in a folder of them.
"""

import json
import logging
import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from echoreel.common.errors import CheckpointError, EchoReelError
from echoreel.common.files import absent, locked, remove_leftovers, remove_lock, turn, undone, write_together
from echoreel.common.settings import Settings
from echoreel.training.pair_shards import (
    ForeignShard,
    Latents,
    OpenPart,
    Origin,
    PairSetError,
    Part,
    captions_path,
    check_part,
    key_of,
    opened,
    origin_of,
    row_sums,
    shards_in,
)
from echoreel.training.run_folder import bind_settings, check_settings

LOG = logging.getLogger(__name__)
__all__ = ["Origin", "PairSet", "PairSetError", "PairSetWriter", "Pairs", "shards_in"]


class Pairs(NamedTuple):
    """A batch of pairs: latents scaled as the base denoises them, float32."""

    targets: Tensor  # (B, C, T, h, w)
    references: Tensor  # (B, R, C, T, h, w)
    captions: list[str]  # of the targets
    reference_captions: list[list[str]]  # per target, of its R references


class Bucket(NamedTuple):
    """All pairs of one shape in a folder."""

    numbers: Tensor  # (N,), of the pairs
    shape: tuple[int, ...]  # (R, C, T, h, w)


class PairSetWriter:
    """Writes shards in any order; what is already there stays, so a killed preparation goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        own = (self.folder / "settings.json", self.folder, *self.folder.parents)
        self._new, self._has_lock = absent(own), not absent([self._lock])

    @property
    def _lock(self) -> Path:
        return self.folder / "pairs.lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, and clear what a killed one left. Raises OutputError."""
        with locked(self._lock, f"another process prepares pairs in {self.folder}"):
            self.clear()
            yield

    def clear(self) -> None:
        """Remove what killed writers left; nobody must be writing."""
        remove_leftovers(self.folder, r"shard-\d+(\.captions)?|settings")

    def turn(self, number: int, wait: bool = False) -> AbstractContextManager[bool]:
        """Hold shard `number`, beside other processes that write others; as `common.files.turn`."""
        return turn(self._lock, 1 + number, wait)

    def bind(self, settings: Settings) -> None:
        """Store what the pairs are made with.

        Raises CheckpointError if earlier ones were made otherwise, ForeignShard if another program made one.
        """
        file, shards = self.folder / "settings.json", shards_in(self.folder)
        if shards and not file.exists():
            raise CheckpointError(
                f"{self.folder} has {shards[0].name}, but no settings.json of a preparation that wrote it; "
                "move it, or choose another folder"
            )
        for path in shards:
            self.made_of(int(path.stem.removeprefix("shard-")))
        bind_settings(file, settings, compare=bool(shards))

    def check_bound(self, settings: Settings) -> None:
        """Raises CheckpointError where another process has bound other settings since.

        They are stored again where another process was refused, and removed them.
        """
        file = self.folder / "settings.json"
        check_settings(file, settings)
        if not file.exists():
            bind_settings(file, settings)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """If the block is refused, remove the lock and, before there is a shard, all that was not here before
        this writer."""
        with undone(self._new, lambda: bool(shards_in(self.folder))):
            try:
                yield
            except EchoReelError:
                if not self._has_lock:
                    remove_lock(self._lock)
                raise

    def made_of(self, number: int) -> Origin | None:
        """What shard `number` was made of; None when there is no such shard, or a damaged one.

        Raises ForeignShard for one of another program, which is not to be replaced.
        """
        try:
            return origin_of(self._path(number))
        except ForeignShard:
            raise
        except PairSetError:
            return None

    def write(
        self,
        number: int,
        targets: Latents,
        references: Latents,
        captions: Sequence[Sequence[str]],
        origin: Origin | None = None,
    ) -> None:
        """Shard `number` of pairs of one shape, as `write_parts`."""
        self.write_parts(number, {"": Part(targets, references, captions)}, origin)

    def write_parts(self, number: int, parts: Mapping[str, Part], origin: Origin | None = None) -> None:
        """Shard `number`: pairs of each shape by its name.

        Raises PairSetError when the parts do not fit each other or are not finite, OutputError.
        """
        arrays, captions = {}, list[Sequence[str]]()
        for name, part in sorted(parts.items()):  # as safetensors orders them
            check_part(number, part)
            captions += part.captions
            for key, tensor in part._asdict().items():
                if key != "captions" and tensor is not None:
                    arrays[key_of(name, key)] = np.ascontiguousarray(tensor, np.float16)
        path = self._path(number)
        told = json.dumps([list(row) for row in captions]).encode()
        rows = {key: row_sums(tensor) for key, tensor in arrays.items()}
        marked = replace(origin or Origin(), captions=sha256(told).hexdigest(), rows=rows)
        # Together, tensors last: captions alone would look like pairs that a disk lost.
        write_together({path: save(arrays, marked.metadata()), captions_path(path): told})

    def keep(self, numbers: Collection[int]) -> int:
        """Remove all other shards, which earlier preparations made of more pairs. Returns how many."""
        kept = {self._path(number) for number in numbers}
        others = [path for path in shards_in(self.folder) if path not in kept]
        for path in others:
            path.unlink(missing_ok=True)
            captions_path(path).unlink(missing_ok=True)
        return len(others)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"


class PairSet:
    """Pairs by number, read from disk as they are asked for; of one shape, or of several in buckets."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """`shards`: files of one folder, in order. Raises PairSetError."""
        self.name = str(shards[0].parent)
        self._parts = [part for path in shards for part in opened(path)]
        origins = [origin_of(path) for path in shards]
        self.probes = {origin.probe for origin in origins}
        self.disturbed = any(origin.disturbed for origin in origins)
        self._ends = list(accumulate(len(part.captions) for part in self._parts))
        names = dict.fromkeys(part.name for part in self._parts)
        self.buckets = {name: self._bucket(name) for name in names}
        if len({bucket.shape[:2] for bucket in self.buckets.values()}) != 1:
            self._refuse(bucket.shape for bucket in self.buckets.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, C, T, h, w), of the largest bucket."""
        return max((bucket.shape for bucket in self.buckets.values()), key=math.prod)

    @property
    def commonest(self) -> Tensor:
        """The pairs (N,) of the bucket that has most."""
        return max((bucket.numbers for bucket in self.buckets.values()), key=len)

    @classmethod
    def open(cls, folder: Path) -> "PairSet":
        """Every complete shard of the folder, in order. Raises PairSetError when there is none."""
        shards = shards_in(Path(folder))
        if not shards:
            raise PairSetError(f"{folder} holds no pairs (shard-….safetensors); prepare some first")
        lost = {*Path(folder).glob("shard-*.captions.json")} - {*map(captions_path, shards)}
        if lost:
            LOG.warning(
                "%s: the pairs of %s have no latents and are left out; run the same preparation again",
                folder,
                ", ".join(path.name for path in sorted(lost)[:3]),
            )
        return cls(shards)

    def __len__(self) -> int:
        return self._ends[-1]

    def batch(self, indices: Sequence[int]) -> Pairs:
        """The pairs of these numbers, 0 to len - 1, all of one bucket."""
        found = [self._locate(index) for index in indices]
        captions = [part.captions[row] for part, row in found]
        return Pairs(
            targets=self._read("targets", found),
            references=self._read("references", found),
            captions=[row[0] for row in captions],
            reference_captions=[row[1:] for row in captions],
        )

    def all_latents(self) -> Latents:
        """Every clip (N * (1 + R), C, T, h, w), pair by pair, target before references; in memory.

        All must be of one shape.
        """
        return np.concatenate([part.clips() for part in self._parts])

    def all_captions(self) -> list[str]:
        """The caption of every clip, in the order of `all_latents`."""
        return [caption for part in self._parts for row in part.captions for caption in row]

    def cropped(self, name: str) -> tuple[float, float] | None:
        """Mean share of the picture that was cut away of a bucket's targets, and of its references; None
        where nobody noted it."""
        parts = [part for part in self._parts if part.name == name and part.holds("cropped")]
        if not parts:
            return None
        shares = np.concatenate([part.read("cropped") for part in parts]).astype(np.float32)
        return float(shares[:, 0].mean()), float(shares[:, 1:].mean())

    def _bucket(self, name: str) -> Bucket:
        found = [(part, end) for part, end in zip(self._parts, self._ends, strict=True) if part.name == name]
        if len({part.shape for part, _ in found}) != 1:
            self._refuse(part.shape for part, _ in found)
        spans = [torch.arange(end - len(part.captions), end) for part, end in found]
        return Bucket(torch.cat(spans), found[0][0].shape)

    def _refuse(self, shapes: Iterable[tuple[int, ...]]) -> NoReturn:
        raise PairSetError(f"shards hold references of several shapes: {sorted({*shapes})}")

    def _locate(self, index: int) -> tuple["OpenPart", int]:
        """The part of a shard that a pair is in, and its row there."""
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        return self._parts[number], index - (self._ends[number - 1] if number else 0)

    def _read(self, name: str, found: Sequence[tuple["OpenPart", int]]) -> Tensor:
        rows = [part.rows(name, row) for part, row in found]
        return torch.from_numpy(np.concatenate(rows).astype(np.float32))
