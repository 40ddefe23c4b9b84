"""Downloads: from public addresses only, also after a redirect, within limits, into a bounded cache."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from echoreel.common.errors import SettingsError
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
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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
        ("/file", "not a plain http"),
        ("/gone", "404"),
        ("/endless", "over 50000 bytes"),
        ("/short", "connection lost after 1000 of 5000"),
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
        "http://[64:ff9b::7f00:1]/a.mp4",
        "http://[64:ff9b::10.0.0.1]/a.mp4",
        "http://[::127.0.0.1]/a.mp4",
        "http://[::ffff:0:127.0.0.1]/a.mp4",
        "http://[fec0::1]/a.mp4",
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
    with pytest.raises(DownloadError, match=r"not a plain http|not a valid URL"):
        fetched(url, DownloadSettings(cache=tmp_path))


def test_the_cache_stays_within_its_size(site: str, tmp_path: Path) -> None:
    settings = DownloadSettings(cache=tmp_path, cache_bytes=2500)
    first = fetched(f"{site}/1", settings, resolve)
    second = fetched(f"{site}/2", settings, resolve)
    os.utime(second, (1, 1))
    third = fetched(f"{site}/3", settings, resolve)
    assert {*tmp_path.iterdir()} == {first, third}


def dripping(first: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """What a server does that is never done."""

    def say(client: socket.socket) -> None:
        client.recv(9999)
        client.sendall(first)
        for _ in range(200):
            client.sendall(piece)
            time.sleep(0.1)

    return say


def moved_slowly(client: socket.socket) -> None:
    client.recv(9999)
    time.sleep(0.25)
    client.sendall(b"HTTP/1.1 302 Found\r\nLocation: /more\r\nContent-Length: 0\r\n\r\n")


NEVER_DONE: dict[str, tuple[str, Callable[[socket.socket], None]]] = {
    "headers": ("http", dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x")),
    "many headers": ("http", dripping(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n")),
    "100 Continue": ("http", dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "status": ("http", dripping(b"H", b"T")),
    "body": ("http", dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x")),
    "chunks": ("http", dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")),
    "chunk size": ("http", dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0")),
    "redirects": ("http", moved_slowly),
    "silence": ("http", lambda client: time.sleep(20)),
    "TLS": ("https", dripping(b"\x16\x03\x03\x40\x00", b"\x02")),
}


@pytest.mark.parametrize("kind", NEVER_DONE)
def test_a_server_that_is_never_done_is_held_to_the_time_limit(kind: str, tmp_path: Path) -> None:
    scheme, say = NEVER_DONE[kind]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        say(client)

        threading.Thread(target=serve, daemon=True).start()
        settings = DownloadSettings(cache=tmp_path, seconds=0.4, redirects=100)
        began = time.monotonic()
        with pytest.raises(DownloadError, match=r"bytes in 0\.4 s and not done"):
            fetched(f"{scheme}://x.test:{server.getsockname()[1]}/", settings, lambda host, port: "127.0.0.1")
        assert time.monotonic() - began < 3
    assert [*tmp_path.iterdir()] == []


def test_a_name_look_up_is_held_to_the_time_limit_and_then_connects_to_nothing(
    site: str, tmp_path: Path
) -> None:
    """The look-up ends only when the download has: one that waited for it would find it has given up."""
    is_over, answers = threading.Event(), list[bool]()
    looking: list[threading.Thread] = []

    def late(host: str, port: int) -> str:
        looking.append(threading.current_thread())
        answers.append(is_over.wait(60))
        return "127.0.0.1"

    with pytest.raises(DownloadError, match=r"0 bytes in 0\.2 s and not done"):
        fetched(f"{site}/late", DownloadSettings(cache=tmp_path, seconds=0.2), late)
    is_over.set()
    looking[0].join(60)
    assert answers == [True]
    assert not looking[0].is_alive()
    assert Server.asked == []
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://x.test:99999/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /a b\x01\xff\r\n\r\n",
        b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 4000 + b"\r\n\r\nx",
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_an_improper_answer_is_told(answer: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, suppress(OSError):
                client.recv(9999)
                client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://x.test:{server.getsockname()[1]}/"
        with pytest.raises(DownloadError, match=r"^http://x\.test"):
            fetched(url, DownloadSettings(cache=tmp_path, seconds=5), lambda host, port: "127.0.0.1")
    assert [*tmp_path.iterdir()] == []


class NonsenseLength(BaseHTTPRequestHandler):
    """Says the length that its path names, sends 1000 bytes, then holds the connection until it is left."""

    def do_GET(self) -> None:
        self.send_response(200)
        for value in self.path.strip("/").split("&"):
            self.send_header("Content-Length", value)
        self.end_headers()
        self.wfile.write(b"v" * 1000)
        self.connection.settimeout(20)
        with suppress(OSError):
            self.rfile.read(1)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def nonsense() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NonsenseLength)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://videos.test:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("-1", "no valid Content-Length"),
        ("-9999999999", "no valid Content-Length"),
        ("abc", "no valid Content-Length"),
        ("1e3", "no valid Content-Length"),
        ("+1000", "no valid Content-Length"),
        ("1_000", "no valid Content-Length"),
        ("0x3e8", "no valid Content-Length"),
        ("", "no valid Content-Length"),
        ("1000&2000", "no valid Content-Length"),
        ("9" * 4500, "no valid Content-Length"),
        ("50001", "over 50000 bytes"),
        ("9" * 400, "over 50000 bytes"),
    ],
)
def test_a_nonsense_length_is_refused_before_the_body(
    nonsense: str, tmp_path: Path, length: str, message: str
) -> None:
    """The server holds the connection: who reads to its end gets the time limit's error in place of this."""
    with pytest.raises(DownloadError, match=message):
        fetched(
            f"{nonsense}/{length}", DownloadSettings(cache=tmp_path, file_bytes=50_000, seconds=5), resolve
        )
    assert [*tmp_path.iterdir()] == []


