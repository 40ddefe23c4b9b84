"""Texts to vectors, on tiny models saved as their libraries save them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from echoreel.common.errors import EchoReelError, MissingExtra
from echoreel.library.actions import text_embedder
from echoreel.library.actions.text_embedder import load_embedder

WORDS = ("[PAD]", "[UNK]", "[EOS]", *["carving", "a", "stone", "statue", "walking", "the", "dog"])
TEXTS = ["carving a stone statue", "walking the dog", "dog"]


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="[EOS]",
        model_max_length=16,
    )
    whole.save_pretrained(folder)


def bert(
    folder: Path, pooling: str = "mean_tokens", modules: tuple[str, ...] = ("Transformer", "Pooling")
) -> Path:
    """A tiny random sentence-transformers folder."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    named = [{"type": f"sentence_transformers.models.{name}"} for name in modules]
    (folder / "modules.json").write_text(json.dumps(named))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    return folder


def clip(folder: Path) -> Path:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 16, "eos_token_id": 2}
    vision = {**small, "image_size": 8, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.mark.parametrize(("make", "width"), [(bert, 16), (clip, 12)])
def test_vectors_have_unit_length_and_do_not_depend_on_the_batch(
    make: Callable[[Path], Path], width: int, tmp_path: Path
) -> None:
    embedder = load_embedder(str(make(tmp_path)))
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (3, width) == (3, embedder.width)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, [embedder.encode([text])[0] for text in TEXTS], atol=1e-5)
    padded = embedder.encode(TEXTS * 8)  # too many for one row
    np.testing.assert_allclose(padded, np.tile(vectors, (8, 1)), atol=1e-5)
    assert embedder.encode([]).shape == (0, width)
    assert embedder.name == str(tmp_path)


def test_first_token_pooling_is_not_the_mean(tmp_path: Path) -> None:
    mean = load_embedder(str(bert(tmp_path / "mean"))).encode(TEXTS)
    first = load_embedder(str(bert(tmp_path / "first", "cls_token"))).encode(TEXTS)
    assert not np.allclose(mean[0], first[0], atol=1e-3)
    np.testing.assert_allclose(mean[2], first[2], atol=1e-5)  # of one token both are the same


def test_padding_is_not_averaged_in(tmp_path: Path) -> None:
    embedder = load_embedder(str(bert(tmp_path)))
    np.testing.assert_allclose(embedder.encode(["dog"]), embedder.encode(["dog", TEXTS[0]])[:1], atol=1e-5)


@pytest.mark.parametrize("fault", ["nothing", "max", "dense", "t5"])
def test_a_model_that_cannot_be_used_is_told(fault: str, tmp_path: Path) -> None:
    if fault == "max":
        bert(tmp_path, "max_tokens")
    elif fault == "dense":
        bert(tmp_path, modules=("Transformer", "Pooling", "Dense"))
    elif fault == "t5":
        T5EncoderModel(
            T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        ).save_pretrained(tmp_path)
    with pytest.raises(EchoReelError, match=r"(embedder|text model) .*(take|give)"):
        load_embedder(str(tmp_path))


def test_without_its_package_the_default_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, text_embedder.PACKAGE, None)
    with pytest.raises(MissingExtra, match=r"echoreel\[library\]"):
        load_embedder()


def test_the_default_knows_synonyms() -> None:
    carving, sculpting, walking = load_embedder().encode(
        ["carving a statue", "sculpting a figure", "walking a dog"]
    )
    assert carving @ sculpting > 0.4 > carving @ walking
