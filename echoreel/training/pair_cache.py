"""(Target, references) pairs as cached latents and captions: written once, mapped into memory in training.

```
pairs/
├── settings.json               what the pairs were made with, if the maker says so (`PairSetWriter.bind`)
├── shard-00000.captions.json   per pair its captions: the target's, then its references'
└── shard-00000.safetensors     targets (N, C, T, h, w) and references (N, R, C, T, h, w), float16
```
The tensors of a shard are written last and renamed into place, so a shard is there whole or not at all.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from echoreel.common.errors import EchoReelError
from echoreel.common.files import PARTIAL, write_atomic
from echoreel.common.randomness import seeded
from echoreel.common.settings import Settings
from echoreel.training.run_folder import bind_settings


class PairSetError(EchoReelError):
    """A folder of pairs is missing, damaged, or does not fit what is asked of it."""


class Pairs(NamedTuple):
    """A batch of pairs: latents scaled as the base denoises them, float32."""

    targets: Tensor  # (B, C, T, h, w)
    references: Tensor  # (B, R, C, T, h, w)
    captions: list[str]  # of the targets
    reference_captions: list[list[str]]  # per target, of its R references


def shuffled_roles(pairs: Pairs, references: int, swap: bool, generator: torch.Generator) -> Pairs:
    """Every pair with so many of its references, reordered; with `swap`, any clip may be the target."""
    clips = torch.cat([pairs.targets[:, None], pairs.references], dim=1)
    batch, count = clips.shape[:2]
    order = torch.rand(batch, count, generator=generator)
    if not swap:
        order[:, 0] = -1
    order = order.argsort(1)[:, : 1 + references]
    chosen = clips[torch.arange(batch)[:, None], order]
    rows = zip(pairs.captions, pairs.reference_captions, order.tolist(), strict=True)
    captions = [[[caption, *others][place] for place in places] for caption, others, places in rows]
    return Pairs(chosen[:, 0], chosen[:, 1:], [row[0] for row in captions], [row[1:] for row in captions])


def same_moments(pairs: Pairs, moments: int, generator: torch.Generator) -> Pairs:
    """Every pair cut to so many consecutive latent frames, the same of its target and its references.

    With one moment, motion modules see single frames, 16 times cheaper than clips of 16: an adapter learns
    there how a reference's poses look before it learns how they move.
    """
    frames = pairs.targets.shape[2]
    starts = torch.randint(0, frames - min(moments, frames) + 1, pairs.targets.shape[:1], generator=generator)
    cut = [slice(start, start + moments) for start in starts.tolist()]
    return pairs._replace(
        targets=torch.stack([clip[:, window] for clip, window in zip(pairs.targets, cut, strict=True)]),
        references=torch.stack(
            [clips[:, :, window] for clips, window in zip(pairs.references, cut, strict=True)]
        ),
    )


class PairSetWriter:
    """Writes shards in any order; what is already there stays, so a killed preparation goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"*{PARTIAL}"):
            left.unlink()

    def bind(self, settings: Settings) -> None:
        """Store what the pairs are made with. Raises CheckpointError if earlier ones were made otherwise."""
        bind_settings(
            self.folder / "settings.json", settings, compare=any(self.folder.glob("shard-*.safetensors"))
        )

    def has(self, number: int) -> bool:
        """Whether shard `number` is complete."""
        return self._path(number).exists()

    def write(
        self,
        number: int,
        targets: NDArray[np.float16],
        references: NDArray[np.float16],
        captions: Sequence[Sequence[str]],
    ) -> None:
        """Shard `number`: latents (N, C, T, h, w) and (N, R, C, T, h, w), per pair 1 + R captions.

        Raises PairSetError when the parts do not fit each other.
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
        path = self._path(number)
        write_atomic(_captions_path(path), json.dumps([list(row) for row in captions]).encode())
        tensors = {"targets": targets, "references": references}
        write_atomic(path, save({name: np.ascontiguousarray(t, np.float16) for name, t in tensors.items()}))

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"


class PairSet:
    """Pairs by number, read from disk as they are asked for."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """`shards`: files of one folder, in order. Raises PairSetError."""
        self._files, self._captions = [], []
        for path in shards:
            file, captions = _opened(path)
            self._files.append(file)
            self._captions.append(captions)
        shapes = {tuple(file.get_slice("references").get_shape()[1:]) for file in self._files}
        if len(shapes) != 1:
            raise PairSetError(f"shards hold references of several shapes: {sorted(shapes)}")
        self.shape: tuple[int, ...] = shapes.pop()  # (R, C, T, h, w)
        self._ends = list(accumulate(len(captions) for captions in self._captions))

    @classmethod
    def open(cls, folder: Path) -> "PairSet":
        """Every complete shard of the folder, in order. Raises PairSetError when there is none."""
        shards = sorted(Path(folder).glob("shard-*.safetensors"))
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


def step_indices(step: int, batch: int, count: int, seed: int) -> list[int]:
    """Which of `count` things make batch number `step`: each once per epoch, in that epoch's order."""
    positions = range(step * batch, (step + 1) * batch)
    return [int(_epoch_order(count, seed, position // count)[position % count]) for position in positions]


@lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=seeded(seed, epoch))


def _opened(path: Path) -> tuple[Any, list[list[str]]]:
    """A shard's file, mapped into memory, and its captions. Raises PairSetError."""
    try:
        file = safe_open(path, framework="np")
        shape = tuple(file.get_slice("references").get_shape())  # type: ignore[no-untyped-call]
        captions = json.loads(_captions_path(path).read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise PairSetError(f"{path} is damaged ({error}); delete it and prepare it again") from error
    if [len(row) for row in captions] != [1 + shape[1]] * shape[0]:
        raise PairSetError(f"{path} and its captions do not fit; delete both and prepare them again")
    return file, captions


def _captions_path(shard: Path) -> Path:
    return shard.with_suffix(".captions.json")


def _clips(file: Any) -> NDArray[np.float16]:
    """All clips of a shard (N * (1 + R), C, T, h, w)."""
    targets, references = file.get_tensor("targets"), file.get_tensor("references")
    clips: NDArray[np.float16] = np.concatenate([targets[:, None], references], axis=1)
    return clips.reshape(-1, *clips.shape[2:])
