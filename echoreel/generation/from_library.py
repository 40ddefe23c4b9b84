"""References that a library gives for a prompt, with what it has stored of them for the base."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from echoreel.bases.base import Base
from echoreel.generation.settings import GenerationSettings, recommended_size
from echoreel.library.clips import Taken
from echoreel.library.encoded_clips import with_encoded
from echoreel.library.reference_library import ReferenceLibrary
from echoreel.media.reference_video import ReferenceVideo


@dataclass(frozen=True, eq=False)
class FromLibrary:
    """What a library gave, before a base is there."""

    library: ReferenceLibrary
    taken: Taken

    @classmethod
    def take(
        cls,
        library: str | Path | ReferenceLibrary,
        prompt: str,
        wanted: int = 1,
        action: str | None = None,
        min_score: float | None = None,
        skip_bad: bool = False,
    ) -> Self:
        """At most so many references of the action, as `ReferenceLibrary.take`. Raises LibraryError."""
        found = library if isinstance(library, ReferenceLibrary) else ReferenceLibrary.open(library)
        return cls(found, found.take(prompt, wanted, action, min_score, skip_bad))

    @property
    def references(self) -> list[ReferenceVideo]:
        return [reference for _, reference in self.taken.references]

    def encoded(self, base: Base, settings: GenerationSettings) -> tuple[list[ReferenceVideo], int]:
        """The references with what is stored of them for this base, and of how many that is stale.

        settings: without gaps, as `resolved` returns them.
        """
        size = settings.size or recommended_size(base)
        clips = [(found.clip, reference) for found, reference in self.taken.references]
        return with_encoded(self.library, clips, base, size)

    def details(self) -> dict[str, Any]:
        """For JSON."""
        results = [found.details() for found, _ in self.taken.references]
        return self.taken.answer.details() | {"results": results}
