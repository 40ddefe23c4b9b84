"""Parquet catalogues -> batches of rows, at a cost that the file's size tells."""

import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from echoreel.common.places import regular_file
from echoreel.library.sources.table_values import (
    CAPTION_CHARACTERS,
    LOCATION_CHARACTERS,
    NEEDED,
    CatalogueError,
    choose_columns,
    reading,
)
from echoreel.library.tables import joined

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 131_072  # of a batch, fewer where they are long
BATCH_BYTES = 64 * 2**20
RATIO = 100  # bytes unpacked from one, at most; people's text packs to a tenth
UNPACKED = 500  # where equal values are one, which are kept to some thousand characters
VALUES = 10  # rows, or captions in their lists, in one byte, at most
TIME_CHARACTERS = 40
FACT_BYTES = 4 * 2**20  # of the footer: read, it takes some forty times as much memory


TIMES = ("start", "end")


class Batch(NamedTuple):
    """Rows as they stand in a catalogue."""

    numbers: list[int]
    location: "pa.Array"  # of strings, without nulls
    caption: "pa.Array"
    start: list[Any]
    end: list[Any]


def read_parquet(path: Path, given: Mapping[str, str]) -> tuple[dict[str, str], Iterator[Batch]]:
    """What is meant -> its column, and the rows; of a list of captions one for each. Raises CatalogueError.

    given: as of `read_catalogue`. Values are cut to one character over what is kept, so that it can be told.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    regular_file(path, CatalogueError, "a catalogue")
    with reading(path, pa.ArrowException):
        _check_facts(path)
        schema = pq.read_schema(path)
        chosen = choose_columns(path.name, schema.names, given)
        if twice := [name for name in chosen.values() if schema.names.count(name) > 1]:
            raise CatalogueError(f"{path.name}: has several columns {twice[0][:80]}; export it with one")
        for name in (chosen[meant] for meant in NEEDED):
            if not _holds_text(schema.field(name).type):
                kind = str(schema.field(name).type)[:80]
                raise CatalogueError(f"{path.name}: column {name} is of {kind}, need text; export it again")
        for meant in {*TIMES} & {*chosen}:
            kind = schema.field(chosen[meant]).type
            if pa.types.is_nested(kind) or (pa.types.is_temporal(kind) and not pa.types.is_time(kind)):
                told = f"{path.name}: column {chosen[meant]} is of {str(kind)[:80]}, need seconds"
                raise CatalogueError(f"{told}; export it again")
        _check_cost(path, pq.read_metadata(path), [*chosen.values()])
    return chosen, _batches(path, chosen)


def _batches(path: Path, chosen: Mapping[str, str]) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 1
    with reading(path, pa.ArrowException):
        parts = _parts(pq.read_metadata(path), [*chosen.values()])
        packed = {part.path_in_schema for part in parts if part.physical_type == "BYTE_ARRAY"}
        size = sum(part.total_uncompressed_size for part in parts)
        with pq.ParquetFile(path, read_dictionary=[*packed]) as file:
            rows = max(1, min(ROWS, BATCH_BYTES * file.metadata.num_rows // max(1, size)))
            unpacked, most = 0, max(BATCH_BYTES, UNPACKED * path.stat().st_size)
            groups = range(file.num_row_groups)  # one after the other: lists of several cannot be read
            each = (file.iter_batches(rows, [group], columns=[*chosen.values()]) for group in groups)
            for batch in joined(chain.from_iterable(each), rows, BATCH_BYTES):
                for some in _unpacked(batch, chosen, number):
                    unpacked += some.location.nbytes + some.caption.nbytes
                    if unpacked > most:
                        raise CatalogueError(
                            f"{path.name}: {path.stat().st_size} bytes unpack to {unpacked} bytes of text or "
                            "more; this is not a table of captions; export it again"
                        )
                    yield some
                number += len(batch)


def _unpacked(batch: "pa.RecordBatch", chosen: Mapping[str, str], number: int) -> Iterator[Batch]:
    """Some rows at a time, fewer where their values are long: equal ones take no memory before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    caption, rows_of = batch.column(chosen["caption"]), None
    if _is_list(caption.type):
        rows_of, caption = pc.list_parent_indices(caption), pc.list_flatten(caption)
        others = [name for name in batch.schema.names if name != chosen["caption"]]
        batch = batch.select(others)  # not the list with each
    location = batch.column(chosen["location"])
    longest = _longest(location, LOCATION_CHARACTERS) + _longest(caption, CAPTION_CHARACTERS)
    step = max(1, BATCH_BYTES // longest)
    for first in range(0, len(caption), step):
        at = pa.array(range(first, min(first + step, len(caption))))
        at = at if rows_of is None else rows_of.slice(first, step)
        some = batch.slice(first, step) if rows_of is None else batch.take(at)
        start, end = (
            _seconds(some.column(chosen[meant])) if meant in chosen else [None] * len(some) for meant in TIMES
        )
        where = _text(some.column(chosen["location"]), LOCATION_CHARACTERS + 1)
        text = _text(caption.slice(first, step), CAPTION_CHARACTERS + 1)
        yield Batch([number + row for row in at.to_pylist()], where, text, start, end)


def _check_cost(path: Path, metadata: Any, names: list[str]) -> None:
    """Raises CatalogueError for a small file that takes very much memory or time."""
    parts = _parts(metadata, names)
    stored, rows = path.stat().st_size, metadata.num_rows
    unpacked = max((part.total_uncompressed_size for part in parts), default=0)
    values = max((part.num_values for part in parts), default=0)
    if max(rows, values) > VALUES * stored or unpacked > max(BATCH_BYTES, RATIO * stored):
        raise CatalogueError(
            f"{path.name}: {stored} bytes say that they hold {max(rows, values)} rows and {unpacked} bytes "
            "of text; this is not a table of captions; export it again"
        )


def _parts(metadata: Any, names: list[str]) -> list[Any]:
    """What the file says of every stored part of these columns; not of others, of which there may be many."""
    wanted = tuple(f"{name}." for name in names)
    paths = (metadata.schema.column(number).path for number in range(metadata.num_columns))
    numbers = [number for number, path in enumerate(paths) if f"{path}.".startswith(wanted)]
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return [group.column(number) for group in groups for number in numbers]


def _check_facts(path: Path) -> None:
    """Raises CatalogueError where the file says more of itself, such as its columns, than memory holds."""
    with path.open("rb") as file:
        file.seek(-min(8, path.stat().st_size), os.SEEK_END)
        size = int.from_bytes(file.read(4), "little")
    if FACT_BYTES < size <= path.stat().st_size:  # a larger one is damage, which the reader tells
        raise CatalogueError(
            f"{path.name}: {size} bytes about its columns and parts, at most {FACT_BYTES}; export fewer "
            "columns, in larger parts"
        )


def _seconds(column: "pa.Array") -> list[Any]:
    """Values of a column of times; of text no more than a time has."""
    import pyarrow as pa

    values = column.dictionary if isinstance(column, pa.DictionaryArray) else column
    if not pa.types.is_primitive(values.type):
        column = _text(column, TIME_CHARACTERS)
    found: list[Any] = column.to_pylist()
    return found


def _holds_text(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    if _is_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_it(kind) for is_it in (types.is_string, types.is_large_string, types.is_string_view)
    ) or any(
        is_it(kind) for is_it in (types.is_binary, types.is_large_binary, types.is_integer, types.is_null)
    )


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind))


def _longest(column: "pa.Array", most: int) -> int:
    """Bytes of a column's longest value, of which `most` characters are kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.dictionary if isinstance(column, pa.DictionaryArray) else column
    types = pa.types
    if types.is_integer(values.type) or types.is_null(values.type):
        return TIME_CHARACTERS
    if types.is_string_view(values.type):
        return 4 * most
    return min(4 * most, 1 + (pc.max(pc.binary_length(values)).as_py() or 0))


def _text(column: "pa.Array", most: int) -> "pa.Array":
    """As strings without nulls, each cut before equal ones are unpacked; other bytes become \ufffd."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.DictionaryArray):
        return pc.fill_null(_text(column.dictionary, most).take(column.indices), "")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = pc.binary_slice(column, 0, 4 * most)  # bytes of a character at most
    try:
        text = column.cast(pa.string())
    except pa.ArrowInvalid:
        values = [value and value.decode("utf-8", "replace") for value in column.to_pylist()]
        text = pa.array(values, pa.string())
    return pc.fill_null(pc.utf8_slice_codeunits(text, 0, most), "")
