"""Files of cached pairs: shards, what they hold and what they were made of.

```
pairs/
├── settings.json               what the pairs were made with, if the maker says so (`PairSetWriter.bind`)
├── shard-00000.captions.json   per pair its captions: the target's, then its references'
└── shard-00000.safetensors     targets (N, C, T, h, w) and references (N, R, C, T, h, w), float16, and
                                cropped (N, 1 + R), the share of each clip's picture that was cut away
```
Where pairs have several shapes, a shard holds these three of each, as `416x240x33/targets` and so on, and its
captions are in the order of the names. The tensors are written last and renamed into place, so a shard is
there whole or not at all. Its metadata says what it was made of (`Origin`), which captions belong to it, and
the checksum of each row.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open

from echoreel.common.errors import EchoReelError
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import regular_file, small_file
from echoreel.common.text import json_value

Latents: TypeAlias = NDArray[np.float16]

TARGETS = "targets"
ORIGIN = "origin"  # of a shard's metadata
HEAD = 12  # bytes that tell what kind of file one is
NEED = "a shard of pairs, or move it away"
_SHARD = re.compile(
    r"shard-([0-9]{5}|[1-9][0-9]{5,})\.safetensors"
)  # as we write it: others may be the user's
_CAPTIONS = TypeAdapter(list[list[str]])


class PairSetError(EchoReelError):
    """A folder of pairs is missing, damaged, or does not fit what is asked of it."""


class ForeignShard(PairSetError):
    """A file has the name of a shard, and is of another program."""


class Part(NamedTuple):
    """Pairs of one shape, as a shard holds them."""

    targets: Latents  # (N, C, T, h, w)
    references: Latents  # (N, R, C, T, h, w)
    captions: Sequence[Sequence[str]]  # per pair 1 + R: the target's, then its references'
    cropped: Latents | None = None  # (N, 1 + R): share of each clip's picture that was cut away, if known


@dataclass(frozen=True, config={"extra": "forbid", "allow_inf_nan": False})
class Origin:
    """What a shard was made of; empty where its maker did not say (before version 0.2)."""

    sources: str = ""  # a digest of settings, captions and video files
    probe: tuple[float, ...] = ()  # what the autoencoder makes of a test picture, see `autoencoder_probe`
    disturbed: bool = False  # references hold what no target should, as `actors.disturb` makes them

    captions: str = ""  # a digest of the shard's captions, which the writer fills in
    rows: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # CRC-32 of each row of latents; likewise

    @classmethod
    def of(cls, metadata: Mapping[str, str] | None) -> "Origin":
        """From a shard's metadata. Raises ValueError for what is none of ours."""
        return _ORIGIN.validate_python(json_value((metadata or {}).get(ORIGIN, "{}")))

    def metadata(self) -> dict[str, str]:
        """As a shard's file has it: one entry, since safetensors writes several in any order."""
        return {ORIGIN: json.dumps(asdict(self), sort_keys=True)}


_ORIGIN = TypeAdapter(Origin)


class OpenPart(NamedTuple):
    """Pairs of one shape in a shard's file, mapped into memory."""

    path: Path
    file: Any
    name: str
    shape: tuple[int, ...]  # (R, C, T, h, w)
    captions: list[list[str]]
    sums: Mapping[str, Sequence[int]]  # as `Origin.rows`

    def rows(self, key: str, row: int) -> Latents:
        """One row of a tensor (1, …). Raises PairSetError where it is not what was written."""
        found: Latents = self.file.get_slice(key_of(self.name, key))[row : row + 1]
        return self._checked(key, row, found)

    def read(self, key: str) -> Latents:
        """A whole tensor. Raises PairSetError as `rows`."""
        found: Latents = self.file.get_tensor(key_of(self.name, key))
        return self._checked(key, 0, found)

    def _checked(self, key: str, first: int, found: Latents) -> Latents:
        sums = self.sums.get(key_of(self.name, key))
        if sums and row_sums(found) != (*sums[first : first + len(found)],):
            raise _refused(self.path, "its latents are not those that were written")
        if not np.isfinite(found).all():
            raise _refused(self.path, "its latents hold NaN or infinite values")
        return found

    def holds(self, key: str) -> bool:
        return key_of(self.name, key) in self.file.keys()  # noqa: SIM118 - a file of safetensors is no dict

    def clips(self) -> Latents:
        """All clips (N * (1 + R), C, T, h, w)."""
        clips = np.concatenate([self.read("targets")[:, None], self.read("references")], axis=1)
        return clips.reshape(-1, *clips.shape[2:])


def shards_in(folder: Path) -> list[Path]:
    """Every complete shard, in order."""
    return sorted(path for path in folder.glob("shard-*.safetensors") if _SHARD.fullmatch(path.name))


def origin_of(shard: Path) -> Origin:
    """What a shard was made of. Raises PairSetError when it is missing or damaged, ForeignShard."""
    regular_file(shard, PairSetError, NEED)
    try:
        with safe_open(shard, framework="np") as file:
            metadata = file.metadata() or {}
            if ORIGIN not in metadata and not any(key.endswith(TARGETS) for key in file.keys()):  # noqa: SIM118
                raise ValueError("it holds no targets")
            return Origin.of(metadata)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _refused(shard, error) from error


