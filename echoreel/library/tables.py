"""The library's tables on LanceDB: in a folder or an object store, for several processes at once.

Every write is a version of its own that is there whole or not at all; readers see the latest. No other
module knows LanceDB. Tables: `clips` (a row each), `actions` (the distinct ones), `vectors` (of those),
`files` (that were read, so that they need not be again), `encoded` (references ready for an adapter), and
what a user decided: `removed` (clips that no source brings back), `captions` (in place of a source's own).
Over 300 lines since no other module knows LanceDB.
"""

import os
import re
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from echoreel.common.errors import EchoReelError
from echoreel.common.extras import needs
from echoreel.common.files import absent, check_lock, undone
from echoreel.common.places import at_home, resolved
from echoreel.common.text import checked_text
from echoreel.library import manifests
from echoreel.library.conditions import one_of
from echoreel.library.data_files import OtherForm, TooLarge, check_data_file
from echoreel.library.deletion_files import check_deletion_file
from echoreel.library.table_schemas import mismatch, schemas, vectors_schema

if TYPE_CHECKING:
    import pyarrow as pa

ALL = 2**31 - 1  # rows; a search without a limit would have one
LOCK = ".making.lock"  # in a library's folder, while a table is made
ROWS_AT_ONCE = 1024  # that LanceDB unpacks, each with values of up to 32 kB
BATCH_BYTES = 16 * 2**20
VALUES_OF_A_READ = 1000
ROWS_AT_LEAST, BYTES_AT_LEAST = 65_536, 64 * 2**20  # that a table of any size may have
RATIO = 500  # bytes unpacked from one; an id and a path of each row pack to a tenth
TRIES = 10  # of a commit that another process was quicker with
LONGEST_WAIT = 2.0  # seconds between two of them
VECTOR_INDEX_FROM = 200_000  # distinct actions; fewer are compared one by one, exactly
UNCHECKED = "encoded.lance"  # its values are long, and LanceDB packs those; few are read at a time
FORM = {"new_table_data_storage_version": "2.2"}  # of data files: `data_files` knows how they are stored
MADE_AGAIN = {"files": "library add", "vectors": "library add", "encoded": "library embed"}
MADE_AGAIN |= {"removed": "library remove", "captions": "library caption"}
NOT_WRITTEN = re.compile("Read-only file system|Permission denied|No space left on device")
LANCE = re.compile(r"(lance error|LanceError\(\w+\)|Generic \S+ error|Wrapped error): ")
FAILURES = (RuntimeError, ValueError, OSError)  # what LanceDB raises
PANIC = "RustPanic"  # and where it does not look what a damaged file says; no module has the class
Result = TypeVar("Result")


class LibraryError(EchoReelError):
    """A library is missing, damaged, or does not fit what is asked of it."""


