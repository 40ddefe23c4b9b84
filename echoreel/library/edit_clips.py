"""What a user decides about clips, whatever is added later: another caption, out of the library, in again."""

from collections.abc import Sequence

from echoreel.common.text import one_line
from echoreel.library.actions.find_action import find_action
from echoreel.library.clips import LibraryClip, stored
from echoreel.library.conditions import one_of, sql
from echoreel.library.sources.table_values import CAPTION_CHARACTERS
from echoreel.library.table_schemas import schemas
from echoreel.library.tables import LibraryError, Store


def set_caption(store: Store, id: str, text: str) -> LibraryClip:
    """Give a clip a caption in place of its source's; returns it. Raises LibraryError."""
    import pyarrow as pa

    text = one_line(text)
    if not 0 < len(text) <= CAPTION_CHARACTERS:
        raise LibraryError(f"caption: got {len(text)} characters, need 1 to {CAPTION_CHARACTERS}")
    where = f"id = {stored(id)}"
    rows = store.rows("clips", where, limit=1).to_pylist()
    if not rows:
        raise LibraryError(f"{id}: the library has no such clip; `echoreel library list` shows some")
    action = find_action(text)
    before = [row for row in store.rows("captions").to_pylist() if row["id"] == rows[0]["id"]]
    was = before[0]["was"] if before else rows[0]["caption"]
    note = {"id": rows[0]["id"], "caption": text, "was": was or ""}
    store.replace("captions", pa.Table.from_pylist([note], schemas()["captions"]), "id")
    if action is not None and not store.count("actions", f"action = {sql(action.phrase)}"):
        new = {"action": action.phrase, "verb": action.verb, "lemmas": action.lemmas}
        store.add("actions", pa.Table.from_pylist([new], schemas()["actions"]))
    done = {"action": action.phrase if action else "", "verb": action.verb if action else ""}
    row = rows[0] | {"caption": text} | done
    store.replace("clips", pa.Table.from_pylist([row], schemas()["clips"]), "id")
    if store.has("encoded"):
        store.remove("encoded", where)  # its caption was encoded with it
    return LibraryClip.of(row)


def remove_clips(store: Store, ids: Sequence[str]) -> int:
    """Take clips out for good; returns how many there were. Raises LibraryError for anything but an id."""
    if not ids:
        return 0
    where = one_of("id", [stored(id) for id in ids])
    rows = store.rows("clips", where).select(schemas()["clips"].names)
    if len(rows):
        store.replace("removed", rows, "id")
        store.remove("clips", where)
        if store.has("encoded"):
            store.remove("encoded", where)
    return len(rows)


def restore_clips(store: Store, ids: Sequence[str]) -> int:
    """Put removed clips in again; returns how many there were. Raises LibraryError for anything but an id."""
    numbers = [stored(id) for id in ids]
    if not ids or not store.has("removed"):
        return 0
    where = one_of("id", numbers)
    rows = store.rows("removed", where)
    if len(rows):
        store.replace("clips", rows, "id")
        store.remove("removed", where)
    return len(rows)
