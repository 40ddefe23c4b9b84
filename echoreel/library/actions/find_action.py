"""The action of a prompt or a caption: "a man is *carving a stone statue* in a garden".

A sentence embedding of a whole prompt ranks videos by their scenery, so the library compares actions with
actions. Each word is looked up in `lexicon`, `verb_rules` says which of them is the verb, and what it acts
on follows. Over 300 lines, since a verb, a noun and a person that name an action are told in the same way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from echoreel.common.errors import EchoReelError
from echoreel.library.actions.plain_words import (
    ENDED,
    LONG,
    NEGATORS,
    WATCHERS,
    clauses,
    parts,
    weight,
    without_ended,
    without_looks,
    without_negated,
    without_watchers,
    written_out,
)
from echoreel.library.actions.spelling import corrected
from echoreel.library.actions.verb_rules import decide
from echoreel.library.actions.word_classes import Group, Lexicon, lexicon, plain_singular

LONGEST = 1000  # characters of a text that are looked at
CAMERA_MOVE = re.compile(r"\b(?:panning|tilting|zooming|trucking|orbiting|establishing)[ -]shot\b")
REMEMBERED = 1 << 18  # decisions and actions kept at most; then they are forgotten and begun again
TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)*|'s\b|'re\b|'m\b|n't\b|'|[0-9]+|[.,;:!?()\n\"|/]")


@dataclass(frozen=True, slots=True)
class Action:
    """What is done: two actions are the same when their lemmas are.

    phrase: lower case and progressive, "carving a stone statue". verb: dictionary form of the verb, or the
    noun where that names the action ("doing a cartwheel": "cartwheel"). lemmas: the verb, then its particle
    or preposition and the nouns it acts on, in the order of the phrase.
    """

    phrase: str
    verb: str
    lemmas: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row of a library's table, in which somebody else may have left gaps."""
        same = lexicon().same.get
        verb, lemmas = row["verb"] or "", tuple(same(each, each) for each in row["lemmas"] or () if each)
        return cls(row["action"], same(verb, verb), lemmas)


def find_action(text: str) -> Action | None:
    """The action that the text shows, or None where it tells of none."""
    return find_actions((text,))[0]


def find_actions(texts: Sequence[str]) -> list[Action | None]:
    """`find_action` of each text: 5 to 20 microseconds, some 100 for long ones and those without verb."""
    words = lexicon()
    background, found = words.lists["camera"] | words.lists["behind"], list[Action | None]()
    for text in texts:
        tokens = _words(text)
        apart = len(tokens) >= LONG or not background.isdisjoint(tokens)
        action = _of_clauses(tokens) if apart else _decided(tokens)[0]
        if action is None or action.verb not in words.known or action.verb in words.lists["light_with_any"]:
            action = _otherwise(tokens, action)
        elif len(tokens) > 1 and words.codes[tokens[0]][0] == Group.MAYBE_BASE[1] and _agent(tokens[1]):
            action = _named_by_nouns(tokens) or action  # "rock climbers"
        found.append(action)
    return found


def other_actions(text: str, found: Action) -> list[Action]:
    """Further actions that somebody does in the text, in its order; not those of the crowd or the light."""
    words, others = lexicon(), dict[tuple[str, ...], Action]()
    for part in parts(_words(text)):
        action, verb = _decided(part)
        if action is None or {*action.lemmas} & {*found.lemmas}:
            continue
        has_subject = any(words.codes[word][0] in Group.NOMINAL for word in part[:verb])
        if weight(part, verb) == 3 or not has_subject:
            others.setdefault(action.lemmas, action)
    return [*others.values()]


def _words(text: str) -> list[str]:
    """The words of what is done: those together that belong together, each in one way of writing it."""
    words, tokens = lexicon(), _tokens(text)
    if not words.firsts.isdisjoint(tokens):
        tokens = _joined(tokens, words)
    if not words.same.keys().isdisjoint(tokens):
        tokens = [words.same.get(token, token) for token in tokens]
    if tokens and tokens[0] in WATCHERS:
        tokens = without_watchers(tokens)
    if not NEGATORS.isdisjoint(tokens):
        tokens = without_negated(tokens)
    if not ENDED.isdisjoint(tokens) and _decided(after := without_ended(tokens))[0]:
        tokens = after
    for i in range(1, len(tokens) - 1) if "that" in tokens else ():  # "a dog that digs"
        kinds = [words.codes[token][0] for token in (tokens[i - 1], tokens[i + 1])]
        if tokens[i] == "that" and kinds[0] in Group.NOMINAL and kinds[1] in Group.THIRDS:
            tokens[i] = "who"
    return tokens


