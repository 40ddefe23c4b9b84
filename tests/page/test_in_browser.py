"""The page as people use it, in Chromium: from the first look to a video made with a clip of the library."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.places import ROOT
from helpers.skips import NEEDS_CHROMIUM
from playwright.sync_api import Browser, Page, expect, sync_playwright

from echoreel.evaluation.actorbench.report import EvaluationReport, Row
from echoreel.evaluation.actorbench.report_page import write_plots
from echoreel.evaluation.intervals import Interval
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import probe
from echoreel.page.page import PageSettings, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=NEEDS_CHROMIUM)]

CARTWHEEL = ROOT / "echoreel" / "assets" / "cartwheel.mp4"
CAPTION = (
    "a person with black hair in a yellow t-shirt and black trousers doing a cartwheel on a wooden floor"
)
PROMPT = "a person with brown hair in a red sweater doing a cartwheel on a grassy field"
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
LONG, SHORT = 60_000, 15_000  # milliseconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    write_bench(folder / "bench")
    settings = PageSettings(
        outputs=folder / "outputs", library=folder / "library", bench=folder / "bench", browser=False
    )
    with served(settings) as address:
        yield address


def write_bench(folder: Path) -> None:
    """The report of a run of one row."""
    folder.mkdir()
    part = Interval(0.6, 0.5, 0.7)
    row = Row("ours", "heldout", 1, 16, part, part, part, part, part, part, part, part, 12.0)
    report = EvaluationReport((row,), {"training": {"accuracy": 0.9}}, {}, 0, None, folder)
    report.write()
    write_plots(report, folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page just opened; in the end it must have asked for nothing from elsewhere, nor complained."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    elsewhere: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda asked: elsewhere.append(asked.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    expect(page.locator("#generate")).to_be_visible(timeout=LONG)
    yield page
    page.close()
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []
    assert complaints == []


def drop(page: Page, file: Path = CARTWHEEL) -> None:
    page.set_input_files("#drop input[type=file]", str(file))
    expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=SHORT)


def ask(page: Page, steps: int) -> None:
    if not page.get_by_label("Steps", exact=True).is_visible():
        page.click("#settings button")
    page.get_by_label("Steps", exact=True).fill(str(steps))
    page.fill("#prompt textarea", PROMPT)
    page.click("#generate")


def shares(page: Page) -> float:
    return float(page.locator("#job-0 progress[value]").get_attribute("value", timeout=LONG) or 0)


def test_from_a_clip_to_a_video(page: Page, folder: Path, tmp_path: Path) -> None:
    drop(page)
    expect(page.locator("#reference-1")).to_contain_text("16 frames, 0.00 s to 1.88 s of cartwheel-")
    page.locator("#reference-1").get_by_label("Start (s)").fill("0.5")
    page.locator("#reference-1").get_by_label("End (s)").fill("1.5")
    expect(page.locator("#reference-1")).to_contain_text("8 frames, 0.50 s to 1.38 s of", timeout=SHORT)
    page.locator("#reference-1 textarea").fill(CAPTION)
    ask(page, steps=300)
    first = shares(page)
    page.wait_for_function(
        "v => document.querySelector('#job-0 progress').value > v", arg=first, timeout=LONG
    )
    expect(page.locator("#job-0")).to_contain_text("s left", timeout=SHORT)
    expect(page.get_by_alt_text("The video so far")).to_be_visible(timeout=SHORT)
    ask(page, steps=3)
    expect(page.locator("#job-1")).to_contain_text("Waiting, next in line", timeout=SHORT)
    page.click("#cancel-0")
    expect(page.locator("#news")).to_contain_text("Generation 2 is done", timeout=LONG)
    expect(page.locator("#result video")).to_have_count(3)
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('#result video')];"
        " return all.every(v => v.readyState > 2 && !v.paused && v.currentTime > 0.3)"
        " && Math.max(...all.map(v => v.currentTime)) - Math.min(...all.map(v => v.currentTime)) < 0.3 }",
        timeout=SHORT,
    )
    for kind in ("mp4", "gif", "json"):
        with page.expect_download() as downloaded:
            page.click(f"#download-{kind}")
        downloaded.value.save_as(tmp_path / f"mine.{kind}")
    assert probe(tmp_path / "mine.mp4").height == 256
    assert probe(tmp_path / "mine.gif").frames in (None, 16)
    assert len([*(folder / "outputs").glob("2*")]) == 1  # the cancelled one left nothing


def test_a_file_brings_its_settings_back(page: Page, folder: Path) -> None:
    made = next((folder / "outputs").glob("2*/2*.mp4"))
    page.set_input_files("#restore input[type=file]", str(made))
    expect(page.locator("#prompt textarea")).to_have_value(PROMPT, timeout=SHORT)
    expect(page.locator("#reference-1 .frames img")).to_have_count(8)
    expect(page.locator("#reference-1").get_by_label("Start (s)")).to_have_value("0.5")
    expect(page.get_by_label("Start of reference 1 in seconds")).to_have_value("0.5")
    page.click("#settings button")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("3")


def test_the_part_is_chosen_on_the_film(page: Page) -> None:
    """By pointer and keyboard; the fields and the frames taken follow, and the handles follow the fields."""
    drop(page)
    card = page.locator("#reference-1")
    start, end = (page.get_by_label(f"{name} of reference 1 in seconds") for name in ("Start", "End"))
    film = card.locator(".film").bounding_box()
    assert film is not None
    middle = film["y"] + film["height"] / 2
    page.mouse.move(film["x"], middle)
    page.mouse.down()
    page.mouse.move(film["x"] + film["width"] / 4, middle, steps=5)
    page.mouse.up()
    expect(card.get_by_label("Start (s)")).to_have_value(re.compile(r"0\.(4[89]|5[0-2]?)"), timeout=SHORT)
    expect(card).to_contain_text("12 frames, 0.", timeout=SHORT)
    end.focus()
    for _ in range(50):
        page.keyboard.press("ArrowLeft")
    expect(card.get_by_label("End (s)")).to_have_value("1.5", timeout=SHORT)
    expect(card.locator(".frames img")).to_have_count(8, timeout=SHORT)
    card.get_by_label("Start (s)").fill("1")
    expect(start).to_have_value("1")
    expect(card.locator(".frames img")).to_have_count(4, timeout=SHORT)


def test_the_webcam_gives_a_reference(page: Page) -> None:
    page.click("#webcam")
    page.wait_for_function("() => document.querySelector('#webcam-view').currentTime > 1.2", timeout=SHORT)
    page.click("#webcam")
    expect(page.locator("#reference-1")).to_contain_text("s of webcam-", timeout=SHORT)
    expect(page.locator("#webcam-view")).to_be_hidden()


def test_a_reference_file_is_a_reference(page: Page, tmp_path: Path) -> None:
    made = ReferenceVideo.from_file(CARTWHEEL, CAPTION, start=0.5)
    made.save(tmp_path / "cartwheel.safetensors")
    page.set_input_files("#drop input[type=file]", str(tmp_path / "cartwheel.safetensors"))
    expect(page.locator("#reference-1 .frames img")).to_have_count(len(made.frames), timeout=SHORT)
    expect(page.locator("#reference-1 textarea")).to_have_value(CAPTION)


def test_whoever_comes_back_finds_the_last_result_and_the_running_job(
    page: Page, browser: Browser, address: str
) -> None:
    expect(page.locator("#result video")).to_have_count(3, timeout=SHORT)
    page.click("#example")
    expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=SHORT)
    ask(page, steps=300)
    expect(page.locator("#job-0 progress[value]")).to_be_visible(timeout=LONG)
    other = browser.new_page()
    page.goto("about:blank")
    other.goto(address)
    expect(other.locator("#job-0")).to_contain_text("of 300", timeout=LONG)
    other.click("#cancel-0")
    expect(other.locator("#news")).to_contain_text("was cancelled", timeout=LONG)
    other.close()


def test_errors_are_sentences(page: Page) -> None:
    page.click("#generate")
    expect(page.get_by_text("the prompt is empty")).to_be_visible(timeout=LONG)
    drop(page)
    page.locator("#reference-1").get_by_label("Start (s)").fill("9")
    expect(page.locator("#reference-1 [role=alert]")).to_contain_text(
        "choose an earlier start", timeout=SHORT
    )
    page.click("#why")
    expect(page.get_by_text("choose an earlier start").last).to_be_visible(timeout=SHORT)


def test_the_bench_shows_a_report(page: Page) -> None:
    page.get_by_role("tab", name="Bench").click()
    expect(page.locator(".report table").first).to_contain_text("heldout")
    expect(page.get_by_role("img", name="Bars of every measure")).to_be_visible()
    assert page.evaluate("[...document.querySelectorAll('.sheet img')].every(each => each.naturalWidth > 0)")


def test_why_a_reference_does_not_show(page: Page) -> None:
    page.click("#example")
    expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=SHORT)
    page.locator("#reference-1 textarea").fill("")
    page.click("#why")
    expect(page.locator("#reasons")).to_contain_text("The reference has no caption", timeout=SHORT)


def test_the_library_gives_a_reference(page: Page) -> None:
    page.get_by_role("tab", name="Library").click()
    page.click("#add button")
    page.set_input_files("#add-drop input[type=file]", str(CARTWHEEL))
    page.get_by_label("What they show").fill(CAPTION)
    expect(page.locator("#add-drop")).to_contain_text("cartwheel", timeout=SHORT)
    page.click("#add-button")
    expect(page.locator("#added")).to_contain_text("Added 1 clip;", timeout=LONG)
    page.locator("#query").get_by_role("textbox").fill("a woman in a red coat doing a cartwheel")
    page.keyboard.press("Enter")
    expect(page.locator("#understood")).to_contain_text("doing a cartwheel", timeout=SHORT)
    hit = page.locator(".hit video").first
    hit.focus()
    page.wait_for_function("() => !document.querySelector('.hit video').paused", timeout=SHORT)
    page.click("#take-0")
    expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=SHORT)
    expect(page.locator("#reference-1 textarea")).to_have_value(CAPTION)


def test_the_library_is_asked_for_the_prompt_and_its_captions_are_mended(page: Page) -> None:
    page.fill("#prompt textarea", "an old man doing a cartwheel")
    page.click("#find")
    expect(page.locator("#why-taken")).to_contain_text("for “doing a cartwheel”: same action", timeout=SHORT)
    expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=SHORT)
    page.get_by_role("tab", name="Library").click()
    for caption, action in (("a wooden floor", "No action found"), (CAPTION, "doing a cartwheel")):
        page.locator("#action").get_by_role("combobox").click()
        page.get_by_role("option").first.click()
        expect(page.locator("#hit-0")).not_to_contain_text("Saved.", timeout=SHORT)  # drawn anew
        page.locator("#hit-0 textarea").fill(caption)
        page.click("#save-0")
        expect(page.locator("#hit-0")).to_contain_text(action, timeout=SHORT)
        expect(page.locator("#hit-0")).to_contain_text("Saved.")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_no_serious_fault_of_accessibility(page: Page, address: str, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}?__theme={theme}")
    page.click("#example")
    expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=LONG)
    page.click("#settings button")
    for tab in ("Generate", "Library", "Bench"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        faults = Axe().run(page).response["violations"]
        assert [fault["id"] for fault in faults if fault["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
