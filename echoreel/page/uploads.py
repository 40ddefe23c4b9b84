"""An upload is kept whole or not at all, and fills neither the memory nor the disk.

Gradio leaves the part of one that was refused, or broke off. It limits each file, not how much a thousand of
them are, and keeps fields that are no files in memory, however long they are.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gradio import route_utils
from starlette.formparsers import MultiPartException

_FOLDER: ContextVar[str] = ContextVar("_FOLDER")  # of the request that is answered


WHOLE_FILES = 8  # of the largest size that one file may have, that a request may hold
LEFT_FREE = 2**30  # bytes of the disk


class _OwnFolder(route_utils.GradioMultiPartParser):
    """Writes the files of a request to the folder of `only_whole_files`, and takes nothing but files."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named | {"upload_dir": _FOLDER.get()})
        self._left = WHOLE_FILES * self.max_file_size

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is None:
            raise MultiPartException("the page uploads files only; reload it")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._left -= end - start
        if self._left < 0:  # Gradio answers 413 to what says "maximum allowed size"
            most = WHOLE_FILES * self.max_file_size
            raise MultiPartException(f"over the maximum allowed size of {most} bytes; upload fewer files")
        if shutil.disk_usage(_FOLDER.get()).free < LEFT_FREE:
            raise MultiPartException("over the maximum allowed size, the disk being full; free some space")
        super().on_part_data(data, start, end)


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
