"""Near-duplicate removal: signatures propose, exact comparison disposes."""

from dedup.boilerplate import BOILERPLATE
from dedup.columns import exact_digests
from dedup.facts import FACTS_VERSION
from dedup.resolve import DUPLICATES, Resolution, ResolveConfig, find_duplicates
from dedup.signatures import (
    SHINGLE_VERSION,
    MinHashConfig,
    Sketches,
    band_hashes,
    minhash_signatures,
    shingle_sets,
    sketches,
)
from dedup.text import NORMALISATION_VERSION, exact_digest, normalise, word_shingles

__all__ = [
    "BOILERPLATE",
    "DUPLICATES",
    "FACTS_VERSION",
    "NORMALISATION_VERSION",
    "SHINGLE_VERSION",
    "MinHashConfig",
    "Resolution",
    "ResolveConfig",
    "Sketches",
    "band_hashes",
    "exact_digest",
    "exact_digests",
    "find_duplicates",
    "minhash_signatures",
    "normalise",
    "shingle_sets",
    "sketches",
    "word_shingles",
]