class Store:
    """The tables of one library."""

    def __init__(
        self, uri: str | Path, create: bool = False, is_mine: Callable[[], bool] = lambda: False
    ) -> None:
        """`uri`: a folder, or s3://…, gs://…, az://…, memory://. Raises LibraryError, MissingExtra.

        is_mine: whether this user's own LanceDB wrote it, be it a later one that stores values otherwise.
        """
        self.uri = str(uri)
        self._tables: dict[str, Any] = {}
        self._stale: set[str] = set()  # tables that are to be looked at again when they are next used
        self._indexed: dict[str, set[str]] = {}  # columns with an index, of tables
        missing = f"{uri}: there is no library; make one with: echoreel library add {uri} VIDEOS"
        _check_place(self.uri)
        if not create and not is_library(self.uri):  # before LanceDB makes the folder
            raise LibraryError(missing)
        _check_links(self.uri, is_mine)
        self._db = _connected(self.uri)
        if not create and not self.has("clips"):
            raise LibraryError(missing)
        self.table("clips")

    def table(self, name: str) -> Any:
        """A table, as it was when first used after the last `refresh`; made where it is missing."""
        if name not in self._tables:
            self._tables[name] = self._opened(name, schemas()[name])
        if name in self._stale:
            self._guarded(name, self._tables[name].checkout_latest)
            self._stale.discard(name)
        return self._tables[name]

    def refresh(self) -> None:
        """See what other processes have written since, in each table when it is next used."""
        self._stale = {*self._tables}
        self._indexed.clear()

    def rows(
        self, name: str, where: str | None = None, columns: list[str] | None = None, limit: int = ALL
    ) -> "pa.Table":
        """The rows of a table for which the SQL condition `where` holds. Raises LibraryError."""
        import pyarrow as pa

        if not self.has(name):  # reading makes no table: the place may be read-only
            none = schemas()[name].empty_table()
            return none.select(columns) if columns else none
        query = self.table(name).search().limit(limit)
        query = query.where(where) if where else query
        query = query.select(columns) if columns else query
        batches = self._guarded(name, query.to_batches, ROWS_AT_ONCE)
        return pa.Table.from_batches(self._each(name, batches), batches.schema)

    def batches(
        self, name: str, where: str | None = None, rows: int = 65_536, columns: list[str] | None = None
    ) -> "Iterator[pa.RecordBatch]":
        """The same for tables that memory may not hold; some `rows` at a time, fewer where they are long."""
        if not self.has(name):
            return
        query = self.table(name).search().limit(ALL)
        query = query.select(columns) if columns else query
        query = query.where(where) if where else query
        each = self._each(name, self._guarded(name, query.to_batches, ROWS_AT_ONCE))
        yield from joined(each, rows, BATCH_BYTES)

    def _each(self, name: str, batches: "pa.RecordBatchReader") -> "Iterator[pa.RecordBatch]":
        """Batches, each unpacked only now. Raises LibraryError for more than a table's files can hold."""
        rows, size, most_rows, most = 0, 0, ROWS_AT_LEAST, BYTES_AT_LEAST
        while (batch := self._guarded(name, next, batches, None)) is not None:
            rows, size = rows + len(batch), size + batch.nbytes
            if rows > most_rows or size > most:
                stored = self._stored(name)
                most_rows, most = max(most_rows, stored), max(most, RATIO * stored)
                if rows > most_rows or size > most:
                    raise LibraryError(
                        f"{self.uri}: {stored} bytes of its {name} unpack to {rows} rows and {size} bytes or "
                        "more, which no library does; get it again, or leave it out"
                    )
            yield batch

    def _stored(self, name: str) -> int:
        """Bytes of a table's data files; of a library elsewhere as many as there can be."""
        folder = local_folder(self.uri)
        if folder is None:
            return ALL
        return sum(path.stat().st_size for path in (folder / f"{name}.lance" / "data").glob("*"))

    def by_words(self, words: str, where: str, limit: int) -> "pa.Table":
        """Rows of clips for which `where` holds and whose caption has one of the words, best first."""
        if not words.strip() or "caption" not in self.indexed("clips"):
            return schemas()["clips"].empty_table()
        query = self.table("clips").search(words, query_type="fts").where(where, prefilter=True)
        columns = [*schemas()["clips"].names, "_score"]
        query = query.select(columns).limit(limit)
        return self._guarded("clips", query.to_arrow).drop_columns(["_score"])

    def count(self, name: str, where: str | None = None) -> int:
        if not self.has(name):
            return 0
        return int(self._guarded(name, self.table(name).count_rows, where))

    def version(self, name: str) -> int:
        """A number that changes with every write."""
        return int(self.table(name).version)

    def ids(self) -> NDArray[np.int64]:
        """Of all clips, sorted."""
        found: NDArray[np.int64] = self.rows("clips", columns=["id"])["id"].to_numpy()
        return np.sort(found)

    def add(self, name: str, rows: "pa.Table | Iterable[pa.RecordBatch]") -> None:
        """Append rows, all of them or, where that fails or is stopped, none. Raises LibraryError."""
        import pyarrow as pa

        table = self.table(name)
        if not isinstance(rows, pa.Table):
            rows = pa.RecordBatchReader.from_batches(table.schema, rows)
        self._guarded(name, table.add, rows)

    def replace(self, name: str, rows: "pa.Table", column: str) -> None:
        """Put rows in the place of those with the same value in a column, or beside them where none has it.

        All or, where that fails or is stopped, none. Raises LibraryError.
        """
        if len(rows):
            self._committed(
                name,
                lambda: (
                    self.table(name)
                    .merge_insert(column)
                    .when_matched_update_all()
                    .when_not_matched_insert_all()
                    .execute(rows, on_bad_vectors="null")
                ),
            )

    def complete(self, name: str) -> bool:
        """Add the columns that a table of an earlier version lacks; returns whether it lacked any."""
        lacking = [field for field in schemas()[name] if field.name not in self.table(name).schema.names]

        def add() -> None:
            names = self.table(name).schema.names  # another process may have added them
            if missing := [field for field in lacking if field.name not in names]:
                self.table(name).add_columns(missing)

        if lacking:
            self._committed(name, add)
        return bool(lacking)

    def remove(self, name: str, where: str) -> None:
        """Delete the rows for which `where` holds. Raises LibraryError."""
        self._committed(name, lambda: self.table(name).delete(where))

    def drop_copies(
        self, name: str, column: str, apart: "Callable[[pa.Table], pa.Table] | None" = None
    ) -> int:
        """Delete all but the first of rows with the same value, which two writers of one source may make.

        Both may call this at once: they keep the same row. apart: of all rows that share values, in order,
        those that are no copies, with values of their own. Returns how many fewer rows there are.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = self.count(name)
        for _ in range(TRIES):  # the number of a row is another one after another process has optimised
            search = self.table(name).search().limit(ALL).select([column]).with_row_id(True)
            found = self._guarded(name, search.to_arrow)
            first = found.group_by(column).aggregate([("_rowid", "min")])["_rowid_min"]
            copies = found.filter(pc.invert(pc.is_in(found["_rowid"], value_set=pa.chunked_array(first))))
            if not len(copies):
                break
            shared = pc.unique(copies[column]).to_pylist() if apart is not None else []
            for at in range(0, len(shared), VALUES_OF_A_READ):
                search = self.table(name).search().where(one_of(column, shared[at : at + VALUES_OF_A_READ]))
                same = self._guarded(name, search.limit(ALL).with_row_id(True).to_arrow)
                assert apart is not None
                self.replace(name, apart(same.sort_by("_rowid").drop_columns(["_rowid"])), column)
            self.remove(name, f"_rowid IN ({','.join(map(str, copies['_rowid'].to_pylist()))})")
        return rows - self.count(name)

    def index(self) -> None:
        """Bring the indexes up to date with the rows; the first time, make them. Raises LibraryError."""
        from lancedb.index import FTS, Bitmap, BTree, IvfRq

        if not self.count("clips"):
            return
        text = FTS(with_position=False, stem=True, remove_stop_words=True)
        self._index("clips", {"caption": text, "verb": Bitmap(), "action": BTree()})
        if self.has("vectors") and self.count("vectors") >= VECTOR_INDEX_FROM:
            self._index("vectors", {"vector": IvfRq(distance_type="cosine")})

    def _index(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Bring a table's indexes up to date, then make those of the columns that have none."""

        def make(column: str) -> None:
            if column not in self.indexed(name):  # another process may have made it since the last try
                self.table(name).create_index(column, config=wanted[column])

        if self.indexed(name):
            self._committed(name, lambda: self.table(name).optimize())
        for column in wanted:
            self._committed(name, partial(make, column))

    def indexed(self, name: str) -> set[str]:
        """Columns of a table that have an index; without one, a condition on a column reads every row."""
        if name not in self._indexed:
            indexes = self._guarded(name, self.table(name).list_indices)
            self._indexed[name] = {column for index in indexes for column in index.columns}
        return self._indexed[name]

    def embedder(self) -> tuple[str, int] | None:
        """Name and width of the embedder that the vectors are from; None where there are no vectors."""
        if not self.has("vectors"):
            return None
        schema = self.table("vectors").schema
        return schema.metadata[b"embedder"].decode(), schema.field("vector").type.list_size

    def make_vectors(self, embedder: str, width: int) -> None:
        """Make the table of vectors. Raises LibraryError where there is one of another embedder."""
        self._tables["vectors"] = self._opened("vectors", vectors_schema(embedder, width))
        if (found := self.embedder()) != (embedder, width):
            raise LibraryError(
                f"{self.uri}: its actions are embedded by {found and found[0]}, got {embedder}; use the same"
            )

    def nearest(self, vector: NDArray[np.float32], limit: int) -> "pa.Table":
        """The actions whose vectors are the nearest, by cosine, and their vectors."""
        query = self.table("vectors").search(vector.astype(np.float16)).distance_type("cosine")
        query = query.nprobes(50).refine_factor(20).select(["action", "vector"]).limit(limit)
        return self._guarded("vectors", query.to_arrow)

    def _opened(self, name: str, schema: "pa.Schema") -> Any:
        """The table, made if need be; another process may be making it, too.

        On a disk one at a time does: LanceDB would let the second put an empty table over the first's rows.
        """
        if self.has(name):
            return self._tables[name]
        folder = local_folder(self.uri)
        with undone(absent([] if folder is None else [folder / LOCK]), lambda: False):
            for _ in range(TRIES):
                try:
                    with nullcontext() if folder is None else _lock(folder / LOCK):
                        if self.has(name):
                            return self._tables[name]
                        return self._db.create_table(name, schema=schema)
                except FAILURES as error:
                    missing = error
            raise self._failure(name, missing) from missing

    def _found(self, name: str) -> Any:
        """The table, or None where there is none. Raises LibraryError for one that is damaged."""
        try:
            table = self._db.open_table(name)
            wrong = mismatch(name, table.schema)
        except FAILURES as error:
            if isinstance(error, ValueError) and "not found" in str(error):
                return None
            wrong = _told(error)
        if wrong:
            raise self.damaged(name, wrong)
        return table

    def has(self, name: str) -> bool:
        """Whether there is such a table. Raises LibraryError for one that is damaged."""
        if name not in self._tables and (found := self._found(name)) is not None:
            self._tables[name] = found
        return name in self._tables

    def _guarded(self, name: str, work: Callable[..., Result], *arguments: Any) -> Result:
        """Call LanceDB about a table; its errors, all of common types, become LibraryError."""
        try:
            return work(*arguments)
        except EchoReelError:
            raise
        except Exception as error:
            if not isinstance(error, FAILURES) and type(error).__name__ != PANIC:
                raise
            raise self._failure(name, error) from error

    def _failure(self, name: str, error: Exception) -> LibraryError:
        """What failed about a table. A place that cannot be written is no damage."""
        if found := NOT_WRITTEN.search(str(error)):
            return LibraryError(
                f"{self.uri}: cannot be written: {found[0]}; free the place, or copy the library to another"
            )
        return self.damaged(name, _told(error))

    def damaged(self, name: str, wrong: str) -> LibraryError:
        """To raise: what is wrong with a table, and what to do."""
        where = f"{self.uri.rstrip('/')}/{name}.lance"
        if how := MADE_AGAIN.get(name):
            told = f"delete this folder: `{how}` makes it again"
        else:
            told = "move the library away and add its videos again"
        return LibraryError(f"{where}: {wrong}; if it stays so, {told}")

    def _committed(self, name: str, work: Callable[[], Any]) -> None:
        """Do it again where another process changed the same at the same time.

        `work` asks `table` each time: after a conflict the table is another one.
        """
        for attempt in range(TRIES):
            try:
                self._guarded(name, work)
                self.refresh()
                return
            except LibraryError as error:
                if attempt == TRIES - 1 or "conflict" not in str(error).lower():
                    raise
                self.refresh()
                time.sleep(random() * min(0.05 * 2**attempt, LONGEST_WAIT))