def _decided(tokens: Sequence[str]) -> tuple[Action | None, int]:
    """The action of words, and where its verb is."""
    code = "".join(map(lexicon().codes.__getitem__, tokens))
    decision = decide(code)
    if decision is None:
        return None, -1
    verb, end, subject, alone = decision
    if subject < 0:
        return _action(" ".join(tokens[verb:end]), code[2 * verb : 2 * end], alone), verb
    after = verb + 2 if code[2 * verb + 2 : 2 * verb + 3] == Group.PARTICLE else verb + 1  # "cut down"
    said = " ".join([*tokens[verb:after], *tokens[subject:end]])
    return _action(said, code[2 * verb : 2 * after] + code[2 * subject : 2 * end], alone), verb


def _of_clauses(tokens: Sequence[str]) -> Action | None:
    """The action of the clause in which somebody does something; the first of equals, none of the camera."""
    best, found = -2, None
    for whole in clauses(tokens):
        clause = without_looks(whole)
        action, verb = _decided(clause)
        if action is None:
            continue
        weak = lexicon().codes[clause[verb]][1] == Group.WEAK
        if (its := 2 * weight(clause, verb) - weak) > best:
            best, found = its, action
    return found


def _otherwise(tokens: Sequence[str], action: Action | None) -> Action | None:
    """What a text means that has no verb of the lexicon: a misspelt one, an event, or people who do it."""
    light = action is not None and action.verb in lexicon().lists["light_with_any"]
    meant = [corrected(token, light) if light or token.endswith("ng") else token for token in tokens]
    if meant != [*tokens]:
        return _decided(meant)[0] or action
    if action is not None:
        return action
    return _decided(without_looks(tokens))[0] or next(filter(None, map(_named_by_nouns, _tags(tokens))), None)


def _tags(tokens: Sequence[str]) -> list[Sequence[str]]:
    """The text; of tags ("knight, archery, forest, drone shot") one after the other, but the camera's."""
    if "," not in tokens:
        return [tokens]
    return [tag for tag in clauses(tokens) if lexicon().lists["camera"].isdisjoint(tag)]


def _agent(noun: str) -> tuple[str, ...]:
    """What people do who are called so, the verb first: "rock climbers" climb. Nothing for other nouns."""
    words, one = lexicon(), plain_singular(noun)
    if one in words.agents:
        return words.agents[one]
    if one.endswith("er") and words.codes[noun][0] in Group.LIVING:
        stems = (one[:-2], one[:-1], one[:-3] if one[-4:-3] == one[-3:-2] else "")
        return next(((stem,) for stem in stems if stem in words.progressive), ())
    return ()


def _named_by_nouns(tokens: Sequence[str]) -> Action | None:
    """The action of "a karate kick" or "dancers on a roof": of the last noun before a preposition."""
    words, nouns = lexicon(), list[str]()
    for token in tokens:
        kind = words.codes[token][0]
        if token.endswith("-off") and token[:-4] in words.progressive:  # "a cook-off"
            return _said(token[:-4], (), [], False)
        if kind in Group.OPENING + Group.CONJUNCTION + Group.PARTICLE:
            break
        if kind != Group.DETERMINER:
            nouns.append(token)
    if not nouns:
        return None
    last = plain_singular(nouns[-1])
    compound = len(nouns) > 1 and words.codes[nouns[-2]][0] not in Group.MODIFIERS
    if last in words.agents or (compound and _agent(nouns[-1])):
        verb, *rest = _agent(nouns[-1])
        return _said(verb, (), [(word, plain_singular(word)) for word in rest], False)
    if last in words.lists["uncounted"]:
        return _named(last)
    if last not in words.lists["events"]:
        return None
    kinds = [(word, word) for word in nouns[:-1] if words.codes[word][0] not in Group.MODIFIERS][-2:]
    if not kinds:
        return _named(last)
    phrase = f"doing {_article(kinds[0][0])} {' '.join(word for word, _ in kinds)} {last}"
    return Action(phrase, words.verb(last), (words.verb(last), *(word for word, _ in kinds)))


def _tokens(text: str) -> list[str]:
    """Words in lower case, numbers and marks."""
    text = written_out(text[:LONGEST].lower().replace("\u2019", "'").rstrip(". \n"))
    if "shot" in text:
        text = CAMERA_MOVE.sub("tracking shot", text)
    if text.replace(" ", "").isalpha() and text.isascii():  # most are, and this is six times as fast
        return text.split()
    return TOKEN.findall(text)


def asked_action(text: str) -> Action:
    """The action that a user names, "carving" or "doing the worm".

    Words that name no action are taken as they are. Raises EchoReelError where there is no word.
    """
    action = find_action(text)
    if action is not None:
        return action
    nouns = [word for word in _tokens(text) if word[0].isalpha()]
    if not nouns:
        raise EchoReelError(f"action: got {text!r}, need a word or more, such as 'carving a statue'")
    return Action(" ".join(nouns), nouns[-1], tuple(nouns))


