"""Videos that a catalogue only names: fetched when one is chosen, into a cache of bounded size.

http and https only, no private addresses (neither at first nor after a redirect; the address that was checked
is the one that is connected to), at most so many bytes and seconds. Nothing of the answer is trusted.
"""

import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from echoreel.common.errors import EchoReelError
from echoreel.common.files import written_beside
from echoreel.common.settings import Settings

Resolve = Callable[[str, int], str]  # host name and port -> the address to connect to
REDIRECTS = (301, 302, 303, 307, 308)
PIECE = 1 << 16  # bytes


class DownloadError(EchoReelError):
    """A URL is refused, or does not give a file within the limits."""


class DownloadSettings(Settings):
    """What a download may cost, and where it is kept."""

    cache: Path = Path("~/.cache/echoreel/videos")
    cache_bytes: PositiveInt = 10 * 2**30  # of all files in the cache; the least used go first
    file_bytes: PositiveInt = 512 * 2**20
    seconds: PositiveFloat = 120.0  # of one download
    redirects: NonNegativeInt = 5


def fetched(url: str, settings: DownloadSettings | None = None, resolve: Resolve | None = None) -> Path:
    """The file of a URL, from the cache where it is there. Raises DownloadError."""
    settings = settings or DownloadSettings()
    folder = settings.cache.expanduser()
    path = folder / hashlib.blake2b(url.encode(), digest_size=16).hexdigest()
    if path.exists():
        os.utime(path)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as partial:
        try:
            _download(url, partial, settings, resolve or public_address)
        except OSError as error:  # http.client's errors below are turned into DownloadError
            raise DownloadError(f"{url}: cannot be had ({error}); download it yourself") from error
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
        mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None) or ip
        if not mapped.is_global or mapped.is_multicast or not ip.is_global:
            raise DownloadError(f"{host}: is at {address}, a private address; it is not fetched from there")
    return sorted(map(str, found), key=lambda address: ":" in address)[0]  # IPv4 first


def _download(url: str, partial: Path, settings: DownloadSettings, resolve: Resolve) -> None:
    """Follow the URL to a file. Raises DownloadError, OSError."""
    until = time.monotonic() + settings.seconds
    here = url
    for _ in range(settings.redirects + 1):
        with closing(_connection(here, settings, resolve)) as connection:
            parts = urlsplit(here)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            try:
                connection.request("GET", target, headers={"User-Agent": "echoreel", "Accept": "*/*"})
                answer = connection.getresponse()
                if answer.status in REDIRECTS and (place := answer.headers.get("Location")):
                    here = urljoin(here, place)
                    continue
                if answer.status != 200:
                    raise DownloadError(f"{url}: the server says {answer.status} {answer.reason}")
                _receive(answer, url, partial, settings, until)
                return
            except (http.client.HTTPException, UnicodeError) as error:
                raise DownloadError(f"{url}: no proper answer ({type(error).__name__})") from error
    raise DownloadError(f"{url}: more than {settings.redirects} redirects")


def _connection(url: str, settings: DownloadSettings, resolve: Resolve) -> http.client.HTTPConnection:
    """Connected to the address that was checked, not to what the name means a moment later."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise DownloadError(f"{url}: no proper URL ({error})") from error
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise DownloadError(f"{url}: got no plain http(s) URL; download it yourself and give the file")
    port = port or (443 if parts.scheme == "https" else 80)
    plain = socket.create_connection((resolve(host, port), port), timeout=min(30.0, settings.seconds))
    connection = http.client.HTTPConnection(host, port)
    connection.sock = plain
    if parts.scheme == "https":
        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
    return connection


def _receive(
    answer: http.client.HTTPResponse, url: str, partial: Path, settings: DownloadSettings, until: float
) -> None:
    """Write the answer's body. Raises DownloadError past a limit, or where it ends early."""
    declared = answer.length
    received = 0
    with partial.open("wb") as file:
        while piece := answer.read1(PIECE):
            received += len(piece)
            if max(received, declared or 0) > settings.file_bytes:
                raise DownloadError(f"{url}: over {settings.file_bytes} bytes; download it yourself")
            if time.monotonic() > until:
                raise DownloadError(
                    f"{url}: {received} bytes in {settings.seconds:g} s and not done; download it yourself"
                )
            file.write(piece)
    if declared is not None and received < declared:
        raise DownloadError(f"{url}: broke off after {received} of {declared} bytes; try again")


def _make_room(folder: Path, most: int, keep: Path) -> None:
    """Delete what was used longest ago until the cache is within its size; other processes may, too."""
    files = []
    for path in folder.iterdir():
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
