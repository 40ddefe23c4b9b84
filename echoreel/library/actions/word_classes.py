"""What each word can be: the classes that the rules of `actions` read, one dictionary look-up a word.

Open classes come from `assets/lexicon.txt.gz`, distilled by scripts/lexicon.py from lemminflect's lexicon
(the forms of 6,700 verbs) and WordNet's counts (which of noun and verb a word mostly is); closed classes
and the words that mean something special to the rules from `assets/lexicon.toml`, written by hand.

A word's code is two letters. First its class:
```
g G   -ing form (G: mostly a noun, as "building")      d  determiner, number, possessive
V v k base form (v: also a noun; k: also a living one)  j  adjective     a  adverb
u     base form that is the past as well, "cut"
Z z K third person (z: also a plural; K: of the living) x  form of be    h  form of have    b  can, to let, do
e E   past or participle (E: mostly something else)     s  pronoun       c  conjunction     q  question word
n N   noun, plural noun     m M  person or animal       p  preposition   r  particle        t  "to"
o O   noun that is a verb in the dictionary only        '  possessive or short is          .  break
```
Then its role. Of verbs: `-` action; `i` an action without object, `n` one of things ("falling leaves"); `x`
and `X` (as `i`) that are told as nouns, too ("dive", "dance"); `w` weak ("stand": an action beside it is
the one meant), `l` light ("do": a noun may be the action), `y` state ("wear"). Of nouns: `x` an action
("yoga"), `f` a frame ("video of"), `s` an event ("match"), `-` other. Of determiners: `1` before one thing,
`'` possessive. Of prepositions: which it is.
"""

import gzip
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[2] / "assets"
FILE = ASSETS / "lexicon.txt.gz"
RELATED = ASSETS / "related.txt.gz"
WORDS = 1 << 18  # kept at most, with those that texts brought
VERBAL = frozenset("gGVvukZzKeEoO")
NOMINAL = frozenset("nNmMoOvukzK")
TOLD_APART = {
    "of": "o",
    "by": "b",
    "with": "w",
    "at": "a",
    "in": "i",
    "on": "n",
    "for": "f",
    "like": "l",
    "from": "r",
}


class Codes(dict[str, str]):
    """The code of each word; one that the lexicon lacks is a noun, a number or a mark."""

    def __missing__(self, token: str) -> str:
        code = self._guessed(token)
        if len(self) < WORDS:
            self[token] = code
        return code

    def _guessed(self, token: str) -> str:
        if not token[0].isalpha():
            return "d-" if token[0].isdigit() else "'-" if token[0] == "'" else ".-"
        if "-" in token:
            last = self[token.rsplit("-", 1)[1]]
            return "j-" if last[0] in "eEj" else last
        if token.endswith("ing") and len(token) > 5:
            return "g-"
        return "N-" if plain_singular(token) != token else "n-"


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

    def verb(self, word: str) -> str:
        """Dictionary form of a verb's form, or of a noun that names an action."""
        found = self.lemmas.get(word)
        if found is not None:
            return found
        before, dash, last = word.rpartition("-")
        if dash:
            return f"{before}-{self.verb(last)}"
        return word[:-3] if word.endswith("ing") and self.codes[word][0] == "g" else plain_singular(word)

    def ing(self, verb: str) -> str:
        """The -ing form of a verb."""
        before, dash, last = verb.rpartition("-")
        return self.progressive.get(verb) or before + dash + self.progressive.get(last, last + "ing")

    def singular(self, noun: str) -> str:
        """Dictionary form of a noun."""
        return (
            self.lemmas.get(noun, "")
            if self.codes[noun][0] in "nNmM" and noun in self.lemmas
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
        if kind == "g":
            progressive[lemma] = min(progressive.get(lemma, word), word, key=len)
    for word, found in told["homographs"].items():
        kind, lemma = found.split()
        codes[word], lemmas[word] = kind + _role(kind, lemma, lists), lemma
    pairs = {
        (first, second): one for (first, second), one in ((k.split(), v) for k, v in told["pairs"].items())
    }
    _correct(codes, lemmas, lists, told["closed"])
    for one in pairs.values():
        if not one.endswith("ing"):
            codes.setdefault(one, "n-")
    acts_with = {verb: frozenset(words.split()) for verb, words in told["acts_with"].items()}
    firsts = frozenset(first for first, _ in pairs)
    return Lexicon(codes, lemmas, progressive, pairs, firsts, lists, acts_with)


@cache
def related_verbs() -> dict[str, tuple[str, ...]]:
    """Verb -> up to eight common verbs that mean the same or something more general, from WordNet."""
    lines = gzip.decompress(RELATED.read_bytes()).decode().splitlines()
    return {verb: tuple(words) for verb, *words in (line.split() for line in lines)}


def _role(kind: str, lemma: str, lists: dict[str, frozenset[str]]) -> str:
    """The second letter of an open class's word."""
    alone = lemma in lists["action_nouns"] and lemma not in lists["not_alone"]
    if kind not in VERBAL:
        return (
            "x" if alone else "f" if lemma in lists["frames"] else "s" if lemma in lists["session"] else "-"
        )
    for role, name in (("y", "state"), ("l", "light"), ("w", "weak")):
        if lemma in lists[name]:
            return role
    if lemma in lists["intransitive"]:
        return "X" if alone else "i"
    if lemma in lists["natural"]:
        return "n"
    return "x" if alone else "-"


def _correct(
    codes: Codes, lemmas: dict[str, str], lists: dict[str, frozenset[str]], closed: dict[str, Any]
) -> None:
    """Put the hand-written classes over those of the file."""
    codes.update({word: "G" + codes[word][1] for word in lists["nouns_in_ing"] if word in codes})
    codes.update({word: "u" + codes[word][1] for word in lists["same_past"]})
    for code, name in (
        ("m-", "living"),
        ("M-", "living_many"),
        ("N-", "mass"),
        ("nf", "frames"),
        ("a-", "adverbs"),
    ):
        codes.update(dict.fromkeys(lists[name], code))
    codes.update({word + "s": "Nf" for word in lists["frames"]})
    lemmas.update({word: word for word in lists["mass"]})
    for word in lists["action_nouns"] - set(codes):
        codes[word], codes[word + "s"], lemmas[word + "s"] = "nx", "Nx", word
    codes.update({word: "p" + TOLD_APART.get(word, "-") for word in lists["prepositions"]})
    for kind, words in closed.items():
        codes.update(dict.fromkeys(words.split(), kind + "-"))
    codes.update(dict.fromkeys(lists["one"], "d1") | dict.fromkeys(lists["possessive"], "d'"))
    codes.update({"'s": "'-", "'": "'-", "'re": "x-", "'m": "x-", "n't": "a-"})
