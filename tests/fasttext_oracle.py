"""fastText's classifier in plain Python, from the bytes of a model file: slow, believes every byte, and is written against the
format and the formulas, not against the code under test."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np


def fnv(data: bytes) -> int:
    """FNV-1a of 32 bits, of signed bytes as fastText has it."""
    value = 2166136261
    for byte in data:
        value = ((value ^ (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF) * 16777619 & 0xFFFFFFFF
    return value


class Oracle:
    """A model file of format 12 with softmax loss."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 8
        self.dim, _, _, _, _, self.word_ngrams, self.loss, _, self.bucket, self.minn, self.maxn, _ = self.take("12i")
        self.take("d")
        size, self.words, _, _, kept = self.take("3i2q")
        entries = [self.entry() for _ in range(size)]
        self.entries = {word: number for number, word in enumerate(entries)}
        self.labels = [word.decode().removeprefix("__label__") for word in entries[self.words :]]
        self.kept = dict(self.take("2i") for _ in range(kept)) if kept >= 0 else None
        is_quantised = self.take("B")[0]
        self.input = self.matrix(is_quantised)
        has_codes = self.take("B")[0]
        self.output = self.matrix(is_quantised and has_codes)

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def entry(self) -> bytes:
        end = self.data.index(b"\0", self.at)
        word, self.at = self.data[self.at : end], end + 10
        return word

    def array(self, kind: str, *shape: int) -> Any:
        found = np.frombuffer(self.data, kind, math.prod(shape), self.at).reshape(shape)
        self.at += found.nbytes
        return found

    def matrix(self, has_codes: bool) -> Any:
        has_norms = self.take("B")[0] if has_codes else 0
        rows, columns = self.take("2q")
        if not has_codes:
            return self.array("<f4", rows, columns).astype(float)
        codes = self.array("u1", self.take("i")[0]).reshape(rows, -1)
        dense = self.decoded(codes)
        return dense * self.decoded(self.array("u1", rows, 1)) if has_norms else dense

    def decoded(self, codes: Any) -> Any:
        dim, parts, part, last = self.take("4i")
        centroids = self.array("<f4", 256 * dim).astype(float)
        sizes = [part] * (parts - 1) + [last]
        return np.hstack(
            [
                centroids[256 * part * number :][: 256 * size].reshape(256, size)[codes[:, number]]
                for number, size in enumerate(sizes)
            ]
        )

    def bucket_row(self, bucket: int) -> list[int]:
        if self.kept is None:
            return [self.words + bucket]
        return [self.words + self.kept[bucket]] if bucket in self.kept else []

    def word_rows(self, word: str) -> list[int]:
        number = self.entries.get(word.encode(), -1)
        rows = [number] if number >= 0 else []
        framed = f"<{word}>"
        for start in range(len(framed)):
            for length in range(max(self.minn, 1), self.maxn + 1):
                gram = framed[start : start + length]
                if len(gram) == length and not (length == 1 and start in (0, len(framed) - 1)):
                    rows += self.bucket_row(fnv(gram.encode()) % self.bucket)
        return rows

    def scores(self, flat: str) -> dict[str, float] | None:
        """Of a flat text, the probability of each label; None when nothing of it is known."""
        words = [word for word in flat.split(" ") if word and self.entries.get(word.encode(), -1) < self.words]
        rows = [row for word in words for row in self.word_rows(word)]
        if not rows:
            return None
        rows += [self.entries[b"</s>"]] if b"</s>" in self.entries else []
        hashes = [fnv(word.encode()) for word in [*words, "</s>"]]
        hashes = [value - (1 << 32) if value >> 31 else value for value in hashes]
        for first in range(len(hashes)):
            value = hashes[first] % (1 << 64)
            for other in hashes[first + 1 : first + self.word_ngrams]:
                value = (value * 116049371 + other) % (1 << 64)
                rows += self.bucket_row(value % self.bucket)
        outputs = self.output @ self.input[rows].mean(axis=0)
        shares = np.exp(outputs - outputs.max())
        return dict(zip(self.labels, np.minimum(shares / shares.sum() + 1e-5, 1).tolist(), strict=True))
