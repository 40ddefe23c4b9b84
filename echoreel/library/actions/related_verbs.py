"""Verbs near in meaning, by WordNet: `assets/related.txt.gz`, distilled by scripts/lexicon.py."""

import gzip
from functools import cache

from echoreel.library.actions.word_classes import ASSETS

RELATED = ASSETS / "related.txt.gz"


@cache
def related_verbs() -> dict[str, tuple[str, ...]]:
    """Verb -> up to eight common verbs that mean the same or something more general, from WordNet."""
    lines = gzip.decompress(RELATED.read_bytes()).decode().splitlines()
    return {verb: tuple(words) for verb, *words in (line.split() for line in lines)}


@cache
def kin_verbs(verb: str) -> frozenset[str]:
    """Verbs that mean nearly the same: one is among the related ones of the other, or both of a third."""
    related, below = related_verbs(), _verbs_below()
    nearest = related.get(verb, ())[:2]
    kin = {*related.get(verb, ()), *below.get(verb, ((), ()))[0]}
    kin.update(*(below.get(one, ((), ()))[1] for one in nearest))
    return frozenset(kin - {verb})


@cache
def _verbs_below() -> dict[str, tuple[list[str], list[str]]]:
    """Verb -> the verbs that have it among their related ones, and those that have it among the first two."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for verb, words in related_verbs().items():
        for place, word in enumerate(words):
            every, first = found.setdefault(word, ([], []))
            every.append(verb)
            if place < 2:
                first.append(verb)
    return found
