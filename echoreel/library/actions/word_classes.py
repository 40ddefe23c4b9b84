"""What each word can be: the classes that the rules of `actions` read, one dictionary look-up a word.

Open classes come from `assets/lexicon.txt.gz`, distilled by scripts/lexicon.py from lemminflect's lexicon
(the forms of 6,700 verbs) and WordNet's counts (which of noun and verb a word mostly is); closed classes
and the words that mean something special to the rules from `assets/lexicon.toml`, written by hand.

A word's code is two letters: its `Kind` and its `Role`.
"""

import gzip
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[2] / "assets"
FILE = ASSETS / "lexicon.txt.gz"
WORDS = 1 << 18  # kept at most, with those that texts brought


class Kind(StrEnum):
    """The class of a word; its letter is what the lexicon's file has. No `Role` has the same letter.

    Of two names with "or", the first is what the word mostly is; with equals, what the rules try first.
    """

    ING = "g"
    NOUN_OR_ING = "G"  # "building"
    BASE = "V"
    BASE_OR_NOUN = "v"
    BASE_OR_BEING = "k"  # "guard"
    BASE_OR_PAST = "u"  # "cut"
    NOUN_OR_BASE = "o"  # a verb in the dictionary only: "table"
    THIRD = "Z"
    THIRD_OR_PLURAL = "z"
    THIRD_OR_BEINGS = "K"
    PLURAL_OR_THIRD = "O"
    PAST = "e"  # or participle
    OTHER_OR_PAST = "E"
    NOUN = "n"
    PLURAL = "N"
    BEING = "m"  # a person or an animal
    BEINGS = "M"
    DETERMINER = "d"  # or number
    ADJECTIVE = "j"
    ADVERB = "a"
    BE = "x"
    HAVE = "h"
    MODAL = "b"  # or let, do: before a base form
    PRONOUN = "s"
    CONJUNCTION = "c"
    QUESTION = "q"
    PREPOSITION = "p"
    PARTICLE = "r"
    TO = "t"
    APOSTROPHE = "'"  # a possessive, or short for is
    BREAK = "."


class Role(StrEnum):
    """What the rules know of a word beside its kind."""

    PLAIN = "-"
    NAMED = "A"  # a verb that is told as a noun, too ("dive"), or a noun that names an action ("yoga")
    INTRANSITIVE = "i"  # of verbs, from here: without an object
    NAMED_INTRANSITIVE = "I"  # "dance"
    NATURAL = "T"  # things do it: "falling leaves"
    WEAK = "w"  # "stand": an action beside it is the one meant
    LIGHT = "l"  # "do": a noun may be the action
    STATE = "y"  # "wear": no action
    FRAME = "f"  # of nouns: "video of"
    EVENT = "S"  # of nouns: "match"
    ONE = "1"  # of determiners: before one thing
    POSSESSIVE = "P"  # of determiners
    OF = "0"  # of prepositions, from here: which it is
    BY = "2"
    WITH = "3"
    AT = "4"
    IN = "5"
    ON = "6"
    FOR = "7"
    FROM = "8"


