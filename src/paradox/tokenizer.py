"""The organism's tokenizer: one token per word, saved as an ordinary fast tokenizer."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast


def word_tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer; a word outside `vocabulary` is an error, never a pad."""
    words = {word: index for index, word in enumerate(vocabulary)}
    backend = Tokenizer(WordLevel(words))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        # AutoTokenizer replaces the tokenizer of every Qwen2 checkpoint by Qwen2's own, which
        # would silently read "11" as "1", "1" and drop unknown words. An entry that names no
        # class makes it keep the tokenizer as saved.
        auto_map={"AutoTokenizer": [None, None]},
    )
