"""Which rows of a library are read for a prompt: clips of the nearest actions, in like scenery."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from echoreel.library import choose_clips
from echoreel.library.actions.rank_actions import RankedAction
from echoreel.library.conditions import one_of
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import Store

if TYPE_CHECKING:
    import pyarrow as pa

READ = 1024  # clips of the nearest actions that are all compared with the scenery; of more common ones
PER_QUERY = 128  # so many, those first in whose captions the index finds words of the scenery


def nearest_rows(store: Store, prompt: str, near: Mapping[str, RankedAction], count: int) -> "pa.Table":
    """Rows of clips of the nearest actions, those of the nearer ones first, until there are enough.

    Of an action with more clips than are read, those whose captions have words of the scenery, then any.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [schemas()["clips"].empty_table()]
    for phrases in _tiers(near):
        where = one_of("action", phrases)
        if store.count("clips", where) <= READ:
            parts.append(store.rows("clips", where))
        else:
            scenery = choose_clips.words(prompt) - choose_clips.words(" ".join(phrases))
            found = store.by_words(" ".join(sorted(scenery)), where, PER_QUERY)
            parts.append(found)
            if len(found) < 4 * count:
                rows = store.rows("clips", where, limit=max(PER_QUERY, 4 * count))
                parts.append(rows.filter(pc.invert(pc.is_in(rows["id"], value_set=found["id"]))))
        if sum(map(len, parts)) >= max(PER_QUERY // 4, count):
            break
    return pa.concat_tables(parts)


def _tiers(near: Mapping[str, RankedAction]) -> list[list[str]]:
    """The ranked actions, best first, in groups: those that fit as well as the best, a few, all others."""
    best = max((each.score for each in near.values()), default=0.0) - 0.02
    first = [phrase for phrase, each in near.items() if each.score >= best]
    rest = [phrase for phrase, each in near.items() if each.score < best]
    return [group for group in (first, rest[:4], rest[4:]) if group]
