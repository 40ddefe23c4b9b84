"""Ranking a library's actions by the asked one."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel.library.actions.find_action import Action, find_action
from echoreel.library.actions.rank_actions import FITS, ActionIndex, embed_actions, embed_query
from echoreel.library.actions.related_verbs import kin_verbs, related_verbs
from echoreel.library.actions.text_embedder import load_embedder


def action(phrase: str) -> Action:
    found = find_action(f"a man is {phrase}")
    assert found is not None
    return found


ACTIONS = [
    action(phrase)
    for phrase in ("playing the guitar", "playing football", "carving a statue", "walking a dog")
]


class Letters:
    """An embedder by the letters of a text: near means spelt alike."""

    name, width = "letters", 26

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def ranked(prompt: str, embedder: Letters | None = None, limit: int = 50) -> list[tuple[str, float, str]]:
    query = action(prompt)
    index = ActionIndex(
        ACTIONS, embed_actions([one.phrase for one in ACTIONS], embedder) if embedder else None
    )
    vectors = embed_query(query, f"a man is {prompt}", embedder) if embedder else None
    return [(ACTIONS[one.index].phrase, one.score, one.why) for one in index.rank(query, vectors, limit)]


@pytest.mark.parametrize("embedder", [None, Letters()])
def test_the_same_action_comes_first_whatever_its_article(embedder: Letters | None) -> None:
    assert ranked("playing guitar", embedder)[0] == ("playing a guitar", 1.0, "same action")


def test_without_vectors_only_the_same_verb_is_near() -> None:
    assert [(phrase, why) for phrase, _, why in ranked("carving a spoon")] == [
        ("carving a statue", "same verb")
    ]
    assert ranked("sculpting a head") == []


def test_with_vectors_all_are_ranked_and_only_the_same_reaches_one() -> None:
    found = ranked("carving statues of stone", Letters())
    assert found[0][0] == "carving a statue"
    assert len(found) == 4
    assert all(0 < score < 1 for _, score, _ in found)
    assert [score for _, score, _ in found] == sorted((score for _, score, _ in found), reverse=True)
    assert ranked("carving statues of stone", Letters(), limit=2) == found[:2]


def test_an_empty_library_has_nothing() -> None:
    assert ActionIndex([]).rank(ACTIONS[0]) == []
    query = Letters().encode(["a", "b"])
    assert ActionIndex([], np.empty((0, 26), np.float32)).rank(ACTIONS[0], query) == []


class Alike(Letters):
    """All texts mean the same: only words tell actions apart."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), 26), 26**-0.5 / 2**0.5, np.float32)


def told_by_words(prompt: str, phrase: str) -> float:
    query = action(prompt)
    index = ActionIndex([action(phrase)], embed_actions([phrase], Alike()))
    return index.rank(query, embed_query(query, prompt, Alike()))[0].score


def test_words_tell_an_action_from_one_that_is_only_about_the_same_things() -> None:
    plain = told_by_words("stapling papers", "barking")
    assert told_by_words("slicing a cake", "cutting a pie") > plain + 0.05  # WordNet relates the verbs
    assert told_by_words("stroking a beard", "shaving a beard") < plain - 0.05  # the same noun alone
    assert told_by_words("crossing arms", "crossing a street") == plain  # of something else
    assert told_by_words("crossing arms", "crossing") > plain + 0.05


def test_verbs_are_kin_both_ways() -> None:
    assert "cut" in kin_verbs("slice")
    assert "slice" in kin_verbs("cut")
    assert "cut" not in kin_verbs("cut")
    assert "shave" not in kin_verbs("stroke")


def test_a_query_is_also_asked_with_a_related_verb() -> None:
    assert "throw" in related_verbs()["hurl"]
    assert len(embed_query(action("hurling a stone"), "x", Letters())) == 3
    assert len(embed_query(action("doing yoga"), "x", Letters())) == 2


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [("sculpting a figure", "carving a statue"), ("strumming a banjo", "playing a guitar")],
)
def test_the_default_embedder_finds_synonyms(prompt: str, phrase: str) -> None:
    embedder = load_embedder()
    index = ActionIndex(ACTIONS, embed_actions([one.phrase for one in ACTIONS], embedder))
    best = index.rank(action(prompt), embed_query(action(prompt), prompt, embedder))[0]
    assert ACTIONS[best.index].phrase == phrase
    assert best.score >= FITS
