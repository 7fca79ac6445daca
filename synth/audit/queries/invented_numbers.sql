-- title: documents dropped for numbers that their source does not have, with these numbers
SELECT d.family, x.evidence, s.source, s.url, left(replace(s.text, chr(10), ' '), 80) AS source_start, d.id
FROM drops x JOIN documents d ON d.recipe = x.recipe AND d.id = x.item_id
JOIN seeds s ON s.recipe = d.recipe AND s.id = d.seed_ids[1]
WHERE x.item_kind = 'document' AND x.rule = 'numbers_invented' ORDER BY d.family, d.id LIMIT 50
