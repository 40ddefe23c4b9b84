"""An upload is kept whole or not at all: Gradio leaves the part of one that was refused, or broke off."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gradio import route_utils

_FOLDER: ContextVar[str] = ContextVar("_FOLDER")  # of the request that is answered


class _OwnFolder(route_utils.GradioMultiPartParser):
    """Writes the files of a request to the folder of `only_whole_files`."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named | {"upload_dir": _FOLDER.get()})


@contextmanager
def keeping_whole_uploads() -> Iterator[None]:
    """Within, uploads are written to a folder of their own until Gradio has the whole file."""
    parser = route_utils.GradioMultiPartParser
    setattr(route_utils, parser.__name__, _OwnFolder)
    try:
        yield
    finally:
        setattr(route_utils, parser.__name__, parser)


@contextmanager
def only_whole_files() -> Iterator[None]:
    """Around one upload: what Gradio did not move to its place is removed."""
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])  # the same disk, so that a whole file is only renamed
    uploads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=uploads, prefix="part-", ignore_cleanup_errors=True) as folder:
        token = _FOLDER.set(folder)
        try:
            yield
        finally:
            _FOLDER.reset(token)
