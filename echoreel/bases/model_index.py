"""What is wrong with a pipeline's `model_index.json`, which names a package and a class for each part.

Asked when a base cannot be loaded: what other libraries say of it is for programmers, and of classes that
the index and a part's own config name differently some work.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers

from echoreel.common.errors import CheckpointError, MissingExtra, SettingsError
from echoreel.common.places import small_file
from echoreel.common.text import json_value

LIBRARIES: Mapping[str, Any] = {"diffusers": diffusers, "transformers": transformers}
KINDS: Mapping[str, type] = {
    "a model of diffusers": diffusers.ModelMixin,
    "a scheduler": diffusers.SchedulerMixin,
    "a model of transformers": transformers.PreTrainedModel,
    "a tokenizer": transformers.PreTrainedTokenizerBase,
}
TOLD = 80  # characters of what a file says


@contextmanager
def blamed_on_index(folder: Path | None, index: Mapping[str, Any], pipeline: Any) -> Iterator[None]:
    """Within, what fails is told as a fault of the index where that has one, as `fault_of_index`.

    Raises CheckpointError.
    """
    try:
        yield
    except (MissingExtra, SettingsError):
        raise
    except Exception as error:  # as in load_base
        if told := fault_of_index(folder, index, pipeline):
            raise CheckpointError(told) from error
        raise


def fault_of_index(folder: Path | None, index: Mapping[str, Any], pipeline: Any) -> str | None:
    """What is wrong, and what to do; None where nothing is.

    folder: of the base, None for one that is not on this machine. index: of the file. pipeline: the class
    that it names.
    """
    faults = _faults(index, pipeline)
    more = () if folder is None else _disagreements(folder, index)
    found = next(faults, None) or next(iter(more), None)
    return None if found is None else f"its model_index.json {found}; get the base's files again"


def _faults(index: Mapping[str, Any], pipeline: Any) -> Iterator[str]:
    parts, _ = pipeline._get_signature_keys(pipeline)
    types = pipeline._get_signature_types()
    for part in sorted(parts):
        classes = [each for each in types.get(part, ()) if isinstance(each, type) and each is not type(None)]
        need = "need " + (" or ".join(sorted({each.__name__ for each in classes})[:2]) or "a class")
        told = index.get(part, (None, None))
        if told in ([None, None], (None, None)):
            if part not in pipeline._optional_components:
                yield f"names no {part}, {need}"
        else:
            yield from _faults_of_part(part, told, classes, need)


def _faults_of_part(part: str, entry: Any, classes: list[type], need: str) -> Iterator[str]:
    names = entry[:2] if isinstance(entry, list | tuple) else ()
    if len(names) < 2 or not all(isinstance(name, str) for name in names):
        yield f"says {_short(entry)} of {part}, not a package and a class; {need}"
        return
    package, name = names
    found = getattr(LIBRARIES.get(package), name, None)
    if package in LIBRARIES and not isinstance(found, type):
        yield f"says that {part} is a {_short(name)}, which this {package} does not have; {need}"
    elif isinstance(found, type):
        got, kinds = _kinds([found]), _kinds(classes)
        if got and kinds and not got & kinds:
            yield f"says that {part} is a {name}, {' and '.join(sorted(got))}; {need}"


def _disagreements(folder: Path, index: Mapping[str, Any]) -> Iterator[str]:
    for part, entry in index.items():
        try:
            config = json_value(small_file(folder / part / "config.json").decode())
            own = config.get("_class_name") or config["architectures"][0]
            name = entry[1]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # of another part, or damaged
            continue
        if isinstance(own, str) and isinstance(name, str) and own != name:
            yield f"says that {part} is a {_short(name)}, and {part}/config.json says {_short(own)}"


def _kinds(classes: list[type]) -> set[str]:
    return {told for told, kind in KINDS.items() if any(issubclass(each, kind) for each in classes)}


def _short(told: object) -> str:
    text = " ".join((told if isinstance(told, str) else repr(told)).split())
    return text if len(text) <= TOLD else f"{text[:TOLD]} …"
