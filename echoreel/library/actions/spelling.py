"""The verb or the noun that a misspelt word was meant to be: one letter more, less or exchanged."""

from collections.abc import Iterator
from functools import lru_cache
from string import ascii_lowercase

from echoreel.library.actions.word_classes import Group, lexicon

SHORTEST = 6  # letters


@lru_cache(maxsize=1 << 14)
def corrected(word: str, nouns: bool) -> str:
    """The word that was meant; the same where it is known, too short, or nothing is near.

    nouns: look among nouns that name actions, not among verbs.
    """
    words = lexicon()
    if word in words.known or len(word) < SHORTEST or not word.isalpha():
        return word
    if not nouns and word.endswith("ing"):
        for i in range(3, len(word) - 6):  # "armwrestling"
            if word[:i] in words.known and words.codes.get(word[i:], " ")[0] in Group.INGS:
                return word[i:]
    for near in _near(word):
        if near in words.known and near in words.lemmas:
            lemma = words.lemmas[near]
            kind = words.codes[near][0]
            if lemma in words.lists["action_nouns"] if nouns else kind in Group.INGS:
                return near
        elif nouns and near in words.lists["action_nouns"]:
            return near
    return word


def _near(word: str) -> Iterator[str]:
    """Words of one mistake less, the likeliest first: doubled letters, missing ones, exchanged, others."""
    places = range(len(word) + 1)
    yield from (word[:i] + word[i - 1] + word[i:] for i in places[1:])
    yield from (word[:i] + word[i + 1 :] for i in places[1:-1] if word[i] == word[i - 1])
    yield from (word[:i] + letter + word[i:] for i in places[1:] for letter in ascii_lowercase)
    yield from (word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :] for i in places[1:-1])
    yield from (word[:i] + word[i + 1 :] for i in places[1:-1])
    yield from (word[:i] + letter + word[i + 1 :] for i in places[1:-1] for letter in ascii_lowercase)
