"""Requests that the page's own script never makes: each is answered in a sentence, without a trace."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
import httpx
import pytest
from helpers.page_client import PageClient, file_data
from helpers.places import ROOT

from echoreel.page import uploads as page_uploads
from echoreel.page.page import HOST, PageSettings, served
from echoreel.page.telling import warn

API = "/gradio_api"
JOIN = f"{API}/queue/join"
SECONDS = 20  # of one answer; asked for by a person, each takes a few hundredths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs, with results and names of others in them."""
    outputs = tmp_path_factory.mktemp("page") / "outputs"
    outputs.mkdir()
    clip = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
    notes = {"prompt": "\ud800", "seeds": [1], "settings": {}, "references": [{"file": "\ud800.mp4"}]}
    shutil.copy(clip, outputs / "odd.mp4")
    (outputs / "odd.json").write_text(json.dumps(notes))
    if os.name == "posix":
        for suffix in ("mp4", "json"):
            shutil.copy(outputs / f"odd.{suffix}", os.fsencode(outputs) + b"/\xff." + suffix.encode())
        os.mkfifo(outputs / "pipe.mp4")
        (outputs / "link.txt").symlink_to("/etc/passwd")
    return outputs.parent


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    settings = PageSettings(outputs=folder / "outputs", library=folder / "library", browser=False)
    with served(settings) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[PageClient]:
    client = PageClient(address)
    yield client
    client.http.close()


@pytest.fixture(autouse=True)
def no_trace(client: PageClient, capfd: Any, caplog: Any) -> Iterator[None]:
    """Whatever is asked, no trace is printed or logged, and no answer is waited for."""
    client.http.timeout, client.session = SECONDS, uuid4().hex
    capfd.readouterr()
    yield
    assert "Traceback" not in "".join(capfd.readouterr()) + caplog.text


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def uploads_settled() -> tuple[Path, set[Path]]:
    """The folder of uploads and what lies in it, once no earlier request's own folder is left."""
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    uploads.mkdir(parents=True, exist_ok=True)
    wait_until(lambda: not [*uploads.glob("part-*")])  # an answer comes before its folder is removed
    return uploads, {*uploads.iterdir()}


def events(client: PageClient) -> list[Any]:
    """One of each function that the page has; those of a card or a clip are alike."""
    found = {str(each["api_name"]).rstrip("_0123456789"): each for each in client.config["dependencies"]}
    return [*found.values()]


def asked(client: PageClient, event: Any, **changes: Any) -> dict[str, Any]:
    body = {"data": [None] * len(event["inputs"]), "fn_index": event["id"], "session_hash": client.session}
    return body | changes


ODD: list[Any] = [
    *(None, 5, -1, 1e308, "x", "x" * 20_000, True),
    *([], {}, [[[]]], {"__type__": "update", "value": "x"}),
    *(file_data(path) for path in ("/etc/passwd", "..", "", "~", "http://127.0.0.1:1/a.mp4", "x" * 5000)),
    {"path": 5, "meta": {"_type": "gradio.FileData"}},
    [file_data("/etc/passwd")] * 100,
]


def test_a_value_of_any_kind_in_any_field_is_told(client: PageClient) -> None:
    tried = [(event, value) for event in events(client) if event["inputs"] for value in ODD]
    for number, (event, value) in enumerate(tried):
        joined = client.http.post(JOIN, json=asked(client, event, data=[value] * len(event["inputs"])))
        assert joined.status_code == 200
        if number % 20 == 19 or number == len(tried) - 1:
            answers = client.answers()
            assert len(answers) == number % 20 + 1
            for worked, output in answers:
                assert worked or output["error"]
                assert "Traceback" not in str(output)
    assert len(tried) > 100
    assert {path.name for path in Path.cwd().glob("x*")} == set()


BODIES: dict[str, Any] = {
    "no such event": {"fn_index": 9999},
    "an event below none": {"fn_index": -1},
    "an event of a name": {"fn_index": "x"},
    "no event": {"fn_index": None},
    "an event of many digits": {"fn_index": 10**300},
    "data of a dict": {"data": {"a": 1}},
    "no data": {"data": None},
    "a session of a list": {"session_hash": []},
    "a session of half a character": {"session_hash": "\ud800"},
    "a session of a long name": {"session_hash": "x" * 100_000},
    "a session of a null byte": {"session_hash": "\0"},
    "a trigger of a name": {"trigger_id": "x"},
    "data that nests": {"data": json.loads("[" * 200 + "]" * 200)},
    "large numbers": {"data": [10**400]},
}
TEXTS = {
    "nothing": b"",
    "half": b"[",
    "depth": b"[" * 100_000 + b"]" * 100_000,
    "NaN": b'{"data":[NaN]}',
    "infinite": b'{"data":[1e999]}',
    "digits": b'{"data":[' + b"9" * 5000 + b"]}",
    "no UTF-8": b"\xff\xfe",
    "null": b"null",
    "size": b'{"data":["' + b"x" * (1 << 21) + b'"]}',
}


