-- title: ten dropped documents, and why each was dropped
SELECT d.family, x.step, x.counted_as, round(x.score, 3) AS score, x.threshold, left(x.evidence, 80) AS evidence,
    left(replace(d.text, chr(10), ' '), 80) AS text_start, d.id
FROM dropped x JOIN documents d ON d.recipe = x.recipe AND d.id = x.item_id ORDER BY d.id LIMIT 10
