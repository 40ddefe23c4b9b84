"""The right side of the Generate tab: what runs and waits, the result, past results."""

import base64
import html
import time
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import gradio as gr

from echoreel.common.errors import EchoReelError
from echoreel.generation.jobs import MOST_WAITING, Job
from echoreel.generation.results_folder import PastResult
from echoreel.media.video_files import animated_webp
from echoreel.page.appearance import paragraphs, progress, videos
from echoreel.page.generate_tab import GenerateTab, reasons, requested, shown
from echoreel.page.shared import Shared, told
from echoreel.page.telling import warn

SECONDS = 1.0  # between two looks at what runs
PREVIEW_FPS = 8.0
NOTHING = "<p>Your video will appear here.</p>"


class ResultPanel(NamedTuple):
    """Components. notes: of the result on show; seen: numbers of the last jobs that ended and finished."""

    rows: list[gr.Row]  # the job that runs, then those that wait
    lines: list[gr.HTML]
    preview: gr.HTML
    news: gr.HTML
    result: gr.HTML
    mp4: gr.DownloadButton
    gif: gr.DownloadButton
    settings: gr.DownloadButton
    notes: gr.State
    history: gr.Dropdown
    seen: gr.State
    told_before: gr.State

    @property
    def of_result(self) -> list[Any]:
        return [self.result, self.mp4, self.gif, self.settings, self.notes]

    @property
    def watched(self) -> list[Any]:
        told = [self.preview, self.news, *self.of_result, self.history, self.seen, self.told_before]
        return [*self.rows, *self.lines, *told]


def result_panel(tab: GenerateTab, shared: Shared) -> None:
    """Draw it and join it to the left side."""
    rows, lines, cancels = _job_rows()
    preview = gr.HTML(elem_id="preview", elem_classes="preview note")
    news = gr.HTML(elem_id="news", elem_classes="note")
    result = gr.HTML(NOTHING, elem_id="result")
    with gr.Row():
        mp4 = gr.DownloadButton("Download .mp4", size="sm", interactive=False, elem_id="download-mp4")
        gif = gr.DownloadButton("Download .gif", size="sm", interactive=False, elem_id="download-gif")
        notes_file = gr.DownloadButton(
            "Download settings", size="sm", interactive=False, elem_id="download-json"
        )
    why = gr.Markdown(elem_id="reasons")
    gr.Markdown("## Past results")
    history = gr.Dropdown([], label="Results in the outputs folder", elem_id="history")
    use = gr.Button("Use these settings", size="sm", elem_id="use")
    restore = gr.File(
        label="Drop a result (.mp4 or .json) to use its settings",
        file_types=[".mp4", ".json"],
        height=150,
        elem_id="restore",
    )
    panel = ResultPanel(
        rows,
        lines,
        preview,
        news,
        result,
        mp4,
        gif,
        notes_file,
        gr.State(None),
        history,
        gr.State((0, 0)),
        gr.State(None),
    )
    _join(panel, tab, shared, cancels)
    _join_settings(panel, tab, shared, use, restore)
    tab.why.click(told(reasons), tab.inputs, why, api_visibility="private", show_progress="minimal")


def _job_rows() -> tuple[list[gr.Row], list[gr.HTML], list[gr.Button]]:
    """A row with a line and a button to cancel for the job that runs and each that may wait."""
    rows, lines, cancels = [], [], []
    for place in range(MOST_WAITING + 1):
        with gr.Row(visible=False, elem_classes="job", elem_id=f"job-{place}") as row:
            lines.append(gr.HTML(scale=4))
            cancels.append(gr.Button("Cancel", size="sm", scale=0, min_width=90, elem_id=f"cancel-{place}"))
        rows.append(row)
    return rows, lines, cancels


