-- title: each family's share of the kept documents and tokens, and what a seed yields: kept_tokens_per_seed, for weights
SELECT family, documents, kept, kept_tokens, shard_tokens, round(kept_tokens_per_seed, 1) AS kept_tokens_per_seed, round(100.0 * document_share, 1) AS document_percent,
    round(100.0 * token_share, 1) AS token_percent, round(100.0 * shard_token_share, 1) AS shard_token_percent
FROM family_shares ORDER BY recipe, kept_tokens DESC, family
