"""Clips of any source -> rows of the library: their ids and their actions. The same for every way in.

An id is made of what the clip is (the file's content or, in a catalogue, its place, and the part of it), so
that adding a source again adds nothing.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from echoreel.library.actions.find_action import Action, find_actions
from echoreel.library.sources.shots import FoundClip
from echoreel.library.table_schemas import LOOK_WIDTH, schemas
from echoreel.library.tables import Store

if TYPE_CHECKING:
    import pyarrow as pa

EXPORTED = r"(^|/)[0-9a-f]{16}\.[A-Za-z0-9]+$"  # paths of files that `export` wrote

ROWS_OF_A_WRITE = 1_000_000  # of catalogues and libraries; some 200 MB of memory, some ten seconds of work
BYTES_OF_A_WRITE = 256 * 2**20


class Labelled(NamedTuple):
    """Rows of the table `clips`, and the distinct actions in them."""

    rows: "pa.RecordBatch"
    actions: dict[str, Action]


def of_catalogue(batch: "pa.RecordBatch") -> Labelled:
    """Rows of a batch of `read_catalogue`: nothing is opened, so looks and motion are unknown."""
    places = [f"{root}\0{path}" for root, path in zip(*_lists(batch, "root", "path"), strict=True)]
    return _labelled(batch, numbers(places))


def of_clips(clips: Sequence[FoundClip]) -> Labelled:
    """Rows of clips of files on this machine; their root is the file's folder."""
    import pyarrow as pa

    columns = {
        "root": pa.array([clip.path.absolute().parent.as_posix() for clip in clips], pa.string()),
        "path": pa.array([clip.path.name for clip in clips], pa.string()),
        "caption": pa.array([clip.caption for clip in clips], pa.string()),
        "start": pa.array([clip.start for clip in clips], pa.float32()),
        "end": pa.array([clip.end for clip in clips], pa.float32()),
    }
    looks = pa.array([clip.look for clip in clips], pa.list_(pa.float32(), LOOK_WIDTH))
    motion = pa.array([clip.motion for clip in clips], pa.float32())
    content = np.array([clip.content for clip in clips], np.int64)
    return _labelled(pa.RecordBatch.from_pydict(columns), content, (looks, motion))


def numbers(texts: Iterable[str]) -> NDArray[np.int64]:
    """A number (64 bits) for each text, that only the same text has."""
    return np.frombuffer(b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts), np.int64)


