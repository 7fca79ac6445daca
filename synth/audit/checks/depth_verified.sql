-- title: every kept document made from synthetic text was verified
-- why: errors add up from generation to generation: what stands on a synthetic text must have passed a check, and failed none of the sure ones
-- severity: gate
WITH judged AS (
    SELECT item_id, count(*) FILTER (outcome = 'passed' AND rung IN ('arithmetic', 'equivalence', 'consistency',
            'round_trip_source', 'round_trip_alone', 'judge', 'numbers')) AS checks_passed,
        count(*) FILTER (outcome = 'failed' AND rung IN ('arithmetic', 'equivalence')) AS checks_failed
    FROM verdicts WHERE item_kind = 'document' GROUP BY item_id
)
SELECT k.id, k.family, k.generation_depth, coalesce(checks_passed, 0) AS passed, coalesce(checks_failed, 0) AS failed
FROM kept k LEFT JOIN judged j ON j.item_id = k.id
WHERE k.generation_depth > 1 AND (passed = 0 OR failed > 0)