class Group:
    """Kinds, or roles, that rules treat alike; some alone, as Python 3.11 is slow to look up in an Enum."""

    ADVERB, APOSTROPHE, CONJUNCTION = Kind.ADVERB.value, Kind.APOSTROPHE.value, Kind.CONJUNCTION.value
    DETERMINER, NOUN, PARTICLE = Kind.DETERMINER.value, Kind.NOUN.value, Kind.PARTICLE.value
    PREPOSITION, OF, NAMED = Kind.PREPOSITION.value, Role.OF.value, Role.NAMED.value
    WEAK, LIGHT, STATE = Role.WEAK.value, Role.LIGHT.value, Role.STATE.value
    INGS = Kind.ING + Kind.NOUN_OR_ING
    TRUE_BASES = Kind.BASE + Kind.BASE_OR_PAST
    RARELY_BASES = Kind.BASE_OR_BEING + Kind.NOUN_OR_BASE
    BASES = TRUE_BASES + RARELY_BASES + Kind.BASE_OR_NOUN
    RARELY_THIRDS = Kind.THIRD_OR_BEINGS + Kind.PLURAL_OR_THIRD
    PLURAL_THIRDS = RARELY_THIRDS + Kind.THIRD_OR_PLURAL
    THIRDS = PLURAL_THIRDS + Kind.THIRD
    PASTS = Kind.PAST + Kind.OTHER_OR_PAST
    VERBS = INGS + BASES + THIRDS + PASTS
    CERTAIN = Kind.ING + Kind.THIRD + Kind.BASE
    MAYBE_BASE = Kind.BASE + Kind.BASE_OR_NOUN
    MODIFYING = INGS + PASTS + Kind.BASE  # before a noun: "boiling water"
    SINGULARS = Kind.NOUN + Kind.NOUN_OR_BASE + Kind.BASE_OR_NOUN
    PLURALS = Kind.PLURAL + Kind.PLURAL_OR_THIRD + Kind.THIRD_OR_PLURAL
    THINGS = SINGULARS + PLURALS + Kind.BASE_OR_PAST
    ONE_LIVING = Kind.BEING + Kind.BASE_OR_BEING
    MANY_LIVING = Kind.BEINGS + Kind.THIRD_OR_BEINGS
    LIVING = ONE_LIVING + MANY_LIVING
    NOMINAL = THINGS + LIVING
    NOUNS = Kind.NOUN + Kind.PLURAL + Kind.BEING + Kind.BEINGS  # and nothing else
    ARTICLES = DETERMINER + APOSTROPHE
    BARE = Kind.BREAK + PREPOSITION + Kind.ADJECTIVE  # a noun after these has no article
    BEFORE_BASE = Kind.TO + Kind.MODAL + Kind.BREAK + Kind.PRONOUN + CONJUNCTION + MANY_LIVING
    MODIFIERS = Kind.ADJECTIVE + ADVERB
    BEFORE_VERB = Kind.BE + Kind.HAVE + Kind.MODAL + ADVERB
    BE_ADVERB = Kind.BE + ADVERB
    IN_SUBJECT = DETERMINER + Kind.ADJECTIVE + NOMINAL.replace(Kind.BASE_OR_PAST, "")
    NOUN_FOR_ONCE = Kind.ADJECTIVE + ADVERB + PARTICLE  # after an article: "a net", "a back"
    PASSED_OVER = ADVERB + Kind.PRONOUN  # between a verb and what it acts on
    DIRECTION = PREPOSITION + PARTICLE
    PREPOSITION_TO = PREPOSITION + Kind.TO
    DIRECTION_TO = DIRECTION + Kind.TO
    OPENING = Kind.BREAK + PREPOSITION_TO
    TO_ING = Kind.TO + Kind.ING
    UNFRAMED = Kind.ING + Kind.THIRD + Kind.BE  # begin a text without "a video of"
    AFTER_FRAME = CONJUNCTION + Kind.PRONOUN
    FRAME_FOR = Role.FRAME + Role.FOR
    OF_ON = Role.OF + Role.ON
    BESIDE = Role.WITH + Role.AT + Role.IN + Role.ON
    PREPOSITIONS = BESIDE + Role.OF + Role.BY + Role.FOR + Role.FROM
    INTRANSITIVES = Role.INTRANSITIVE + Role.NAMED_INTRANSITIVE
    NAMEABLE = Role.NAMED + Role.NAMED_INTRANSITIVE
    SINGLE = Role.ONE + Role.POSSESSIVE
    NO_ACTION = Role.WEAK + Role.LIGHT + Role.STATE


class Codes(dict[str, str]):
    """The code of each word; one that the lexicon lacks is a noun, a number or a mark."""

    def __missing__(self, token: str) -> str:
        code = self._guessed(token)
        if len(self) < WORDS:
            self[token] = code
        return code

    def _guessed(self, token: str) -> str:
        if not token[0].isalpha():
            marks = {"'": Kind.APOSTROPHE}
            kind = Kind.DETERMINER if token[0].isdigit() else marks.get(token[0], Kind.BREAK)
            return kind + Role.PLAIN
        if "-" in token:
            last = self[token.rsplit("-", 1)[1]]
            return Kind.ADJECTIVE + Role.PLAIN if last[0] in Group.PASTS + Kind.ADJECTIVE else last
        if token.endswith("ing") and len(token) > 5:
            return Kind.ING + Role.PLAIN
        return (Kind.PLURAL if plain_singular(token) != token else Kind.NOUN) + Role.PLAIN


@dataclass(frozen=True)
class Lexicon:
    """What is known of words."""

    codes: Codes
    lemmas: dict[str, str]  # word -> dictionary form of its verb, or of its noun where the rule would miss it
    progressive: dict[str, str]  # verb -> its -ing form
    pairs: dict[tuple[str, str], str]  # two words -> the one that they make, as "push" and "ups"
    firsts: frozenset[str]  # of those pairs
    lists: dict[str, frozenset[str]]  # of lexicon.toml
    acts_with: dict[str, frozenset[str]]  # verb -> prepositions that bring what it acts on
    agents: dict[str, tuple[str, ...]]  # "guitarist" -> "play", "guitar"
    same: dict[str, str]  # another way to write a word -> the one that is kept: "pushup" -> "push-up"
    known: frozenset[str]  # words that are in the lexicon, not guessed

    def verb(self, word: str) -> str:
        """Dictionary form of a verb's form, or of a noun that names an action."""
        found = self.lemmas.get(word)
        if found is not None:
            return found
        before, dash, last = word.rpartition("-")
        if dash:
            return f"{before}-{self.verb(last)}"
        return word[:-3] if word.endswith("ing") and self.codes[word][0] == Kind.ING else plain_singular(word)

    def ing(self, verb: str) -> str:
        """The -ing form of a verb."""
        before, dash, last = verb.rpartition("-")
        return self.progressive.get(verb) or before + dash + self.progressive.get(last, last + "ing")

    def singular(self, noun: str) -> str:
        """Dictionary form of a noun."""
        return (
            self.lemmas.get(noun, "")
            if self.codes[noun][0] in Group.NOUNS and noun in self.lemmas
            else plain_singular(noun)
        )


