"""A prompt as people write it -> words that `verb_rules` reads: no short forms, nothing that is not done.

"he's gonna kick" becomes "he will kick", "not kicking but crawling" becomes "crawling"; of a long prompt the
clauses are told apart, so that what somebody does goes before the camera, the light and the crowd.
"""

import re
from collections.abc import Sequence
from functools import cache

from echoreel.library.actions.word_classes import Group, Kind, lexicon

SHORT = (  # in this order
    (re.compile(r"\b(?:can't|cannot|cant)\b"), "can not"),
    (re.compile(r"\b(?:won't|wont)\b"), "will not"),
    (re.compile(r"\b(do|does|did|is|are|was|were|has|have|could|would|should)n'?t\b"), r"\1 not"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'(?:ll|d)\b"), " will"),
    (re.compile(r"\blet's\b"), "let us"),
    (re.compile(r"\b(he|she|it|who|that|there|what|here|somebody|someone)'s\b"), r"\1 is"),
    (re.compile(r"\bgonna\b"), "going to"),
    (re.compile(r"\btryna\b"), "trying to"),
    (re.compile(r"\bwanna\b"), "want to"),
    (re.compile(r"\b(\w{2,})in'(?= |$)"), r"\1ing"),
    (re.compile(r"\b(?:is|are|am|was|were) (?:just )?(?:going|trying|about) to (?=[a-z])"), "will "),
    (re.compile(r"\b(?:can|could|does|do|did|will|would) not (?:stop|help|resist) "), "is "),
)
MAYBE_SHORT = re.compile(r"'|n't|nt\b|\b(?:cannot|gonna|tryna|wanna|about to|going to|trying to)\b")
ASIDE = re.compile(  # of the weather, and questions: "it is raining and they hug", "what is he doing?"
    r"\bit is (?:rain|snow|hail|storm|pour)ing(?: outside| heavily| hard)?(?:,? and|,? while|,? as|,) "
    r"|\bwhat (?:is|are) \w+(?: \w+)? doing *\?"
)
NEGATORS = frozenset(["not", "never", "no", "nobody", "noone", "without", "instead", "rather", "neither"])
NEGATORS |= {"nor", "avoid", "refuse", "refuses", "refusing"}
ENDED = frozenset(["stop", "stops", "stopped", "stopping", "quit", "quits", "ceased", "ceases"])
WATCHERS, WATCHING = (
    frozenset(["you", "we", "i"]),
    frozenset(["watching", "watch", "seeing", "see", "hearing", "hear"]),
)
TURNS = frozenset(["but", "instead", "just", "only", "rather"])  # after what is not, what is
LONG = 20  # words from which a text is taken apart into clauses
PERSONAL = frozenset(["he", "she", "they", "i", "we", "who", "someone", "somebody"])
LIMBS = frozenset(["hand", "hands", "robot", "robots"])  # which act, though they are no people
JOINING = frozenset(["and", "then", "before", "after", "afterwards"])
PARTED = frozenset(["while", "as", "whilst"])


def written_out(text: str) -> str:
    """A text in lower case without short forms."""
    if MAYBE_SHORT.search(text):
        for short, whole in SHORT:
            text = short.sub(whole, text)
    return ASIDE.sub("", text) if " is raining" in text or ("ing" in text and ASIDE.search(text)) else text


def without_watchers(tokens: list[str]) -> list[str]:
    """What is watched: of "you are watching a man run" the words "a man running"."""
    at = next((i for i, token in enumerate(tokens[:4]) if token in WATCHING), 0)
    if not at or tokens[0] not in WATCHERS:
        return tokens
    seen = tokens[at + 1 :]
    for i in range(1, len(seen)):
        if _kind(seen[i]) in Group.MAYBE_BASE and _kind(seen[i - 1]) in Group.LIVING:
            return [*seen[:i], lexicon().ing(seen[i]), *seen[i + 1 :]]
    return seen


def without_ended(tokens: Sequence[str]) -> list[str]:
    """What is done afterwards: of "he stops running and sits down" the words "he sits down"."""
    for i, token in enumerate(tokens[:-1]):
        if token in ENDED and _kind(tokens[i + 1]) in Group.INGS:
            end = _until_turn(tokens, i + 1)
            before = [*tokens[:i]]
            while before and _kind(before[-1]) in Group.BEFORE_VERB:
                before.pop()
            return [*before, *tokens[end + 1 :]] if end < len(tokens) - 1 else [*tokens]
    return [*tokens]


def without_looks(clause: Sequence[str]) -> list[str]:
    """A clause without what its subject wears or holds: "a girl in a coat skates" -> "a girl is skating"."""
    for i in range(1, len(clause) - 3):
        if _kind(clause[i]) == Kind.PREPOSITION and _kind(clause[i - 1]) in Group.ONE_LIVING + Kind.NOUN:
            end = _after_looks(clause, i)
            if end:
                verb = lexicon().ing(lexicon().verb(clause[end]))
                return [*clause[:i], "is", verb, *clause[end + 1 :]]
    return [*clause]


def _after_looks(clause: Sequence[str], i: int) -> int:
    """Where the verb is after a preposition at i, its article and its noun; 0 where there is none."""
    article = clause[i + 1] in ("a", "an", "his", "her")
    for j in range(i + 3 if article else i + 2, len(clause) - 1):
        before, kind = _kind(clause[j - 1]), _kind(clause[j])
        if kind in Group.BE_ADVERB + Kind.BREAK + Kind.PRONOUN:
            return 0
        if kind in Group.THIRDS and kind not in Kind.THIRD_OR_BEINGS:
            whole = before in Group.SINGULARS if article else before in Group.PLURALS + Kind.THIRD_OR_BEINGS
            if whole and _kind(clause[j + 1]) not in Kind.BE + Kind.THIRD:
                return j
    return 0


def without_negated(tokens: Sequence[str]) -> list[str]:
    """The words of what is done; not those of what is not."""
    kept: list[str] = []
    i = 0
    while i < len(tokens):
        word, after = tokens[i], tokens[i + 1 : i + 2]
        if word not in NEGATORS or (word in ("instead", "rather") and after not in (["of"], ["than"])):
            kept.append(word)
            i += 1
        elif word in ("nobody", "noone", "no") and after != ["longer"]:
            i = _until_break(tokens, i)
        elif word in ("without", "instead", "rather"):
            first = i + 1 if word == "without" else i + 2
            ing = first < len(tokens) and _kind(tokens[first]) in Group.INGS
            kept += [] if ing else tokens[i : first + 1]
            i = first + 1
        else:
            while kept and _kind(kept[-1]) == Kind.MODAL:
                kept.pop()
            i = _until_turn(tokens, i + 1)
            verbs = [word for word in kept if _kind(word) in Group.VERBS]
            i += i < len(tokens) and not verbs and tokens[i] in ("and", "but")
    first = next((i for i, word in enumerate(kept) if _kind(word) not in Kind.BREAK + Kind.CONJUNCTION), 0)
    return kept[first:]


def clauses(tokens: Sequence[str]) -> list[list[str]]:
    """The words between marks, "while" and "as"."""
    found: list[list[str]] = [[]]
    for token in tokens:
        if token in PARTED or _kind(token) == Kind.BREAK:
            found.append([])
        else:
            found[-1].append(token)
    return [clause for clause in found if clause]


def parts(tokens: Sequence[str]) -> list[list[str]]:
    """A text cut at marks and at words that join actions, such as "and" or "then"."""
    found: list[list[str]] = [[]]
    for token in tokens:
        if token in PARTED or token in JOINING or _kind(token) == Kind.BREAK:
            found.append([])
        else:
            found[-1].append(token)
    return [part for part in found if part]


def weight(clause: Sequence[str], verb: int) -> int:
    """How likely a clause tells of the action meant: 3 somebody does it, 1 something, -1 the camera."""
    lists, subject = lexicon().lists, clause[:verb]
    living = [word for word in subject if _kind(word) in Group.LIVING or word in LIMBS or word in PERSONAL]
    if "camera" in subject:
        return -1
    if [word for word in living if word not in lists["behind"]]:
        return 3
    return int(lists["camera"].isdisjoint(subject))


@cache
def _kind(token: str) -> str:
    return lexicon().codes[token][0]


def _until_break(tokens: Sequence[str], i: int) -> int:
    """The next mark, or what follows "but"."""
    while i < len(tokens) and _kind(tokens[i]) != Kind.BREAK:
        if tokens[i] == "but":
            return i + 1
        i += 1
    return i


def _until_turn(tokens: Sequence[str], i: int) -> int:
    """Where what is not done ends: at a mark, a conjunction, or the next verb that stands for itself."""
    passed = False
    while i < len(tokens):
        word, kind = tokens[i], _kind(tokens[i])
        if word in TURNS:
            return i + 1
        nominal = i > 0 and _kind(tokens[i - 1]) in Kind.DETERMINER + Kind.ADJECTIVE + Kind.PREPOSITION
        verb = kind in Group.THIRDS + Kind.BASE + Kind.BASE_OR_NOUN and not nominal
        if kind in Kind.BREAK + Kind.CONJUNCTION or (passed and (verb or kind in Kind.BE + Kind.PRONOUN)):
            return i
        passed = passed or kind in Group.VERBS
        i += 1
    return i
