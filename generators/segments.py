"""Cutting long seeds: on whole lines, under a cap of tokens, every byte in exactly one segment.

After Nemotron-CC (https://arxiv.org/abs/2412.02595), which joins whole lines into segments under a cap per recipe. It drops
lines that are longer than the cap; here they are cut at the ends of sentences, else at spaces, so that nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from synth.rows import Seed

# Pieces that a byte-pair tokenizer gives about one token each: up to six letters, a digit, a sign, a letter beyond ASCII.
_PIECE = re.compile(r"[A-Za-z]{1,6}|\d|\n+|[^\x00-\x7f]|[^\w\s]|_")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of whole lines of a seed. Offsets are UTF-8 bytes of the seed's text; `order` counts from 0 of `of`."""

    text: str
    start_byte: int
    end_byte: int
    order: int
    of: int

    @property
    def span(self) -> tuple[int, int]:
        """As Draft.seed_span wants it."""
        return self.start_byte, self.end_byte

    def seed(self, seed: Seed) -> Seed:
        """The seed with this segment for its text: what a prompt is made from."""
        return seed if self.of == 1 else replace(seed, text=self.text)


def estimated_tokens(text: str) -> int:
    """How many tokens a model will count, about, without a tokenizer: the same number whichever model is used.

    Of the packaged passages it counts 0.95 to 1.15 times what SmolLM2's tokenizer does, of Python's documentation 1.3 times
    (tests/test_segments.py). Scripts beyond Latin count a token per letter; tokenizers differ most there.
    """
    return len(_PIECE.findall(text))


def cut(text: str, max_tokens: int) -> list[Segment]:
    """The text as segments of at most `max_tokens` (as estimated) each, about equally long; [] for an empty text.

    Joined, they are the text: white space at a segment's ends is left out of its text and its span.
    """
    lines = [
        (line, estimated_tokens(line)) for whole in text.splitlines(keepends=True) for line in _fit(whole, max_tokens)
    ]
    total = sum(tokens for _, tokens in lines)
    target = total / max(1, -(-total // max_tokens))
    runs: list[list[str]] = [[]]
    held = 0
    for line, tokens in lines:
        if runs[-1] and (held >= target or held + tokens > max_tokens):
            runs.append([])
            held = 0
        runs[-1].append(line)
        held += tokens
    return _spans(["".join(run) for run in runs])


def _spans(pieces: list[str]) -> list[Segment]:
    found, at = [], 0
    for piece in pieces:
        start = at + len(piece[: len(piece) - len(piece.lstrip())].encode())
        inner = piece.strip()
        if inner:
            found.append((inner, start, start + len(inner.encode())))
        at += len(piece.encode())
    return [Segment(inner, start, end, order, len(found)) for order, (inner, start, end) in enumerate(found)]


def _fit(line: str, max_tokens: int) -> Iterator[str]:
    """The line, or its parts where it alone is over the cap: whole sentences, else words, else as many letters as fit."""
    if estimated_tokens(line) <= max_tokens:
        yield line
        return
    for sentence in _split_after(line, _SENTENCE_END):
        if estimated_tokens(sentence) <= max_tokens:
            yield sentence
        else:
            yield from _by_words(sentence, max_tokens)


def _split_after(text: str, border: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for found in border.finditer(text):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def _by_words(text: str, max_tokens: int) -> Iterator[str]:
    """As many words as fit, again and again. A word is cut only where it alone is too long."""
    held: list[str] = []
    tokens = 0
    for word in re.findall(rf"\s*\S{{1,{max_tokens}}}|\s+\Z", text):
        size = estimated_tokens(word)
        if held and tokens + size > max_tokens:
            yield "".join(held)
            held, tokens = [], 0
        held.append(word)
        tokens += size
    yield "".join(held)
