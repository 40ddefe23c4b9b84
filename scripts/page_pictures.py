"""Pictures of the page in the docs: the example with its result, on a desktop and on a phone.

    python scripts/page_pictures.py [--out docs]

Needs the extra `dev` and Chromium (scripts/chromium installs it).
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from echoreel.page.page import PageSettings, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESKTOP, PHONE = (1280, 1120), (390, 780)  # pixels
MOMENT = 0.95  # seconds into the videos, where the person stands on the hands
MILLISECONDS = 120_000
TO_TOP = "video => scrollBy(0, video.getBoundingClientRect().top - 10)"


def shown(page: Page) -> None:
    """The finished result, its videos held at one moment."""
    expect(page.locator("#result video")).to_have_count(3, timeout=MILLISECONDS)
    page.evaluate(
        "async at => { for (const v of document.querySelectorAll('#result video')) {"
        " v.pause(); const there = new Promise(r => v.addEventListener('seeked', r, {once: true}));"
        " v.currentTime = at; await there; } }",
        MOMENT,
    )


def save(page: Page, file: Path) -> None:
    """The screen as a PNG in all its colours: a palette changes those of the clothes."""
    page.screenshot(path=file)
    with Image.open(file) as picture:
        whole = picture.convert("RGB")
    whole.save(file, optimize=True)


def main() -> None:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        settings = PageSettings(
            outputs=folder / "outputs", library=folder / "library", bench=folder / "bench", browser=False
        )
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with served(settings) as address:
            page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
            page.goto(address)
            page.get_by_role("button", name="Try the example").click(timeout=MILLISECONDS)
            expect(page.locator("#reference-1 .frames img")).to_have_count(16, timeout=MILLISECONDS)
            page.click("#generate")
            expect(page.locator("#news")).to_contain_text("is done", timeout=MILLISECONDS)
            shown(page)
            page.evaluate("scrollTo(0, 0)")
            save(page, out / "page.png")
            page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
            page.locator("#result video").first.evaluate(TO_TOP)
            save(page, out / "page-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
