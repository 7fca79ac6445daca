"""Shards: what a trainer reads."""
