"""Digests: the identity of everything. SHA-256 in lower-case hex, compared in full; paths show the first 16 digits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

PATH_DIGITS = 16


def digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, UTF-8): equal values have equal digests on any machine."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short(full: str) -> str:
    """The first 16 hex digits, for paths and for people."""
    return full[:PATH_DIGITS]


def hash_share(*parts: str) -> float:
    """A number in [0, 1) that depends on `parts` only: the way to sample, route and split without a random state."""
    joined = "\x1f".join(parts).encode()
    return int.from_bytes(hashlib.sha256(joined).digest()[:8], "big") / 2**64
