"""MinHash signatures and the hashes of their bands: sketches that propose which texts to compare.

A signature is that of datasketch 2's scheme `affine32`, bit for bit: h = fmix32(SHA-1 of the shingle, its first four
bytes) and, per permutation k, the minimum of a_k * h + b_k mod 2^32 over the text's shingles.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from dedup.text import word_shingles
from synth.config import Config

EMPTY = np.uint32(2**32 - 1)
"""Every value of the signature of a text without shingles, as in datasketch. Such texts are never candidates."""

_BLOCK_SHINGLES = 1024  # shingles permuted at once: 112 x 1024 x 4 bytes stay inside a core's second-level cache

Uint32s = npt.NDArray[np.uint32]
Uint64s = npt.NDArray[np.uint64]


class MinHashConfig(Config):
    """How texts are sketched. The defaults are FineWeb's 14 bands of 8 rows over word 5-grams (arXiv 2406.17557, 3.4).

    Two texts become candidates when all rows of a band agree, which happens with probability 1 - (1 - J^rows)^bands:
    56, 77, 92 and 98.8 % at a Jaccard similarity J of 0.7, 0.75, 0.8 and 0.85.
    """

    permutations: Annotated[int, Field(ge=1, le=4096)] = Field(
        112, description="Length of a signature, in 32-bit values; bands x rows (FineWeb: 112)."
    )
    bands: Annotated[int, Field(ge=1)] = Field(14, description="Bands a signature is cut into (FineWeb: 14).")
    rows: Annotated[int, Field(ge=1)] = Field(8, description="Values per band, all of which must agree (FineWeb: 8).")
    shingle_words: Annotated[int, Field(ge=1, le=64)] = Field(
        5, description="Words (characters in scripts without spaces) per shingle (FineWeb: 5)."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        1, description="Seed of the permutations (datasketch's default: 1)."
    )

    @model_validator(mode="after")
    def _bands_fill_the_signature(self) -> Self:
        if self.bands * self.rows != self.permutations:
            raise ValueError(f"bands x rows equal to permutations, not {self.bands} x {self.rows}")
        return self


DEFAULT = MinHashConfig()
"""FineWeb's parameters."""


def shingle_hashes(text: str, size: int) -> Uint64s:
    """The text's shingles as sorted distinct 64-bit hashes: the first eight bytes of each shingle's SHA-1, little-endian.

    Their low halves are datasketch's `sha1_hash32`. Among n shingles two share a hash with a probability below
    n^2 / 2^65 (3e-6 for ten million), and then two similarities are wrong by one shingle: exact for all that follows.
    """
    sha1 = hashlib.sha1
    raw = b"".join([sha1(shingle).digest()[:8] for shingle in word_shingles(text, size)])
    return np.unique(np.frombuffer(raw, "<u8").astype(np.uint64, copy=False))


def minhash_signatures(texts: pa.Array | pa.ChunkedArray, config: MinHashConfig = DEFAULT) -> Uint32s:
    """The signatures of `texts`, shape (N, permutations), uint32. Null and too short texts give `EMPTY` throughout.

    Memory beyond the result is bounded by the longest text's shingles, not by their number times the permutations.
    """
    multipliers, offsets = _permutations(config)
    signatures = np.full((len(texts), config.permutations), EMPTY, np.uint32)
    for row, text in enumerate(texts):
        hashes = shingle_hashes(text.as_py() or "", config.shingle_words).astype(np.uint32)
        _fold(_fmix32(hashes), multipliers, offsets, signatures[row])
    return signatures


def band_hashes(signatures: npt.NDArray[Any], config: MinHashConfig = DEFAULT) -> Uint64s:
    """A 64-bit hash per signature and band, shape (N, bands): covers the band's index and its rows in their order.

    Rows that differ anywhere give different hashes up to chance (2^-64 per pair); a band never equals another one.
    """
    rows = signatures.reshape(len(signatures), config.bands, config.rows).astype(np.uint64)
    hashes = _fmix64(np.arange(1, config.bands + 1, dtype=np.uint64))
    hashes = np.broadcast_to(hashes, (len(signatures), config.bands))
    for row in range(config.rows):
        # For equal hashes so far this is a bijection of the row's value, so a difference stays one.
        hashes = _fmix64(hashes ^ rows[:, :, row])
    return hashes


def _permutations(config: MinHashConfig) -> tuple[Uint32s, Uint32s]:
    """The parameters a (odd, so that each permutation is a bijection) and b, as columns."""
    # RandomState is part of the scheme's definition: its stream is frozen, and other parameters would be other signatures.
    state = np.random.RandomState(config.seed)
    multipliers = state.randint(0, 2**31, config.permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = state.randint(0, 2**32, config.permutations, dtype=np.uint32)
    return multipliers[:, None], offsets[:, None]


def _fold(hashes: Uint32s, multipliers: Uint32s, offsets: Uint32s, signature: Uint32s) -> None:
    """Lower `signature` in place to the minima of the permuted hashes, a block of shingles at a time."""
    for start in range(0, len(hashes), _BLOCK_SHINGLES):
        permuted = multipliers * hashes[start : start + _BLOCK_SHINGLES]
        permuted += offsets
        np.minimum(signature, permuted.min(axis=1), out=signature)


def _fmix32(values: Uint32s) -> Uint32s:
    """MurmurHash3's 32-bit finaliser."""
    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def _fmix64(values: Uint64s) -> Uint64s:
    """MurmurHash3's 64-bit finaliser."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
