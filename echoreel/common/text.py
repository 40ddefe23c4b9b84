"""Text that comes from outside: a command line, a file of others."""

import re

from echoreel.common.errors import SettingsError

NO_TEXT = re.compile("[\0\ud800-\udfff]")  # a null byte, or half a character: bytes that are no UTF-8
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # what may steer a terminal, or no text


def checked_text(what: str, text: str) -> str:
    """The text. Raises SettingsError where it holds what no tokenizer and no file can take."""
    if found := NO_TEXT.search(text):
        raise SettingsError(
            f"{what}: character {found.start() + 1} is no text ({found[0]!r}); write it in UTF-8 without it"
        )
    return text


def printable(text: str) -> str:
    """The text with escapes in place of control characters, so that a caption cannot steer a terminal."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
