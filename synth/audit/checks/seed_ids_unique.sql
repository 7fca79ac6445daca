-- title: no seed stands twice
-- why: a seed in two partitions is paid for twice, and its documents compete as duplicates
-- severity: integrity
SELECT id, count(*) AS times, list(DISTINCT object ORDER BY object) AS objects FROM seeds GROUP BY id HAVING count(*) > 1