def _joined(tokens: list[str], words: Lexicon) -> list[str]:
    """Words that belong together as one: "push", "ups" -> "push-ups"."""
    joined: list[str] = []
    for token in tokens:
        one = words.pairs.get((joined[-1], token)) if joined else None
        if one is None:
            joined.append(token)
        else:
            joined[-1] = one
    return joined


@lru_cache(maxsize=REMEMBERED)
def _action(text: str, code: str, alone: bool) -> Action | None:
    """The action of a verb and the words after it (`text`, of which `code` tells the classes)."""
    words, tokens = lexicon(), text.split(" ")
    lists, actions = words.lists, words.lists["action_nouns"]
    verb = words.verb(tokens[0])
    if alone:
        return _named(verb) if code[0] not in Group.INGS else _said(verb, (), [], False)
    kinds, j, with_it = code[::2], 1, []
    while j < len(tokens) and kinds[j] in Group.PASSED_OVER:
        j += 1
    if j < len(tokens) and kinds[j] in Group.DIRECTION_TO:
        with_it.append("out of" if tokens[j : j + 2] == ["out", "of"] else tokens[j])
        j += len(with_it[-1].split())
    if with_it == ["of"]:  # "the kneading of dough"
        with_it = []
    nouns, one = _objects(tokens[j:], code[2 * j :], words)
    head = nouns[-1][1] if nouns else ""
    if nouns and "of" in tokens and nouns[0][1] in actions:  # "a sip of tea"
        head = nouns[0][1]
    if (
        verb in lists["light"]
        and head in actions
        and (verb in lists["light_with_any"] or head not in lists["stunts"])
    ):
        return _named(head)
    if verb == "go" and with_it == ["for"] and head in actions:
        return _said(head, (), [], False)
    if verb == "do" and not nouns:
        return None
    if with_it and not _belongs(verb, with_it[0], kinds[j - 1], head):
        return _said(verb, (), [], False)
    return _said(verb, tuple(with_it), nouns, one)


def _belongs(verb: str, word: str, kind: str, head: str) -> bool:
    """Whether a particle, or a preposition with its noun, says what is done and not where."""
    places = lexicon().lists["places"]
    if kind == Group.PARTICLE or word == "out of":
        return word in ("onto", "into", "over", "off") or head not in places or not head
    return bool(head) and word in lexicon().acts_with.get(verb, ()) and head not in places


def _objects(tokens: list[str], code: str, words: Lexicon) -> tuple[list[tuple[str, str]], bool]:
    """(word, its singular) of what is acted on, and whether it is one thing with an article before it."""
    kinds, nouns, one, of = code[::2], list[tuple[str, str]](), False, ""
    for j, token in enumerate(tokens):
        if token == "of" and nouns:
            if nouns[-1][1] in words.lists["frames"]:  # "a photo of"
                break
            if nouns[-1][1] in words.lists["measures"]:  # "a cup of"
                nouns, one = [], False
            else:
                of = "of "
        if token == "'s" and nouns:
            nouns[-1] = (nouns[-1][0] + "'s", nouns[-1][1])
        if kinds[j] == Group.DETERMINER and not nouns:
            one = code[2 * j + 1] in Group.SINGLE
        if kinds[j] in Group.NOMINAL or (kinds[j] in Group.INGS and j + 1 < len(tokens)):
            nouns.append((of + token, token if kinds[j] in Group.INGS else words.singular(token)))
            of = ""
    if not nouns and tokens and kinds[-1] in Group.NOUN_FOR_ONCE:
        nouns.append((tokens[-1], tokens[-1]))
    return nouns[:3], one


def _named(noun: str) -> Action:
    """The action of a noun: "a cartwheel" -> doing a cartwheel."""
    words = lexicon()
    uncounted = noun in words.lists["uncounted"]
    if noun in words.progressive and not uncounted:
        return _said(noun, (), [], False)
    if uncounted:
        return Action(f"doing {noun}", noun, (noun,))
    return Action(f"doing {_article(noun)} {noun}", noun, (noun,))


def _said(verb: str, with_it: tuple[str, ...], nouns: list[tuple[str, str]], one: bool) -> Action:
    if verb in lexicon().lists["done"] and not nouns:
        return Action(f"doing {_article(verb)} {verb}", verb, (verb,))
    parts = [lexicon().ing(verb), *with_it]
    if nouns and one and nouns[-1][0].removeprefix("of ") == nouns[-1][1]:
        parts.append(_article(nouns[0][0]))
    parts += [word for word, _ in nouns]
    return Action(
        " ".join(parts), verb, (verb, *(word.split()[0] for word in with_it), *(lemma for _, lemma in nouns))
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
