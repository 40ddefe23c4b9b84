"""Strings that users read: all of them are listed, and none is in words that readers had to decode."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from helpers.places import ROOT

DECODED = re.compile(  # what readers stumbled over -> what we write
    r"cannot be had"  # is unavailable
    r"|\banew\b"  # again
    r"|(?<!here )\b(is|are|was|were) no (?!longer\b)"  # is not a
    r"|\bfits? not\b|\btells? of no\b"  # does not fit; names no
    r"|would be replaced"  # already exists
    r"|pass(ed)? over\b"  # skip
    r"|same command goes on"  # rerun to resume
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("strings_script", ROOT / "scripts" / "strings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_messages_are_in_plain_words(script: ModuleType) -> None:
    found = [each for path in script.files([ROOT / "echoreel"]) for each in script.strings(path)]
    read = [(place, text) for place, kind, text in found if kind != "docs"]
    assert len(read) > 500
    assert [each for each in read if DECODED.search(each[1])] == []


def test_sentences_that_are_returned_or_collected_are_listed(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        '''def f(n):
    """Not a message at all."""
    lines = [f"left out {n} pairs of clips"]
    rearrange(x, "b t h w -> b (h w) t")
    raise ValueError("got too many clips")
'''
    )
    found = [(kind, text) for _, kind, text in script.strings(tmp_path / "code.py")]
    assert ("text", "left out {} pairs of clips") in found
    assert [text for kind, text in found if kind == "error"] == ["got too many clips"]
    assert not any("->" in text for _, text in found)
    assert [kind for kind, text in found if text == "Not a message at all."] == ["docs"]


FIRST_SCREEN = 30  # lines


def long_sentences(page: str, most: int) -> list[str]:
    """Those of more words, of the prose: no code, tables, headings, or lists of links."""
    text = re.sub(r"^```.*?^```|^[|#<].*?$", "", page, flags=re.M | re.S)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text))
    parts = re.split(r"\n\s*\n|\n(?:- |\* |\d+\. )| · ", text)
    sentences = [each for part in parts for each in re.split(r"(?<=[.!?:;])[*)]*\s+", part)]
    return [" ".join(each.split()) for each in sentences if len(each.split()) > most]


def test_first_screens_have_no_sentence_over_25_words() -> None:
    assert long_sentences("# Head\n\nOne two\nthree four. Five.\n", 3) == ["One two three four."]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md")]
    first = {
        path: path.read_text().split("\n")[:FIRST_SCREEN] for path in pages if path.name != "CHANGELOG.md"
    }
    assert len(first) > 30
    found = {path.name: long_sentences("\n".join(lines), 25) for path, lines in first.items()}
    assert {name: sentences for name, sentences in found.items() if sentences} == {}
