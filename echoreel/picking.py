"""Which of the clips that show an action: scenery breaks ties, and those picked differ from each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCENERY = 0.05  # of a score: less than what tells one action from another
VARIETY = 0.05  # likewise: taken off what looks as one that was picked already
SAME_VIDEO = 0.5  # taken off another part of a video that was picked already
WORD = re.compile(r"[a-z]+")
STOP = frozenset(
    ["a", "an", "the", "in", "on", "at", "of", "is", "are", "with", "and", "to", "his", "her", "their", "its"]
)


@dataclass(frozen=True)
class Candidates:
    """Clips of near actions: a row each, in any order."""

    action_scores: NDArray[np.float64]  # (N,) 0 to 1
    captions: Sequence[str]
    videos: Sequence[str]  # which video each was cut from
    looks: Sequence[tuple[float, ...] | None]


def scores(prompt: str, candidates: Candidates) -> NDArray[np.float64]:
    """(N,): of the action, and a little more for each word of the prompt that the caption has, too."""
    wanted = words(prompt)
    if not wanted:
        return candidates.action_scores
    share = [len(wanted & words(caption)) / len(wanted) for caption in candidates.captions]
    return candidates.action_scores + SCENERY * np.array(share)


def varied(scored: NDArray[np.float64], candidates: Candidates, count: int) -> list[int]:
    """Rows of the `count` picked, best first: each has the best score less what it shares with those before.

    Clips of one video come last; those that look alike (by their colours or, where nobody has looked, by
    their captions) after those that do not.
    """
    left = scored.astype(float)
    order = np.argsort(-left, kind="stable")[: max(4 * count, 40)]
    left = left[order]
    videos = np.array([candidates.videos[i] for i in order])
    captions = [words(candidates.captions[i]) for i in order]
    looks = [candidates.looks[i] for i in order]
    picked: list[int] = []
    while len(picked) < min(count, len(order)):
        best = int(np.argmax(left))
        picked.append(best)
        same = videos == videos[best]
        likeness = np.array([_alike(best, other, looks, captions) for other in range(len(order))])
        left = left - np.where(same, SAME_VIDEO, VARIETY * likeness / len(picked))
        left[best] = -np.inf
    return [int(order[i]) for i in picked]


def words(text: str) -> set[str]:
    """Those that say something."""
    return set(WORD.findall(text.lower())) - STOP


def _alike(
    one: int, other: int, looks: Sequence[tuple[float, ...] | None], captions: Sequence[set[str]]
) -> float:
    """0 (nothing in common) to 1."""
    mine, theirs = looks[one], looks[other]
    if mine is not None and theirs is not None:
        return float(max(0.0, 1 - 4 * np.abs(np.subtract(mine, theirs)).mean()))
    both = captions[one] | captions[other]
    return len(captions[one] & captions[other]) / len(both) if both else 1.0
