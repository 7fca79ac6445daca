-- title: how much is thought for each token that is said, how often thinking found no end, what that cost
SELECT role, model, count(*) AS answers, sum(completion_tokens)::BIGINT AS completion_tokens,
    sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
    round(sum(reasoning_tokens) / nullif(sum(completion_tokens), 0), 2) AS reasoning_per_completion_token,
    round(100.0 * count(*) FILTER (outcome = 'thinking_overflow') / count(*), 1) AS overflow_percent,
    count(*) FILTER (budget_hit) AS budget_hits, round(sum(token_dollars + gpu_dollars), 4) AS dollars,
    round(coalesce(sum(token_dollars + gpu_dollars) FILTER (outcome = 'thinking_overflow'), 0), 4) AS overflow_dollars
FROM attempt_costs WHERE kind <> 'failed_attempt' GROUP BY recipe, role, model ORDER BY reasoning_tokens DESC, role, model
