"""A clip from a library of EchoReel. Only this needs EchoReel itself, so it is imported when asked."""

import importlib
import re

from echoreel.common.errors import EchoReelError, MissingExtra
from echoreel.media.images import Frames

ELSEWHERE = re.compile(r"\w+:[\\/]{2}|[\\/]{2}")  # a URL, or a folder of another machine
PACKAGE = "echoreel"  # by name, so that the build leaves it as it is


def find(library: str, prompt: str, number: int) -> tuple[Frames, float, str]:
    """Frames (T, H, W, 3), their rate and the caption of the clip that fits so well. Raises EchoReelError."""
    if not library.strip():
        raise EchoReelError("got no library, need its folder in Find in Library")
    if ELSEWHERE.match(library.strip()):  # a workflow of others may say any
        raise EchoReelError(f"got the library {library[:200]}, need a folder on this machine")
    try:
        module = importlib.import_module(f"{PACKAGE}.library.reference_library")
        found = module.ReferenceLibrary.open(library).take(prompt, number)
    except ImportError as error:
        raise MissingExtra(
            f"Find in Library needs EchoReel itself ({error}); install echoreel[library] in an environment "
            "of its own, run `echoreel library search` and `echoreel reference save` there, and use Load "
            "Reference here"
        ) from error
    except ValueError as error:  # EchoReel's own errors, which are of another copy of their class
        raise EchoReelError(str(error)) from error
    if len(found.references) < number:
        raise EchoReelError(
            f"the library has {len(found.references)} clips that fit the prompt's action, need {number}; add "
            "videos of the action"
        )
    _, reference = found.references[number - 1]
    return reference.frames, float(reference.fps), str(reference.caption)
