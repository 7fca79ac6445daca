-- title: what each kept token cost, in tokens generated and in dollars, GPU time included
SELECT recipe, kept_tokens, generated_tokens, round(generated_tokens / nullif(kept_tokens, 0), 2) AS generated_per_kept,
    round(token_dollars, 4) AS token_dollars, round(gpu_dollars, 4) AS gpu_dollars, round(dollars, 4) AS dollars,
    round(1e6 * dollars / nullif(kept_tokens, 0), 4) AS dollars_per_million_kept
FROM (SELECT recipe, sum(completion_tokens + reasoning_tokens)::BIGINT AS generated_tokens, sum(dollars) AS dollars,
        sum(dollars) FILTER (kind <> 'engine') AS token_dollars, sum(dollars) FILTER (kind = 'engine') AS gpu_dollars
    FROM costs GROUP BY ALL)
JOIN (SELECT recipe, sum(written_tokens)::BIGINT AS kept_tokens FROM kept GROUP BY ALL) USING (recipe) ORDER BY recipe
