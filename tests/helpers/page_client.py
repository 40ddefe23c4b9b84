"""A client of the page that a test serves: it calls any endpoint, as a script of somebody else's could."""

import json
from typing import Any
from uuid import uuid4

import httpx


class PageClient:
    """Speaks to the page as its own tab does."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=60)
        self.session = uuid4().hex
        self.config: dict[str, Any] = self.http.get("/config").json()
        self.components: dict[int, Any] = {each["id"]: each for each in self.config["components"]}

    def inputs(self, event: Any) -> list[Any]:
        """The components that an event reads."""
        return [self.components[number] for number in event["inputs"]]

    def event_of(self, elem_id: str) -> Any:
        """The first event of the component with this id."""
        number = next(n for n, each in self.components.items() if each["props"].get("elem_id") == elem_id)
        return next(
            event for event in self.config["dependencies"] if number in [t[0] for t in event["targets"]]
        )

    def values(self, event: Any, **by_label: Any) -> list[Any]:
        """What the event's inputs hold, or what is given for those of a label (spaces as _)."""
        return [
            by_label.get(str(each["props"].get("label")).replace(" ", "_"), each["props"].get("value"))
            for each in self.inputs(event)
        ]

    def join(self, event: Any, data: list[Any]) -> httpx.Response:
        """Put a call into the queue."""
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session, "event_data": None}
        return self.http.post("/gradio_api/queue/join", json=body)

    def answers(self) -> list[Any]:
        """What came of all calls since the last time: each (whether it worked, what it said)."""
        found = []
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as stream:
            for line in stream.iter_lines():
                told = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if told.get("msg") == "process_completed":
                    found.append((told["success"], told["output"]))
                if told.get("msg") == "close_stream":
                    break
        return found

    def call(self, event: Any, data: list[Any]) -> Any:
        """One call and its answer; (False, the refusal) for one that is refused at once."""
        response = self.join(event, data)
        return self.answers()[-1] if response.status_code == 200 else (False, response.json())

    def upload(self, name: str, content: bytes) -> httpx.Response:
        return self.http.post("/gradio_api/upload", files={"files": (name, content)})


def file_data(path: str) -> dict[str, Any]:
    """A file as the page's own tab names it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
