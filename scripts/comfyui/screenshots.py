"""Have ComfyUI's own page make the example workflows and their pictures: python screenshots.py PORT BASE_DIR OUT

Debian's chromium, headless, 127.0.0.1 alone. The models that the examples name are links to the tiny ones, so that
the page finds them. Writes NAME.json, opens it as a user does, and ends where a node is missing or red, or where the page
would run something else than examples.py says. Then writes NAME.jpg, which people should look at. One example is run by a
click; BASE_DIR/clicked.png shows what then is on the page.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp

from examples import EXAMPLES, GROUPS, NOTES, Flow, api

port, base, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
TINY = {"width": 96, "height": 64, "length": 17, "steps": 4}
CHROME, SIZE = 9377, (2000, 820)
READY = (
    "!!(window.app && window.app.graph && window.LiteGraph && LiteGraph.registered_node_types.EchoReelApply)"
)
MAKE = """(async () => {
    const told = TOLD, app = window.app, rest = ms => new Promise(done => setTimeout(done, ms));
    await app.loadApiJson(told.flow, 'echoreel');
    await rest(2500);
    const graph = app.graph, at = id => graph._nodes.find(node => String(node.id) === id);
    for (const [id, [x, y]] of Object.entries(told.places)) at(id).pos = [x, y];
    for (const [id, size] of Object.entries(told.sizes)) at(id).setSize([size[0], size[1] || at(id).size[1]]);
    graph._nodes.forEach(node => (node.widgets ?? []).filter(w => w.name === 'control_after_generate')
        .forEach(w => { w.value = 'fixed'; }));
    const note = LiteGraph.createNode('MarkdownNote');
    note.title = 'Read me'; note.pos = [-460, 0]; note.setSize([400, 330]);
    note.color = '#432'; note.bgcolor = '#653';
    graph.add(note);
    note.widgets[0].value = told.note;  // not before: the page keeps values by a node's number
    for (const [title, ids] of told.groups) {
        const nodes = ids.map(at);
        const left = Math.min(...nodes.map(n => n.pos[0])) - 20, top = Math.min(...nodes.map(n => n.pos[1])) - 80;
        const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0])) + 20;
        const end = Math.max(...nodes.map(n => n.pos[1] + n.size[1])) + 20;
        const group = new LiteGraph.LGraphGroup(title);
        group.pos = [left, top]; group.size = [right - left, end - top];
        group.color = title === 'Reference' ? '#8A8' : '#3f789e';
        graph.add(group);
    }
    await rest(500);
    return JSON.stringify(graph.serialize());
})()"""
OPEN = """(async () => {
    const app = window.app, rest = ms => new Promise(done => setTimeout(done, ms));
    await app.handleFile(new File([JSON.stringify(FILE)], 'NAME.json', {type: 'application/json'}));
    await rest(3500);
    const graph = app.graph, nodes = graph._nodes;
    const box = [...nodes, ...graph._groups].reduce((b, n) => [Math.min(b[0], n.pos[0]), Math.min(b[1], n.pos[1] - 40),
        Math.max(b[2], n.pos[0] + n.size[0]), Math.max(b[3], n.pos[1] + n.size[1])], [1e9, 1e9, -1e9, -1e9]);
    const ds = app.canvas.ds, w = WIDTH - 100, h = HEIGHT - 110;
    ds.scale = Math.min(w / (box[2] - box[0]), h / (box[3] - box[1]), 1);
    ds.offset = [70 / ds.scale - box[0], 70 / ds.scale - box[1]];
    graph.setDirtyCanvas(true, true);
    await rest(2500);
    const bad = nodes.filter(n => n.has_errors || !(n.type in LiteGraph.registered_node_types)).map(n => n.type);
    const cut = nodes.filter(n => app.canvas.ctx.measureText(n.title).width > n.size[0]).map(n => n.title);
    const note = nodes.find(n => n.type === 'MarkdownNote').widgets[0].value;
    return JSON.stringify({bad, cut, note, prompt: (await app.graphToPrompt()).output});
})()"""


SHRINK = """(async () => {
    const app = window.app, graph = app.graph, tiny = TINY;
    for (const node of [...graph._nodes]) {
        for (const widget of node.widgets ?? []) if (widget.name in tiny) widget.value = tiny[widget.name];
        if (node.type === 'CLIPTextEncode') {  // whose encoder has no tiny form
            const text = LiteGraph.createNode('EchoReelTestText'), links = [...node.outputs[0].links ?? []];
            text.title = node.title; text.pos = node.pos; graph.add(text); text.setSize(node.size);
            text.widgets[0].value = node.widgets[0].value;
            const ends = links.map(id => graph.links[id] ?? graph.links.get(id)).map(l => [l.target_id, l.target_slot]);
            ends.forEach(([id, slot]) => text.connect(0, graph.getNodeById(id), slot));
            graph.remove(node);
        }
        if (node.type === 'CLIPLoader') graph.remove(node);
    }
    const button = [...document.querySelectorAll('button')].find(b => b.textContent.trim() === 'Run');
    const at = button.getBoundingClientRect();
    return JSON.stringify([at.x + at.width / 2, at.y + at.height / 2]);
})()"""
SHOWN = """JSON.stringify(window.app.graph._nodes.filter(n => n.imgs?.length || n.videoContainer || n.previewMediaType)
    .map(n => n.type))"""


class Page:
    """A tab of the browser, spoken to in its own protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number = socket, 0

    async def call(self, method: str, **params: Any) -> Any:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            got = json.loads((await self.socket.receive()).data)
            if got.get("id") == self.number:
                return got.get("result", got)

    async def run(self, script: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return found["result"].get("value", found)


async def tab(session: aiohttp.ClientSession) -> str:
    for _ in range(120):
        try:
            async with session.get(f"http://127.0.0.1:{CHROME}/json") as answer:
                pages = [page for page in await answer.json(content_type=None) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.5)
    sys.exit("the browser does not answer")


async def shoot(page: Page) -> None:
    await page.call("Page.enable")
    screen = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    await page.call("Emulation.setDeviceMetricsOverride", **screen)
    await fresh(page)
    for name, make in EXAMPLES.items():
        flow = make()
        shown = await made(page, name, flow)
        (out / f"{name}.json").write_text(json.dumps(shown, separators=(",", ":")) + "\n")
    await fresh(page)
    for name, make in EXAMPLES.items():
        file = (out / f"{name}.json").read_text()
        script = OPEN.replace("FILE", file, 1).replace("NAME", name, 1)
        answer = await page.run(script.replace("WIDTH", str(SIZE[0])).replace("HEIGHT", str(SIZE[1])))
        if not isinstance(answer, str):
            sys.exit(f"{name}: {answer}")
        opened = json.loads(answer)
        check_opened(name, opened, api(make()))
        clip = {"x": 56, "y": 44, "width": SIZE[0] - 56, "height": SIZE[1] - 44, "scale": 1}
        shot = await page.call("Page.captureScreenshot", format="jpeg", quality=85, clip=clip)
        (out / f"{name}.jpg").write_bytes(base64.b64decode(shot["data"]))
        print(
            f"{name}: {len(opened['prompt'])} nodes run, none is missing or red; titles cut: {opened['cut']}"
        )
        if name == "wan_reference_video":
            await click_run(page)


async def click_run(page: Page) -> None:
    """A person's run: the first example as it is open, at toy size, by the page's own button."""
    answer = await page.run(SHRINK.replace("TINY", json.dumps(TINY), 1))
    if not isinstance(answer, str):
        sys.exit(f"run: {answer}")
    x, y = json.loads(answer)
    for kind in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    for _ in range(300):
        await asyncio.sleep(1)
        history = await page.run("fetch('/history?max_items=1').then(a => a.json()).then(JSON.stringify)")
        ended = list(json.loads(history).values()) if isinstance(history, str) else []
        told = ended[0]["status"] if ended else {}
        if "EchoReelTestText" in str(ended) and told.get("completed"):
            break
    else:
        sys.exit(f"run: {told or 'nothing ran'}")
    await asyncio.sleep(3)
    print(f"a click on Run: {told['status_str']}; nodes that show something: {await page.run(SHOWN)}")
    shot = await page.call("Page.captureScreenshot", format="png")
    (base / "clicked.png").write_bytes(base64.b64decode(shot["data"]))


async def fresh(page: Page) -> None:
    """ComfyUI's page, loaded anew."""
    await page.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
    for _ in range(90):
        await asyncio.sleep(2)
        if await page.run(READY) is True:
            break
    await asyncio.sleep(5)


async def made(page: Page, name: str, flow: Flow) -> dict[str, Any]:
    """The workflow as the page's own file has it, with places, groups and a note."""
    numbers = {each: str(index) for index, each in enumerate(flow, 1)}
    numbered = {}
    for each, told in flow.items():
        inputs = {k: [numbers[v[0]], v[1]] if isinstance(v, list) else v for k, v in told["inputs"].items()}
        meta = {"_meta": told["_meta"]} if "_meta" in told else {}
        numbered[numbers[each]] = {"class_type": told["class_type"], "inputs": inputs, **meta}
    groups = [(title, [numbers[each] for each in names if each in flow]) for title, names in GROUPS]
    told = {
        "flow": numbered,
        "places": {numbers[each]: said["place"] for each, said in flow.items()},
        "sizes": {numbers[each]: said["size"] for each, said in flow.items() if said["size"]},
        "groups": [group for group in groups if group[1]],
        "note": NOTES[name],
    }
    answer = await page.run(MAKE.replace("TOLD", json.dumps(told), 1))
    if not isinstance(answer, str):
        sys.exit(f"{name}: {answer}")
    return dict(json.loads(answer))


def check_opened(name: str, opened: dict[str, Any], flow: Flow) -> None:
    """Ends where a node is missing or red, or where the page would send something else than the examples say."""
    if opened["bad"]:
        sys.exit(f"{name}: missing or red: {opened['bad']}")
    if opened["note"] != NOTES[name]:
        sys.exit(f"{name}: the note says {opened['note']}")
    sent, want = list(opened["prompt"].values()), list(flow.values())
    for each in sent:
        for key, value in each["inputs"].items():
            if isinstance(value, list):
                each["inputs"][key] = [list(flow)[int(value[0]) - 1], value[1]]
    for each in want:
        found = [other["inputs"] for other in sent if other["class_type"] == each["class_type"]]
        if not any(each["inputs"].items() <= other.items() for other in found):
            sys.exit(f"{name}: {each} is not what the page sends: {found}")


async def main() -> None:
    home = tempfile.mkdtemp()
    options = [
        "--headless=new", "--no-sandbox", "--disable-gpu", f"--remote-debugging-port={CHROME}", f"--user-data-dir={home}",
        f"--window-size={SIZE[0]},{SIZE[1]}", "--no-first-run", "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]  # fmt: skip
    browser = subprocess.Popen(
        ["chromium", *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(await tab(session), max_msg_size=0) as socket,
        ):
            await shoot(Page(socket))
    finally:
        browser.terminate()
        browser.wait(20)
        shutil.rmtree(home, ignore_errors=True)


settings = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.48.7",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}
request = urllib.request.Request(
    f"http://127.0.0.1:{port}/settings", json.dumps(settings).encode(), {"Content-Type": "application/json"}
)
urllib.request.urlopen(request, timeout=60).close()
asyncio.run(main())
