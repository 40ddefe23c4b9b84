"""Videos that a catalogue only names: fetched when one is chosen, into a cache of bounded size.

http and https only, no private addresses (neither at first nor after a redirect; the address that was checked
is the one that is connected to), at most so many bytes and seconds. Nothing of the answer is trusted.
"""

import hashlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from string import punctuation
from typing import Annotated
from urllib.parse import quote, urljoin, urlsplit

from pydantic import Field, NonNegativeInt, PositiveInt

from echoreel.common.errors import EchoReelError
from echoreel.common.files import written_beside
from echoreel.common.places import at_home, has_no_home
from echoreel.common.settings import Settings

Resolve = Callable[[str, int], str]  # host name and port -> the address to connect to
REDIRECTS = (301, 302, 303, 307, 308)
PIECE = 1 << 16  # bytes
MOST_SECONDS = 1e6
# IPv6 with an IPv4 address at its end: of NAT64, of translators, and those of old.
ENDS_IN_IPV4 = ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")
CARRYING = [ipaddress.IPv6Network(each) for each in ENDS_IN_IPV4]
LENGTH = re.compile("[0-9]{1,4000}")  # a Content-Length; int takes no more digits
HEADERS = {"User-Agent": "echoreel", "Accept": "*/*", "Accept-Encoding": "identity"}
# What may stand in these headers of a body that is the file as it is; S3 leaves aws-chunked in its own.
PLAIN = {
    "Content-Encoding": {"", "identity", "aws-chunked"},
    "Transfer-Encoding": {"", "identity", "chunked"},
}


class DownloadError(EchoReelError):
    """A URL is refused, or does not give a file within the limits."""


class DownloadSettings(Settings):
    """What a download may cost, and where it is kept."""

    cache: Path = Path("~/.cache/echoreel/videos")
    cache_bytes: PositiveInt = 10 * 2**30  # of all files in the cache; the least used go first
    file_bytes: PositiveInt = 512 * 2**20
    seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = 120.0  # of one download
    redirects: NonNegativeInt = 5


def fetched(url: str, settings: DownloadSettings | None = None, resolve: Resolve | None = None) -> Path:
    """The file of a URL, from the cache where it is there. Raises DownloadError."""
    settings = settings or DownloadSettings()
    folder = at_home(settings.cache)
    if has_no_home(folder):
        raise DownloadError("nobody knows your home folder, which videos are downloaded to; set HOME")
    path = folder / hashlib.blake2b(url.encode("utf-8", "replace"), digest_size=16).hexdigest()
    if path.exists():
        os.utime(path)
        return path
    with written_beside(path) as partial:
        _Download(url, partial, settings, resolve or public_address).run()
    _make_room(folder, settings.cache_bytes, keep=path)
    return path


def public_address(host: str, port: int) -> str:
    """An address of the host that anybody on the internet could reach. Raises DownloadError for others."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise DownloadError(f"{host}: no such host ({error})") from error
    for address in sorted(map(str, found)):
        ip = ipaddress.ip_address(address.split("%")[0])
        mapped = _ipv4_in(ip) or ip
        of_a_site = getattr(ip, "is_site_local", False)
        if not mapped.is_global or mapped.is_multicast or not ip.is_global or of_a_site:
            raise DownloadError(
                f"{host}: is at {address}, a private address; downloads from there are refused"
            )
    return sorted(map(str, found), key=lambda address: ":" in address)[0]  # IPv4 first


def _ipv4_in(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The older address that a newer one carries, where a gateway may lead to it."""
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if any(ip in network for network in CARRYING):
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour


