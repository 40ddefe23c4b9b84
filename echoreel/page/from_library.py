"""Clips of the library as references of the Generate tab."""

from collections.abc import Sequence

from echoreel.common.errors import EchoReelError
from echoreel.generation.request import ReferenceRequest
from echoreel.library.clips import LibraryClip
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.library.tables import is_library
from echoreel.page.shared import Shared

SECONDS = 2.0  # taken of a clip
TRIED = 5  # clips, should some be unreadable


def opened(shared: Shared) -> ReferenceLibrary:
    """Raises LibraryError, MissingExtra."""
    if not is_library(str(shared.library)):
        raise EchoReelError(
            f"{shared.library}: no library yet; add videos on the Library tab, or start with --library DIR"
        )
    return ReferenceLibrary.open(shared.library)


def as_reference(shared: Shared, clip: LibraryClip) -> ReferenceRequest:
    """The clip, copied to the outputs folder. Raises VideoError, DownloadError, LibraryError."""
    kept = shared.results.keep(opened(shared).file(clip))
    end = None if clip.end is None else min(clip.end, clip.start + SECONDS)
    return ReferenceRequest(file=kept, caption=clip.caption, start=clip.start, end=end)


def best(shared: Shared, prompt: str, have: Sequence[ReferenceRequest]) -> tuple[ReferenceRequest, str]:
    """The clip that shows the prompt's action best, of those not had yet, and in a sentence why.

    Raises EchoReelError where there is none.
    """
    if not prompt.strip():
        raise EchoReelError("the prompt is empty; say who should do what, then look for a clip")
    answer = opened(shared).pick(prompt, len(have) + TRIED)
    if answer.action is None:
        raise EchoReelError("the prompt names no action; say what is done, or browse the Library tab")
    for found in answer.results:
        try:
            reference = as_reference(shared, found.clip)
        except (EchoReelError, OSError):
            continue
        if (reference.file, reference.start) in [(each.file, each.start) for each in have]:
            continue
        return (
            reference,
            f"From the library, for “{answer.action.phrase}”: {found.why}, score {found.score:.2f}.",
        )
    raise EchoReelError(
        f"nothing more in the library shows “{answer.action.phrase}”; add a clip of it, or drop one"
    )