def _join(panel: ResultPanel, tab: GenerateTab, shared: Shared, cancels: list[gr.Button]) -> None:
    def watched(seen: tuple[int, int], before: Any) -> list[Any]:
        return _watched(shared, seen, before)

    @told
    def submitted(*values: Any) -> str:
        job = shared.jobs.submit(requested(values))
        place = len(shared.jobs.waiting())
        return paragraphs(
            f"Generation {job.number} is {'next' if place <= 1 else f'number {place}'} in line."
        )

    def cancelled(place: int) -> None:
        jobs = _in_line(shared)
        if place < len(jobs):
            shared.jobs.cancel(jobs[place].number)

    look: Any = (watched, [panel.seen, panel.told_before], panel.watched)
    hidden: Any = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    gr.Timer(SECONDS).tick(*look, **hidden)
    tab.generate.click(
        submitted,
        tab.inputs,
        panel.news,
        api_visibility="private",
        show_progress="hidden",
        scroll_to_output=True,
    ).success(*look, **hidden)
    for place, button in enumerate(cancels):
        button.click(partial(cancelled, place), None, None, **hidden).then(*look, **hidden)


def _join_settings(
    panel: ResultPanel, tab: GenerateTab, shared: Shared, use: gr.Button, restore: gr.File
) -> None:
    @told
    def chosen(name: str | None) -> list[Any]:
        found = _named(shared, name)
        return _of_result(found) if found else _no_result()

    @told
    def used(notes: Path | None) -> list[Any]:
        if notes is None:
            raise EchoReelError("no result is on show; choose one of the past results")
        return _restored(notes, shared)

    @told
    def restored(upload: str) -> list[Any]:
        return [None, *_restored(Path(upload), shared)]

    panel.history.input(chosen, panel.history, panel.of_result, api_visibility="private")
    use.click(used, panel.notes, tab.outputs, api_visibility="private")
    restore.upload(restored, restore, [restore, *tab.outputs], api_visibility="private")


def _restored(path: Path, shared: Shared) -> list[Any]:
    request, lost = shared.results.restored(path)
    if lost:
        warn(f"Not in the outputs folder: {', '.join(lost)}. Drop the clip again.", "Reference missing")
    return shown(request, shared)


def _in_line(shared: Shared) -> list[Job]:
    running = shared.jobs.running()
    return [*([running] if running else ()), *shared.jobs.waiting()]


def _watched(shared: Shared, seen: tuple[int, int], before: Any) -> list[Any]:
    """What changed since the last look, for all of `ResultPanel.watched`."""
    jobs = _in_line(shared)
    lines = [_line(job, place) for place, job in enumerate(jobs)]
    over, finished = shared.jobs.last(), shared.jobs.last(finished=True)
    now = (over.number if over else 0, finished.number if finished else 0)
    running = shared.jobs.running()
    looks = 0 if running is None else (running.number, running.next_look)
    state = (lines, looks)
    if (state, now) == (before, seen):
        return [gr.skip()] * (2 * (MOST_WAITING + 1) + 10)
    preview = gr.skip() if before and before[1] == looks else _preview(running)
    shown_rows = [gr.Row(visible=place < len(jobs)) for place in range(MOST_WAITING + 1)]
    shown_lines = [*lines, *[""] * (MOST_WAITING + 1 - len(lines))]
    news = _news(over) if over and over.number != seen[0] else "" if running else gr.skip()
    result, history = [gr.skip()] * 5, gr.skip()
    found = _found(finished, shared) if finished and finished.number != seen[1] else None
    if found is not None:
        result = _of_result(found)
        history = gr.Dropdown(choices=_choices(shared), value=_name(shared, found.notes))
    elif before is None:
        history = gr.Dropdown(choices=_choices(shared), value=None)
    return [*shown_rows, *shown_lines, preview, news, *result, history, now, state]


