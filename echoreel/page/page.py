"""Builds the page and serves it on this machine alone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from pydantic import Field, PositiveInt
from starlette.middleware import Middleware

from echoreel.common.errors import EchoReelError
from echoreel.common.settings import Settings
from echoreel.generation.jobs import Jobs
from echoreel.generation.results_folder import ResultsFolder
from echoreel.generation.this_machine import adapters, cached_bases
from echoreel.page.appearance import CSS, HEAD, THEME
from echoreel.page.bench_tab import bench_pictures, bench_tab
from echoreel.page.generate_tab import generate_tab
from echoreel.page.library_tab import library_tab
from echoreel.page.only_this_machine import OnlyThisMachine, fetching_nothing
from echoreel.page.result_panel import result_panel
from echoreel.page.shared import EMBEDDED, Shared
from echoreel.page.telling import TellingBlocks
from echoreel.page.uploads import keeping_whole_uploads

HOST = "127.0.0.1"
FIRST_PORT = 7860  # and the next free one
MOST_EVENTS = 64  # of all tabs that wait for an answer
KEPT_SECONDS = 24 * 3600  # of uploads


class PageSettings(Settings):
    """Where the page reads and writes. bases, adapters: folders or hub ids beside those installed."""

    outputs: Path = Path("outputs")
    library: Path = Path("references")
    bench: Path = Path("runs/actorbench")  # where `evaluate` wrote its report
    bases: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    port: int | None = Field(default=None, ge=1, le=65535)
    browser: bool = True
    upload_bytes: PositiveInt = 512 * 2**20  # of one file, at most


def _shared(settings: PageSettings, thumbnails: Path) -> Shared:
    results = ResultsFolder(settings.outputs)
    return Shared(
        results=results,
        jobs=Jobs(results.make),
        bases=[*dict.fromkeys([*settings.bases, EMBEDDED, *cached_bases()])],
        adapters=[*dict.fromkeys([*settings.adapters, *(each.name for each in adapters())])],
        library=settings.library.absolute(),
        thumbnails=thumbnails,
        bench=settings.bench.absolute(),
    )


def _page(shared: Shared) -> gr.Blocks:
    """The components, joined to the library."""
    page = TellingBlocks(title="EchoReel", analytics_enabled=False, delete_cache=(3600, KEPT_SECONDS))
    with page:
        gr.Markdown("# EchoReel")
        with gr.Tabs(selected="generate") as tabs:
            with gr.Tab("Generate", id="generate"), gr.Row():
                with gr.Column(min_width=320):
                    tab = generate_tab(shared)
                with gr.Column(min_width=320):
                    result_panel(tab, shared)
            with gr.Tab("Library", id="library") as own:
                library_tab(tab, tabs, own, shared)
            with gr.Tab("Bench", id="bench"):
                bench_tab(shared.bench)
    page.queue(max_size=MOST_EVENTS, default_concurrency_limit=2, api_open=False)
    return page


@contextmanager
def served(settings: PageSettings) -> Iterator[str]:
    """The page's address, while it is served. Ends what runs. Raises EchoReelError where no port is free."""
    own = tempfile.TemporaryDirectory(prefix="echoreel-page-")
    with fetching_nothing(), keeping_whole_uploads(), own as scratch:
        os.environ["GRADIO_TEMP_DIR"] = f"{scratch}/uploads"
        thumbnails = Path(scratch) / "thumbnails"
        thumbnails.mkdir()
        shared = _shared(settings, thumbnails)
        page, sheets = _page(shared), bench_pictures(shared.bench)
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=settings.port,
                share=False,
                inbrowser=settings.browser,
                prevent_thread_lock=True,
                quiet=True,
                ssr_mode=False,
                footer_links=[],
                show_error=False,
                enable_monitoring=False,
                allowed_paths=[str(path) for path in (shared.results.folder, thumbnails, *sheets)],
                max_file_size=settings.upload_bytes,
                app_kwargs={"middleware": [Middleware(OnlyThisMachine)]},
                theme=THEME,
                css=CSS,
                head=HEAD,
            )
        except OSError as error:
            raise EchoReelError(
                f"port {settings.port or FIRST_PORT}: in use, or not allowed; choose another with --port"
            ) from error
        try:
            yield address
        finally:
            shared.jobs.close()
            page.close(verbose=False)
