"""A cache of the hub, with stand-ins for the tiny text models of diffusers' tests: nothing is downloaded.

They have the sizes of those models, and other weights and words.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, T5Config, T5EncoderModel

from helpers.toy_models import toy_tokenizer

REVISION = "0" * 40


def t5(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_ff": 37, "d_kv": 8, "num_layers": 5, "num_heads": 4, "vocab_size": 1103}
    T5EncoderModel(T5Config(**sizes, eos_token_id=3, pad_token_id=0)).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)


def clip(folder: Path) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "hf-internal-testing/tiny-random-t5": t5,
    "hf-internal-testing/tiny-random-clip": clip,
}


def make_cache(home: Path) -> None:
    """Fill a new folder, to be named by HF_HOME."""
    for name, make in MODELS.items():
        place = home / "hub" / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(REVISION)
        (place / "snapshots" / REVISION).mkdir(parents=True)
        make(place / "snapshots" / REVISION)
