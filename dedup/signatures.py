"""MinHash signatures and the hashes of their bands: sketches that propose which texts to compare.

A text's shingles are the runs of `shingle_words` tokens of its normalised form, each as a 64-bit hash (`dedup.kernels` says
how it is made). A signature is that of datasketch 2's scheme `affine32` over these hashes, bit for bit: h = fmix32(the lower
half of the hash) and, per permutation k, the minimum of a_k * h + b_k mod 2^32 over the text's shingles.

Two shingles of n share a hash with a probability below n^2 / 2^65 (3e-6 for ten million), and then two similarities are
wrong by one shingle: exact for all that follows. Nothing is drawn, because signatures are kept and compared with later ones;
so who tries hard enough can write two shingles of one hash. Texts equal in all their tokens are told by SHA-256.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from dedup.columns import Workspace, digests_of, each_batch, tokens_of
from synth.config import Config

if TYPE_CHECKING:
    from dedup.kernels import Tokens
    from synth.text.buffers import TextBytes

SHINGLE_VERSION = 2
"""Raised by hand when the hash of any shingle changes: all signatures change with it. 1 was SHA-1."""

EMPTY = np.uint32(2**32 - 1)
"""Every value of the signature of a text without shingles, as in datasketch. Such texts are never candidates."""

SAMPLE_SHINGLES = 12
"""How many shingles of a text an index keeps at most, the smallest: see `dedup.lookup`. 96 bytes."""

SAMPLE_HIGHEST = np.uint64(2**61 - 1)
"""None above this one: the eighth part of all."""

Uint32s = npt.NDArray[np.uint32]
Uint64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

_NO_COUNTS = np.empty(0, np.int64)
_SLOT_SEED = np.uint64(secrets.randbits(64) | 1)  # of hash tables, so that nobody can fill one place of them


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


class Sketches(NamedTuple):
    """What is known of N texts without comparing them."""

    signatures: Uint32s  # (N, permutations)
    shingle_counts: Int64s  # distinct ones
    digests: pa.StringArray  # `exact_digest` of each
    samples: pa.ListArray  # of each its smallest shingles, as list<uint64>


def minhash_signatures(texts: pa.Array | pa.ChunkedArray, config: MinHashConfig = DEFAULT, workers: int = 1) -> Uint32s:
    """The signatures of `texts`, shape (N, permutations), uint32. Null and too short texts give `EMPTY` throughout.

    `texts` is string or large_string, of any chunks and slices. `workers` threads share the work; their number changes no
    result. Memory beyond the result is bounded by the longest text, not by its shingles times the permutations. TypeError
    for another type, ValueError for a text that is not UTF-8. The first call of an installation compiles (10 s).
    """
    signatures = np.full((len(texts), config.permutations), EMPTY, np.uint32)

    def work(first: int, batch: TextBytes, space: Workspace) -> None:
        _sign(tokens_of(batch, space), space, config, signatures[first : first + len(batch.starts)], _NO_COUNTS)

    each_batch(texts, work, workers)
    return signatures


def sketches(texts: pa.Array | pa.ChunkedArray, config: MinHashConfig = DEFAULT, workers: int = 1) -> Sketches:
    """Signatures, numbers of shingles, exact digests and samples of `texts` in one go (see `minhash_signatures`)."""
    signatures = np.full((len(texts), config.permutations), EMPTY, np.uint32)
    counts = np.zeros(len(texts), np.int64)

    def work(first: int, batch: TextBytes, space: Workspace) -> tuple[list[str], pa.ListArray]:
        from dedup.kernels import sign_sets

        tokens, rows = tokens_of(batch, space), slice(first, first + len(batch.starts))
        hashes = _shingle(tokens, space, config.shingle_words, counts[rows])
        sign_sets(hashes, counts[rows], *permutations(config), space.scratch(tokens).lanes, signatures[rows])
        return digests_of(tokens), samples_of(hashes, counts[rows])

    made = each_batch(texts, work, workers)
    digests = [digest for some, _ in made for digest in some]
    samples = pa.concat_arrays([pa.array([], pa.list_(pa.uint64())), *(some for _, some in made)])
    return Sketches(signatures, counts, pa.array(digests, pa.string()), samples)


def samples_of(hashes: Uint64s, counts: Int64s) -> pa.ListArray:
    """The samples of sets that lie one after the other, each sorted."""
    ends = np.cumsum(counts)
    places = (ends - counts)[:, None] + np.arange(SAMPLE_SHINGLES)
    padded = np.append(hashes, np.uint64(2**64 - 1))
    found = padded[np.minimum(places, len(hashes))]
    is_in = (places < ends[:, None]) & (found <= SAMPLE_HIGHEST)
    offsets = np.append(0, np.cumsum(is_in.sum(axis=1))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(found[is_in]))


def shingle_sets(texts: pa.Array | pa.ChunkedArray, size: int, workers: int = 1) -> tuple[Uint64s, Int64s]:
    """The shingles of `size` tokens of each text as sorted distinct 64-bit hashes, one text after the other, and N + 1
    offsets: those of text k are `hashes[offsets[k] : offsets[k + 1]]`. A text with fewer tokens has none, a null neither."""
    counts = np.zeros(len(texts) + 1, np.int64)

    def work(first: int, batch: TextBytes, space: Workspace) -> Uint64s:
        return _shingle(tokens_of(batch, space), space, size, counts[first + 1 : first + 1 + len(batch.starts)])

    return np.concatenate([np.empty(0, np.uint64), *each_batch(texts, work, workers)]), np.cumsum(counts)


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


@lru_cache(maxsize=8)
def permutations(config: MinHashConfig) -> tuple[Uint32s, Uint32s]:
    """The parameters a (odd, so that each permutation is a bijection) and b."""
    # RandomState is part of the scheme's definition: its stream is frozen, and other parameters would be other signatures.
    state = np.random.RandomState(config.seed)
    multipliers = state.randint(0, 2**31, config.permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, state.randint(0, 2**32, config.permutations, dtype=np.uint32)


def _sign(texts: Tokens, space: Workspace, config: MinHashConfig, signatures: Uint32s, counts: Int64s) -> None:
    from dedup.kernels import sign_all

    scratch = space.scratch(texts)
    sign_all(texts, config.shingle_words, *permutations(config), scratch, _SLOT_SEED, signatures, counts)


def _shingle(texts: Tokens, space: Workspace, size: int, counts: Int64s) -> Uint64s:
    from dedup.kernels import shingle_all

    hashes = space.hashes(texts)
    used = shingle_all(texts, size, space.scratch(texts), _SLOT_SEED, hashes, counts)
    return hashes[:used].copy()


def _fmix64(values: Uint64s) -> Uint64s:
    """MurmurHash3's 64-bit finaliser."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
