"""The page's calls: whatever goes wrong in one is told in a sentence, and every answer is text."""

import html
import logging
from textwrap import shorten
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError

from echoreel.common.text import NO_TEXT
from echoreel.page.shared import UNDONE

LOG = logging.getLogger(__name__)
MOST_TOLD = 1000  # characters of an error
NOT_UPLOADED = "that file was not uploaded to this page; drop it again"


class TellingBlocks(gr.Blocks):
    """A page of Gradio that prints no trace, and answers in text that JSON can hold."""

    async def process_api(self, *values: Any, **named: Any) -> dict[str, Any]:
        """As Gradio's. Raises only its Error, whose sentence the page shows.

        Names and captions of others' files may hold halves of characters. One would break the stream of all
        answers of its tab.
        """
        try:
            answer: dict[str, Any] = await super().process_api(*values, **named)
        except gr.Error as error:
            told, title = str(error.message), error.title
            raise gr.Error(_short(told), title=title, print_exception=False) from error
        except InvalidPathError as error:
            raise gr.Error(NOT_UPLOADED, title=UNDONE, print_exception=False) from error
        except Exception as error:  # of Gradio or a field: values that the page's own script never sends
            LOG.debug("a call of the page failed", exc_info=True)
            why = f"the page could not do that ({type(error).__name__}: {error}); reload it and try again"
            raise gr.Error(_short(why), title=UNDONE, print_exception=False) from error
        return answer | {"data": text_only(answer.get("data"))}


def text_only(value: Any) -> Any:
    """The value, and all that it holds, with \ufffd for what is not text."""
    if isinstance(value, str):
        return NO_TEXT.sub("\ufffd", value)
    if isinstance(value, dict):
        return {text_only(key): text_only(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [text_only(inside) for inside in value]
    return value


def warn(text: str, title: str) -> None:
    """Tell it in a corner of the page, as text."""
    gr.Warning(_short(text), title=title)


def _short(text: str) -> str:
    """As text: Gradio shows messages as HTML, and they tell names of others."""
    return html.escape(shorten(text_only(text), MOST_TOLD, placeholder=" …"), quote=False)
