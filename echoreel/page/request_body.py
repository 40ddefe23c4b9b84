"""What a request may send: JSON of a size, depth and range that the page's own script has."""

import json
import math
from typing import Any, NoReturn

from starlette.types import Message, Receive

from echoreel.common.text import NO_TEXT

MOST_BYTES = 1 << 20  # of a request that is no upload; what the page itself asks has a few kilobytes
MOST_DEPTH = 16  # of lists and objects in each other
MOST_NAME = 64  # characters of a session's name
MOST_WHOLE = 2**53  # above it, JavaScript's numbers have gaps


class NotAnswered(ValueError):
    """A request that the page's own script does not make."""


async def body_of(receive: Receive) -> bytes:
    """The whole body. Raises NotAnswered where it has over `MOST_BYTES`."""
    pieces, size = [], 0
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MOST_BYTES:
            raise NotAnswered(f"the request has over {MOST_BYTES >> 20} MiB; reload the page")
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(pieces)


def again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body once more."""
    given = False

    async def received() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received


def check_json(body: bytes) -> None:
    """Raises NotAnswered for what is not JSON, nests deep, or has numbers or texts that no field can have."""
    try:
        told = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NotAnswered("the request is not JSON; reload the page") from error
    if isinstance(told, dict) and len(str(told.get("session_hash"))) > MOST_NAME:
        raise NotAnswered(f"the session's name has over {MOST_NAME} characters; reload the page")
    level, depth = [told], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise NotAnswered(f"the request nests over {MOST_DEPTH} deep; reload the page")
        for value in level:
            if isinstance(value, int | float) and not _ordinary(value):
                raise NotAnswered(f"the request has a number over {MOST_WHOLE}; reload the page")
            if isinstance(value, str) and (found := NO_TEXT.search(value)):
                raise NotAnswered(f"a text has {found[0]!r}, which is not a character; leave it out")
        level = [inside for value in level for inside in _inside(value)]


def _inside(value: Any) -> list[Any]:
    return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def _ordinary(value: int | float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= MOST_WHOLE


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
