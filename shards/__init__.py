"""Shards: what a trainer reads."""

from shards.masks import Masked, mask_documents
from shards.reader import find_row, read_shards, verify_shard
from shards.schema import SHARD
from shards.writer import CountTokens, ShardConfig, split_of, write_shards

__all__ = [
    "SHARD",
    "CountTokens",
    "Masked",
    "ShardConfig",
    "find_row",
    "mask_documents",
    "read_shards",
    "split_of",
    "verify_shard",
    "write_shards",
]
