"""The page is its user's: nobody else reads files, asks for work or makes it speak to others."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.page_client import PageClient, file_data
from helpers.places import ROOT

from echoreel.common.errors import SettingsError
from echoreel.generation.jobs import MOST_WAITING
from echoreel.page.page import PageSettings, served
from echoreel.page.reference_cards import asked

CARTWHEEL = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
OUTSIDE = ("/etc/passwd", "https://example.com/secret.mp4", "http://127.0.0.1:1/secret.mp4")
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "outputs").mkdir()
    (folder / "outputs" / "mine.txt").write_text("mine")
    (folder / "secret.mp4").write_bytes(CARTWHEEL.read_bytes())
    (folder / "secret.json").write_text('{"prompt": "secret", "seeds": [1], "settings": {}}')
    return folder


@pytest.fixture(scope="module")
def reached() -> Iterator[set[str]]:
    """Hosts that this process has looked up or connected to since; in the end none but this machine."""
    hosts: set[str] = set()
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def looked_up(host: Any, *values: Any, **named: Any) -> Any:
        hosts.add(str(host))
        return look_up(host, *values, **named)

    def connected(self: socket.socket, address: Any) -> None:
        hosts.add(str(address[0]) if isinstance(address, tuple) else "a file")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", looked_up)
        patch.setattr(socket.socket, "connect", connected)
        yield hosts
    assert hosts <= {"127.0.0.1", "localhost", "a file"}, "the page asked other machines"


@pytest.fixture(scope="module")
def address(reached: set[str], folder: Path) -> Iterator[str]:
    settings = PageSettings(
        outputs=folder / "outputs", library=folder / "library", browser=False, upload_bytes=MEGABYTE
    )
    with served(settings) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[PageClient]:
    client = PageClient(address)
    yield client
    client.http.close()


def test_it_is_on_this_machine_alone(address: str) -> None:
    assert httpx.URL(address).host == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{folder}/secret.mp4",
        "{folder}/outputs/../secret.mp4",
        "{folder}/outputs/%2e%2e/secret.mp4",
        "{root}/pyproject.toml",
        "{root}/echoreel/page/page.py",
        "file:///etc/passwd",
        "https://example.com/",
        "http://127.0.0.1/",
    ],
)
def test_no_file_outside_the_outputs_is_shown(client: PageClient, folder: Path, path: str) -> None:
    path = path.format(folder=folder, root=ROOT)
    for route in ("file=", "file/", "proxy="):
        response = client.http.get(f"/gradio_api/{route}{path}")
        assert response.status_code in (403, 404), route
    assert client.http.get(f"/gradio_api/file={folder}/outputs/mine.txt").text == "mine"


def test_no_endpoint_takes_a_file_that_was_not_uploaded(client: PageClient, folder: Path) -> None:
    tried = 0
    for event in client.config["dependencies"]:
        kinds = [each["type"] for each in client.inputs(event)]
        if not {*kinds} & {"file", "uploadbutton", "downloadbutton"}:
            continue
        for outside in (*OUTSIDE, f"{folder}/secret.mp4", f"{folder}/secret.json"):
            given = [
                ([file_data(outside)] if kind == "file" else file_data(outside))
                if kind in ("file", "uploadbutton", "downloadbutton")
                else None
                for kind in kinds
            ]
            worked, output = client.call(event, given)
            assert not worked, (event["api_name"], output)
            assert "secret" not in str(output).replace(outside, "")
            tried += 1
    assert tried >= 9  # references, restored settings, videos to add
    assert not (folder / "outputs" / "references").exists()


def test_uploads_over_the_limit_are_refused(client: PageClient) -> None:
    assert client.upload("small.mp4", bytes(MEGABYTE // 2)).status_code == 200
    assert client.upload("large.mp4", bytes(2 * MEGABYTE)).status_code == 413


def test_what_is_no_video_is_refused_in_a_sentence(client: PageClient, folder: Path) -> None:
    path = client.upload("page.mp4", b"<html>no video</html>").json()[0]
    event = client.event_of("drop")
    values = client.values(event)
    worked, output = client.call(event, [[file_data(path)], *values[1:]])
    assert not worked
    assert "not a readable video" in output["error"]
    assert "Traceback" not in output["error"]
    assert not (folder / "outputs" / "references").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:7860"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
def test_other_sites_are_refused(client: PageClient, headers: dict[str, str]) -> None:
    """A name that points here (DNS rebinding), and pages of others in this machine's browser."""
    for path in ("/", "/config", "/gradio_api/queue/data?session_hash=a"):
        assert client.http.get(path, headers=headers).status_code == 403
    assert client.http.post("/gradio_api/queue/join", headers=headers, json={}).status_code == 403
    upload = client.http.post("/gradio_api/upload", headers=headers, files={"files": ("a.mp4", b"a")})
    assert upload.status_code == 403


def test_the_page_itself_is_served_and_loads_nothing_from_elsewhere(client: PageClient, address: str) -> None:
    response = client.http.get("/", headers={"Origin": address.rstrip("/")})
    assert response.status_code == 200
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert client.config["analytics_enabled"] is False
    assert "fonts.googleapis.com" not in response.text


@pytest.mark.parametrize("label", ["Base", "Adapter"])
def test_no_model_is_loaded_that_the_page_does_not_offer(
    client: PageClient, folder: Path, label: str
) -> None:
    event = client.event_of("generate")
    values = client.values(event, Prompt="a person dancing", **{label: str(folder)})
    worked, output = client.call(event, values)
    assert not worked
    assert "is not in the list of choices" in output["error"]


def test_two_hundred_jobs_of_one_client_are_not_queued(client: PageClient) -> None:
    event = client.event_of("generate")
    values = client.values(event, Prompt="a person dancing", Steps=1000)
    joined = [client.join(event, values).status_code for _ in range(200)]
    answers = client.answers()
    assert {*joined} == {200, 503}
    assert len(answers) == joined.count(200)
    assert sum(worked for worked, _ in answers) == MOST_WAITING + 1
    refusals = {output["error"] for worked, output in answers if not worked}
    assert refusals == {"5 generations are waiting already; cancel one, or wait until one is done"}


def test_nothing_is_asked_of_other_machines(client: PageClient, reached: set[str]) -> None:
    """`reached` watches all of the above as well. test_in_browser watches the browser."""
    response = client.http.get("/gradio_api/file/https://example.com/")
    assert response.status_code == 403
    assert reached == {"127.0.0.1"}


def test_a_file_of_others_runs_no_script(client: PageClient, folder: Path) -> None:
    for name in ("a.html", "a.svg"):
        (folder / "outputs" / name).write_text("<svg onload=alert(1)><script>alert(1)</script></svg>")
        answer = client.http.get(f"/gradio_api/file={folder}/outputs/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_a_caption_that_is_no_text_is_told() -> None:
    with pytest.raises(SettingsError, match="caption: character 1 is not text"):
        asked([CARTWHEEL, "\ud800", "", "", 1.0, "middle", "stretch", ""])
