"""Models of transformers by their hub id: their configs are checked before they are made, as in a folder."""

from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from echoreel.bases.part_sizes import asked_by
from echoreel.common.errors import CheckpointError

MOST_NUMBERS = 10**10  # that a model asks for, whose weights are not here yet; a large CLIP has 5 * 10**9
ADAPTER = "adapter_config.json"  # of peft


def checked_options(hub_id: str, cached: bool = False) -> dict[str, Any]:
    """What `from_pretrained` is to be given, so that it reads what was checked: the commit, and from where.

    cached: only what is on this machine. Raises CheckpointError for a config that asks for code or giants,
    and OSError where the model is nowhere.
    """
    options: dict[str, Any] = {"local_files_only": cached}
    folder = Path(str(cached_file(hub_id, "config.json", **options))).parent
    options["revision"] = folder.name
    unless = dict.fromkeys(
        ("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"), False
    )
    cached_file(hub_id, ADAPTER, **options, **unless)  # into the same folder, if there is one
    _, asked = asked_by(folder)
    if asked > MOST_NUMBERS:
        raise CheckpointError(f"its config asks for {asked} numbers, at most {MOST_NUMBERS}; give a folder")
    return options