class _Download:
    """One download, in a thread of its own: whatever the server or the name look-up does, it ends in time."""

    def __init__(self, url: str, partial: Path, settings: DownloadSettings, resolve: Resolve) -> None:
        self._url, self._partial, self._settings, self._resolve = url, partial, settings, resolve
        self._until = time.monotonic() + settings.seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # of the socket and of whether it is still wanted
        self._is_over = False
        self._received = 0
        self._error: Exception | None = None

    def run(self) -> None:
        """Write the file. Raises DownloadError, OSError for a file that cannot be written."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            thread.join(self._left())
            over = time.monotonic() >= self._until  # a busy machine may wake us after the socket gave up
            late = thread.is_alive() or (over and self._error is not None)
        finally:
            self._stop()
        thread.join(1.0)  # it writes no more when the file is removed
        if late:
            raise DownloadError(
                f"{self._url}: {self._received} bytes in {self._settings.seconds:g} s and not done; "
                "download it yourself"
            )
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._follow()
        except EchoReelError as error:
            self._error = error
        except OSError as error:
            self._error = DownloadError(
                f"{self._url}: cannot be downloaded ({error}); get it yourself, and give the file"
            )
        except (http.client.HTTPException, ValueError) as error:
            self._error = DownloadError(f"{self._url}: no proper answer ({type(error).__name__})")

    def _left(self) -> float:
        return max(0.001, self._until - time.monotonic())

    def _stop(self) -> None:
        """What waits for the server ends at once."""
        with self._lock:
            self._is_over = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _follow(self) -> None:
        """Follow the URL to a file. Raises DownloadError, OSError, HTTPException, ValueError."""
        here, most = self._url, self._settings.redirects
        for _ in range(most + 1):
            with closing(self._connection(here)) as connection:
                parts = urlsplit(here)
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                target = quote(target, safe=punctuation)  # spaces and other letters, as browsers do
                connection.request("GET", target, headers=HEADERS)
                with connection.getresponse() as answer:
                    if answer.status == 200:
                        return self._receive(answer)
                    if answer.status not in REDIRECTS or not (place := answer.headers.get("Location")):
                        raise DownloadError(
                            f"{self._url}: the server says {answer.status} {answer.reason[:200]}"
                        )
                    here = urljoin(here, place)
        raise DownloadError(f"{self._url}: more than {most} redirects")

    def _connection(self, url: str) -> http.client.HTTPConnection:
        """Connected to the address that was checked, not to what the name means a moment later."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise DownloadError(f"{url}: not a valid URL ({error})") from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise DownloadError(f"{url}: not a plain http(s) URL; download it yourself and give the file")
        port = port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(host, port)
        address = (self._resolve(host, port), port)
        tls = ssl.create_default_context() if parts.scheme == "https" else None  # slow, so before it connects
        plain = socket.create_connection(address, timeout=self._left() + 1)  # `run` ends it before
        connection.sock = plain
        try:
            self._use(plain)
            if tls is not None:
                secure = tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
                connection.sock = secure
                self._use(secure)
                secure.do_handshake()
        except BaseException:
            connection.close()
            raise
        return connection

    def _use(self, connected: socket.socket) -> None:
        """Take the socket for the one that `_stop` shuts. Raises DownloadError where that was called."""
        with self._lock:
            if self._is_over:
                raise DownloadError(f"{self._url}: timed out")
            self._socket = connected

    def _declared(self, answer: http.client.HTTPResponse) -> int | None:
        """Bytes that the server says it will send; None if it does not. Raises DownloadError.

        Asked before the body: http.client takes nonsense for no length, and reads to the connection's end.
        """
        told = {value.strip() for value in answer.headers.get_all("Content-Length", [])}
        if answer.chunked or not told:
            return None
        if len(told) > 1 or not LENGTH.fullmatch(length := told.pop()):
            raise DownloadError(
                f"{self._url}: the server gives no valid Content-Length; download it yourself"
            )
        self._check_size(int(length))
        return int(length)

    def _check_plain(self, answer: http.client.HTTPResponse) -> None:
        """Raises DownloadError for a body that is packed, or a page, which would be kept as a broken file."""
        for header, plain in PLAIN.items():
            told = " ".join(",".join(answer.headers.get_all(header, [])).lower().split())
            if not {each.strip() for each in told.split(",")} <= plain:
                raise DownloadError(
                    f"{self._url}: the server sends it packed ({told[:40]}); download it yourself, and give "
                    "the file"
                )
        if answer.headers.get_content_type() == "text/html" and answer.headers.get("Content-Type"):
            raise DownloadError(f"{self._url}: the server sends a web page, need a video; give another URL")

    def _check_size(self, size: int) -> None:
        """Raises DownloadError over the limit."""
        if size > self._settings.file_bytes:
            raise DownloadError(f"{self._url}: over {self._settings.file_bytes} bytes; download it yourself")

    def _receive(self, answer: http.client.HTTPResponse) -> None:
        """Write the answer's body. Raises DownloadError past a limit, or where it ends early."""
        self._check_plain(answer)
        declared = self._declared(answer)
        with self._partial.open("wb") as file:
            while piece := answer.read1(PIECE):
                self._received += len(piece)
                self._check_size(self._received)
                file.write(piece)
        if declared is not None and self._received < declared:
            raise DownloadError(
                f"{self._url}: connection lost after {self._received} of {declared} bytes; try again"
            )
        if not self._received:
            raise DownloadError(f"{self._url}: the server sends an empty file; try again later")


OWN_NAME = re.compile(
    r"[0-9a-f]{32}|\.[0-9a-f]{32}\.[0-9a-f]{8}\.partial"
)  # of a video, or of one that is being fetched


def _make_room(folder: Path, most: int, keep: Path) -> None:
    """Delete what was used longest ago until the cache is within its size; other processes may, too.

    Files that have no name of the cache are somebody else's, and stay.
    """
    files = []
    for path in folder.iterdir():
        if not OWN_NAME.fullmatch(path.name) or path.is_dir():
            continue
        try:
            state = path.stat()
        except OSError:
            continue
        if path.name.endswith(".partial") and time.time() - state.st_mtime < 3600:
            continue
        files.append((state.st_mtime, state.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files, key=lambda file: file[0]):
        if total <= most:
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
