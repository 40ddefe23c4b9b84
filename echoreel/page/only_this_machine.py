"""Lets requests of this page pass, and none of other sites, for other hosts or to the outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

import gradio as gr
from gradio import processing_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FETCHES_NOTHING = "the page fetches nothing from elsewhere"
HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    # What the page may load: itself, and nothing from elsewhere.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


ALONE = "sandbox; default-src 'none'"  # a file that is opened by itself runs no script: it may be of others


@contextmanager
def fetching_nothing() -> Iterator[None]:
    """Within, Gradio fetches no URL that a request names in place of an uploaded file."""

    async def refused(url: str, *_: Any, **__: Any) -> NoReturn:
        raise gr.Error(f"{FETCHES_NOTHING}; download {url[:200]} and drop the file", print_exception=False)

    fetch = processing_utils.async_ssrf_protected_get
    setattr(processing_utils, fetch.__name__, refused)
    try:
        yield
    finally:
        setattr(processing_utils, fetch.__name__, fetch)


class OnlyThisMachine:
    """ASGI middleware around the whole page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refused = _refused(scope)
        if refused is not None:
            await PlainTextResponse(refused, 403)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "/file" in scope["path"]:
                    headers["Content-Security-Policy"] = ALONE
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _refused(scope: Scope) -> str | None:
    """Why, or None."""
    if scope["type"] != "http":
        return "need an ordinary request"
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in HOSTS:
        return "this page answers on this machine only: open it at http://127.0.0.1"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return "another site asked for this; open the page itself"
    if headers.get("sec-fetch-site") == "cross-site" and scope["method"] != "GET":
        return "another site asked for this; open the page itself"
    if any(part in scope["path"].lower() for part in ("http:", "https:", "/proxy=")):
        return FETCHES_NOTHING
    return None
