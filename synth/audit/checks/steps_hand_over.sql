-- title: what one step keeps is what the next one takes in
-- why: documents that vanish between two steps would be neither kept nor dropped
-- severity: integrity
WITH totals AS (
    SELECT
        (SELECT count(*) FROM seeds) AS seeds_read,
        coalesce(sum(items) FILTER (step = 'screen'), 0) AS screen_items,
        coalesce(sum(kept) FILTER (step = 'generate'), 0) AS generate_kept,
        coalesce(sum(items) FILTER (step = 'keep'), 0) AS keep_items,
        coalesce(sum(kept) FILTER (step = 'keep'), 0) AS keep_kept,
        coalesce(sum(items) FILTER (step = 'resolve'), 0) AS resolve_items
    FROM objects
)
SELECT 'seeds -> screen' AS from_to, seeds_read::BIGINT AS gave, screen_items::BIGINT AS took FROM totals
WHERE seeds_read <> screen_items
UNION ALL
SELECT 'generate -> keep', generate_kept::BIGINT, keep_items::BIGINT FROM totals WHERE generate_kept <> keep_items
UNION ALL
SELECT 'keep -> resolve', keep_kept::BIGINT, resolve_items::BIGINT FROM totals WHERE keep_kept <> resolve_items
