"""Near-duplicate removal: signatures propose, exact comparison disposes."""

from dedup.resolve import DUPLICATES, ResolveConfig, find_duplicates
from dedup.signatures import MinHashConfig, band_hashes, minhash_signatures
from dedup.text import NORMALISATION_VERSION, exact_digest, normalise, word_shingles

__all__ = [
    "DUPLICATES",
    "NORMALISATION_VERSION",
    "MinHashConfig",
    "ResolveConfig",
    "band_hashes",
    "exact_digest",
    "find_duplicates",
    "minhash_signatures",
    "normalise",
    "word_shingles",
]
