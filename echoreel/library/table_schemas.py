"""The columns of a library's tables, and what a table of another form lacks."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "1"  # of the tables' columns
LATER = {("files", "said")}  # (table, column) that libraries of earlier versions do not have
LOOK_WIDTH = 24  # numbers that tell a look
WIDEST = 16_384  # numbers of a vector, of any embedder


@cache
def schemas() -> "dict[str, pa.Schema]":
    """Columns of every table but `vectors`, whose width is the embedder's."""
    import pyarrow as pa

    text, number, seconds = pa.string(), pa.int64(), pa.float32()
    clips = [("id", number), ("video", number), ("root", text), ("path", text)]
    clips += [("start", seconds), ("end", seconds), ("caption", text), ("action", text), ("verb", text)]
    clips += [("look", pa.list_(pa.float32(), LOOK_WIDTH)), ("motion", pa.float32())]
    actions = [("action", text), ("verb", text), ("lemmas", pa.list_(text))]
    files = [("path", text), ("size", number), ("changed", number), ("content", number), ("said", number)]
    captions = [("id", number), ("caption", text), ("was", text)]
    encoded = [("id", number), ("maker", text), ("recipe", text), ("tensors", pa.large_binary())]
    tables = {"clips": clips, "actions": actions, "files": files, "encoded": encoded}
    tables |= {"removed": clips, "captions": captions}
    return {name: pa.schema(fields, {"version": VERSION}) for name, fields in tables.items()}


def vectors_schema(embedder: str, width: int) -> "pa.Schema":
    """Columns of `vectors`, and the name of the embedder that they are from."""
    import pyarrow as pa

    return pa.schema(
        [("action", pa.string()), ("vector", pa.list_(pa.float16(), width))], {"embedder": embedder}
    )


def mismatch(name: str, found: "pa.Schema") -> str:
    """What is wrong with the columns of a table, or ""."""
    import pyarrow as pa

    metadata = {key.decode(): value.decode() for key, value in (found.metadata or {}).items()}
    if name == "vectors":
        vector = found.field("vector").type if "vector" in found.names else None
        if vector is None or not pa.types.is_fixed_size_list(vector) or "embedder" not in metadata:
            return "need vectors of one width and the name of their embedder"
        if vector.list_size > WIDEST:
            return f"has vectors of {vector.list_size} numbers, at most {WIDEST}"
        wanted = vectors_schema(metadata["embedder"], vector.list_size)
    else:
        wanted = schemas()[name]
        if name == "clips" and (version := metadata.get("version", "")) != VERSION:
            return f"has version {version!r}, need {VERSION!r}"
    wrong = [
        field.name
        for field in wanted
        if ((name, field.name) not in LATER or field.name in found.names)
        and (field.name not in found.names or found.field(field.name) != field)
    ]
    return f"need other columns for {', '.join(wrong)}" if wrong else ""
