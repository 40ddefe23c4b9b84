"""Which word of a text is its verb: rules over the classes of the words, one letter each (see `lexicon`).

A judge for each kind of word looks at its neighbours and says how sure it is; the surest word wins, of equals
the first. Verbs that accompany actions ("stand", "look") stand back.
"""

from typing import NamedTuple

from echoreel.library.actions.word_classes import NOMINAL, VERBAL


class Decision(NamedTuple):
    """Which token is the verb, and where to look for what it acts on."""

    verb: int
    end: int  # one past the last token of what it acts on
    subject: int  # a passive's first token of what is acted on, or -1
    alone: bool  # nothing that follows belongs to it: "a dancing man", "a man's backflip"


def decide(kinds: str, roles: str) -> Decision | None:
    """The verb among words of these classes and roles, a letter each; None when there is none."""
    start = _after_frame(kinds, roles)
    best, least = None, NEVER
    for i in range(start, len(kinds)):
        if roles[i] == "y" or (kinds[i] not in VERBAL and roles[i] != "x"):
            continue
        evidence = JUDGES.get(kinds[i], _judge_noun)(kinds, roles, i, start)
        if evidence.cost >= NEVER and roles[i] in "xX":
            evidence = _judge_noun(kinds, roles, i, start)
        weak = roles[i] == "w" or (roles[i] == "l" and kinds[i + 1 : i + 2] in ("t", "g"))
        cost = evidence.cost + (2 if weak else 0)
        if cost < least:
            best, least = (i, evidence), cost
            if cost == 0:
                break
    if best is None:
        return None
    i, evidence = best
    subject, end = _subject(kinds, i, start) if evidence.passive else (-1, -1)
    if evidence.passive and start <= subject < end:
        return Decision(i, end, subject, False)
    return Decision(i, i + 1 if evidence.alone else _end(kinds, roles, i), -1, evidence.alone)


class Evidence(NamedTuple):
    """How sure it is that a token is the verb of the text: 0 sure, 3 hardly, NEVER not."""

    cost: int
    alone: bool = False
    passive: bool = False


NEVER = 9
NO, SURE, LIKELY, ALONE = Evidence(NEVER), Evidence(0), Evidence(1), Evidence(3, alone=True)


def _after_frame(kinds: str, roles: str) -> int:
    """Where the text itself begins: after "a video of", "show me a clip where"."""
    for i in range(min(len(kinds) - 1, 12)):
        if kinds[i] in "gZx" or (kinds[i] in "Vv" and roles[i] in "-xXin"):
            return 0
        if roles[i] == "f" and (kinds[i + 1] + roles[i + 1] in ("po", "c-", "pn") or kinds[i + 1] == "s"):
            return _after_frame_again(kinds, roles, i + 2)
    return 0


def _after_frame_again(kinds: str, roles: str, i: int) -> int:
    """ "footage of a close-up of"."""
    for j in range(i, min(i + 4, len(kinds) - 1)):
        if roles[j] == "f" and kinds[j + 1] + roles[j + 1] == "po":
            return j + 2
    return i


def _before(kinds: str, i: int, start: int) -> int:
    """The nearest token before that is no adverb, or start - 1."""
    i -= 1
    while i >= start and kinds[i] == "a":
        i -= 1
    return i


