-- title: attempts that left no usable answer, and what they cost with their share of GPU time
SELECT model, role, family, kind, outcome, count(*) AS attempts, sum(prompt_tokens)::BIGINT AS prompt_tokens,
    sum(completion_tokens)::BIGINT AS completion_tokens, sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
    round(sum(token_dollars + gpu_dollars), 6) AS dollars
FROM attempt_costs WHERE kind <> 'answer' OR outcome <> 'ok' GROUP BY recipe, model, role, family, kind, outcome
ORDER BY dollars DESC NULLS LAST, attempts DESC, model, role, family, kind, outcome
