"""A folder of results, each in a folder of its own, and of the references they were made with."""

import filecmp
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoreel.common.errors import OutputError
from echoreel.common.files import written_beside
from echoreel.common.text import NO_TEXT, printable
from echoreel.generation.notes import VIDEO_SUFFIXES, is_notes, read_details, tells_of
from echoreel.generation.progress import Progress
from echoreel.generation.request import GenerationRequest
from echoreel.media.video_files import probe

if TYPE_CHECKING:
    from echoreel.bases.base import Base
    from echoreel.generation.result import GenerationResult
    from echoreel.method.adapter import ActionAdapter

NAME = 40  # characters of the prompt in a result's name


@dataclass(frozen=True)
class PastResult:
    """A result's video, and the notes beside it that make it again."""

    video: Path
    notes: Path

    @property
    def parts(self) -> dict[str, Path]:
        """What there is beside the video: "base", "reference-1" and so on -> its own video."""
        found = sorted(self.notes.parent.glob("base.mp4")) + sorted(self.notes.parent.glob("reference-*.mp4"))
        return {path.stem: path for path in found}

    def details(self) -> dict[str, Any]:
        """As `GenerationResult.details`; empty where the notes are none."""
        return read_details(self.notes)


class ResultsFolder:
    """Makes requests into results; keeps the base and the adapter that it loaded last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._base: tuple[str | None, Base] | None = None
        self._adapter: tuple[str | None, ActionAdapter] | None = None

    def make(self, request: GenerationRequest, progress: Callable[[Progress], None]) -> Path:
        """The result's folder. Raises what `generate` raises, and what `progress` does."""
        from echoreel.generation.generate import generate  # torch and diffusers wait for the first request

        references = [reference.read() for reference in request.references]
        base = self._loaded_base(request.base)
        adapter = self._loaded_adapter(request.adapter) if references else None
        result = generate(
            request.prompt,
            references,
            base=base,
            adapter=adapter,
            seed=request.seed,
            settings=request.settings,
            progress=progress,
        )
        return self._saved(result)

    def keep(self, upload: Path, caption: str | None = None) -> Path:
        """Copy a video to `references/`, once for each content, and its caption beside it.

        Raises VideoError for anything but a video, OutputError where another file has its name.
        """
        probe(upload)
        with upload.open("rb") as stream:
            digest = blake2b(digest_size=4)
            while block := stream.read(1 << 20):
                digest.update(block)
        stem = _plain(re.sub(r"-[0-9a-f]{8}$", "", upload.stem)) or "reference"
        kept = self.folder / "references" / f"{stem}-{digest.hexdigest()}{upload.suffix.lower()}"
        if kept.exists() and not filecmp.cmp(kept, upload, shallow=False):
            raise OutputError(f"{kept}: is not the video that was uploaded; move it away")
        with ExitStack() as all_or_none:
            if caption is not None:
                beside = all_or_none.enter_context(written_beside(kept.with_suffix(".txt")))
                beside.write_bytes(caption.encode())
            if not os.path.lexists(kept):
                shutil.copyfile(upload, all_or_none.enter_context(written_beside(kept)))
        return kept

    def restored(self, path: Path) -> tuple[GenerationRequest, list[str]]:
        """The request of a result's file, and the names of its references that are not in `references/`.

        Only references kept there are used: a file of others cannot name one elsewhere.
        """
        request = GenerationRequest.restored(path)
        folder = self.folder / "references"
        kept = {path.name for path in folder.glob("*") if path.is_file()}
        here = [
            each.model_copy(update={"file": folder / each.file.name})
            for each in request.references
            if each.file.name in kept
        ]
        lost = [printable(each.file.name) for each in request.references if each.file.name not in kept]
        return request.model_copy(update={"references": tuple(here)}), lost

    def past(self, most: int = 50) -> list[PastResult]:
        """Results here and one folder below, the newest first."""
        notes = [*self.folder.glob("*.json"), *self.folder.glob("*/*.json")]
        found = (each for path in sorted(notes, key=_written, reverse=True) if (each := _result(path)))
        return [result for result, _ in zip(found, range(most), strict=False)]

    def result(self, folder: Path) -> PastResult:
        """The one in a folder that `make` returned. Raises OutputError where it is gone."""
        for path in folder.glob("*.json"):
            if found := _result(path):
                return found
        raise OutputError(f"{folder.name}: the result is no longer there; generate it again")

    def _saved(self, result: "GenerationResult") -> Path:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{_plain(result.prompt)[:NAME].strip('-')}"
        while (folder := self.folder / name).exists():
            name += "-"
        with written_beside(folder) as partial:
            partial.mkdir()
            result.save(partial / f"{name}.mp4")
            result.save_parts(partial, name)
        return folder

    def _loaded_base(self, name: str | None) -> "Base":
        from echoreel.bases.loading import load_base
        from echoreel.bases.lookup import base_of

        if self._base is None or self._base[0] != name:
            self._base = None  # before the next is loaded: two may not fit into memory
            self._base = name, base_of(load_base(name))
        return self._base[1]

    def _loaded_adapter(self, name: str | None) -> "ActionAdapter":
        from echoreel.method.loading import load_adapter

        if self._adapter is None or self._adapter[0] != name:
            self._adapter = None
            self._adapter = name, load_adapter(name)
        return self._adapter[1]


def _plain(text: str) -> str:
    """Small letters, digits and dashes: a name that every system and every address takes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def _result(notes: Path) -> PastResult | None:
    """The result that a .json tells of, where its video is beside it.

    None for one whose name is no text: no address of the page holds it.
    """
    if NO_TEXT.search(notes.name) or not is_notes(notes):
        return None
    details = read_details(notes)
    for suffix in VIDEO_SUFFIXES:
        if (video := notes.with_suffix(suffix)).is_file() and tells_of(details, video):
            return PastResult(video, notes)
    return None
