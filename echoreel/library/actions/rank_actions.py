"""Which of a library's actions are nearest to the asked one.

Actions with the same lemmas are the same. The others are compared by vectors, measured in
benchmarks/actions.py: the asked phrase ("hurling a javelin"), the same with related verbs ("throwing a
javelin"; WordNet), and the whole prompt, whose other words tell the sense of a verb, each against the
phrases of the library, which hold no scenery. Then the words count: vectors tell what a text is about, so
"stroking a beard" is near "shaving a beard", though WordNet does not relate their verbs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoreel.library.actions.find_action import Action
from echoreel.library.actions.related_verbs import kin_verbs, related_verbs
from echoreel.library.actions.word_classes import lexicon

if TYPE_CHECKING:
    from echoreel.library.actions.text_embedder import Embedder  # brings torch

PROMPT = 1.0  # weight of the whole prompt beside that of the phrase, 1
SAME_VERB = 0.1  # added for the same verb, where it is no light one and acts on nothing else
KIN = 0.06  # added for a verb that WordNet relates, and taken off for another one that acts on the same
ASKED_ALSO = 1  # related verbs with which the phrase is asked, too
NEARLY = 0.95  # the most that an action can reach which is not the same
FITS = 0.42  # below this nothing fits: chosen on half of tests/data/fits.tsv, see docs/library.md


@dataclass(frozen=True, slots=True)
class RankedAction:
    """One of a library's actions, by its number, and how well it answers: 1 is the same action."""

    index: int
    score: float
    why: str


def embed_actions(phrases: Sequence[str], embedder: "Embedder") -> NDArray[np.float32]:
    """Vectors (N, width) of a library's distinct action phrases."""
    return embedder.encode(phrases)


def embed_query(query: Action, prompt: str, embedder: "Embedder") -> NDArray[np.float32]:
    """Vectors (2 + K, width): of the asked phrase, the whole prompt, and the phrase with K related verbs.

    K is at most `ASKED_ALSO`: a text more is a third more of the time, and more of them found nothing better.
    """
    words = lexicon()
    _, _, rest = query.phrase.partition(" ")
    own = query.phrase.startswith(words.ing(query.verb))  # not "doing a cartwheel"
    verbs = related_verbs().get(query.verb, ())[:ASKED_ALSO] if own else ()
    others = [f"{words.ing(verb)} {rest}".strip() for verb in verbs]
    return embedder.encode([query.phrase, prompt, *others])


class ActionIndex:
    """The distinct actions of a library, ready to be ranked."""

    def __init__(self, actions: Sequence[Action], vectors: NDArray[np.floating[Any]] | None = None) -> None:
        """`vectors`: of `embed_actions` (N, width), or none to compare lemmas only."""
        self._vectors = None if vectors is None else np.asarray(vectors, np.float32)
        self._lemmas = [frozenset(action.lemmas) for action in actions]
        self._same: dict[frozenset[str], list[int]] = {}
        self._of_verb: dict[str, list[int]] = {}
        self._acting_on: dict[str, list[int]] = {}  # noun or particle -> actions
        for index, (action, lemmas) in enumerate(zip(actions, self._lemmas, strict=True)):
            self._same.setdefault(lemmas, []).append(index)
            self._of_verb.setdefault(action.verb, []).append(index)
            for lemma in {*action.lemmas[1:]}:
                self._acting_on.setdefault(lemma, []).append(index)

    def rank(
        self, query: Action, vectors: NDArray[np.floating[Any]] | None = None, limit: int = 50
    ) -> list[RankedAction]:
        """The nearest actions, best first, scores 0 to 1; `vectors`: of `embed_query` (2 + K, width)."""
        wanted = frozenset(query.lemmas)
        scores = np.zeros(len(self._lemmas), np.float32)
        if self._vectors is not None and vectors is not None and len(scores):
            scores += self._nearness(np.asarray(vectors, np.float32))
        of_verb = self._of_verb.get(query.verb, [])
        light = query.verb in lexicon().lists["light"]
        if vectors is None or self._vectors is None:
            for index in of_verb:
                shared = len(wanted & self._lemmas[index]) / len(wanted | self._lemmas[index])
                scores[index] = shared if light else 0.5 + 0.5 * shared
        else:
            self._add_words(scores, query, of_verb, light)
        scores = scores.clip(0, NEARLY)
        same = self._same.get(wanted, [])
        scores[same] = 1
        best = np.argsort(-scores, kind="stable")[:limit]
        whys = dict.fromkeys(of_verb, "same verb") | dict.fromkeys(same, "same action")
        return [
            RankedAction(int(index), float(scores[index]), whys.get(int(index), "near in meaning"))
            for index in best
            if scores[index] > 0
        ]

    def _add_words(self, scores: NDArray[np.float32], query: Action, of_verb: list[int], light: bool) -> None:
        """Add to the scores (N,) what words tell: the same verb, a related one, or the same noun alone."""
        acted = {*query.lemmas[1:]}
        kin = [index for verb in kin_verbs(query.verb) for index in self._of_verb.get(verb, ())]
        same_noun = {index for lemma in acted for index in self._acting_on.get(lemma, ())}
        scores[kin] += KIN
        scores[[*same_noun.difference(kin, of_verb)]] -= KIN
        for index in () if light else of_verb:
            if not acted or len(self._lemmas[index]) == 1 or index in same_noun:
                scores[index] += SAME_VERB

    def _nearness(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """How near the asked action is to each (N,), at most 1."""
        assert self._vectors is not None
        import torch  # which the vectors' model has brought

        from echoreel.common.threads import one_thread

        with one_thread(True):  # numpy would take all of them, which then wait for each other
            products = torch.from_numpy(vectors) @ torch.from_numpy(self._vectors).T
        phrase, prompt, *others = products.numpy()
        if others:
            phrase = (phrase + np.max(others, 0).clip(0)) / 2
        near: NDArray[np.float32] = (phrase + PROMPT * prompt) / (1 + PROMPT)
        return near
