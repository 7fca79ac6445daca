-- title: how many documents and tokens of each family were kept
SELECT d.family, count(*) AS documents, count(k.id) AS kept, round(100.0 * count(k.id) / count(*), 1) AS kept_percent,
    sum(k.written_tokens)::BIGINT AS kept_tokens
FROM documents d LEFT JOIN kept k ON k.recipe = d.recipe AND k.id = d.id GROUP BY ALL ORDER BY kept DESC, d.family
