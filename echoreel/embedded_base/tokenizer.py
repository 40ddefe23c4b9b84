"""The embedded base's tokenizer: whole words of the domain, and characters for any other word.

`vocabulary.txt` is committed as it is, since weights depend on its order. The words of actions that no model
may train on are left out on purpose: to the embedded base they are new words, spelt in characters.
"""

from importlib.resources import files

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 40


def load_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that pads to `MAX_TOKENS` and never fails on a word."""
    words = (
        files("echoreel.embedded_base")
        .joinpath("vocabulary.txt")
        .read_text(encoding="utf-8")
        .split("\n")[:-1]
    )
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=64))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = [(name, vocabulary[name]) for name in ("[BOS]", "[EOS]")]
    tokenizer.post_processor = TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
    )
