-- title: every document can be traced to its seeds, questions and models
-- why: what cannot be traced cannot be explained, retracted or licensed
-- severity: integrity
SELECT id, 'no seed' AS problem, NULL AS missing FROM documents WHERE coalesce(len(seed_ids), 0) = 0
UNION ALL
SELECT id, 'unknown seed', seed_id FROM (SELECT id, unnest(seed_ids) AS seed_id FROM documents)
WHERE seed_id NOT IN (SELECT id FROM seeds)
UNION ALL
SELECT id, 'unknown ask', ask_id FROM (SELECT id, unnest(ask_ids) AS ask_id FROM documents)
WHERE ask_id NOT IN (SELECT ask_id FROM asks)
UNION ALL
SELECT id, 'no root_id', NULL FROM documents WHERE root_id IS NULL
UNION ALL
SELECT id, 'kept without a model', NULL FROM kept WHERE coalesce(len(models), 0) = 0