def opened(path: Path) -> list[OpenPart]:
    """The parts of a shard's file, mapped into memory. Raises PairSetError."""
    regular_file(path, PairSetError, NEED)
    try:
        file = safe_open(path, framework="np")
        keys = sorted(file.keys())
        names = [key[: -len(TARGETS)].removesuffix("/") for key in keys if key.endswith(TARGETS)] or [""]
        shapes = [_shape(file, name) for name in names]
        stored = small_file(captions_path(path))
        captions = _CAPTIONS.validate_json(stored)
        origin = Origin.of(file.metadata())
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _refused(path, error) from error
    parts, end = list[OpenPart](), 0
    for name, (count, shape) in zip(names, shapes, strict=True):
        told = captions[end : (end := end + count)]
        parts.append(OpenPart(path, file, name, shape, told, origin.rows))
    fits = all({*map(len, part.captions)} == {1 + part.shape[0]} for part in parts)
    if len(captions) != end or not fits or origin.captions not in ("", sha256(stored).hexdigest()):
        raise _refused(path, "its captions are not those that it was made with")
    return parts


def _shape(file: Any, name: str) -> tuple[int, tuple[int, ...]]:
    """How many pairs a part holds, and the shape (R, C, T, h, w) of their references. Raises ValueError."""
    slices = [file.get_slice(key_of(name, key)) for key in (TARGETS, "references")]
    targets, references = (tuple(each.get_shape()) for each in slices)
    if len(targets) != 5 or (*references[:1], *references[2:]) != targets or len(references) != 6:
        raise ValueError(f"targets {targets} and references {references} do not fit each other")
    kinds = {each.get_dtype() for each in slices}
    if kinds != {"F16"} or not references[0]:
        raise ValueError(f"{references[0]} pairs of {', '.join(sorted(kinds))}, need some, of F16")
    if 0 in references:
        raise ValueError(f"references {references} hold nothing")
    if (key := key_of(name, "cropped")) in file.keys():  # noqa: SIM118 - a file of safetensors is no dict
        shares = file.get_slice(key)
        if (*shares.get_shape(),) != (references[0], 1 + references[1]) or shares.get_dtype() != "F16":
            raise ValueError(f"cropped {shares.get_shape()} do not fit references {references}")
    return references[0], references[1:]


def check_part(number: int, part: Part) -> None:
    """Raises PairSetError when its arrays do not fit each other or are not finite."""
    targets, references = part.targets, part.references
    clips = 1 + references.shape[1]
    if references.shape[:1] + references.shape[2:] != targets.shape:
        raise PairSetError(f"targets {targets.shape} and references {references.shape} do not fit each other")
    if [len(row) for row in part.captions] != [clips] * len(targets):
        raise PairSetError(f"need {clips} captions for each of {len(targets)} pairs: target, then references")
    if not (np.isfinite(targets).all() and np.isfinite(references).all()):
        raise PairSetError(
            f"the base's autoencoder made latents of shard {number} that are NaN or beyond float16; "
            "load the base in another precision"
        )


def row_sums(tensor: Latents) -> tuple[int, ...]:
    """CRC-32 of each row: what a disk loses is told when a pair is read, not trained on."""
    return tuple(crc32(np.ascontiguousarray(row).tobytes()) for row in tensor)


def key_of(name: str, key: str) -> str:
    """A tensor's name in a shard."""
    return f"{name}/{key}" if name else key


def _refused(shard: Path, why: Exception | str) -> PairSetError:
    """A shard of ours is damaged; another file is none, and not to be deleted."""
    reason = why if isinstance(why, str) else hint_of(why)
    if told := _other_maker(shard):
        return ForeignShard(
            f"{shard} is not a shard of pairs that EchoReel prepared ({reason}): {told}; move it away, or "
            "choose another folder"
        )
    return PairSetError(f"{shard} is damaged ({reason}); delete it and run the same preparation again")


def _other_maker(shard: Path) -> str | None:
    """Who made the file, as far as it tells; None where we did, or its head is lost."""
    try:
        with safe_open(shard, framework="np") as file:
            metadata, names = file.metadata() or {}, sorted(file.keys())
    except (OSError, SafetensorError, ValueError):
        with shard.open("rb") as opened_file:
            head = opened_file.read(HEAD)
        is_ours = len(head) < HEAD or not head.strip(b"\0") or head[8:9] == b"{"  # half of one, or lost
        return None if is_ours else f"it is not a file of safetensors, since it begins with {head!r}"
    try:
        Origin.of(metadata)
    except ValueError:
        return "another program made it, or another version of EchoReel"
    if ORIGIN in metadata:
        return None
    return f"another program made it, or EchoReel before 0.2, of {', '.join(names[:3])[:80] or 'no tensors'}"


def captions_path(shard: Path) -> Path:
    return shard.with_suffix(".captions.json")
