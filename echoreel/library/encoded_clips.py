"""Clips of a library encoded for a base ahead of time: their latents and caption tokens.

The Prism itself reads the prompt, too, so its tokens are made at each generation; what comes before it, and
takes most of the time, is stored here (docs/research/decisions/0010-what-is-stored-of-a-reference.md).
"""

import logging
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.encoding import encode_references, encoders_of
from echoreel.bases.loading import model_name
from echoreel.bases.lookup import base_of
from echoreel.common.checksums import is_changed, with_sum
from echoreel.common.errors import EchoReelError
from echoreel.common.loading_errors import hint_of
from echoreel.common.progress import tracked
from echoreel.library.clips import LibraryClip, check_any
from echoreel.library.conditions import one_of, sql
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.table_schemas import schemas
from echoreel.media.reference_file import EncodedFrames
from echoreel.media.reference_video import ReferenceVideo

LOG = logging.getLogger(__name__)
CLIPS_OF_A_WRITE = 32


@dataclass
class Stored:
    """What came of `encode_library`."""

    clips: int = 0  # encoded now
    known: int = 0  # that were, by the same encoders
    stale: int = 0  # that were, by the same base before its weights changed: encoded again
    problems: list[tuple[str, str]] = field(default_factory=list)

    def details(self) -> dict[str, Any]:
        return asdict(self)


def encode_library(library: ReferenceLibrary, base: BaseLike, size: tuple[int, int]) -> Stored:
    """Encode every clip that is a file of this machine at `size` (height, width) and store it.

    Stopped, the same call goes on. Clips that cannot be read are in the result; URLs are left out.
    Raises OutputError where none is encoded in the end, and keeps those of other weights then.
    """
    store, base = library.store, base_of(base)
    maker, recipe = encoders_of(base, size), f"{model_name(base.pipe)} {size[0]}x{size[1]}"
    rows = store.rows("encoded", f"recipe = {sql(recipe)}", ["id", "maker"])
    done = {row["id"] for row in rows.to_pylist() if row["maker"] == maker}
    stored = Stored(known=len(done), stale=len(rows) - len(done))
    clips = [clip for batch in library.batches("root <> ''") for clip in batch if clip.number not in done]
    waiting: list[dict[str, Any]] = []
    for clip in tracked(clips, f"encoding {len(clips)} clips"):
        try:
            reference = library.reference(clip)
        except (EchoReelError, OSError) as error:
            stored.problems.append((clip.place, str(error)))
            continue
        ((latents, caption),) = encode_references(base, [reference], size)
        tensors = {"latents": latents[0].float().cpu().numpy(), "caption": caption[0].float().cpu().numpy()}
        row = {"id": clip.number, "maker": maker, "recipe": recipe}
        data = with_sum(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))
        waiting.append(row | {"tensors": data})
        stored.clips += 1
        if len(waiting) == CLIPS_OF_A_WRITE:
            _write(library, waiting)
    _write(library, waiting)
    if clips:
        check_any(range(stored.known + stored.clips), "encoded", stored.problems)
    if stored.stale:
        store.remove("encoded", f"recipe = {sql(recipe)} AND maker <> {sql(maker)}")
    return stored


def with_encoded(
    library: ReferenceLibrary,
    taken: list[tuple[LibraryClip, ReferenceVideo]],
    base: Base,
    size: tuple[int, int],
) -> tuple[list[ReferenceVideo], int]:
    """The references, with what is stored of them for these encoders; and of how many that is stale."""
    rows = library.store.rows("encoded", one_of("id", [clip.number for clip, _ in taken])) if taken else None
    if rows is None or not len(rows):
        return [reference for _, reference in taken], 0
    maker, recipe = encoders_of(base, size), f"{model_name(base.pipe)} {size[0]}x{size[1]}"
    listed = rows.to_pylist()
    mine = {row["id"]: row["tensors"] for row in listed if row["maker"] == maker}
    stale = {row["id"] for row in listed if row["recipe"] == recipe} - mine.keys()
    references = []
    for clip, reference in taken:
        encoded = _read(mine.get(clip.number), maker)
        references.append(
            reference if encoded is None else replace(reference, encoded=(*reference.encoded, encoded))
        )
    return references, len(stale)


def _read(tensors: bytes | None, maker: str) -> EncodedFrames | None:
    """None where nothing is stored, or what is stored is damaged, which is told."""
    if tensors is None:
        return None
    try:
        found = load(tensors)
        if not is_changed(BytesIO(tensors)):
            return EncodedFrames(found["latents"], found["caption"], maker)
        why = "it is not as it was written"
    except (SafetensorError, KeyError) as error:
        why = hint_of(error)
    LOG.warning("an encoded clip of the library is damaged (%s); its video is encoded instead", why)
    return None


def _write(library: ReferenceLibrary, waiting: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    if waiting:
        library.store.add("encoded", pa.Table.from_pylist(waiting, schemas()["encoded"]))
        waiting.clear()