@pytest.mark.parametrize("body", BODIES)
def test_odd_calls_are_refused(client: PageClient, body: str) -> None:
    sent = json.dumps(asked(client, client.event_of("generate"), **BODIES[body]))
    answer = client.http.post(JOIN, content=sent, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_call_is_refused(client: PageClient, text: str) -> None:
    for path in (JOIN, f"{API}/run/predict", f"{API}/cancel", f"{API}/reset"):
        answer = client.http.post(path, content=TEXTS[text], headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    "changes", [{"data": []}, {"data": [None] * 5000}, {"event_data": "x"}, {"trigger_id": 9**9}]
)
def test_a_call_that_does_not_fit_its_event_is_told(client: PageClient, changes: Any) -> None:
    assert (
        client.http.post(JOIN, json=asked(client, client.event_of("generate"), **changes)).status_code == 200
    )
    ((worked, output),) = client.answers()
    assert not worked
    assert "the page could not do that" in output["error"]


def test_no_other_door_of_gradio_is_open(client: PageClient, folder: Path) -> None:
    names = "call/x api/x component_server stream/x process_recording vibe-edit run-history/connect login"
    for path in (*names.split(), "queue/../x", "run%00", "queue/join/x"):
        assert 400 <= client.http.post(f"{API}/{path}", json={}).status_code < 500, path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "XYZZY"):
        assert client.http.request(method, JOIN, json={}).status_code == 400, method
    for path in (f"deep_link?session_hash={client.session}", "dev/reload", "call/x/y", "stream/a/b/c/d.mp4"):
        assert 400 <= client.http.get(f"{API}/{path}").status_code < 500, path
    for name in ("pipe.mp4", "link.txt", "%00", "%ff", "x" * 5000, "a/" * 5000, "CON", ""):
        assert client.http.get(f"{API}/file={folder}/outputs/{name}").status_code in (400, 403, 404), name
    client.http.get(f"{API}/queue/data?session_hash=nobody")
    for name, value in {"Host": "[", "Origin": "http://["}.items():
        assert client.http.get("/", headers={name: value}).status_code == 400


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "../x.mp4",
        "/etc/x.mp4",
        "..\\x.mp4",
        "a\0b.mp4",
        "a\nb.mp4",
        "x" * 3000,
        "CON",
        "é" * 200,
        "-rf.mp4",
    ],
)
def test_an_upload_of_any_name_stays_in_its_folder(client: PageClient, name: str) -> None:
    answer = client.upload(name, b"x")
    if answer.status_code == 200:
        kept = Path(answer.json()[0]).resolve()
        assert kept.is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve())
        assert len(os.fsencode(kept.name)) < 256
        drop = client.event_of("drop")
        worked, output = client.call(drop, [[file_data(str(kept))], *client.values(drop)[1:]])
        assert not worked
        assert output["error"]


def test_results_of_others_with_odd_names_are_shown_or_told(client: PageClient, folder: Path) -> None:
    tick = next(each for each in client.config["dependencies"] if each["api_name"] == "watched")
    answer = client.http.post(f"{API}/run/predict", json=asked(client, tick))
    assert "odd.json" in answer.text
    assert "udcff" not in answer.text
    assert client.call(client.event_of("history"), ["odd.json"])[0]
    upload = client.upload("odd.json", (folder / "outputs" / "odd.json").read_bytes()).json()[0]
    assert client.call(client.event_of("restore"), [file_data(upload)])[0]


def test_what_a_message_tells_of_others_is_text(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio shows messages as HTML."""
    link = "<a href='//elsewhere'>log in</a>"
    notes = {"prompt": "a man", "seeds": [link], "settings": {}}
    upload = client.upload("theirs.json", json.dumps(notes).encode()).json()[0]
    worked, answer = client.call(client.event_of("restore"), [file_data(upload)])
    assert not worked
    assert "&lt;a href" in answer["error"]
    shown: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda text, title: shown.append(text))
    warn(f"{link}: not on this machine", "No such base")
    assert shown == ["&lt;a href='//elsewhere'&gt;log in&lt;/a&gt;: not on this machine"]
    sources = [path.read_text() for path in (ROOT / "echoreel" / "page").glob("*.py")]
    assert sum(text.count("gr.Warning(") + text.count("gr.Info(") for text in sources) == 1


def test_an_upload_that_breaks_off_leaves_nothing(client: PageClient, address: str) -> None:
    begun = (
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.mp4"\r\n'
        b"Content-Type: video/mp4\r\n\r\n" + b"0" * 100_000
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    uploads, before = uploads_settled()
    for body in (begun % b"files", begun % b"others" + b"\r\n--x--\r\n", begun % b"files" + b"\r\n--x?"):
        client.http.post(f"{API}/upload", content=body, headers=headers)
    with socket.create_connection((httpx.URL(address).host, httpx.URL(address).port or 80)) as broken:
        head = f"POST {API}/upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 999999\r\n"
        broken.sendall(f"{head}Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + begun % b"files")
        wait_until(lambda: len({*uploads.iterdir()} - before) > 0)
    wait_until(lambda: {*uploads.iterdir()} == before)
    assert client.upload("whole.mp4", b"1").status_code == 200


def test_an_upload_fills_neither_memory_nor_disk(client: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads, before = uploads_settled()
    field = client.http.post(f"{API}/upload", files={"files": (None, "x" * 100_000)})
    assert (field.status_code, "files only" in field.text) == (400, True)
    monkeypatch.setattr(page_uploads, "WHOLE_FILES", 1e-4)
    many = [("files", (f"{number}.mp4", bytes(20_000))) for number in range(4)]
    assert "upload fewer files" in (refused := client.http.post(f"{API}/upload", files=many)).text
    assert refused.status_code == 413
    monkeypatch.setattr(page_uploads, "WHOLE_FILES", 8)
    monkeypatch.setattr(page_uploads, "LEFT_FREE", 2**62)
    assert "free some space" in client.upload("a.mp4", b"1").text
    monkeypatch.setattr(page_uploads, "LEFT_FREE", 0)
    wait_until(lambda: {*uploads.iterdir()} == before)
    assert client.http.post(f"{API}/upload", files=many).status_code == 200
