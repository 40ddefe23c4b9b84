"""Subtitles (.srt, .vtt) to what is said when; pysubs2 reads them, and costs little whatever they hold."""

import html
import re

from echoreel.common.extras import needs

TAGS = re.compile(r"<[^<>]*>|\{[^{}]*\}")
ENTITY = re.compile(r"&#?\w{1,8};")
BLANK = re.compile(r"\n{3,}")
NO_HOURS = re.compile(r"(?<!\d)(?=:\d\d:\d\d\.\d)")  # of ":00:01.500", where pysubs2 wants a number


def subtitles(text: str) -> tuple[list[tuple[str, float, float]], int]:
    """(text, start, end) of every cue in seconds, and how many have times that cannot be.

    Raises MissingExtra without pysubs2.
    """
    with needs("pysubs2", "subtitles"):
        import pysubs2
    is_vtt = text.lstrip("\ufeff \n").startswith("WEBVTT")
    read = pysubs2.SSAFile.from_string(_plain(text), format_="vtt" if is_vtt else "srt")
    found, wrong = [], 0
    for cue in read:
        said = cue.text.split(r"\N\N")[0] if is_vtt else cue.text  # after it: a note, the next cue's name
        if cue.end <= cue.start:
            wrong += 1
        else:
            said = ENTITY.sub(lambda entity: html.unescape(entity[0]), said.replace(r"\N", " "))
            found.append((said, cue.start / 1000, cue.end / 1000))
    return found, wrong


def _plain(text: str) -> str:
    """Without tags, brackets of tags and long gaps, on which pysubs2 spends the square of their length."""
    text = TAGS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = (line.strip() for line in text.translate({ord("{"): None, ord("}"): None}).split("\n"))
    return NO_HOURS.sub("0", BLANK.sub("\n\n", "\n".join(lines)).replace("<", "\u2039"))
