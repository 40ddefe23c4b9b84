"""Write the pages of the documentation site: docs/, what it links to outside, and the generated reference.

    python scripts/site_pages.py FOLDER

README.md becomes the first page. A linked file outside docs/ becomes a page below `repository/`. Pages of
the reference come from the code: `reference/python.md` from `echoreel.__all__`, `command-line.md` from the
commands, `settings.md` from the settings classes. Fails at a link that leads nowhere.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from reference_pages import command_line_page, python_page, settings_page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
PICTURES = {".png", ".jpg", ".gif", ".svg", ".webp"}
LANGUAGES = {".toml": "toml", ".py": "python", ".sh": "sh"}


def main() -> None:
    """Write them anew."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    waiting = [path for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    waiting.append(ROOT / "README.md")
    done: set[Path] = set()
    while waiting:
        source = waiting.pop()
        if source in done:
            continue
        done.add(source)
        target = folder / place(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            text, linked = rewritten(source)
            target.write_text(text, encoding="utf-8")
            waiting += linked
        elif target.suffix == ".md":
            language, text = LANGUAGES.get(source.suffix, "text"), source.read_text(encoding="utf-8")
            page = f"# {source.relative_to(ROOT)}\n\n````{language}\n{text}\n````\n"
            target.write_text(page, encoding="utf-8")
        else:
            shutil.copy(source, target)
    reference = {"python": python_page, "command-line": command_line_page, "settings": settings_page}
    (folder / "reference").mkdir(exist_ok=True)
    for name, page in reference.items():
        (folder / "reference" / f"{name}.md").write_text(page(), encoding="utf-8")


def place(source: Path) -> Path:
    """Where a file of the repository lies in the site."""
    name = source.relative_to(ROOT)
    if name == Path("README.md"):
        return Path("index.md")
    if name.parts[0] == "docs":
        return name.relative_to("docs")
    whole = name.suffix == ".md" or name.suffix in PICTURES
    return Path("repository", name if whole else f"{name}.md")


def rewritten(source: Path) -> tuple[str, list[Path]]:
    """A page with its links as they are in the site, and the files outside docs/ that it links to."""
    linked: list[Path] = []

    def link(found: re.Match[str]) -> str:
        path, mark, anchor = found[1].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return found[1]
        target = Path(os.path.normpath(source.parent / path))
        generated = target.parent == ROOT / "docs" / "reference"
        if not (target.is_file() or generated):
            sys.exit(f"{source.relative_to(ROOT)}: links to {found[1]}, which is no file")
        if not generated:
            linked.append(target)
        return os.path.relpath(place(target), place(source).parent) + mark + anchor

    return LINK.sub(link, source.read_text(encoding="utf-8")), linked


if __name__ == "__main__":
    main()
