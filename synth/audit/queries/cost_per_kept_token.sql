-- title: what each kept token cost, in tokens generated and in dollars, GPU time included
SELECT c.recipe, k.kept_tokens, sum(c.completion_tokens + c.reasoning_tokens) AS generated_tokens,
    round(generated_tokens / nullif(k.kept_tokens, 0), 2) AS generated_per_kept, round(sum(c.dollars), 4) AS dollars,
    round(1e6 * sum(c.dollars) / nullif(k.kept_tokens, 0), 4) AS dollars_per_million_kept
FROM costs c JOIN (SELECT recipe, sum(completion_tokens) AS kept_tokens FROM kept GROUP BY ALL) k USING (recipe)
GROUP BY ALL ORDER BY c.recipe
