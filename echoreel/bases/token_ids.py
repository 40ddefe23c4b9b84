"""Tokenizers and text models that do not fit each other: else a prompt ends in a fault of torch."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from echoreel.common.errors import CheckpointError

USUAL = ("pad", "bos", "eos", "unk", "cls", "sep")  # special tokens that texts have


def check_tokenizers(parts: Mapping[str, Any]) -> None:
    """`check_token_ids` of each tokenizer of a pipeline, by the names that diffusers gives its parts."""
    for part, tokenizer in parts.items():
        model = parts.get(part.replace("tokenizer", "text_encoder"))
        if part.startswith("tokenizer") and tokenizer is not None and isinstance(model, nn.Module):
            check_token_ids(part, tokenizer, model)


def check_token_ids(part: str, tokenizer: Any, model: nn.Module) -> None:
    """Raises CheckpointError for a tokenizer with ids that its text model has no vector for.

    Special tokens count only where every text has them: some tokenizers know pictures, their models do not.
    """
    rows = _rows(model)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    usual = [getattr(tokenizer, f"{name}_token_id") for name in USUAL]
    words = [*({*tokenizer.get_vocab().values()} - special), *tokenizer("a")["input_ids"]]
    words += [number for number in usual if isinstance(number, int)]
    if rows and words and (most := max(words)) >= rows:
        raise CheckpointError(
            f"its {part} has ids up to {most}, its text model has vectors for {rows}; get the files again"
        )


def _rows(model: Any) -> int:
    """Of the table of vectors of a text model, or of the text half of a model; 0 for one without table."""
    table = getattr(model, "text_model", model).get_input_embeddings()
    return len(table.weight) if isinstance(table, nn.Embedding) else 0
