"""Downloads: from public addresses only, also after a redirect, within limits, into a bounded cache."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from echoreel.library.downloads import DownloadError, DownloadSettings, fetched, public_address


class Server(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - emptied for each test

    def do_GET(self) -> None:
        self.asked.append(self.path)
        places = {
            "/moved": "/video",
            "/inside": "http://localhost/video",
            "/round": "/round",
            "/file": "file:///",
        }
        if place := places.get(self.path):
            self.send_response(302)
            self.send_header("Location", place)
            self.end_headers()
        elif self.path == "/gone":
            self.send_error(404)
        else:
            self.send_response(200)
            if self.path != "/endless":
                self.send_header("Content-Length", "5000" if self.path == "/short" else "1000")
            self.end_headers()
            for _ in range(200 if self.path == "/endless" else 1):
                self.wfile.write(b"v" * 1000)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    Server.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://videos.test:{server.server_port}"
    server.shutdown()
    server.server_close()


def resolve(host: str, port: int) -> str:
    """The test's own site is at home, everything else where it really is."""
    return "127.0.0.1" if host == "videos.test" else public_address(host, port)


def test_a_video_is_downloaded_once(site: str, tmp_path: Path) -> None:
    settings = DownloadSettings(cache=tmp_path)
    path = fetched(f"{site}/moved", settings, resolve)
    assert path.read_bytes() == b"v" * 1000
    assert fetched(f"{site}/moved", settings, resolve) == path
    assert Server.asked == ["/moved", "/video"]
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/inside", "private address"),  # after a redirect
        ("/round", "more than 5 redirects"),
        ("/file", "no plain http"),
        ("/gone", "404"),
        ("/endless", "over 50000 bytes"),
        ("/short", "broke off after 1000 of 5000"),
    ],
)
def test_what_is_refused_leaves_nothing(site: str, tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(DownloadError, match=message):
        fetched(f"{site}{path}", DownloadSettings(cache=tmp_path, file_bytes=50_000), resolve)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.mp4",
        "http://localhost/a.mp4",
        "http://10.1.2.3/a.mp4",
        "http://192.168.0.1/a.mp4",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a.mp4",
        "http://[::ffff:10.0.0.1]/a.mp4",
        "http://0.0.0.0/a.mp4",
        "http://2130706433/a.mp4",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"private address|no such host"):
        fetched(url, DownloadSettings(cache=tmp_path, seconds=5))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "http://", "http://user:word@a/b", "http://a:x/"]
)
def test_other_urls_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no plain http|no proper URL"):
        fetched(url, DownloadSettings(cache=tmp_path))


def test_the_cache_stays_within_its_size(site: str, tmp_path: Path) -> None:
    settings = DownloadSettings(cache=tmp_path, cache_bytes=2500)
    first = fetched(f"{site}/1", settings, resolve)
    second = fetched(f"{site}/2", settings, resolve)
    os.utime(second, (1, 1))
    third = fetched(f"{site}/3", settings, resolve)
    assert {*tmp_path.iterdir()} == {first, third}
