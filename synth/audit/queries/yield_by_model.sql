-- title: which model's answers were kept, and at which price: what a cascade is judged by
SELECT role, family, model, sum(attempts)::BIGINT AS attempts, coalesce(sum(asks) FILTER (outcome = 'ok'), 0)::BIGINT AS usable,
    round(100.0 * usable / sum(attempts), 1) AS usable_percent, sum(documents_kept)::BIGINT AS documents_kept,
    sum(kept_tokens)::BIGINT AS kept_tokens, round(sum(token_dollars + gpu_dollars), 4) AS dollars,
    round(max(token_dollars_per_million_kept), 4) AS token_dollars_per_million_kept,
    round(max(dollars_per_million_kept), 4) AS dollars_per_million_kept
FROM yields GROUP BY recipe, role, family, model ORDER BY role, family, documents_kept DESC, model
