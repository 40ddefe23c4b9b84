"""Text that comes from outside: a command line, a file of others."""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from echoreel.common.errors import SettingsError

NO_TEXT = re.compile("[\0\ud800-\udfff]")  # a null byte, or half a character: bytes that are no UTF-8
HALVES = re.compile("[\ud800-\udfff]")  # of characters: bytes that are no UTF-8, which no JSON holds
BOMS = (  # UTF-32 first: its mark begins as that of UTF-16
    *((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
COLUMNS = 10_000  # of a csv table
FIELD = 131_072  # characters of a value in a csv table, unless a reader needs more
LONGEST_NUMBER = 400  # digits; longer whole numbers are over the range of float
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What may steer a terminal, or turn round the order of what it shows; or is not text."""


def checked_text(what: str, text: str) -> str:
    """The text. Raises SettingsError where it holds what no tokenizer and no file can take."""
    if found := NO_TEXT.search(text):
        raise SettingsError(
            f"{what}: character {found.start() + 1} is not text ({found[0]!r}); write it in UTF-8 without it"
        )
    return text


def printable(text: str) -> str:
    """The text with escapes in place of control characters, so that a caption cannot steer a terminal."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def in_one_row(text: str) -> str:
    """As `printable`, line ends and tabs too: a file's name may hold them."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


class Encoding(NamedTuple):
    """How bytes are to be read, and a word for people where that is a guess or loses something."""

    name: str
    note: str = ""


def encoding_of(data: bytes, whole: bool = True) -> Encoding:
    """What the bytes of a text, or of its beginning, are written in: UTF-8, 16, 32, else Windows-1252."""
    for mark, name in BOMS:
        if data.startswith(mark):
            return Encoding(name)
    pairs = len(data) // 2
    for high, name in ((1, "utf-16-le"), (0, "utf-16-be")) if len(data) % 2 == 0 else ():
        if data[high::2].count(0) > 0.4 * pairs and data[1 - high :: 2].count(0) <= 0.1 * pairs:
            return Encoding(name, "read as UTF-16, though it lacks the mark; save it as UTF-8")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, whole)
    except UnicodeDecodeError:
        if data.decode("utf-8", "ignore").isascii():
            return Encoding("cp1252", "read as Windows-1252; save it as UTF-8 if letters are wrong")
        return Encoding("utf-8", "some bytes are not UTF-8 and became \ufffd; save it as UTF-8")
    return Encoding("utf-8")


def decoded(data: bytes) -> tuple[str, str]:
    """The text of a small file, and the note of `encoding_of`."""
    encoding = encoding_of(data)
    return data.decode(encoding.name, errors="replace"), encoding.note


def one_line(text: str) -> str:
    """The text with single spaces for all white space and line ends, and \ufffd for what is not text."""
    return " ".join(NO_TEXT.sub("\ufffd", text).replace("\ufeff", "").split())


def table_rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Rows of a csv table by the names in its first line; None for a value that a row lacks.

    Raises csv.Error, also for giant values and for too many columns: each row has a value for all of them.
    """
    csv.field_size_limit(FIELD)  # of the process: read_tables sets a larger one
    rows = csv.DictReader(lines)
    if (count := len(rows.fieldnames or ())) > COLUMNS:
        raise csv.Error(f"has {count} columns, at most {COLUMNS}")
    yield from rows


def json_value(text: str) -> Any:
    """What JSON says; whole numbers of too many digits are infinite. Raises ValueError for what is none."""
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else float(digits)


_JSON = json.JSONDecoder(parse_int=_whole)
