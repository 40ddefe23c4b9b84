"""Have ComfyUI's own page make the example workflows and their pictures: python screenshots.py PORT BASE_DIR OUT

Debian's chromium, headless, 127.0.0.1 alone. The models that the examples name are links to the tiny ones, so that
the page finds them. Writes NAME.json and NAME.jpg, which people should look at.
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

from examples import EXAMPLES, api

port, base, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
CHROME, SIZE = 9377, (2000, 860)
READY = (
    "!!(window.app && window.app.graph && window.LiteGraph && LiteGraph.registered_node_types.EchoReelApply)"
)
SHOW = """(async () => {
    await window.app.loadApiJson(FLOW, 'echoreel');
    await new Promise(done => setTimeout(done, 2500));
    const graph = window.app.graph, places = PLACES;
    graph._nodes.forEach(node => { const at = places[node.id] ?? places[String(node.id)]; if (at) node.pos = at;
        if (node.type === 'CLIPTextEncode') node.setSize([400, 160]);
        (node.widgets ?? []).filter(w => w.name === 'control_after_generate').forEach(w => { w.value = 'fixed'; }); });
    const box = graph._nodes.reduce((b, n) => [Math.min(b[0], n.pos[0]), Math.min(b[1], n.pos[1] - 40),
        Math.max(b[2], n.pos[0] + n.size[0]), Math.max(b[3], n.pos[1] + n.size[1])], [1e9, 1e9, -1e9, -1e9]);
    const ds = window.app.canvas.ds, w = WIDTH - 140, h = HEIGHT - 140;
    ds.scale = Math.min(w / (box[2] - box[0]), h / (box[3] - box[1]), 1);
    ds.offset = [90 / ds.scale - box[0], 90 / ds.scale - box[1]];
    graph.setDirtyCanvas(true, true);
    await new Promise(done => setTimeout(done, 2500));
    return JSON.stringify(graph.serialize());
})()"""


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
    await page.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
    for _ in range(90):
        await asyncio.sleep(2)
        if await page.run(READY) is True:
            break
    await asyncio.sleep(5)
    for name, make in EXAMPLES.items():
        flow = make()
        numbers = {each: str(index) for index, each in enumerate(flow, 1)}
        numbered = {}
        for each, told in api(flow).items():
            inputs = {
                k: [numbers[v[0]], v[1]] if isinstance(v, list) else v for k, v in told["inputs"].items()
            }
            numbered[numbers[each]] = {**told, "inputs": inputs}
        places = {numbers[each]: told["place"] for each, told in flow.items()}
        script = SHOW.replace("FLOW", json.dumps(numbered), 1).replace("PLACES", json.dumps(places), 1)
        made = await page.run(script.replace("WIDTH", str(SIZE[0])).replace("HEIGHT", str(SIZE[1])))
        if not isinstance(made, str):
            sys.exit(f"{name}: {made}")
        shown = json.loads(made)
        (out / f"{name}.json").write_text(json.dumps(shown, separators=(",", ":")) + "\n")
        clip = {"x": 56, "y": 44, "width": SIZE[0] - 56, "height": SIZE[1] - 44, "scale": 1}
        shot = await page.call("Page.captureScreenshot", format="jpeg", quality=85, clip=clip)
        (out / f"{name}.jpg").write_bytes(base64.b64decode(shot["data"]))
        print(f"{name}: {len(shown['nodes'])} nodes, {len(shown['links'])} links")


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
    "Comfy.InstalledVersion": "1.49.6",
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
