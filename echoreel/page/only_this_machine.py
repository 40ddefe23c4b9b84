"""Lets requests of this page pass, and none of other sites, for other hosts or to the outside."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn
from urllib.parse import urlsplit

import gradio as gr
from gradio import processing_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from echoreel.page.request_body import NotAnswered, again, body_of, check_json
from echoreel.page.uploads import only_whole_files

LOG = logging.getLogger(__name__)
FETCHES_NOTHING = "the page fetches nothing from elsewhere"
UNKNOWN = "the page does not understand this request; reload it"
HOSTS = ("127.0.0.1", "localhost")
API = "/gradio_api"
# What the page's own script posts to. Gradio has more: it writes recordings, and links that keep a session.
UNUSED = (f"{API}/deep_link", f"{API}/dev/", f"{API}/call/")
UPLOAD = f"{API}/upload"
POSTED = (f"{API}/queue/join", f"{API}/run/", UPLOAD, f"{API}/cancel", f"{API}/reset")
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
        began = False

        async def send_with_headers(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "/file" in scope["path"]:
                    headers["Content-Security-Policy"] = ALONE
            await send(message)

        try:
            refused = _refused(scope)
            if refused is None:
                receive = await _checked(scope, receive)
            if refused is None:
                with only_whole_files() if scope["path"].rstrip("/") == UPLOAD else nullcontext():
                    await self.app(scope, receive, send_with_headers)
                return
            status = 403
        except NotAnswered as error:
            refused, status = str(error), 400
        except Exception:  # a name or a number in a request that Gradio does not expect
            LOG.debug("a request of the page failed", exc_info=True)
            refused, status = UNKNOWN, 400
        if began:  # the answers of a tab: end them as they should end
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await JSONResponse({"detail": refused}, status)(scope, receive, send)


async def _checked(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that gives what the page's own script may send. Raises NotAnswered."""
    path = scope["path"]
    if scope["method"] in ("GET", "HEAD") and not path.startswith(UNUSED):
        return receive
    if scope["method"] != "POST" or not path.startswith(POSTED):
        raise NotAnswered(UNKNOWN)
    if path.rstrip("/") == UPLOAD:  # Gradio has a limit for files
        return receive
    body = await body_of(receive)
    check_json(body)
    return again(body, receive)


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
