"""Tokenizers of others, which may not fit their text model, or make any prompt a giant one."""

import math
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoTokenizer

from echoreel.common.errors import CheckpointError
from echoreel.common.loading_errors import panics_told
from echoreel.common.places import small_file
from echoreel.common.text import json_value

USUAL = ("pad", "bos", "eos", "unk", "cls", "sep")  # special tokens that texts have
LISTS = ("tokenizer_config.json", "special_tokens_map.json")  # files that name further tokens
MOST_NAMED = 1024  # tokens in one list of them: the time to add them grows with the square of their number
OF_MANY = "added_tokens_decoder"  # which takes no such time
MOST_LENGTH = 2**20  # tokens that a prompt is filled up to
NO_LENGTH = 10**18  # what transformers writes where there is none is larger
MOST_GROWTH = 1024  # letters that a normalizer may make of one; sentencepiece's own make 18
MOST_ADDED = 1024  # special tokens around a prompt
MOST_LETTERS = 1000  # of a word that is looked up piece by piece; usual are 100
COUNTED = 4  # bytes of the length of the first half of a table of letters


def check_tokenizers(parts: Mapping[str, Any]) -> None:
    """`check_token_ids` of each tokenizer of a pipeline, by the names that diffusers gives its parts."""
    for part, tokenizer in parts.items():
        model = parts.get(part.replace("tokenizer", "text_encoder"))
        if part.startswith("tokenizer") and tokenizer is not None and isinstance(model, nn.Module):
            check_token_ids(part, tokenizer, model)


def tokenizer_of(source: Path | str, options: Mapping[str, Any]) -> Any:
    """Of a model in a folder, or of a hub id. Raises CheckpointError, and whatever transformers does."""
    check_token_lists(Path(source))
    with panics_told("its tokenizer"):
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)


def check_token_lists(folder: Path) -> None:
    """Raises CheckpointError for a tokenizer's folder that names so many tokens that it takes minutes."""
    for path in (folder / name for name in LISTS):
        told = json_value(small_file(path).decode()) if path.is_file() else {}
        for name, value in told.items() if isinstance(told, dict) else ():
            if name != OF_MANY and isinstance(value, list | dict) and len(value) > MOST_NAMED:
                raise CheckpointError(
                    f"{path.name}: {name} has {len(value)} entries, at most {MOST_NAMED}; get the files again"
                )


@panics_told("its tokenizer")
def check_token_ids(part: str, tokenizer: Any, model: nn.Module) -> None:
    """Raises CheckpointError for a tokenizer with ids that its text model has no vector for, and for one
    that makes a prompt many times as long.

    Special tokens count only where every text has them: some tokenizers know pictures, their models do not.
    """
    _check_lengths(part, tokenizer)
    rows = _rows(model)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    usual = [getattr(tokenizer, f"{name}_token_id") for name in USUAL]
    words = [*({*tokenizer.get_vocab().values()} - special), *tokenizer("a")["input_ids"]]
    words += [number for number in usual if isinstance(number, int)]
    if rows and words and (most := max(words)) >= rows:
        raise CheckpointError(
            f"its {part} has ids up to {most}, its text model has vectors for {rows}; get the files again"
        )


def _check_lengths(part: str, tokenizer: Any) -> None:
    """Raises CheckpointError where a short prompt would take memory or time without limit."""
    length, backend = tokenizer.model_max_length, getattr(tokenizer, "backend_tokenizer", None)
    if MOST_LENGTH < length < NO_LENGTH:
        raise CheckpointError(
            f"its {part} fills prompts up to {length} tokens, at most {MOST_LENGTH}; get the files again"
        )
    if backend is None:
        return
    if (added := backend.num_special_tokens_to_add(False)) > MOST_ADDED:
        raise CheckpointError(
            f"its {part} puts {added} tokens around a prompt, at most {MOST_ADDED}; get the files again"
        )
    if (letters := getattr(backend.model, "max_input_chars_per_word", 0)) > MOST_LETTERS:
        raise CheckpointError(
            f"its {part} looks up words of {letters} letters, at most {MOST_LETTERS}; get the files again"
        )
    steps = [] if backend.normalizer is None else [*_steps(json_value(_state(backend.normalizer)))]
    growth = math.prod(map(_growth, steps))  # of whole numbers: any size
    if growth + sum(len(step.get("prepend", "")) for step in steps) > MOST_GROWTH:
        raise CheckpointError(
            f"its {part} makes over {MOST_GROWTH} letters of one before it looks at them; get the files again"
        )


def _state(normalizer: Any) -> str:
    told: bytes = normalizer.__getstate__()
    return told.decode()


def _steps(told: Any) -> Iterator[dict[str, Any]]:
    """Those of a normalizer, which may lie in others."""
    if isinstance(told, dict):
        yield told
        for each in told.get("normalizers", ()):
            yield from _steps(each)


def _growth(step: Mapping[str, Any]) -> int:
    """How many letters a step of a normalizer may make of one."""
    if step["type"] == "Replace":
        found, put = step["pattern"].get("String"), len(step["content"])
        # A pattern may find nothing, between all letters.
        return max(1, -(-put // len(found))) if found else 1 + put
    if table := step.get("precompiled_charsmap"):  # a tree, and texts with null bytes between
        held = b64decode(table)
        texts = held[COUNTED + int.from_bytes(held[:COUNTED], "little") :].split(b"\0")
        return max(1, *(len(text.decode(errors="replace")) for text in texts))
    return 1


def _rows(model: Any) -> int:
    """Of the table of vectors of a text model, or of the text half of a model; 0 for one without table."""
    table = getattr(model, "text_model", model).get_input_embeddings()
    return len(table.weight) if isinstance(table, nn.Embedding) else 0