def plain_singular(word: str) -> str:
    """The singular of a regular plural; any other word as it is."""
    if not word.endswith("s") or word.endswith(("ss", "us", "is")) or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zzes")):
        return word[:-2]
    return word[:-1]


@cache
def lexicon() -> Lexicon:
    """The lexicon, read once (0.1 s) when the first text is."""
    with (ASSETS / "lexicon.toml").open("rb") as file:
        told = tomllib.load(file)
    lists = {name: frozenset(words.split()) for name, words in told.items() if isinstance(words, str)}
    codes, lemmas, progressive = Codes(), dict[str, str](), dict[str, str]()
    for line in gzip.decompress(FILE.read_bytes()).decode().splitlines():
        word, kind, lemma = line.split()
        codes[word], lemmas[word] = kind + _role(kind, lemma, lists), lemma
        if kind == Kind.ING:
            progressive[lemma] = min(progressive.get(lemma, word), word, key=len)
    for word, found in told["homographs"].items():
        name, lemma = found.split()
        kind = Kind[name.upper()]
        codes[word], lemmas[word] = kind + _role(kind, lemma, lists), lemma
    pairs = {
        (first, second): one for (first, second), one in ((k.split(), v) for k, v in told["pairs"].items())
    }
    _correct(codes, lemmas, lists, told["closed"])
    for one in pairs.values():
        if not one.endswith("ing"):
            codes.setdefault(one, Kind.NOUN + Role.PLAIN)
    acts_with = {verb: frozenset(words.split()) for verb, words in told["acts_with"].items()}
    firsts = frozenset(first for first, _ in pairs)
    agents = {agent: tuple(words.split()) for agent, words in told["agents"].items()}
    known, same = frozenset(codes), told["same"]
    return Lexicon(codes, lemmas, progressive, pairs, firsts, lists, acts_with, agents, same, known)


def _role(kind: str, lemma: str, lists: dict[str, frozenset[str]]) -> str:
    """The role of an open class's word."""
    alone = lemma in lists["action_nouns"] and lemma not in lists["not_alone"]
    named = Role.NAMED if alone else Role.PLAIN
    if kind not in Group.VERBS:
        of_noun = {"frames": Role.FRAME, "session": Role.EVENT}
        return named if alone else next((r for name, r in of_noun.items() if lemma in lists[name]), named)
    for role in (Role.STATE, Role.LIGHT, Role.WEAK):
        if lemma in lists[role.name.lower()]:
            return role
    if lemma in lists["intransitive"]:
        return Role.NAMED_INTRANSITIVE if alone else Role.INTRANSITIVE
    return Role.NATURAL if lemma in lists["natural"] else named


def _correct(
    codes: Codes, lemmas: dict[str, str], lists: dict[str, frozenset[str]], closed: dict[str, Any]
) -> None:
    """Put the hand-written classes over those of the file."""
    codes.update({word: Kind.NOUN_OR_ING + codes[word][1] for word in lists["nouns_in_ing"] if word in codes})
    codes.update({word: Kind.BASE_OR_PAST + codes[word][1] for word in lists["same_past"]})
    for kind, role, name in (
        (Kind.BEING, Role.PLAIN, "living"),
        (Kind.BEINGS, Role.PLAIN, "living_many"),
        (Kind.PLURAL, Role.PLAIN, "mass"),
        (Kind.NOUN, Role.FRAME, "frames"),
        (Kind.ADVERB, Role.PLAIN, "adverbs"),
    ):
        codes.update(dict.fromkeys(lists[name], kind + role))
    codes.update({word + "s": Kind.PLURAL + Role.FRAME for word in lists["frames"]})
    lemmas.update({word: word for word in lists["mass"]})
    for word in lists["action_nouns"] - set(codes):
        codes[word], codes[word + "s"] = Kind.NOUN + Role.NAMED, Kind.PLURAL + Role.NAMED
        lemmas[word + "s"] = word
    codes.update(dict.fromkeys(lists["prepositions"], Kind.PREPOSITION + Role.PLAIN))
    for role in map(Role, Group.PREPOSITIONS):
        codes[role.name.lower()] = Kind.PREPOSITION + role
    for name, words in closed.items():
        codes.update(dict.fromkeys(words.split(), Kind[name.upper()] + Role.PLAIN))
    codes.update(dict.fromkeys(lists["one"], Kind.DETERMINER + Role.ONE))
    codes.update(dict.fromkeys(lists["possessive"], Kind.DETERMINER + Role.POSSESSIVE))
    for kind, words in ((Kind.APOSTROPHE, "'s '"), (Kind.BE, "'re 'm"), (Kind.ADVERB, "n't")):
        codes.update(dict.fromkeys(words.split(), kind + Role.PLAIN))