def joined(batches: "Iterable[pa.RecordBatch]", rows: int, most: int) -> "Iterator[pa.RecordBatch]":
    """Small ones together: so many rows at a time, fewer where these have `most` bytes."""
    import pyarrow as pa

    some, held, size = list[pa.RecordBatch](), 0, 0
    for batch in batches:
        some.append(batch)
        held, size = held + len(batch), size + batch.nbytes
        if held >= rows or size >= most:
            yield pa.concat_batches(some)
            some, held, size = [], 0, 0
    if some:
        yield pa.concat_batches(some)


def is_library(uri: str) -> bool:
    """Whether there is a library; a place on no disk of this machine is taken for one."""
    folder = local_folder(uri)
    return folder is None or (folder / "clips.lance").is_dir()


def local_folder(uri: str) -> Path | None:
    """The folder that a URI means, or None where it is on no disk of this machine."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    return None if "://" in uri else at_home(uri)


@contextmanager
def unmade_if_empty(uri: str) -> Iterator[None]:
    """If the block is refused, as by a full disk, remove the library that it made, unless that has a clip.

    Raises MissingExtra without LanceDB.
    """
    folder = local_folder(uri)
    if folder is None or is_library(uri):
        yield
        return
    with needs("lancedb", "a reference library"):
        tables = absent(folder / f"{name}.lance" for name in (*schemas(), "vectors"))
    around = absent((folder / LOCK, folder, *folder.parents))
    with undone(around, lambda: _has_clips(folder)):
        try:
            yield
        except EchoReelError:
            if not _has_clips(folder):
                for table in tables:
                    shutil.rmtree(table, ignore_errors=True)
            raise


def _has_clips(folder: Path) -> bool:
    """Whether there may be any: a table that cannot be read counts, if it has data."""
    try:
        return any((folder / "clips.lance" / "data").glob("*")) and Store(folder).count("clips") > 0
    except EchoReelError:
        return True


def _lock(path: Path) -> FileLock:
    """Raises OutputError where it is a link or a pipe of others."""
    check_lock(path)
    return FileLock(path)


def _check_place(uri: str) -> None:
    """Raises LibraryError where no library can be, SettingsError for a name that is not UTF-8."""
    try:
        folder = local_folder(checked_text("library", uri))
        is_file = folder is not None and folder.exists() and not folder.is_dir()
    except OSError as error:  # such as a name that is too long
        raise LibraryError(
            f"{uri[:200]}: cannot be opened ({error.strerror}); give a folder for the library"
        ) from error
    if is_file:
        raise LibraryError(f"{uri}: is a file; give a folder for the library")


def _check_links(uri: str, is_mine: Callable[[], bool]) -> None:
    """Raises LibraryError for a link in the library that leads elsewhere, or a table whose rows lie there.

    LanceDB follows it: it writes there and, to free what old versions held, deletes what no table names.
    """
    folder = local_folder(uri)
    if folder is None:
        return
    top = resolved(folder)
    places = [top] if top.is_dir() else []
    while places:
        with os.scandir(places.pop()) as entries:
            for entry in entries:
                if entry.is_symlink() and not resolved(entry.path).is_relative_to(top):
                    raise LibraryError(
                        f"{entry.path}: is a link to elsewhere, where LanceDB would delete files; put what "
                        "it leads to in its place, or remove it"
                    )
                if entry.is_dir(follow_symlinks=False):
                    places.append(Path(entry.path))
                elif entry.name.endswith(manifests.SUFFIX):
                    _check_manifest(Path(entry.path))
                elif check := _check_of(Path(entry.path).relative_to(top)):
                    _check_data(Path(entry.path), is_mine, check)


def _check_manifest(path: Path) -> None:
    """Raises LibraryError where rows of its table lie elsewhere, be it in the network, or it has no end."""
    try:
        is_elsewhere = manifests.names_other_places(path)
    except FileNotFoundError:  # another process has just freed this version
        return
    except OSError as error:
        raise LibraryError(f"{path}: cannot be read ({error.strerror}); get the library again") from error
    if is_elsewhere:
        raise LibraryError(
            f"{path}: has rows that lie elsewhere, as a shallow clone has; get a whole copy of the library"
        )


def _check_of(path: Path) -> Callable[[Path], None] | None:
    """How a file in the library is looked at, by its folders: a table may give it any name."""
    table, *folders = (folder.lower() for folder in path.parts[:-1] or ("",))
    if not table.endswith(".lance"):
        return None
    if "_deletions" in folders:
        return check_deletion_file
    return check_data_file if "data" in folders and path.parts[0] != UNCHECKED else None


def _check_data(path: Path, is_mine: Callable[[], bool], check: Callable[[Path], None]) -> None:
    """Raises LibraryError for a file of data or deletions of which a few bytes are unpacked to gigabytes."""
    try:
        check(path)
    except FileNotFoundError:  # as of a manifest
        return
    except OSError as error:
        raise LibraryError(f"{path}: cannot be read ({error.strerror}); get the library again") from error
    except (TooLarge, IndexError, RecursionError, struct.error) as error:
        if isinstance(error, OtherForm) and is_mine():
            return
        wrong = f"{error}, which no library of EchoReel has" if isinstance(error, TooLarge) else "is damaged"
        raise LibraryError(f"{path}: {wrong}; get it again, or add its videos to a new one") from error


def _connected(uri: str) -> Any:
    """The database. Raises MissingExtra without LanceDB, LibraryError for places that cannot be."""
    os.environ.setdefault("LANCE_LOG", "error")  # else a note per search
    with needs("lancedb", "a reference library"):
        import lancedb
    folder = local_folder(uri)
    try:
        return lancedb.connect(uri if folder is None else str(folder), storage_options=FORM)
    except FAILURES as error:
        raise LibraryError(f"{uri}: cannot be opened: {_told(error)}") from error


def _told(error: Exception) -> str:
    """The first line of LanceDB's message, without places in its source and names of its errors."""
    return LANCE.sub("", str(error).split("\n")[0].split(", /")[0])[:200]
