"""Which word of a text is its verb: the table `assets/verb_rules.txt`, over the kinds and roles of the words.

The surest word wins, of equals the first. Verbs that accompany actions ("stand", "look") stand back.
"""

import re
from functools import cache, lru_cache
from typing import NamedTuple, Self

from echoreel.library.actions.word_classes import ASSETS, Group, Kind, Role

NEVER = 9
NOTHING = Kind.BREAK + Role.PLAIN  # before the first word, and after the last
FRAME = re.compile(  # of codes: an action, or else what is before the text itself, "footage of a close-up of"
    rf"(?:..){{0,11}}?(?:[{Group.UNFRAMED}].|[{Group.MAYBE_BASE}][^{Group.NO_ACTION}]"
    rf"|(.[{Group.FRAME_FOR}](?:[{Group.AFTER_FRAME}].|.[{Group.OF_ON}])"
    rf"(?:(?:..){{0,3}}?.[{Group.FRAME_FOR}].{Group.OF})?))"
)
NOUN_PHRASE = re.compile(  # of kinds
    rf"(?:{Group.DETERMINER}{Group.PARTICLE}?|[{Group.MODIFIERS}]|[{Group.MODIFYING}](?=[{Group.NOMINAL}]))*"
    rf"([{Group.NOMINAL}](?:(?![{Group.PLURAL_THIRDS}]{Group.DETERMINER})[{Group.NOMINAL}]|{Group.APOSTROPHE})*)?"
)


class Decision(NamedTuple):
    """Which token is the verb, and where to look for what it acts on."""

    verb: int
    end: int  # one past the last token of what it acts on
    subject: int  # a passive's first token of what is acted on, or -1
    alone: bool  # nothing that follows belongs to it: "a dancing man", "a man's backflip"


@lru_cache(maxsize=1 << 18)
def decide(code: str) -> Decision | None:
    """The verb among words of these kinds and roles, a letter each; None when there is none."""
    kinds, roles = code[::2], code[1::2]
    frame = FRAME.match(code)
    start = frame.end(1) // 2 if frame and frame[1] else 0
    best, found = -1, NO
    for i in range(start, len(kinds)):
        if (kinds[i] not in Group.VERBS and roles[i] != Group.NAMED) or roles[i] == Group.STATE:
            continue
        p = start + len(kinds[start:i].rstrip(Group.ADVERB)) - 1
        before = code[2 * p : 2 * p + 2] if p >= start else NOTHING
        verdicts, evidence = _verdicts(
            before, code[2 * i : 2 * i + 2], code[2 * i + 2 : 2 * i + 4] or NOTHING
        )
        if verdicts:
            earlier = _earlier(kinds, p, start)
            evidence = next((one for cell, one in verdicts if cell.fits(earlier)), evidence)
        if evidence.cost < found.cost:
            best, found = i, evidence
            if found.cost == 0:
                break
    if best < 0:
        return None
    subject, end = _subject(kinds, best, start) if found.passive else (-1, -1)
    if start <= subject < end:
        return Decision(best, end, subject, False)
    return Decision(best, best + 1 if found.alone else _end(kinds, roles, best), -1, found.alone)


class Evidence(NamedTuple):
    """How sure it is that a token is the verb of the text: 0 sure, 3 hardly, NEVER not."""

    cost: int
    alone: bool = False
    passive: bool = False


NO = Evidence(NEVER)


class Cell(NamedTuple):
    """Which words a rule is for. No letters, and none of them wanted: all words."""

    letters: frozenset[str]
    without: bool

    @classmethod
    def of(cls, names: str) -> Self:
        """As the table writes it."""
        known = vars(Group) | Role.__members__ | Kind.__members__
        letters = frozenset("".join(known[name] for name in names.replace("!", "").upper().split()))
        return cls(letters, not letters or "!" in names)

    def fits(self, code: str) -> bool:
        """Whether one of the letters of `code` is wanted, or none where none may be."""
        return self.letters.isdisjoint(code) is self.without