def _line(job: Job, place: int) -> str:
    prompt = _short(job.request.prompt, 80)
    if job.state == "waiting":
        return paragraphs(f"Waiting, {'next' if place <= 1 else f'number {place}'} in line: {prompt}")
    if job.progress is None:
        return progress(f"Loading the models: {prompt}", None, "Loading")
    step, left = job.progress, job.seconds_left
    of = f", video {step.video} of {step.videos}" if step.videos > 1 else ""
    time_left = "" if left is None else f", about {max(1, round(left))} s left"
    stopping = "Stopping. " if job.cancelling.is_set() else ""
    line = f"{stopping}Step {step.step} of {step.steps}{of}{time_left}: {prompt}"
    return progress(line, step.share, "Generation")


def _preview(job: Job | None) -> str:
    """The video of the job as it was a moment ago, moving; nothing where its base shows none."""
    frames = None if job is None else job.preview
    if frames is None:
        return ""
    film = base64.b64encode(animated_webp(frames, PREVIEW_FPS)).decode()
    return f'<img src="data:image/webp;base64,{film}" alt="The video so far">'


def _news(job: Job) -> str:
    """How a job ended."""
    if job.state == "failed":
        return f'<p role="alert"><strong>No video:</strong> {html.escape(job.error)}</p>'
    return paragraphs(
        f"Generation {job.number} {'was cancelled' if job.state == 'cancelled' else 'is done'}."
    )


def _found(job: Job, shared: Shared) -> PastResult | None:
    """A finished job's result, unless somebody has removed it."""
    try:
        return None if job.result is None else shared.results.result(job.result)
    except EchoReelError:
        return None


def _of_result(found: PastResult) -> list[Any]:
    details, parts = found.details(), found.parts
    told_of = details.get("references")
    references = told_of if isinstance(told_of, list) else []  # the file may be somebody else's
    names = {
        f"reference-{number}": f"Reference {number}: {_short(each.get('caption') or 'no caption', 60)}"
        for number, each in enumerate(references, 1)
        if isinstance(each, dict)
    }
    labels = {names.get(part, "The base alone"): path for part, path in parts.items() if part != "base"}
    labels |= {"The base alone": parts["base"]} if "base" in parts else {}
    labels |= {"With the reference" if references else "The base alone": found.video}
    gif = found.video.with_suffix(".gif")
    said = paragraphs(f"Prompt: {details.get('prompt', '')}", _facts(details))
    return [
        videos(labels) + said,
        gr.DownloadButton(value=str(found.video), interactive=True),
        gr.DownloadButton(value=str(gif) if gif.is_file() else None, interactive=gif.is_file()),
        gr.DownloadButton(value=str(found.notes), interactive=True),
        found.notes,
    ]


def _no_result() -> list[Any]:
    return [NOTHING, *[gr.DownloadButton(value=None, interactive=False)] * 3, None]


def _facts(details: dict[str, Any]) -> str:
    told_of, seeds = details.get("settings"), details.get("seeds")
    settings = told_of if isinstance(told_of, dict) else {}
    seeds = ", ".join(map(str, seeds if isinstance(seeds, list) else [seeds]))
    return (
        f"Base {details.get('base')}, adapter {details.get('adapter') or 'none'}, seed {seeds}, "
        f"{settings.get('steps')} steps, scale {settings.get('scale')}, {details.get('seconds')} s."
    )


def _short(text: object, characters: int) -> str:
    return shorten(str(text), characters, placeholder=" …")


def _choices(shared: Shared) -> list[tuple[str, str]]:
    return [(_label(each), _name(shared, each.notes)) for each in shared.results.past()]


def _label(result: PastResult) -> str:
    when = time.strftime("%d %b %H:%M", time.localtime(result.notes.stat().st_mtime))
    return f"{when}: {_short(result.details().get('prompt', ''), 70)}"


def _name(shared: Shared, notes: Path) -> str:
    return notes.relative_to(shared.results.folder).as_posix()


def _named(shared: Shared, name: str | None) -> PastResult | None:
    return next((each for each in shared.results.past() if _name(shared, each.notes) == name), None)
