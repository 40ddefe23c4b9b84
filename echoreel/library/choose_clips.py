"""Which of the clips that show an action: scenery breaks ties, and those picked differ from each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoreel.library.table_schemas import LOOK_WIDTH

SCENERY = 0.05  # of a score: less than what tells one action from another
VARIETY = 0.05  # likewise: taken off what looks as one that was picked already
SAME_VIDEO = 0.5  # taken off another part of a video that was picked already
WORD = re.compile(r"[a-z]+")
STOP = frozenset(
    ["a", "an", "the", "in", "on", "at", "of", "is", "are", "with", "and", "to", "his", "her", "their", "its"]
)


@dataclass(frozen=True)
class Candidates:
    """The best clips of near actions: a row each, in any order."""

    scores: NDArray[np.float64]  # (N,)
    captions: Sequence[str]
    videos: Sequence[str]  # which video each was cut from
    looks: Sequence[tuple[float, ...] | None]


def scores(prompt: str, action_scores: NDArray[np.float64], captions: Sequence[str]) -> NDArray[np.float64]:
    """(N,): of the action, 0 to 1, and a little more for each word of the prompt that a caption has, too."""
    wanted = words(prompt)
    if not wanted:
        return action_scores
    share = [len(wanted & words(caption)) / len(wanted) for caption in captions]
    return action_scores + SCENERY * np.array(share)


def best(scored: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Rows to pick `count` from, the best first."""
    return np.argsort(-scored, kind="stable")[: max(4 * count, 40)]


def varied(candidates: Candidates, count: int) -> list[int]:
    """Rows of the `count` picked, best first: each has the best score less what it shares with those before.

    Clips of one video come last; those that look alike (by their colours or, where nobody has looked, by
    their captions) after those that do not.
    """
    left = candidates.scores.astype(float)
    videos = np.array(candidates.videos)
    likeness = _Likeness(candidates)
    picked: list[int] = []
    while len(picked) < min(count, len(left)):
        row = int(np.argmax(left))
        picked.append(row)
        left = left - np.where(videos == videos[row], SAME_VIDEO, VARIETY * likeness.to(row) / len(picked))
        left[row] = -np.inf
    return picked


def words(text: str) -> set[str]:
    """Those that say something."""
    return set(WORD.findall(text.lower())) - STOP


class _Likeness:
    """How much candidates have in common."""

    def __init__(self, candidates: Candidates) -> None:
        said = [words(caption) for caption in candidates.captions]
        columns = {word: column for column, word in enumerate(sorted(set().union(*said)))}
        self._said = np.zeros((len(said), len(columns)), np.float32)  # 1 where the caption has the word
        for row, its in enumerate(said):
            self._said[row, [columns[word] for word in its]] = 1
        unknown = (np.nan,) * LOOK_WIDTH
        self._looks = np.array([unknown if look is None else look for look in candidates.looks], np.float32)

    def to(self, row: int) -> NDArray[np.float32]:
        """Of each to one of them (N,): 0, nothing in common, to 1."""
        both = self._said @ self._said[row]
        either = self._said.sum(1) + self._said[row].sum() - both
        by_words = np.divide(both, either, out=np.ones_like(both), where=either > 0)
        by_look = (1 - 4 * np.abs(self._looks - self._looks[row]).mean(1)).clip(0)
        found: NDArray[np.float32] = np.where(np.isnan(by_look), by_words, by_look)
        return found