class Rule(NamedTuple):
    """A row of the table."""

    evidence: Evidence
    word: Cell
    role: Cell
    earlier: Cell
    before: Cell
    after: Cell


@cache
def _rules() -> list[Rule]:
    rules = []
    for row in (ASSETS / "verb_rules.txt").read_text(encoding="utf-8").splitlines():
        if not row.startswith("#"):
            word, role, before, after, verdict = row.split("|")
            earlier, _, before = before.rpartition("...")
            cost, *how = verdict.split()
            evidence = Evidence(NEVER if cost == "no" else int(cost), "alone" in how, "passive" in how)
            rules.append(Rule(evidence, *map(Cell.of, (word, role, earlier, before, after))))
    return rules


@cache
def _rules_of(word: str) -> list[Rule]:
    return [rule for rule in _rules() if rule.word.fits(word) and rule.role.fits(word)]


@lru_cache(maxsize=1 << 16)
def _verdicts(before: str, word: str, after: str) -> tuple[list[tuple[Cell, Evidence]], Evidence]:
    """What the rules say of a word between two others: where earlier words are such, and otherwise."""
    found: list[tuple[Cell, Evidence]] = []
    doubt = 2 * (word[1] == Group.WEAK or (word[1] == Group.LIGHT and after[0] in Group.TO_ING))
    doubt += word[0] in Group.INGS and before[0] in Group.PREPOSITION_TO
    for rule in _rules_of(word):
        if rule.before.fits(before) and rule.after.fits(after):
            evidence = rule.evidence._replace(cost=rule.evidence.cost + doubt)
            if not rule.earlier.letters:
                if evidence.cost < NEVER or word[0] not in Group.VERBS or word[1] not in Group.NAMEABLE:
                    return found, evidence
                return found, _verdicts(before, Group.NOUN + word[1], after)[1]
            found.append((rule.earlier, evidence))
    return found, NO


def _earlier(kinds: str, p: int, start: int) -> str:
    """The kinds that a rule may ask for before the token at p."""
    last = kinds[p - 1] if p > start else NOTHING[0]
    near = Group.CONJUNCTION if Group.CONJUNCTION in kinds[max(start, p - 4) : p] else ""
    return last + near + "".join(k for k in kinds[start:p] if k in Group.CERTAIN)


def _noun_phrase(kinds: str, i: int) -> int:
    """One past the last token of a noun phrase at i; i where there is none."""
    found = NOUN_PHRASE.match(kinds, i)
    end = found.end() if found else i
    once = end > i + 1 and kinds[end - 1] in Group.NOUN_FOR_ONCE
    return end if found and (found[1] or once) else i


def _end(kinds: str, roles: str, i: int) -> int:
    """One past the last token of what the verb at i acts on: an object, or a preposition with its noun."""
    j = len(kinds) - len(kinds[i + 1 :].lstrip(Group.PASSED_OVER))
    j += kinds[j : j + 1] == Group.PARTICLE
    end = _noun_phrase(kinds, j)
    if end == j < len(kinds) and (
        (kinds[j] in Group.PREPOSITION_TO and kinds[j - 1] != Group.PARTICLE) or roles[j] == Group.OF
    ):
        after = _noun_phrase(kinds, j + 1)
        end = after if after > j + 1 else j
    if j < end < len(kinds) and roles[end] == Group.OF:
        after = _noun_phrase(kinds, end + 1)
        return after if after > end + 1 else end
    return end


def _subject(kinds: str, i: int, start: int) -> tuple[int, int]:
    """First and one past the last token of the noun phrase that a passive at i acts on. The first is before
    `start` where there is none, as in "is cut"."""
    end = start + len(kinds[start:i].rstrip(Group.BEFORE_VERB))
    first = start + len(kinds[start : end - 1].rstrip(Group.IN_SUBJECT)) if end > start else start - 1
    if kinds[i - 1] in Group.BE_ADVERB and kinds[start:first].endswith(Group.PREPOSITION):
        for k in range(start, first):  # "a statue in the garden is …"
            if (after := _noun_phrase(kinds, k)) > k:
                return k, after
    return first, end