class Intake:
    """What one process adds to a library: rows that are not there yet, and their actions before them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.added = self.known = self.without_action = 0
        removed = store.rows("removed")["id"].to_numpy()
        self.removed = {*removed.tolist()}  # ids of clips that no source brings back
        self._ids = np.unique(np.concatenate([store.ids(), removed]))
        self._said = np.zeros(len(self._ids), np.int64)  # a number of the caption of each
        self._is_loaded = not len(self._ids)
        self._actions = set(store.rows("actions", columns=["action"])["action"].to_pylist())
        self._batches: list[pa.RecordBatch] = []
        self.waiting = self._bytes = 0  # rows that were taken and not written yet, and what they take
        self._new: dict[str, Action] = {}

    @property
    def is_full(self) -> bool:
        """Whether the rows that wait take so much memory that they are to be written."""
        return self.waiting >= ROWS_OF_A_WRITE or self._bytes >= BYTES_OF_A_WRITE

    def has(self, id: int) -> bool:
        """Whether a clip is in the library, was taken, or was removed from it."""
        return bool(self._have(np.array([id], np.int64))[0][0])

    def learn(self, actions: Iterable[Action]) -> None:
        """Actions of rows that others write, after `write`."""
        self._new |= {action.phrase: action for action in actions if action.phrase not in self._actions}

    def recognised(self, labelled: Labelled) -> Labelled:
        """Rows of an export of this library, whose files are named by their videos, have their ids again."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = labelled.rows
        named = np.flatnonzero(pc.match_substring_regex(rows.column("path"), EXPORTED).to_numpy(False))
        if not len(named) or not len(self._ids):
            return labelled
        paths, starts, ends = _lists(rows.take(pa.array(named)), "path", "start", "end")
        digits = [path.rpartition("/")[2].partition(".")[0] for path in paths]
        videos = np.array([int(each, 16) for each in digits], np.uint64).view(np.int64)
        own = clip_ids(videos, starts, ends)
        is_own = self._have(own)[0]
        for name, values in (("id", own), ("video", videos)):
            column = rows.column(name).to_numpy().copy()
            column[named[is_own]] = values[is_own]
            rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(column))
        return Labelled(rows, labelled.actions)

    def take(self, labelled: Labelled) -> int:
        """Keep the rows that are new; returns how many those are. They are there after `write`."""
        rows, ids, said = self._told_apart(labelled.rows)
        _, first = np.unique(ids, return_index=True)
        is_new = np.zeros(len(ids), bool)
        is_new[first] = True
        is_new &= ~self._have(ids)[0]
        both = np.concatenate([self._ids, ids[is_new]])
        order = np.argsort(both, kind="stable")
        self._ids, self._said = both[order], np.concatenate([self._said, said[is_new]])[order]
        rows = rows if is_new.all() else rows.filter(is_new)
        self._batches.append(rows)
        self.waiting, self._bytes = self.waiting + len(rows), self._bytes + rows.nbytes
        self._new |= {text: action for text, action in labelled.actions.items() if text not in self._actions}
        self.added += len(rows)
        self.known += len(ids) - len(rows)
        self.without_action += rows.column("verb").to_numpy(zero_copy_only=False).tolist().count("")
        return len(rows)

    def _told_apart(
        self, rows: "pa.RecordBatch"
    ) -> tuple["pa.RecordBatch", NDArray[np.int64], NDArray[np.int64]]:
        """The rows, their ids and numbers of their captions: a clip's further captions get ids of their own.

        The first caption has the clip's own id, so that the ids of clips with one caption stay as they are.
        """
        import pyarrow as pa

        ids = rows.column("id").to_numpy().copy()
        captions = rows.column("caption").to_pylist()
        said = np.fromiter(map(hash, captions), np.int64, len(captions))
        known, at = self._have(ids)
        if known.any():
            self._load()
        _, first, clip = np.unique(ids, return_index=True, return_inverse=True)
        holder = said[first][clip]
        holder[known] = self._said[at[known]]
        further = np.flatnonzero(holder != said)
        further = further[[bool(captions[row]) for row in further]] if len(further) else further
        if not len(further):
            return rows, ids, said
        ids[further] = numbers(f"{ids[row]} {captions[row]}" for row in further)
        return rows.set_column(0, "id", pa.array(ids)), ids, said

    def _have(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which of them are in the library or taken, and where among the known."""
        if not len(self._ids):
            return np.zeros(len(ids), bool), np.zeros(len(ids), np.int64)
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return self._ids[at] == ids, at

    def _load(self) -> None:
        """Read the library's captions, the first time that one of its clips is met again."""
        if self._is_loaded:
            return
        self._is_loaded = True
        columns = ["id", "caption"]
        users = self.store.rows("captions").select(["id", "was"]).rename_columns(columns)
        removed = self.store.rows("removed").select(columns)
        for batch in chain(
            removed.to_batches(), self.store.batches("clips", columns=columns), users.to_batches()
        ):
            captions = batch.column("caption").to_pylist()
            known, at = self._have(batch.column("id").to_numpy())
            said = np.fromiter(map(hash, captions), np.int64, len(captions))
            self._said[at[known]] = said[known]

    def write(self) -> None:
        """Commit the rows: all or, killed in the middle, none."""
        import pyarrow as pa

        if self._new:
            table = [{"action": a.phrase, "verb": a.verb, "lemmas": a.lemmas} for a in self._new.values()]
            self.store.add("actions", pa.Table.from_pylist(table, schemas()["actions"]))
            self._actions |= self._new.keys()
            self._new = {}
        if self.waiting:
            self.store.add("clips", self._batches)
        self._batches, self.waiting, self._bytes = [], 0, 0


def others_of(store: Store, same: "pa.Table") -> "pa.Table":
    """Of clips that writers added at once, and that share ids, those with further captions; with own ids.

    As `Intake.take` gives them where one writer comes after the other. same: rows, first those that stay.
    """
    import pyarrow as pa

    users = {row["id"]: row["was"] for row in store.rows("captions").to_pylist()}
    removed = {*store.rows("removed", columns=["id"])["id"].to_pylist()}
    first, further = dict[int, str | None](), dict[int, int]()
    for row, (id, caption) in enumerate(zip(*_lists(same, "id", "caption"), strict=True)):
        kept = first.setdefault(id, caption)
        if caption and caption not in (kept, users.get(id)):
            further.setdefault(int(numbers([f"{id} {caption}"])[0]), row)
    ids = [id for id in further if id not in removed]
    rows = same.select(schemas()["clips"].names).take(pa.array([further[id] for id in ids], pa.int64()))
    return rows.set_column(0, schemas()["clips"].field("id"), pa.array(ids, pa.int64()))


def _labelled(
    batch: "pa.RecordBatch", video: NDArray[np.int64], seen: "tuple[pa.Array, pa.Array] | None" = None
) -> Labelled:
    """The rows with id, action and verb, those of one action beside each other: they are read together.

    seen: looks and motion of the rows, where they are known.
    """
    import pyarrow as pa

    captions, starts, ends = _lists(batch, "caption", "start", "end")
    found = find_actions(captions)
    phrases = ["" if action is None else action.phrase for action in found]
    verbs = ["" if action is None else action.verb for action in found]
    actions = {action.phrase: action for action in found if action is not None}
    action = pa.array(phrases, pa.string())
    order = _order(action.dictionary_encode())
    columns = {
        "id": pa.array(clip_ids(video, starts, ends)),
        "video": pa.array(video),
        **{name: batch.column(name) for name in ("root", "path", "start", "end", "caption")},
        "action": action,
        "verb": pa.array(verbs, pa.string()),
    }
    schema = schemas()["clips"]
    unseen = [pa.nulls(len(batch), schema.field(name).type) for name in ("look", "motion")]
    looks = unseen if seen is None else [column.take(order) for column in seen]
    rows = [column.take(order) for column in columns.values()]
    return Labelled(pa.RecordBatch.from_arrays([*rows, *looks], schema=schema), actions)


def clip_ids(
    video: NDArray[np.int64], starts: list[float | None], ends: list[float | None]
) -> NDArray[np.int64]:
    """The video's own number for the whole of it, another for each part."""
    is_part = np.array(
        [bool(start) or end is not None for start, end in zip(starts, ends, strict=True)], bool
    )
    if not is_part.any():
        return video
    each = zip(video.tolist(), starts, ends, strict=True)
    parts = numbers(f"{number} {start or 0:.3f} {end or 0:.3f}" for number, start, end in each)
    return np.where(is_part, parts, video)


def _order(action: "pa.DictionaryArray") -> "pa.Array":
    """Row numbers that bring equal actions together, and those in the order of their words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rank = np.empty(len(action.dictionary), np.int64)
    rank[pc.sort_indices(action.dictionary).to_numpy()] = np.arange(len(rank))
    return pa.array(np.argsort(rank[action.indices.to_numpy()], kind="stable"))


def _lists(batch: "pa.RecordBatch", *names: str) -> list[list[Any]]:
    return [batch.column(name).to_pylist() for name in names]
