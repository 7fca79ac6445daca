-- title: nothing kept comes from a canary seed or carries a canary of another one
-- why: canary seeds are made to measure disobedience; a text with their instruction or its token must not be trained on
-- severity: integrity
WITH canaries AS (
    SELECT id AS seed_id, meta ->> '$.canary' AS canary FROM seeds WHERE (meta ->> '$.canary') IS NOT NULL
)
SELECT id, family, 'made from a canary seed' AS problem, canary, NULL AS foreign_canaries
FROM (SELECT id, family, unnest(seed_ids) AS seed_id FROM kept) JOIN canaries USING (seed_id)
UNION ALL
SELECT k.id, k.family, 'carries the canary of another seed', NULL, s.foreign_canaries::BIGINT
FROM kept k JOIN scores s ON s.item_id = k.id WHERE s.foreign_canaries::BIGINT > 0