def _judge_ing(kinds: str, roles: str, i: int, start: int) -> Evidence:
    p = _before(kinds, i, start)
    a = kinds[p] if p >= start else "."
    b = kinds[i + 1] if i + 1 < len(kinds) else "."
    if kinds[i] == "G" and not (a in "xs" or b in "d" or (a in "mMkK" and b not in "p.")):
        return NO
    if a in "xsh" or (a == "'" and b in "d.pr"):
        return SURE
    if a in ".c":
        return _judge_opening(kinds, roles, i, b) if a == "." else SURE
    if a in "d'":
        if b == "p" and roles[i + 1] == "o":
            return LIKELY
        if b in "mMkK" or (roles[i] == "n" and b in NOMINAL):
            return ALONE
        return ALONE if roles[p] == "'" or (a == "'" and b not in NOMINAL) else NO
    if a == "j":
        if b in "mMkK" or (roles[i] == "n" and b in NOMINAL):
            return ALONE
        return SURE if p > start and (kinds[p - 1] in NOMINAL or kinds[p - 1] in "xa") else LIKELY
    if a in "pt":
        if a == "p" and roles[p] not in "obl-" and not (roles[p] in "fr" and b not in NOMINAL):
            return NO if b in NOMINAL or b == "." else Evidence(2)
        found = _judge_opening(kinds, roles, i, b)
        return Evidence(min(found.cost + 1, NEVER), found.alone)
    return SURE


def _judge_opening(kinds: str, roles: str, i: int, b: str) -> Evidence:
    """An -ing form that opens the text: "carving a statue", "smiling woman", "running shoes"."""
    if b in "mk" or (b in "MK" and roles[i] != "-"):
        return ALONE
    if b in NOMINAL and roles[i] == "n":
        return Evidence(1, alone=True)
    if b in NOMINAL and roles[i] in "iX":
        return ALONE if roles[i + 1] == "s" else NO
    return SURE


def _judge_base(kinds: str, roles: str, i: int, start: int) -> Evidence:
    p = _before(kinds, i, start)
    a = kinds[p] if p >= start else "."
    b = kinds[i + 1] if i + 1 < len(kinds) else "."
    kind = kinds[i]
    if kind in "ko" and not ((b == "d" and a in "tb.sMKc") or (kind == "k" and a in "tb")):
        return NO
    if a == "t":
        return LIKELY
    if a in "bs":
        return SURE
    if a == ".":
        return _judge_imperative(kind, roles, i, b)
    if kind == "u" and (a == "x" or (a in NOMINAL and b == "p" and roles[i + 1] == "b")):
        return Evidence(0, passive=True)
    if a in "MK" or (a == "'" and kinds[p - 1] == "b"):
        return SURE
    if a in "NOz":
        return SURE if kind in "Vu" else (LIKELY if b in "dpra.cs" else NO)
    if a in NOMINAL:
        joined = "c" in kinds[max(start, p - 4) : p]
        earlier = any(k in "gZV" for k in kinds[start:p])
        if kind in "Vu":
            return SURE if joined else LIKELY
        return LIKELY if joined or (a == "m" and earlier and b in "prd") else NO
    if kind in "Vu" and a in "cgZ":
        return LIKELY
    return Evidence(2) if a == "c" and b == "d" else NO


def _judge_imperative(kind: str, roles: str, i: int, b: str) -> Evidence:
    if kind in "Vu":
        return SURE if b not in "xZ" else NO
    if b in "ds":
        return SURE
    if b in "pr" and (b == "r" or roles[i + 1] != "o"):
        return Evidence(4) if roles[i] == "-" else LIKELY
    return Evidence(2) if b in "NMj" and roles[i] not in "i" else NO


def _judge_third(kinds: str, roles: str, i: int, start: int) -> Evidence:
    p = _before(kinds, i, start)
    a = kinds[p] if p >= start else "."
    b = kinds[i + 1] if i + 1 < len(kinds) else "."
    kind = kinds[i]
    if a == "s":
        return SURE
    if kind != "Z" and (b in "xZVeh" or (b == "g" and roles[i] != "w")):
        return NO
    if a in "mk":
        return NO if kind == "O" and b != "d" else SURE
    if kind in "KO":
        return NO
    if kind == "Z":
        return SURE if a in NOMINAL else (LIKELY if a in "cjrge" or b == "d" else NO)
    if a in "nov":
        bare = p == start or kinds[p - 1] in "p.j"
        if bare and roles[i] != "n":
            return LIKELY if b == "d" else NO
        return SURE if roles[i] == "n" or b == "d" else LIKELY
    if a == "." or a in "NOzMKjc":
        return LIKELY if b == "d" else (Evidence(2) if roles[i] in "xXin" and a in "Nj" and b in "pr" else NO)
    return NO


