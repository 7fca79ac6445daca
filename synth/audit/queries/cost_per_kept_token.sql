-- title: what each kept token cost, in tokens generated and in dollars, GPU time included
SELECT recipe, kept_tokens, generated_tokens, round(generated_tokens / nullif(kept_tokens, 0), 2) AS generated_per_kept,
    round(dollars, 4) AS dollars, round(1e6 * dollars / nullif(kept_tokens, 0), 4) AS dollars_per_million_kept
FROM (SELECT recipe, sum(completion_tokens + reasoning_tokens)::BIGINT AS generated_tokens, sum(dollars) AS dollars
    FROM costs GROUP BY ALL)
JOIN (SELECT recipe, sum(completion_tokens)::BIGINT AS kept_tokens FROM kept GROUP BY ALL) USING (recipe) ORDER BY recipe
