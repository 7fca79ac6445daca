"""Counting tokens as the model does: a tokenizer built from the vocabulary inside a GGUF file.

Only byte-level BPE vocabularies (`tokenizer.ggml.model` = gpt2) are known: those of SmolLM, Llama 3, Qwen and GPT-2.
Text that looks like a control token is counted as the text it is, as llama.cpp does with `parse_special` off.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synth.errors import RecipeError, fail

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Value types of the GGUF specification, as struct formats.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_USER_DEFINED = 4  # token type: a whole piece wherever it stands in text; control tokens (3) are no text at all

# How llama.cpp cuts text into words before BPE, by `tokenizer.ggml.pre` (llama-vocab.cpp).
_GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_MODERN_WORDS = (
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_WORDS = _MODERN_WORDS.format(numbers=r"\p{N}{1,3}")
_WORDS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2_WORDS,),
    "smollm": (r"\p{N}", _GPT2_WORDS),
    "llama-bpe": (_LLAMA3_WORDS,),
    "llama3": (_LLAMA3_WORDS,),
    "qwen2": (_MODERN_WORDS.format(numbers=r"\p{N}"),),
}
_WHOLE_WORDS = frozenset({"llama-bpe", "llama3"})  # a word that is a token is never split, whatever the merges say


def load_tokenizer(gguf: Path) -> Tokenizer:
    """The tokenizer of a GGUF file. RecipeError when the file is no GGUF file or its vocabulary is of another kind."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import BPE

    metadata = read_metadata(gguf)
    kind, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in _WORDS:
        raise fail(
            RecipeError,
            f"tokens cannot be counted with the vocabulary of {gguf}",
            given=f"tokenizer model {kind!r}, pre-tokenizer {pre!r}",
            allowed=f"model 'gpt2' with pre-tokenizer {', '.join(_WORDS)}",
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=pre in _WHOLE_WORDS))
    tokenizer.pre_tokenizer = _word_splitter(pre, vocabulary)
    types = metadata.get("tokenizer.ggml.token_type", [])
    whole = [token for token, type_ in zip(tokens, types, strict=False) if type_ == _USER_DEFINED]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in whole])
    return tokenizer


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text alone: no token of the chat template or of the sequence's start and end."""
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _word_splitter(pre: str, vocabulary: Mapping[str, int]) -> Any:
    """Text to words, each byte written as the letter that stands for it in a byte-level vocabulary."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as InTurn

    splits = [Split(Regex(words), behavior="isolated") for words in _WORDS[pre]]
    parts = [*splits, ByteLevel(add_prefix_space=False, use_regex=False)]
    # Some vocabularies lack bytes that their training text never had: those are no tokens, and part their neighbours.
    if missing := "".join(sorted(set(ByteLevel.alphabet()) - vocabulary.keys())):
        parts.append(Split(Regex(f"[{missing}]"), behavior="removed"))
    return InTurn(parts)


def read_metadata(gguf: Path) -> dict[str, Any]:
    """The metadata at the head of a GGUF file: scalars, strings and lists by key. RecipeError when it is no such file."""
    try:
        with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != _MAGIC:
                raise ValueError("it does not begin with the letters GGUF")
            version = struct.unpack_from("<I", data, 4)[0]
            if version not in _VERSIONS:
                raise ValueError(f"version {version} of the format is not known here")
            return _Reader(data, 8).pairs()
    except (ValueError, struct.error, KeyError, OSError) as error:
        raise fail(
            RecipeError,
            f"{gguf} is not a GGUF model file: {error}",
            allowed="a .gguf file, as llama.cpp reads it",
            do="check the path, or download the file again",
        ) from None


class _Reader:
    """Values one after another from the mapped file. All numbers are little-endian."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self.data = data
        self.at = at

    def pairs(self) -> dict[str, Any]:
        self.numbers("Q", 1)  # count of tensors
        count = self.numbers("Q", 1)[0]
        return {self.string(): self.value(self.numbers("I", 1)[0]) for _ in range(count)}

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{count}{code}")
        found = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return found

    def string(self) -> str:
        size = self.numbers("Q", 1)[0]
        if self.at + size > len(self.data):
            raise ValueError("it is cut off")
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw.decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.numbers(_SCALARS[kind], 1)[0]
        inner, count = self.numbers("I", 1)[0], self.numbers("Q", 1)[0]
        if inner in _SCALARS:
            return list(self.numbers(_SCALARS[inner], count))
        return [self.value(inner) for _ in range(count)]