def _judge_past(kinds: str, roles: str, i: int, start: int) -> Evidence:
    p = _before(kinds, i, start)
    a = kinds[p] if p >= start else "."
    b = kinds[i + 1] if i + 1 < len(kinds) else "."
    by = b == "p" and roles[i + 1] == "b"
    if kinds[i] == "E" and not by:
        return NO
    if a == "x":
        return Evidence(0, passive=True)
    if a in "sh":
        return SURE
    if a in "mMkK":
        return Evidence(0, passive=True) if by else SURE
    if a in NOMINAL:
        if b in "ds" or (roles[i] == "n" and not by):
            return SURE
        return Evidence(0 if by else 1, passive=True)
    return LIKELY if a == "c" and b in "dpr" else NO


def _judge_noun(kinds: str, roles: str, i: int, start: int) -> Evidence:
    """A noun that names an action: "a man's backflip", "yoga at sunrise", but not "a yoga mat"."""
    b = kinds[i + 1] if i + 1 < len(kinds) else "."
    if b in NOMINAL and roles[i + 1] not in "sx" and b not in "mMkK":
        return NO
    return ALONE


JUDGES = {
    **dict.fromkeys("gG", _judge_ing),
    **dict.fromkeys("Vvuko", _judge_base),
    **dict.fromkeys("ZzKO", _judge_third),
    **dict.fromkeys("eE", _judge_past),
}


def _noun_phrase(kinds: str, i: int) -> tuple[int, int]:
    """(one past the last token of a noun phrase at i, how many nouns it has); (i, 0) where there is none."""
    nouns, j = 0, i
    while j < len(kinds):
        k = kinds[j]
        if k in NOMINAL and not (nouns and k in "zKO" and j + 1 < len(kinds) and kinds[j + 1] == "d"):
            nouns += 1
        elif nouns and k == "'":
            pass
        elif (
            not (k in "dja" and not nouns)
            and not (k == "r" and j > i and kinds[j - 1] == "d")
            and not (k in "gGeEV" and j + 1 < len(kinds) and kinds[j + 1] in NOMINAL and not nouns)
        ):
            break
        j += 1
    if not nouns and j > i + 1 and kinds[j - 1] in "jar":  # "a net", "a back": nouns for once
        return j, 1
    return (j, nouns) if nouns else (i, 0)


def _end(kinds: str, roles: str, i: int) -> int:
    """One past the last token of what the verb at i acts on: an object, or a preposition with its noun."""
    j = i + 1
    while j < len(kinds) and kinds[j] in "as":
        j += 1
    if j < len(kinds) and kinds[j] == "r":
        j += 1
    end, nouns = _noun_phrase(kinds, j)
    if not nouns and j < len(kinds) and ((kinds[j] in "pt" and kinds[j - 1] != "r") or roles[j] == "o"):
        end, nouns = _noun_phrase(kinds, j + 1)
    if not nouns:
        return j
    if end < len(kinds) and kinds[end] + roles[end] == "po":
        more, nouns = _noun_phrase(kinds, end + 1)
        return more if nouns else end
    return end


def _subject(kinds: str, i: int, start: int) -> tuple[int, int]:
    """First and one past the last token of the noun phrase that a passive at i acts on. The first is before
    `start` where there is none, as in "is cut"."""
    j = _before(kinds, i, start)
    while j >= start and kinds[j] in "xhba":
        j -= 1
    first = j
    while first > start and kinds[first - 1] in "djnNmMoOvkzK":
        first -= 1
    if kinds[i - 1] in "xa" and first > start and kinds[first - 1] == "p":  # "a statue in the garden is …"
        for k in range(start, first):
            end, nouns = _noun_phrase(kinds, k)
            if nouns:
                return k, end
    return first, j + 1
