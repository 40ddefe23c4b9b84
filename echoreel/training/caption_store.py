"""Text tokens of captions on disk, so that a base trains without its text encoders, often larger than it.

```
captions/tokens-<digest>.safetensors    tokens (n, D) of some captions by a digest of each; rows of zeros that
                                        only fill up to the common length are left out
```
A file is renamed into place, so a killed encoding goes on, and any number of processes share the work.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from echoreel.bases.missing_tensors import check_finite
from echoreel.common.errors import CheckpointError
from echoreel.common.files import remove_leftovers, write_atomic
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import check_ends
from echoreel.common.progress import tracked

CHUNK = 32  # captions in a file
MOST_TOKENS = 65_536  # of a caption
_SUMS = TypeAdapter(dict[str, int])


class CaptionStore:
    """Tokens (L, D) float32 of captions, in a folder."""

    def __init__(self, folder: Path, width: int | None = None) -> None:
        """width: D, where it is known. Raises CheckpointError for a damaged or foreign file."""
        self.folder, self._width = folder, width
        self._files: dict[
            str, tuple[Any, int, dict[str, int]]
        ] = {}  # by a caption's digest: with length, sums
        self._read: set[Path] = set()
        self._look()

    def missing(self, captions: Iterable[str]) -> list[str]:
        """Those that are not there yet, each once, in order."""
        self._look()
        return sorted(each for each in {*captions} if _digest(each) not in self._files)

    def __call__(self, caption: str) -> Tensor | None:
        """Its tokens, if they are there."""
        found = self._files.get(_digest(caption))
        if found is None:
            return None
        file, length, sums = found
        stored: Tensor = file.get_tensor(_digest(caption))
        tokens = stored.float()
        try:
            if sums.get(_digest(caption), _sum(stored)) != _sum(stored):
                raise CheckpointError("a caption's tokens are not those that were written")
            check_finite({"a caption": tokens})
        except CheckpointError as error:
            raise CheckpointError(f"{self.folder}: {error}; move it away and run the same command") from None
        return F.pad(tokens, (0, 0, 0, length - len(tokens)))

    def write(self, tokens: dict[str, Tensor]) -> None:
        """Tokens (L, D) of captions. Raises OutputError."""
        length = len(next(iter(tokens.values())))
        kept = {_digest(caption): _few(each) for caption, each in tokens.items()}
        name = sha256("".join(kept).encode()).hexdigest()[:16]
        sums = {name: _sum(each) for name, each in kept.items()}
        metadata = {"length": str(length), "sums": json.dumps(sums)}
        write_atomic(self.folder / f"tokens-{name}.safetensors", save(kept, metadata))

    def _look(self) -> None:
        for path in sorted({*self.folder.glob("tokens-*.safetensors")} - self._read):
            try:
                check_ends(path)
                file = safe_open(path, framework="pt")
                told = file.metadata() or {}
                length, sums = int(told["length"]), _SUMS.validate_json(told.get("sums", "{}"))
                for name in file.keys():  # noqa: SIM118 - it is no dict
                    _check(file.get_slice(name), length, self._width)
                self._files |= dict.fromkeys(file.keys(), (file, length, sums))
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                raise CheckpointError(
                    f"{path} is damaged, or of another program ({hint_of(error)}); move it away and run the "
                    "same command"
                ) from error
            self._read.add(path)


def encode_ahead(
    store: CaptionStore,
    captions: Sequence[str],
    encoder: Callable[[], Callable[[str], Tensor]],
    rank: int,
    world: int,
) -> None:
    """Encode what the store lacks, together with the other processes. Returns when all is there.

    encoder: makes what encodes a caption to tokens (L, D); called only where there is something to do.
    """
    share = sorted({*captions})[rank::world]  # of all: what is missing differs where one begins earlier
    missing = store.missing(share)
    chunks = [missing[first : first + CHUNK] for first in range(0, len(missing), CHUNK)]
    if rank == 0:
        remove_leftovers(store.folder, r"tokens-[0-9a-f]+")
    if chunks:
        encode = encoder()
        for chunk in tracked(chunks, f"encoding {len(missing)} captions", transient=True):
            store.write({caption: encode(caption) for caption in chunk})
    while store.missing(captions):  # others are still at it
        time.sleep(0.2)


def _check(tokens: Any, length: int, width: int | None) -> None:
    """Raises ValueError for what are not text tokens (L, D), at most `length` of them."""
    shape, kind = tokens.get_shape(), str(tokens.get_dtype())
    fits = len(shape) == 2 and shape[0] <= length <= MOST_TOKENS and width in (None, shape[1])
    if not fits or kind not in ("F32", "BF16"):
        raise ValueError(f"tokens {shape} of {kind}, need ({length}, {width or 'D'}) or fewer of F32 or BF16")


def _sum(tokens: Tensor) -> int:
    """CRC-32 of what is stored: what a disk loses is told, not trained on."""
    return crc32(tokens.contiguous().view(torch.uint8).numpy().tobytes())


def _digest(caption: str) -> str:
    return sha256(caption.encode()).hexdigest()[:32]


def _few(tokens: Tensor) -> Tensor:
    """Without the zeros that it ends with, and in bfloat16 where that holds the same numbers."""
    filled = tokens.any(-1).nonzero()
    tokens = tokens[: int(filled.max()) + 1 if len(filled) else 0].cpu()
    half = tokens.bfloat16()
    return half if torch.equal(half.float(), tokens) else tokens.contiguous()