def answering(answer: bytes) -> tuple[socket.socket, list[bytes]]:
    """A server that says this to one call; what it was asked."""
    server, asked = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def serve() -> None:
        client, _ = server.accept()
        with client, suppress(OSError):
            asked.append(client.recv(9999))
            client.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return server, asked


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Encoding: gzip",
        b"content-encoding: GZIP",
        b"Content-Encoding: identity, br",
        b"Content-Encoding: identity\r\nContent-Encoding: zstd",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: deflate",
    ],
)
def test_a_packed_answer_is_refused(header: bytes, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + header + b"\r\nContent-Length: 4\r\n\r\n"
    server, asked = answering(head + b"\x1f\x8b\x08\0")
    settings = DownloadSettings(cache=tmp_path, seconds=20)
    with server:
        url = f"http://x.test:{server.getsockname()[1]}/"
        with pytest.raises(DownloadError, match="the server sends it packed"):
            fetched(url, settings, lambda host, port: "127.0.0.1")
    assert b"accept-encoding: identity" in asked[0].lower()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Encoding: identity\r\nContent-Length: 4\r\n\r\nfour",
        b"Content-Encoding:\r\nContent-Length: 4\r\n\r\nfour",
        b"Content-Encoding: aws-chunked\r\nContent-Length: 4\r\n\r\nfour",
        b"Transfer-Encoding: Chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
    ],
)
def test_a_plain_answer_is_taken_as_it_is(answer: bytes, tmp_path: Path) -> None:
    server, _ = answering(b"HTTP/1.1 200 OK\r\n" + answer)
    with server:
        url = f"http://x.test:{server.getsockname()[1]}/"
        path = fetched(url, DownloadSettings(cache=tmp_path, seconds=20), lambda host, port: "127.0.0.1")
    assert path.read_bytes() == b"four"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"Content-Length: 0\r\n\r\n", "an empty file"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "an empty file"),
        (b"Content-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\r\n<html>", "a web page"),
    ],
)
def test_what_is_no_file_is_not_kept(answer: bytes, message: str, tmp_path: Path) -> None:
    """The next time, the server may have the video."""
    server, _ = answering(b"HTTP/1.1 200 OK\r\n" + answer)
    settings = DownloadSettings(cache=tmp_path, seconds=20)
    with server:
        url = f"http://x.test:{server.getsockname()[1]}/"
        with pytest.raises(DownloadError, match=f"the server sends {message}"):
            fetched(url, settings, lambda host, port: "127.0.0.1")
    assert [*tmp_path.iterdir()] == []


def test_a_url_of_any_letters_is_asked_for_as_browsers_do(tmp_path: Path) -> None:
    server, asked = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour")
    with server:
        url = f"http://x.test:{server.getsockname()[1]}/a b/\u00e9%20.mp4?q=\u4e2d&r=[1]"
        fetched(url, DownloadSettings(cache=tmp_path, seconds=20), lambda host, port: "127.0.0.1")
    assert asked[0].startswith(b"GET /a%20b/%C3%A9%20.mp4?q=%E4%B8%AD&r=[1] HTTP/1.1\r\n")


@pytest.mark.parametrize("seconds", [0, -1, 1e7, 1e300, float("inf"), float("nan")])
def test_a_time_limit_that_cannot_be_is_told(seconds: float) -> None:
    with pytest.raises(SettingsError, match="seconds"):
        DownloadSettings(seconds=seconds)


@pytest.mark.parametrize("length", ["10", "10&10", "1000"])
def test_no_more_is_read_than_the_server_says(nonsense: str, tmp_path: Path, length: str) -> None:
    path = fetched(f"{nonsense}/{length}", DownloadSettings(cache=tmp_path, seconds=5), resolve)
    assert path.stat().st_size == int(length.split("&")[0])


def test_a_url_that_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(DownloadError):
        fetched("http://x.test/\ud800", DownloadSettings(cache=tmp_path), lambda host, port: "127.0.0.1")


def test_the_cache_leaves_files_of_others(site: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(bytes(5000))
    (tmp_path / "folder").mkdir()
    (tmp_path / ("0" * 32)).mkdir()  # named as ours
    theirs = tmp_path / ".holiday.mp4.partial"  # of another program that downloads
    theirs.write_bytes(bytes(5000))
    ours = tmp_path / f".{'0' * 32}.0123abcd.partial"
    ours.write_bytes(bytes(5000))
    for path in (theirs, ours):
        os.utime(path, (10**9, 10**9))
    fetched(f"{site}/1", DownloadSettings(cache=tmp_path, cache_bytes=1), resolve)
    assert (tmp_path / "holiday.mp4").exists()
    assert (tmp_path / "folder").is_dir()
    assert theirs.exists()
    assert not ours.exists()
