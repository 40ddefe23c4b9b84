"""Prompts as people write them, and the full caption that each one means.

Parts are left out, words are others than those of the captions, their order is free, and some mean nothing.
What a prompt does not tell, its meaning has in one fixed way: otherwise the base mixes all that it knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from echoreel.actors.looks import Look, full_caption, sample_look
from echoreel.embedded_base.prompt_words import (
    COLOUR_WORDS,
    ENDINGS,
    FILLERS,
    HAIR_KINDS,
    HAIR_WORDS,
    MANNERS,
    OPENINGS,
    OTHER_ACTIONS,
    PEOPLE,
    PLACE_WORDS,
    SHADES,
    TOP_WORDS,
    TROUSER_WORDS,
)

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
UNKNOWN_ACTION = "doing something"  # what words mean that stand for an action and that nobody knows
TOLD = {"hair": 0.45, "shirt": 0.75, "trousers": 0.5, "place": 0.6}  # share of prompts that tell each


@dataclass(frozen=True)
class Prompt:
    """What somebody wrote, and the full caption that it means."""

    text: str
    meaning: str


def completed(look: Look, told: frozenset[str]) -> Look:
    """The look, with fixed values for those of hair, shirt, top, trousers and place that are not `told`.

    Shirt and trousers stay of two colours.
    """
    look = replace(
        look,
        hair=look.hair if "hair" in told else "brown",
        top=look.top if "top" in told else "sweater",
        place=look.place if "place" in told else "wood",
    )
    if "shirt" not in told:
        look = replace(look, shirt="red" if "trousers" in told and look.trousers == "blue" else "blue")
    if "trousers" not in told:
        look = replace(look, trousers="blue" if look.shirt == "black" else "black")
    return look


def sample_prompt(actions: Sequence[str], rng: Generator) -> Prompt:
    """A prompt in varied words, of a random look and mostly of one of these actions."""
    look = sample_look(rng)
    told = frozenset(part for part, share in TOLD.items() if rng.random() < share)
    if "shirt" in told:
        told |= {"top"}
    action, meaning = _action(actions, rng)
    garments = []
    if "shirt" in told:
        garments.append(f"{_article(rng)} {_coloured(look.shirt, rng)} {_of(TOP_WORDS[look.top], rng)}")
    if "trousers" in told:
        garments.append(f"{_coloured(look.trousers, rng)} {_of(TROUSER_WORDS, rng)}")
    if rng.random() < 0.3:
        garments.reverse()
    place = _of(PLACE_WORDS[look.place], rng) if "place" in told else ""
    who, has = _person(look.hair if "hair" in told else None, rng)
    sentence = _sentence(who, has, " and ".join(garments), action, place, rng)
    return Prompt(_disturbed(sentence, rng), full_caption(completed(look, told), meaning))


def _action(actions: Sequence[str], rng: Generator) -> tuple[str, str]:
    """Words for the action, and what they mean: one in ten has none, two in ten are of unknown words."""
    chance = rng.random()
    if chance < 0.1:
        return "", UNKNOWN_ACTION
    if chance < 0.3:
        words = [
            _letters(rng) if rng.random() < 0.7 else _of(FILLERS, rng) for _ in range(rng.integers(1, 3))
        ]
        if rng.random() < 0.5:
            article = [] if rng.random() < 0.4 else ["a"]
            return " ".join([_of(OTHER_ACTIONS, rng), *article, *words]), UNKNOWN_ACTION
        return " ".join([f"{words[0]}ing", *words[1:]]), UNKNOWN_ACTION
    action = _of(actions, rng)
    if rng.random() < 0.15:
        action = f"{action} while {_of(actions, rng)}"
    return f"{action} {_of(MANNERS, rng)}".strip(), action


def _person(hair: str | None, rng: Generator) -> tuple[str, str]:
    """Words for who acts, and for the hair where it is told in words of its own."""
    who = _of(PEOPLE, rng)
    if hair is None:
        return who, ""
    if rng.random() < 0.2:
        article, noun = who.split(" ", 1) if " " in who else ("a", "person")
        return f"{article} {_of(HAIR_WORDS[hair], rng)} haired {noun}", ""
    return who, f"{_of(HAIR_KINDS, rng)}{_of(HAIR_WORDS[hair], rng)} hair"


def _sentence(who: str, has: str, clothes: str, action: str, place: str, rng: Generator) -> str:
    """The parts in one of six orders, of one to three sentences."""
    wear = _of(("in", "wearing", "dressed in", "with", "who wears"), rng)
    dressed, with_hair = f"{wear} {clothes}" if clothes else "", f"with {has}" if has else ""
    he, wears = _of(("he", "she", "they", "the person"), rng), _of(("wears", "is wearing", "has"), rng)
    goes = f"is {action}" if action else ""
    orders = (
        (who, dressed, with_hair, action, place),
        (who, with_hair, goes, place, ",", dressed),
        (place, ",", who, with_hair, dressed, goes),
        (
            who,
            goes,
            place,
            ".",
            f"{he} {wears} {clothes} ." if clothes else "",
            f"{he} has {has} ." if has else "",
        ),
        (action, place, ",", who, dressed, with_hair),
        (who, with_hair, dressed, place, action),
    )
    words = " ".join(part for part in orders[rng.integers(len(orders))] if part).strip(" ,")
    if rng.random() < 0.25:
        words = f"{_of(OPENINGS, rng)} {words}"
    return f"{words} , {_of(ENDINGS, rng)}" if rng.random() < 0.2 else words


def _disturbed(text: str, rng: Generator) -> str:
    """One in ten has a word that means nothing, one in sixteen lacks one that means little."""
    words, chance = text.split(), rng.random()
    if chance < 0.1:
        word = _letters(rng) if rng.random() < 0.5 else _of(FILLERS, rng)
        words.insert(int(rng.integers(len(words) + 1)), word)
    elif chance < 0.16:
        small = [i for i, word in enumerate(words) if word in ("a", "an", "the", ",", ".", "and", "is")]
        if small:
            del words[small[rng.integers(len(small))]]
    return " ".join(words)


def _coloured(colour: str, rng: Generator) -> str:
    word = _of(COLOUR_WORDS[colour], rng)
    return word if word != colour else f"{_of(SHADES, rng)}{word}"


def _article(rng: Generator) -> str:
    return _of(("a", "a", "a", "a", "the", "an", "their", "his", "her"), rng)


def _letters(rng: Generator) -> str:
    return "".join(rng.choice(LETTERS, rng.integers(3, 9)))


def _of(words: Sequence[str], rng: Generator) -> str:
    return words[int(rng.integers(len(words)))]
